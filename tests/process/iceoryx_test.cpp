// sluice-iceoryx between sluiced and a stock RouDi, with iceoryx's own examples at the other end:
// nobody here wrote them, and they do not know that Sluice exists.
#include "sluice/context.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "sluice/typed.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/private_folders.hpp"
#include "tests/support/talking_program.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace sluice {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using test::TalkingProgram;

constexpr auto kPatience = 20s;

Deadline in(std::chrono::nanoseconds time) { return std::chrono::steady_clock::now() + time; }

// As the examples have it in their topic_data.hpp.
struct RadarObject {
  double x = 0, y = 0, z = 0;
};

}  // namespace
// As a program outside of this namespace would have it.
template <>
struct TypeName<RadarObject> {
  static constexpr std::string_view value = "RadarObject";
};
namespace {

class Iceoryx : public testing::Test {
 protected:
  explicit Iceoryx(std::vector<std::string> broker_arguments = {})
      : broker_(SLUICE_SLUICED, std::move(broker_arguments)) {}

  [[nodiscard]] std::string path(const std::string& name) const {
    return broker_.folder() + "/" + name;
  }
  static std::string example(const std::string& name) {
    return std::string(SLUICE_ICEORYX_EXAMPLES) + "/" + name;
  }
  std::unique_ptr<TalkingProgram> start(std::vector<std::string> command) {
    return std::make_unique<TalkingProgram>(std::move(command),
                                            path("said" + std::to_string(++starts_)));
  }

