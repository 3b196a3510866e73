// What a real broker publishes on `$sys`, and the topics that it keeps for those whom they concern.
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/early_child.hpp"
#include "tests/support/must.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <optional>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

std::string hex(std::uint64_t id) {
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(id));
  return digits;
}

class SystemTest : public testing::Test {
 protected:
  NodeOptions options(const std::string& name) const {
    NodeOptions o;
    o.name = name;
    o.socket = broker_.socket();
    return o;
  }
  Node node(const std::string& name) const { return must(Node::create(options(name))); }

  static MessageSubscriber listen(Node& node, const std::string& topic) {
    MessageSubscriptionOptions o;
    o.subscription.history = 256;
    return must(MessageSubscriber::create(node, topic, o));
  }
  // The next event for which `chosen` is true; null when none comes.
  template <class Chosen>
  static json next(MessageSubscriber& events, Chosen chosen) {
    const Deadline until = std::chrono::steady_clock::now() + 20s;
    for (;;) {
      Message message = events.receive(until);
      if (!message) return nullptr;
      EXPECT_EQ(message.envelope().codec, Codec::json);
      json event = json::parse(message.text());
      events.acknowledge(std::move(message));
      if (chosen(event)) return event;
    }
  }
  static json next(MessageSubscriber& events, const std::string& what, const std::string& node) {
    return next(events, [&](const json& event) {
      return event["event"] == what && event.value("node", "") == node;
    });
  }
  BrokerProcess broker_{SLUICE_SLUICED};
};

TEST_F(SystemTest, AProcessThatIsKilledIsReportedWithItsLastWords) {
  NodeOptions bell = options("bell");
  bell.version = "2.1";
  bell.capabilities = {"ring", "see"};
  bell.last_words = "{\"door\":\"open\"}";
  EarlyChild child{[&] {
    const auto made = Node::create(bell);
    if (made) ::pause();
  }};
  Node watcher = node("watcher");
  MessageSubscriber nodes = listen(watcher, "$sys/nodes");
  child.start();
  const json online = next(nodes, "online", "bell");
  ASSERT_TRUE(online.is_object());
  EXPECT_EQ(online["pid"], child.pid());
  EXPECT_EQ(online["uid"], ::geteuid());
  EXPECT_EQ(online["version"], "2.1");
  EXPECT_EQ(online["capabilities"], (json{"ring", "see"}));
  EXPECT_FALSE(online.contains("last_words"));
  child.end(SIGKILL);
  const json died = next(nodes, "died", "bell");
  ASSERT_TRUE(died.is_object());
  EXPECT_EQ(died["last_words"], "{\"door\":\"open\"}");
  EXPECT_EQ(died["id"], online["id"]);
  EXPECT_EQ(died["version"], "2.1");
}

TEST_F(SystemTest, ANodeThatEndsInOrderIsOfflineWithoutThem) {
  Node watcher = node("watcher");
  MessageSubscriber nodes = listen(watcher, "$sys/nodes");
  {
    NodeOptions o = options("bell");
    o.last_words = "not to be said";
    Node bell = must(Node::create(o));
    EXPECT_EQ(next(nodes, "online", "bell")["id"], hex(bell.id()));
  }
  const json gone =
      next(nodes, [](const json& event) { return event.value("node", "") == "bell"; });
  ASSERT_TRUE(gone.is_object());
  EXPECT_EQ(gone["event"], "offline");
  EXPECT_FALSE(gone.contains("last_words"));
}

TEST_F(SystemTest, WhoComesLaterLearnsWhatHappened) {
  { Node bell = node("bell"); }
  Node watcher = node("watcher");
  MessageSubscriber nodes = listen(watcher, "$sys/nodes");
  EXPECT_TRUE(next(nodes, "online", "bell").is_object());
  EXPECT_TRUE(next(nodes, "offline", "bell").is_object());
}

TEST_F(SystemTest, AccessIsReported) {
  const std::string file = broker_.folder() + "/sluiced.toml";
  std::ofstream(file) << "[[allow]]\neverybody = true\nfilters = ['camera/#', '$dlq/#']\n";
  BrokerProcess strict{SLUICE_SLUICED, {"--config", file}};
  NodeOptions o = options("watcher");
  o.socket = strict.socket();
  Node watcher = must(Node::create(o));
  MessageSubscriber access = listen(watcher, "$sys/access");
  o.name = "camera";
  Node camera = must(Node::create(o));
  StreamOptions stream;
  stream.pools = {{64}};
  Publisher publisher = must(camera.advertise("camera/front", stream));
  EXPECT_FALSE(camera.advertise("light", stream));
  EXPECT_FALSE(camera.advertise("$sys/nodes", stream));
  std::optional<Subscriber> frames = must(watcher.subscribe("camera/+"));
  EXPECT_TRUE(next(access, "connected", "camera").is_object());
  EXPECT_EQ(next(access, "advertised", "camera")["topic"], "camera/front");
  const json refused = next(access, "refused", "camera");
  EXPECT_EQ(refused["topic"], "light");
  EXPECT_NE(refused["reason"].get<std::string>().find("may not publish"), std::string::npos);
  EXPECT_EQ(next(access, "refused", "camera")["topic"], "$sys/nodes");
  EXPECT_EQ(next(access, "subscribed", "watcher")["filter"], "camera/+");
  // It is attached to the broker's own node as well, by then or not.
  const json attached = next(access, [](const json& event) {
    return event["event"] == "attached" && event["node"] == "watcher" && event["other"] != "sluiced";
  });
  ASSERT_TRUE(attached.is_object());
  EXPECT_EQ(attached["other"], "camera");
  frames.reset();
  EXPECT_EQ(next(access, "detached", "watcher")["topic"], "camera/front");
  std::ofstream(file) << "[[allow]]\neverybody = true\nfilters = ['door/#']\n";
  ::kill(strict.pid(), SIGHUP);
  EXPECT_TRUE(next(access, "revoked", "camera").is_object());
  EXPECT_TRUE(next(access, "configuration_reloaded", "").is_object());
}

