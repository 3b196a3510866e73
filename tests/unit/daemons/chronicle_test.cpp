// What the broker tells on `$sys`, without the node that publishes it.
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/event_queue.hpp"
#include "tests/unit/daemons/broker_fixture.hpp"

#include <nlohmann/json.hpp>

#include <sys/wait.h>

#include <optional>
#include <thread>

namespace sluice::broker {
namespace {

using nlohmann::json;
using test::FakeArena;
using test::FakeStream;

class Recorder final : public Chronicle {
 public:
  void tell(SystemEvent event) override { events.push_back(std::move(event)); }
  /// All of this topic, as words.
  std::vector<std::string> words(SystemTopic topic) const {
    std::vector<std::string> all;
    for (const SystemEvent& event : events) {
      if (event.topic == topic) all.push_back(event.what);
    }
    return all;
  }
  const SystemEvent* last(const std::string& what) const {
    for (auto at = events.rbegin(); at != events.rend(); ++at) {
      if (at->what == what) return &*at;
    }
    return nullptr;
  }
  std::vector<SystemEvent> events;
};

// Clients are in this process, which would make them the broker's own node: so another one
// connects first, and the chronicle is there only afterwards.
class ChronicleTest : public BrokerFixture {
 protected:
  BrokerClient introduced(Id id, std::string name = "bell", std::string last_words = {}) {
    BrokerClient client = connect();
    broker_->tell_to(&recorder_);
    protocol::HelloT hello;
    hello.protocol = transport::kProtocolVersion;
    hello.layout = shm::kLayoutVersion;
    hello.node_id = id;
    hello.node = std::move(name);
    hello.version = "1.2";
    hello.capabilities = {"ring"};
    hello.last_words = std::move(last_words);
    EXPECT_TRUE(client.call(std::move(hello)));
    return client;
  }
  // Lets farewells be settled.
  bool eventually(const std::string& what) {
    const std::uint64_t end = shm::deadline_in(10'000'000'000);
    while (recorder_.last(what) == nullptr && shm::now_ns() < end) {
      test::must(loop_.run_once(10));
    }
    return recorder_.last(what) != nullptr;
  }
  void TearDown() override { broker_.reset(); }

  Recorder recorder_;
};

TEST_F(ChronicleTest, ANodeComesOnlineAndLeaves) {
  BrokerClient client = introduced(7);
  const SystemEvent* online = recorder_.last("online");
  ASSERT_NE(online, nullptr);
  EXPECT_EQ(online->topic, SystemTopic::nodes);
  EXPECT_EQ(online->node, "bell");
  EXPECT_EQ(online->node_id, 7u);
  EXPECT_EQ(online->pid, ::getpid());
  EXPECT_EQ(online->uid, ::geteuid());
  EXPECT_EQ(online->version, "1.2");
  EXPECT_EQ(online->capabilities, std::vector<std::string>{"ring"});
  client.send(protocol::GoodbyeT{}, {}, false);
  EXPECT_TRUE(client.is_closed());
  ASSERT_TRUE(eventually("offline"));
  EXPECT_EQ(recorder_.words(SystemTopic::nodes), (std::vector<std::string>{"online", "offline"}));
  EXPECT_EQ(recorder_.last("offline")->last_words, "");
}

TEST_F(ChronicleTest, WhoLosesItsConnectionButLivesIsOfflineAndHasNoLastWords) {
  { BrokerClient client = introduced(7, "bell", "remember me"); }
  ASSERT_TRUE(eventually("offline"));
  EXPECT_EQ(recorder_.last("died"), nullptr);
  EXPECT_EQ(recorder_.last("offline")->last_words, "");
  EXPECT_NE(recorder_.last("offline")->sentence, "");
}

TEST_F(ChronicleTest, AGoodbyeCountsThoughSendingFailedBeforeItWasRead) {
  std::optional<BrokerClient> client{introduced(7)};
  ASSERT_TRUE(client->subscribe(20, "b/+"));
  client->send(protocol::GoodbyeT{}, {}, false);
  client.reset();
  broker_->replace(only({Action::subscribe}, {"a/#"}), {});  // which it is told, in vain
  turn();
  EXPECT_NE(recorder_.last("offline"), nullptr) << "at once, since it said so";
}

TEST_F(ChronicleTest, WhoConnectsAgainIsOfflineBeforeItIsOnline) {
  BrokerClient first = introduced(7);
  BrokerClient second = connect();  // of this process: now the broker's own, which nobody hears of
  broker_->tell_to(nullptr);
  BrokerClient third = connect();
  broker_->tell_to(&recorder_);
  EXPECT_TRUE(third.hello(7, "bell"));
  EXPECT_EQ(recorder_.words(SystemTopic::nodes),
            (std::vector<std::string>{"online", "offline", "online"}));
}

TEST_F(ChronicleTest, AccessIsTold) {
  BrokerClient publisher = introduced(1, "camera");
  broker_->tell_to(nullptr);
  BrokerClient subscriber = introduced(2, "viewer");
  const FakeStream stream;
  const FakeArena arena, wake;
  ASSERT_TRUE(publisher.advertise(stream, "camera/front"));
  ASSERT_TRUE(subscriber.subscribe(20, "camera/+"));
  EXPECT_EQ(recorder_.last("advertised")->topic_name, "camera/front");
  EXPECT_EQ(recorder_.last("advertised")->node, "camera");
  EXPECT_EQ(recorder_.last("subscribed")->filter, "camera/+");
  subscriber.ask(20, stream.id, arena);
  ASSERT_TRUE(publisher.admit(wake));
  ASSERT_TRUE(subscriber.next<protocol::AdmittedT>());
  const SystemEvent* attached = recorder_.last("attached");
  ASSERT_NE(attached, nullptr);
  EXPECT_EQ(attached->topic_name, "camera/front");
  EXPECT_EQ(attached->node, "viewer");
  EXPECT_EQ(attached->other, "camera");
  protocol::EvictedT evicted;
  evicted.stream_id = stream.id;
  evicted.subscription_id = 20;
  evicted.cause = "too slow";
  publisher.send(std::move(evicted), {}, false);
  ASSERT_TRUE(eventually("detached"));
  EXPECT_EQ(recorder_.last("detached")->sentence, "evicted: too slow");
}

TEST_F(ChronicleTest, WhatIsRefusedIsToldWithTheSentence) {
  BrokerClient client = introduced(1);
  LimitTable limits;
  limits.each_user.streams = 0;
  broker_->replace(only({Action::publish}, {"a/#"}), limits);
  EXPECT_FALSE(client.subscribe(20, "b/+"));
  const SystemEvent* refused = recorder_.last("refused");
  ASSERT_NE(refused, nullptr);
  EXPECT_EQ(refused->filter, "b/+");
  EXPECT_EQ(refused->sentence, client.failure.message);
  const FakeStream stream;
  EXPECT_FALSE(client.advertise(stream, "a/x"));
  const SystemEvent* limit = recorder_.last("limit");
  ASSERT_NE(limit, nullptr);
  EXPECT_EQ(limit->topic_name, "a/x");
}

TEST_F(ChronicleTest, WhatIsRevokedIsTold) {
  BrokerClient client = introduced(1);
  ASSERT_TRUE(client.subscribe(20, "b/+"));
  broker_->replace(only({Action::subscribe}, {"a/#"}), {});
  ASSERT_NE(recorder_.last("revoked"), nullptr);
  EXPECT_NE(recorder_.last("revoked")->sentence.find("b/+"), std::string::npos);
}

TEST_F(ChronicleTest, OneUserCannotFillIt) {
  BrokerClient client = introduced(1);
  broker_->replace(only({Action::subscribe}, {"a/#"}), {});
  // Many at once: one by one a slow machine may do no more than a user is allowed.
  Id id = 20;
  for (int batch = 0; batch < 4; ++batch) {
    for (int i = 0; i < 99; ++i) client.send(BrokerClient::subscription(id++, "b"));
    EXPECT_FALSE(client.subscribe(id++, "b"));
  }
  const auto words = recorder_.words(SystemTopic::access);
  EXPECT_LT(std::count(words.begin(), words.end(), "refused"), 400);
  broker_->tell_to(&recorder_);  // and begins with the figures, and what was left out
  ASSERT_NE(recorder_.last("left_out"), nullptr);
  EXPECT_GT(recorder_.last("left_out")->count, 0u);
  const SystemEvent* stats = recorder_.last("stats");
  ASSERT_NE(stats, nullptr);
  double refused = 0;
  for (const auto& [name, value] : stats->figures) {
    if (std::string(name) == "sluice_broker_refused_total") refused = value;
  }
  EXPECT_EQ(refused, 400);
}

TEST_F(ChronicleTest, TheBrokersOwnNodeIsFreeOfRulesAndLimitsAndNotTold) {
  LimitTable limits;
  limits.each_user = {0, 0, 0, 0, 0, 0, 0};
  limits.in_all = limits.each_user;
  broker_->replace(only({Action::monitor}, {"nothing"}), limits);
  broker_->tell_to(&recorder_);
  recorder_.events.clear();
  BrokerClient own = connect();
  ASSERT_TRUE(own.hello(9, "sluiced")) << own.failure.message;
  const FakeStream nodes;
  ASSERT_TRUE(own.advertise(nodes, "$sys/nodes")) << own.failure.message;
  EXPECT_EQ(own.advertised.messages_per_second, 0u);
  EXPECT_TRUE(own.subscribe(20, "$sys/control/all")) << own.failure.message;
  broker_->replace(only({Action::monitor}, {"nothing else"}), limits);
  EXPECT_NE(broker_->registry().stream(nodes.id), nullptr) << "nothing is revoked";
  EXPECT_TRUE(recorder_.events.empty());
  own.send(protocol::GoodbyeT{}, {}, false);
  EXPECT_TRUE(own.is_closed());
  EXPECT_TRUE(broker_->registry().nodes().empty());
}

TEST(SystemEvent, IsOneJsonObject) {
  SystemEvent event;
  event.topic = SystemTopic::nodes;
  event.what = "died";
  event.time_ns = 1'795'255'507'123'456'789;
  event.has_user = true;
  event.uid = 0;
  event.user = "root";
  event.node = "bell";
  event.node_id = 0xab;
  event.pid = 17;
  event.version = "1.2";
  event.capabilities = {"ring", "see"};
  event.last_words = "so \"long\"\n";
  EXPECT_EQ(to_json(event),
            R"({"event":"died","node":"bell","id":"00000000000000ab","pid":17,"uid":0,)"
            R"("user":"root","version":"1.2","capabilities":["ring","see"],)"
            R"("last_words":"so \"long\"\n","time":"2026-11-21T10:05:07.123Z"})");
}

TEST(SystemEvent, LongAndBrokenTextsStayJsonAndFitTheLargestSlot) {
  SystemEvent event;
  event.what = "refused";
  event.filter = std::string(65'535, '\x01');
  event.topic_name = std::string(1'023, 'a') + "\xc3\xa4" + "b";
  event.sentence = std::string(5'000, '\xff');
  event.last_words = std::string(1'024, '\x01');
  event.capabilities = std::vector<std::string>(32, std::string(63, '\x01'));
  const std::string text = to_json(event);
  const json parsed = json::parse(text);
  EXPECT_EQ(parsed["topic"], std::string(1'023, 'a') + "…") << "no half character";
  EXPECT_LT(text.size(), 60u * 1024);
}

TEST(SystemEvent, FiguresAreNumbers) {
  SystemEvent event;
  event.what = "stats";
  event.figures = {{"whole", 3.0}, {"large", 1e15}, {"part", 0.5}};
  const json parsed = json::parse(to_json(event));
  EXPECT_EQ(parsed["whole"].dump(), "3");
  EXPECT_EQ(parsed["large"].dump(), "1000000000000000");
  EXPECT_EQ(parsed["part"].dump(), "0.5");
}

TEST(EventGate, CountsWhatItLeavesOutByUser) {
  EventGate gate{10};
  std::uint64_t left_out = 0;
  int passed = 0;
  for (int i = 0; i < 25; ++i) passed += gate.pass(1, 1'000'000'000, left_out);
  EXPECT_EQ(passed, 10);
  EXPECT_TRUE(gate.pass(2, 1'000'000'000, left_out)) << "another user";
  EXPECT_EQ(left_out, 0u);
  EXPECT_TRUE(gate.pass(1, 2'000'000'000, left_out));
  EXPECT_EQ(left_out, 15u);
  EXPECT_TRUE(gate.take_left_out().empty());
  for (int i = 0; i < 25; ++i) (void)gate.pass(1, 2'000'000'000, left_out);
  EXPECT_EQ(gate.take_left_out(), (std::map<uid_t, std::uint64_t>{{1, 16}}));
  EXPECT_TRUE(gate.take_left_out().empty());
}

TEST(EventQueue, LosesAndCountsWhatFindsItFull) {
  EventQueue<int> queue{4};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(queue.push(i), i < 4);
  EXPECT_EQ(queue.take_lost(), 2u);
  EXPECT_EQ(queue.take_lost(), 0u);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(*queue.pop(), i);
  EXPECT_EQ(queue.pop(), nullptr);
}

TEST(EventQueue, KeepsTheOrderBetweenTwoThreads) {
  EventQueue<int> queue{8};
  constexpr int kMany = 20'000;
  std::thread producer([&] {
    for (int i = 0; i < kMany;) {
      if (queue.push(i)) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  for (int expected = 0; expected < kMany;) {
    const auto value = queue.pop();
    if (value == nullptr) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(*value, expected++);
  }
  producer.join();
}

}  // namespace
}  // namespace sluice::broker