  void start_roudi() {
    std::ofstream{path("roudi.toml")} << "[general]\nversion = 1\n[[segment]]\n"
                                         "[[segment.mempool]]\nsize = 256\ncount = 500\n"
                                         "[[segment.mempool]]\nsize = 65536\ncount = 20\n";
    roudi_ = start({SLUICE_ROUDI, "--config-file", path("roudi.toml")});
    ASSERT_TRUE(eventually(
        [&] { return roudi_->out().find("RouDi is ready") != std::string::npos; }, kPatience))
        << roudi_->out() << roudi_->err();
  }
  std::unique_ptr<TalkingProgram> start_gateway(const std::string& config) {
    const std::string file = path("gateway" + std::to_string(++starts_) + ".toml");
    std::ofstream{file} << config;
    return start({SLUICE_ICEORYX, "--config", file, "--socket", broker_.socket()});
  }
  Node node(const std::string& name) {
    NodeOptions options;
    options.name = name;
    options.socket = broker_.socket();
    auto made = Node::create(options);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  static Subscriber subscriber(Node& node, const std::string& filter) {
    auto made = node.subscribe(filter);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  static Publisher publisher(Node& node, const std::string& topic) {
    StreamOptions options;
    options.pools = {{4'096}};
    auto made = node.advertise(topic, options);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  // Waits for one; an empty one after long.
  static Sample take(Subscriber& from) {
    const Deadline until = in(kPatience);
    for (;;) {
      Sample sample = from.take();
      if (sample || std::chrono::steady_clock::now() > until) return sample;
      (void)from.wait_for(50ms);
    }
  }
  static RadarObject radar(const Sample& sample) {
    RadarObject object;
    EXPECT_EQ(sample.size(), sizeof object);
    std::memcpy(&object, sample.data(), std::min<std::size_t>(sample.size(), sizeof object));
    return object;
  }
  static Outcome publish(Publisher& to, const RadarObject& object, Headers headers = {}) {
    Loan loan = to.loan(sizeof object);
    if (!loan) return loan.outcome();
    std::memcpy(loan.data(), &object, sizeof object);
    loan.headers = headers;
    return to.publish(std::move(loan));
  }
  // Publishes objects with rising x until `done`.
  template <class Done>
  static bool publish_until(Publisher& to, Done done) {
    double x = 1'000;
    return eventually(
        [&] {
          (void)publish(to, {++x, x, x});
          std::this_thread::sleep_for(20ms);
          return done();
        },
        kPatience);
  }
  // The numbers that stand behind `words` in what a program said.
  static std::vector<double> numbers(const std::string& text, const std::string& words) {
    std::vector<double> all;
    for (auto at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
      all.push_back(std::strtod(text.c_str() + at + words.size(), nullptr));
    }
    return all;
  }
  // The worker of a gateway.
  static pid_t child_of(pid_t parent) {
    std::ifstream file{"/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) +
                       "/children"};
    pid_t child = 0;
    file >> child;
    return child;
  }

  test::BrokerProcess broker_;
  std::unique_ptr<TalkingProgram> roudi_;
  int starts_ = 0;
};

constexpr const char* kInward = R"(
[[route]]
from = "iceoryx"
service = "Radar"
topic = "radar/{instance}/{event}"
)";
constexpr const char* kOutward = R"(
[[route]]
from = "sluice"
filter = "objects/+"
service = "Radar"
instance = "{1}"
event = "Object"
)";

using IceoryxRoutes = Iceoryx;

TEST_F(IceoryxRoutes, WhatAnIcedeliveryPublisherSendsArrivesInSluice) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/+/+");
  const auto sender = start({example("iox-cpp-publisher")});
  // It sends five objects a second: ct + 89, ct + 144, ct + 233, ct, ct + 377.
  std::set<double> offsets;
  double ct = 0;
  for (int i = 0; i < 8; ++i) {
    const Sample sample = take(radar_objects);
    ASSERT_TRUE(sample) << gateway->err() << sender->out();
    EXPECT_EQ(radar_objects.topic(sample), "radar/FrontLeft/Object");
    const RadarObject object = radar(sample);
    EXPECT_EQ(object.x, object.y);
    EXPECT_EQ(object.x, object.z);
    if (object.x < 89) ct = object.x;
    offsets.insert(object.x < 89 ? 0 : object.x - ct);
  }
  EXPECT_TRUE(offsets.contains(377)) << gateway->err();
  EXPECT_EQ(gateway->end(), 0);
}

TEST_F(IceoryxRoutes, ASubscriberOfATypeTakesWhatTheRouteSaysIsOfIt) {
  start_roudi();
  const auto gateway =
      start_gateway(std::string(kInward) + "type = \"RadarObject\"\ntype_bytes = 24\n");
  Node me = node("reader");
  auto objects = SubscriberOf<RadarObject>::create(me, "radar/+/+");
  ASSERT_TRUE(objects);
  const auto sender = start({example("iox-cpp-publisher")});
  // It may come before the memory that it lies in.
  ASSERT_TRUE(eventually(
      [&] {
        const auto sample = objects->take();
        return sample && sample->x != 0 && sample->x == sample->z;
      },
      kPatience))
      << gateway->err();
}

TEST_F(IceoryxRoutes, WhatSluicePublishesArrivesAtAnIcedeliverySubscriber) {
  start_roudi();
  const auto gateway = start_gateway(kOutward);
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  Node me = node("writer");
  Publisher out = publisher(me, "objects/FrontLeft");
  EXPECT_TRUE(
      publish_until(out, [&] { return numbers(receiver->out(), "got value: ").size() >= 5; }))
      << gateway->err() << receiver->out();
  const auto got = numbers(receiver->out(), "got value: ");
  EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
  EXPECT_GT(got.front(), 1'000);
}

TEST_F(IceoryxRoutes, MessagesOfTheBusArriveWithoutTheirEnvelopeAndWithOneOnTheWayBack) {
  start_roudi();
  const auto gateway = start_gateway(R"(
[[route]]
from = "iceoryx"
service = "Radar"
topic = "radar/{instance}/{event}"
envelope = true
)");
  Node me = node("reader");
  auto messages = MessageSubscriber::create(me, "radar/#");
  ASSERT_TRUE(messages) << messages.error().message;
  const auto sender = start({example("iox-cpp-publisher-helloworld")});
  const Message message = messages->receive(in(kPatience));
  ASSERT_TRUE(message) << gateway->err();
  EXPECT_EQ(message.payload().size(), sizeof(RadarObject));
  EXPECT_EQ(message.envelope().hops, 1);
  EXPECT_EQ(gateway->end(), 0);

  const auto back = start_gateway(kOutward);
  const auto receiver = start({example("iox-cpp-subscriber-helloworld")});
  auto out = MessagePublisher::create(me, "objects/FrontLeft");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_TRUE(eventually(
      [&] {
        const RadarObject object{4'711, 1, 1};
        (void)out->publish(std::as_bytes(std::span{&object, 1}));
        std::this_thread::sleep_for(20ms);
        return receiver->out().find("4711") != std::string::npos;
      },
      kPatience))
      << back->err() << receiver->out();
}

TEST_F(IceoryxRoutes, WhatTheGatewayItselfPublishesIsNotCarriedBack) {
  start_roudi();
  const auto gateway = start_gateway(std::string(kOutward) + R"(
[[route]]
from = "iceoryx"
service = "*"
topic = "iox/{service}/{instance}/{event}"
)");
  Node me = node("both");
  Subscriber back = subscriber(me, "iox/#");
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  Publisher out = publisher(me, "objects/FrontLeft");
  EXPECT_TRUE(publish_until(out, [&] {
    return numbers(receiver->out(), "got value: ").size() >= 5;
  })) << gateway->err();
  // Another publisher of the same service is carried, and only that.
  const auto sender = start({example("iox-cpp-publisher-untyped")});
  double last = 0;
  for (int i = 0; i < 2; ++i) {
    (void)publish(out, {5'000, 0, 0});
    const Sample sample = take(back);
    ASSERT_TRUE(sample) << gateway->err();
    EXPECT_EQ(back.topic(sample), "iox/Radar/FrontLeft/Object");
    EXPECT_LT(radar(sample).x, 1'000);
    EXPECT_GT(radar(sample).x, last);
    last = radar(sample).x;
  }
}

TEST_F(IceoryxRoutes, AUserHeaderBringsOriginAndCorrelationThroughIceoryx) {
  start_roudi();
  const auto outward = start_gateway(std::string(kOutward) + "user_header = true\n");
  const auto inward =
      start_gateway(std::string("node = \"second\"\nruntime = \"second\"\n") + kInward);
  Node me = node("both");
  Publisher out = publisher(me, "objects/Rear");
  Subscriber back = subscriber(me, "radar/#");
  Headers headers;
  headers.correlation = {47, 11};
  headers.origin_ns = 123'456'789;
  Sample sample;
  ASSERT_TRUE(eventually(
      [&] {
        EXPECT_EQ(publish(out, {1, 2, 3}, headers), Outcome::ok);
        (void)back.wait_for(20ms);
        sample = back.take();
        return static_cast<bool>(sample);
      },
      kPatience))
      << outward->err() << inward->err();
  EXPECT_EQ(back.topic(sample), "radar/Rear/Object");
  EXPECT_EQ(sample.info().correlation, headers.correlation);
  EXPECT_EQ(sample.info().origin_ns, headers.origin_ns);
  EXPECT_EQ(radar(sample).z, 3);
}

TEST_F(IceoryxRoutes, LossesAreCountedWhereAMonitorSeesThem) {
  start_roudi();
  // Two samples may be held, and one may wait: iceoryx's queue drops what comes on top of that.
  const auto gateway = start_gateway(R"(
[[route]]
from = "iceoryx"
service = "Radar"
topic = "radar"
depth = 1
max_held = 1
)");
  Node me = node("reader");
  auto monitor = me.monitor("radar");
  ASSERT_TRUE(monitor) << monitor.error().message;
  const auto sender = start({example("iox-cpp-publisher")});
  ASSERT_TRUE(eventually(
      [&] {
        const Snapshot seen = monitor->snapshot();
        return !seen.streams.empty() && seen.streams[0].stats.published > 0;
      },
      kPatience))
      << gateway->err();
  // The keeper releases nothing. (The worker must not be stopped: RouDi would take it for dead.)
  ::kill(gateway->pid(), SIGSTOP);
  const auto sent = numbers(sender->out(), "sent values: ").size();
  EXPECT_TRUE(eventually([&] { return numbers(sender->out(), "sent values: ").size() >= sent + 2; },
                         kPatience));
  ::kill(gateway->pid(), SIGCONT);
  EXPECT_TRUE(
      eventually([&] { return monitor->snapshot().streams.at(0).source.gaps >= 3; }, kPatience));
}

// A broker that lets the gateway lend.
class IceoryxLending : public Iceoryx {
 protected:
  IceoryxLending() : Iceoryx({"--config", broker_config()}) {}

  static std::string broker_config() {
    const std::string file = "/tmp/sluiced.toml";
    std::ofstream{file} << "[[allow]]\neverybody = true\nactions = [\"publish\", \"subscribe\", "
                           "\"monitor\", \"request\", \"serve\", \"lend\"]\n";
    return file;
  }
};

TEST_F(IceoryxLending, SamplesStayWhereIceoryxHasThem) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  auto monitor = me.monitor("radar/#");
  ASSERT_TRUE(monitor) << monitor.error().message;
  const auto sender = start({example("iox-cpp-publisher")});
  const Sample held = take(radar_objects);
  ASSERT_TRUE(held) << gateway->err();
  const RadarObject before = radar(held);
  EXPECT_EQ(before.x, before.z);
  for (int i = 0; i < 12; ++i) {
    const Sample sample = take(radar_objects);
    ASSERT_TRUE(sample) << gateway->err();
    const RadarObject object = radar(sample);
    EXPECT_EQ(object.x, object.y);
    EXPECT_TRUE(sample.intact());
  }
  // iceoryx has not used the chunk that is held here.
  EXPECT_EQ(radar(held).x, before.x);
  const Snapshot seen = monitor->snapshot();
  ASSERT_EQ(seen.streams.size(), 1u);
  EXPECT_GE(seen.streams[0].stats.published, 13u);
  EXPECT_EQ(seen.streams[0].source.copies, 0u) << gateway->err();
  EXPECT_EQ(gateway->end(), 0);
}

TEST_F(IceoryxLending, WhereTheBrokerDoesNotLetItSamplesAreCopied) {
  start_roudi();
  std::ofstream{broker_config()} << "[[allow]]\neverybody = true\n";
  ::kill(broker_.pid(), SIGHUP);
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  auto monitor = me.monitor("radar/#");
  ASSERT_TRUE(monitor) << monitor.error().message;
  const auto sender = start({example("iox-cpp-publisher")});
  for (int i = 0; i < 3; ++i) {
    const Sample sample = take(radar_objects);
    ASSERT_TRUE(sample) << gateway->err();
    EXPECT_EQ(radar(sample).x, radar(sample).z);
  }
  EXPECT_TRUE(eventually([&] { return monitor->snapshot().streams.at(0).source.copies >= 3; }));
  EXPECT_NE(gateway->err().find("are copied: "), std::string::npos) << gateway->err();
}

TEST_F(IceoryxLending, ChunksGoBackToIceoryx) {
  // Far fewer than pass through: RouDi has 500 of this size, the route may hold eight.
  start_roudi();
  const auto inward = start_gateway(std::string("node = \"second\"\nruntime = \"second\"\n") +
                                    kInward + "depth = 4\nmax_held = 4\n");
  const auto outward = start_gateway(kOutward);
  Node me = node("both");
  Publisher out = publisher(me, "objects/Rear");
  Subscriber back = subscriber(me, "radar/#");
  std::uint64_t taken = 0;
  EXPECT_TRUE(eventually(
      [&] {
        (void)publish(out, {1, 2, 3});
        while (const Sample sample = back.take()) {
          EXPECT_EQ(radar(sample).z, 3);
          ++taken;
        }
        std::this_thread::sleep_for(1ms);
        return taken >= 1'000;
      },
      kPatience))
      << taken << inward->err() << outward->err();
}

TEST_F(IceoryxLending, AReaderThatHoldsAllHoldsUpItsOwnStreamAndNobodyElse) {
  start_roudi();
  const auto gateway = start_gateway(std::string(kInward) + "depth = 2\nmax_held = 2\n");
  Node me = node("reader");
  SubscriptionOptions options;
  options.max_held = 2;
  auto made = me.subscribe("radar/#", options);
  ASSERT_TRUE(made) << made.error().message;
  auto monitor = me.monitor("radar/#");
  ASSERT_TRUE(monitor) << monitor.error().message;
  const auto sender = start({example("iox-cpp-publisher")});
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  std::array<Sample, 2> held{take(*made), take(*made)};
  ASSERT_TRUE(held[1]) << gateway->err();
  const std::array<double, 2> kept{radar(held[0]).x, radar(held[1]).x};
  const auto got = numbers(receiver->out(), "got value: ").size();
  EXPECT_TRUE(eventually([&] { return numbers(receiver->out(), "got value: ").size() >= got + 10; },
                         kPatience));
  EXPECT_EQ(radar(held[0]).x, kept[0]);
  EXPECT_EQ(radar(held[1]).x, kept[1]);
  held[0].release();
  held[1].release();
  EXPECT_TRUE(take(*made)) << gateway->err();
}

TEST_F(IceoryxLending, WhatIsHeldOutlivesRoudi) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  auto sender = start({example("iox-cpp-publisher")});
  const Sample held = take(radar_objects);
  ASSERT_TRUE(held) << gateway->err();
  const double kept = radar(held).x;
  EXPECT_EQ(roudi_->end(SIGKILL), -SIGKILL);
  EXPECT_TRUE(eventually(
      [&] { return gateway->err().find("RouDi is not running") != std::string::npos; }, kPatience));
  EXPECT_TRUE(held.intact());
  EXPECT_EQ(radar(held).x, kept);
  sender->end(SIGKILL);
  start_roudi();
  sender = start({example("iox-cpp-publisher")});
  while (Sample old = radar_objects.take()) old.release();
  const Sample after = take(radar_objects);
  ASSERT_TRUE(after) << gateway->err();
  EXPECT_EQ(after.reference().stream_id, held.reference().stream_id);
  EXPECT_EQ(radar(after).x, radar(after).y);
  EXPECT_EQ(radar(held).x, kept);
}

TEST_F(IceoryxLending, WhatADeadWorkerHeldIsSaidToBeNoMoreIntact) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  const auto sender = start({example("iox-cpp-publisher")});
  const Sample held = take(radar_objects);
  ASSERT_TRUE(held) << gateway->err();
  EXPECT_TRUE(held.intact());
  const pid_t worker = child_of(gateway->pid());
  ASSERT_GT(worker, 0);
  ::kill(worker, SIGKILL);
  EXPECT_TRUE(eventually([&] { return !held.intact(); }, kPatience)) << gateway->err();
  // The next worker goes on, in the same stream, without copies.
  while (Sample old = radar_objects.take()) old.release();
  const Sample after = take(radar_objects);
  ASSERT_TRUE(after) << gateway->err();
  EXPECT_TRUE(after.intact());
  EXPECT_EQ(after.reference().stream_id, held.reference().stream_id);
}

TEST_F(IceoryxLending, AUserHeaderOfAnotherProgramStaysWithItsSample) {
  start_roudi();
  const auto inward = start_gateway(R"(
node = "first"
runtime = "first"
[[route]]
from = "iceoryx"
service = "Example"
topic = "headers/{event}"
)");
  const auto outward = start_gateway(R"(
[[route]]
from = "sluice"
filter = "again/+"
service = "Example"
instance = "User-Header"
event = "Timestamp"
)");
  Node me = node("both");
  Subscriber headers = subscriber(me, "headers/#");
  auto sender = start({example("iox-cpp-user-header-publisher")});
  const Sample sample = take(headers);
  ASSERT_TRUE(sample) << inward->err();
  ASSERT_GE(sample.user_header().size(), 8u);
  const std::vector<std::byte> header{sample.user_header().begin(), sample.user_header().end()};
  const std::vector<std::byte> payload{sample.bytes().begin(), sample.bytes().end()};
  sender->end();
  // The same bytes the other way, and iceoryx's own subscriber reads its header from them.
  StreamOptions options;
  options.pools = {{1'024}};
  auto out = me.advertise("again/x", options);
  ASSERT_TRUE(out) << out.error().message;
  const auto receiver = start({example("iox-cpp-user-header-subscriber")});
  EXPECT_TRUE(eventually(
      [&] {
        Loan loan = out->loan(payload.size() + user_header_bytes(payload.size(), header.size()));
        if (!loan) return false;
        EXPECT_TRUE(loan.resize(payload.size()));
        std::memcpy(loan.data(), payload.data(), payload.size());
        EXPECT_TRUE(loan.set_user_header(header));
        EXPECT_EQ(out->publish(std::move(loan)), Outcome::ok);
        std::this_thread::sleep_for(50ms);
        return receiver->out().find("with timestamp") != std::string::npos;
      },
      kPatience))
      << outward->err() << receiver->out();
}

// As the examples have them in request_and_response_types.hpp.
struct AddRequest {
  std::uint64_t augend = 0, addend = 0;
};
struct AddResponse {
  std::uint64_t sum = 0;
};

class IceoryxCalls : public Iceoryx {
 protected:
  static constexpr const char* kAsked = R"(
[[service]]
from = "iceoryx"
service = "Example"
instance = "Request-Response"
event = "Add"
name = "math/add"
reply_bytes = 64
)";
  static constexpr const char* kAsking = R"(
[[service]]
from = "sluice"
service = "Example"
name = "iceoryx/{event}"
timeout_ms = 300
)";
  static std::unique_ptr<Responder> adder(Node& node) {
    auto made = Responder::create(node, "math/add", [](Request& request) {
      AddRequest asked;
      EXPECT_EQ(request.payload().size(), sizeof asked);
      std::memcpy(&asked, request.payload().data(), sizeof asked);
      const AddResponse sum{asked.augend + asked.addend};
      EXPECT_EQ(request.reply(std::as_bytes(std::span{&sum, 1})), Outcome::ok);
    });
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  static std::unique_ptr<Requester> requester(Node& node) {
    auto made = Requester::create(node, "iceoryx/Add");
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  static Reply add(Requester& requester, std::uint64_t a, std::uint64_t b) {
    const AddRequest request{a, b};
    return requester.call(std::as_bytes(std::span{&request, 1}));
  }
  // Until it answers, since it takes a moment until two have found each other.
  static testing::AssertionResult adds(Requester& requester) {
    Reply reply;
    const bool ok = eventually(
        [&] {
          reply = add(requester, 40, 2);
          return static_cast<bool>(reply);
        },
        kPatience);
    if (!ok) return testing::AssertionFailure() << reply.status.message;
    AddResponse sum;
    if (reply.payload().size() != sizeof sum) return testing::AssertionFailure() << "another size";
    std::memcpy(&sum, reply.payload().data(), sizeof sum);
    return sum.sum == 42 ? testing::AssertionSuccess() : testing::AssertionFailure() << sum.sum;
  }
};

TEST_F(IceoryxCalls, AnIceoryxClientIsAnsweredByASluiceResponder) {
  start_roudi();
  const auto gateway = start_gateway(kAsked);
  Node me = node("adder");
  const auto responder = adder(me);
  const auto client = start({example("client-cxx-basic")});
  EXPECT_TRUE(eventually(
      [&] {
        (void)responder->step(in(20ms));
        return numbers(client->out(), "Got Response : ").size() >= 3;
      },
      kPatience))
      << gateway->err() << client->out();
  auto got = numbers(client->out(), "Got Response : ");
  got.resize(3);
  EXPECT_EQ(got, (std::vector<double>{1, 2, 3})) << "Fibonacci's, as the example asks";
}

TEST_F(IceoryxCalls, AnIceoryxClientLearnsThatNobodyAnswers) {
  start_roudi();
  const auto gateway = start_gateway(kAsked);
  const auto client = start({example("client-cxx-waitset")});
  // The example does not look at the mark; it sees the zeros.
  EXPECT_TRUE(
      eventually([&] { return !numbers(client->out(), "Got Response : ").empty(); }, kPatience))
      << gateway->err() << client->out();
  EXPECT_EQ(numbers(client->out(), "Got Response : ").front(), 0);
  EXPECT_EQ(gateway->end(), 0);
}

TEST_F(IceoryxCalls, ASluiceRequesterIsAnsweredByAnIceoryxServer) {
  start_roudi();
  const auto gateway = start_gateway(kAsking);
  Node me = node("asker");
  const auto asker = requester(me);
  EXPECT_EQ(add(*asker, 1, 1).status.code, StatusCode::unavailable) << "nobody is there";
  auto server = start({example("server-cxx-listener")});
  EXPECT_TRUE(adds(*asker)) << gateway->err() << server->out();
  // Dead servers are gone, and the next one is found.
  server->end(SIGKILL);
  EXPECT_TRUE(eventually([&] { return add(*asker, 1, 1).status.code == StatusCode::unavailable; },
                         kPatience))
      << gateway->err();
  server = start({example("server-cxx-basic")});
  EXPECT_TRUE(adds(*asker)) << gateway->err() << server->out();
}

TEST_F(IceoryxCalls, AServerThatDoesNotAnswerIsATimeout) {
  start_roudi();
  const auto gateway = start_gateway(kAsking);
  Node me = node("asker");
  const auto asker = requester(me);
  const auto server = start({example("server-cxx-listener")});
  ASSERT_TRUE(adds(*asker)) << gateway->err() << server->out();
  ::kill(server->pid(), SIGSTOP);
  const Reply reply = add(*asker, 1, 1);
  EXPECT_EQ(reply.status.code, StatusCode::deadline_exceeded) << reply.status.message;
  EXPECT_NE(reply.status.message.find("did not answer"), std::string::npos);
  ::kill(server->pid(), SIGKILL);
}

using IceoryxDeaths = Iceoryx;

TEST_F(IceoryxDeaths, AStreamOutlivesRoudi) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  auto sender = start({example("iox-cpp-publisher")});
  const Sample before = take(radar_objects);
  ASSERT_TRUE(before) << gateway->err();
  const double kept = radar(before).x;

  EXPECT_EQ(roudi_->end(SIGKILL), -SIGKILL);
  sender->end(SIGKILL);
  EXPECT_TRUE(eventually(
      [&] { return gateway->err().find("RouDi is not running") != std::string::npos; }, kPatience));
  start_roudi();
  sender = start({example("iox-cpp-publisher")});
  while (Sample old = radar_objects.take()) old.release();
  const Sample after = take(radar_objects);
  ASSERT_TRUE(after) << gateway->err();
  EXPECT_EQ(after.reference().stream_id, before.reference().stream_id);
  EXPECT_EQ(radar(before).x, kept);
  EXPECT_EQ(radar_objects.stats().lost(), 0u);
  EXPECT_EQ(gateway->end(), 0);
}

TEST_F(IceoryxDeaths, ARoudiThatEndsInOrderDoesNotTakeTheGatewayWithIt) {
  start_roudi();
  const auto gateway = start_gateway(kOutward);
  ASSERT_TRUE(
      eventually([&] { return gateway->err().find("the worker is process") != std::string::npos; },
                 kPatience));
  Node me = node("writer");
  Publisher out = publisher(me, "objects/FrontLeft");
  ASSERT_TRUE(eventually([&] { return gateway->err().find("to iceoryx as") != std::string::npos; },
                         kPatience));
  EXPECT_EQ(roudi_->end(SIGTERM), 0) << roudi_->err();
  EXPECT_TRUE(eventually(
      [&] { return gateway->err().find("Sluice streams stay") != std::string::npos; }, kPatience));
  start_roudi();
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  EXPECT_TRUE(publish_until(out, [&] { return !numbers(receiver->out(), "got value: ").empty(); }))
      << gateway->err();
}

TEST_F(IceoryxDeaths, AWorkerThatIsKilledIsReplaced) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  const auto sender = start({example("iox-cpp-publisher")});
  const Sample before = take(radar_objects);
  ASSERT_TRUE(before) << gateway->err();
  const pid_t worker = child_of(gateway->pid());
  ASSERT_GT(worker, 0);
  ::kill(worker, SIGKILL);
  EXPECT_TRUE(eventually(
      [&] {
        const pid_t next = child_of(gateway->pid());
        return next > 0 && next != worker;
      },
      kPatience))
      << gateway->err();
  while (Sample old = radar_objects.take()) old.release();
  const Sample after = take(radar_objects);
  ASSERT_TRUE(after) << gateway->err();
  EXPECT_EQ(after.reference().stream_id, before.reference().stream_id);
}

TEST_F(IceoryxDeaths, AWorkerThatRoudiTookForDeadIsReplaced) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  const auto sender = start({example("iox-cpp-publisher")});
  ASSERT_TRUE(take(radar_objects)) << gateway->err();
  const pid_t worker = child_of(gateway->pid());
  ASSERT_GT(worker, 0);
  ::kill(worker, SIGSTOP);
  EXPECT_TRUE(eventually(
      [&] { return (roudi_->out() + roudi_->err()).find("removing it") != std::string::npos; },
      kPatience))
      << roudi_->out() << roudi_->err();
  ::kill(worker, SIGCONT);
  EXPECT_TRUE(eventually(
      [&] {
        const pid_t next = child_of(gateway->pid());
        return next > 0 && next != worker;
      },
      kPatience))
      << gateway->err();
  while (Sample old = radar_objects.take()) old.release();
  EXPECT_TRUE(take(radar_objects)) << gateway->err();
}

TEST_F(IceoryxDeaths, AGatewayThatIsKilledHarmsNeitherSide) {
  start_roudi();
  auto gateway = start_gateway(std::string(kInward) + "zero_copy = false\n");
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/#");
  const auto sender = start({example("iox-cpp-publisher")});
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  Sample sample = take(radar_objects);
  ASSERT_TRUE(sample) << gateway->err();
  const auto stream = sample.reference().stream_id;
  const double kept = radar(sample).x;
  EXPECT_EQ(gateway->end(SIGKILL), -SIGKILL);
  // iceoryx's own two go on.
  const auto got = numbers(receiver->out(), "got value: ").size();
  EXPECT_TRUE(eventually([&] { return numbers(receiver->out(), "got value: ").size() > got + 4; },
                         kPatience));
  // What the reader holds is still there.
  EXPECT_EQ(radar(sample).x, kept);
  EXPECT_TRUE(sample.intact());
  // The next gateway has a stream of its own.
  gateway = start_gateway(kInward);
  for (const Deadline until = in(kPatience); sample.reference().stream_id == stream;) {
    sample = take(radar_objects);
    ASSERT_TRUE(sample) << gateway->err();
    ASSERT_LT(std::chrono::steady_clock::now(), until);
  }
}

TEST_F(IceoryxDeaths, EitherEndMayBeKilled) {
  start_roudi();
  const auto gateway = start_gateway(std::string(kInward) + kOutward);
  Node me = node("both");
  Subscriber radar_objects = subscriber(me, "radar/#");
  Publisher out = publisher(me, "objects/Rear");
  for (int life = 0; life < 2; ++life) {
    auto sender = start({example("iox-cpp-publisher")});
    while (Sample old = radar_objects.take()) old.release();
    EXPECT_TRUE(take(radar_objects)) << gateway->err();
    sender->end(SIGKILL);
    (void)publish(out, {});
  }
  EXPECT_EQ(gateway->end(), 0) << gateway->err();
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string problem = sluice::test::enter_private_folders(SLUICE_BINARY_DIR);
  if (!problem.empty()) {
    std::printf("skipped: iceoryx's names are the machine's, and %s\n", problem.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