TEST_F(SystemTest, TheBrokersStartAndEndAreReported) {
  Node watcher = node("watcher");
  MessageSubscriber access = listen(watcher, "$sys/access");
  EXPECT_TRUE(next(access, "started", "").is_object());
  EXPECT_EQ(broker_.kill(SIGTERM), 0);
  EXPECT_TRUE(next(access, "stopping", "").is_object());
}

TEST_F(SystemTest, FiguresAreRetained) {
  Node watcher = node("watcher");
  MessageSubscriptionOptions retained;
  retained.retained = true;
  MessageSubscriber stats = must(MessageSubscriber::create(watcher, "$sys/stats", retained));
  const json figures = next(stats, [](const json&) { return true; });
  ASSERT_TRUE(figures.is_object());
  for (const char* name : {"sluice_broker_connections", "sluice_broker_nodes",
                           "sluice_broker_streams", "sluice_broker_subscriptions",
                           "sluice_broker_refused_total", "sluice_broker_messages_total"}) {
    EXPECT_TRUE(figures[name].is_number()) << name;
  }
}

TEST_F(SystemTest, TheBrokersNodeIsSeenAndOutlivesItsReaders) {
  Node watcher = node("watcher");
  for (int i = 0; i < 20; ++i) {
    MessageSubscriber nodes = listen(watcher, "$sys/#");
    { Node bell = node("bell"); }
    ASSERT_TRUE(next(nodes, "offline", "bell").is_object()) << i;
  }
  const Snapshot seen = must(watcher.monitor("$sys/#")).snapshot();
  const auto own = std::find_if(seen.nodes.begin(), seen.nodes.end(),
                                [](const NodeInfo& info) { return info.name == "sluiced"; });
  ASSERT_NE(own, seen.nodes.end());
  EXPECT_EQ(own->pid, static_cast<std::uint32_t>(broker_.pid()));
  EXPECT_EQ(seen.streams.size(), 3u);
}

TEST_F(SystemTest, AReaderThatStopsReadingHoldsNobodyUp) {
  Node watcher = node("watcher");
  MessageSubscriptionOptions slow;
  slow.subscription.mode = DeliveryMode::reliable;
  MessageSubscriber stuck = must(MessageSubscriber::create(watcher, "$sys/nodes", slow));
  MessageSubscriber nodes = listen(watcher, "$sys/nodes");
  for (int i = 0; i < 400; ++i) {
    { Node bell = node("bell"); }
    ASSERT_TRUE(next(nodes, "offline", "bell").is_object()) << i;
  }
  Outcome outcome = Outcome::ok;
  while (outcome != Outcome::evicted && outcome != Outcome::empty) {
    Message message = stuck.take();
    outcome = message.outcome();
    if (message) stuck.acknowledge(std::move(message));
  }
  EXPECT_EQ(outcome, Outcome::evicted);
}

TEST_F(SystemTest, RepliesAreReadByTheNodeThatAskedAlone) {
  Node asker = node("asker");
  Node nosy = node("nosy");
  const std::string reply = "$reply/door/" + hex(asker.id()) + "/1";
  const Subscriber own = must(asker.subscribe(reply));
  auto refused = nosy.subscribe(reply);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::refused);
  EXPECT_FALSE(nosy.subscribe("$reply/#"));
  EXPECT_FALSE(nosy.subscribe("$reply/door/+/1"));
  EXPECT_FALSE(nosy.subscribe(std::vector<std::string>{"a", reply})) << "nor among others";
  Subscriber everything = must(nosy.subscribe("#"));
  StreamOptions stream;
  stream.pools = {{64}};
  Publisher replies = must(nosy.advertise(reply, stream));
  EXPECT_EQ(replies.matching_count(), 1u) << "the asker, and not by '#'";
}

TEST_F(SystemTest, ANodeReportsErrorsInItsOwnNameOnly) {
  Node bell = node("bell");
  StreamOptions stream;
  stream.pools = {{64}};
  EXPECT_TRUE(bell.advertise("$sys/errors/bell", stream));
  EXPECT_FALSE(bell.advertise("$sys/errors/door", stream));
  EXPECT_FALSE(bell.advertise("$sys/nodes", stream));
  EXPECT_TRUE(bell.advertise("$sys/control/all", stream)) << "the broker's user";
}

}  // namespace
}  // namespace sluice::test
