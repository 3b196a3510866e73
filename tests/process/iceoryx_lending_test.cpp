// Payloads that stay in iceoryx's memory, and user headers.
#include "tests/process/iceoryx_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <array>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <sstream>

namespace sluice::test {
namespace {

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
  const Sample after = take_next(radar_objects);
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
  let_rest(worker);
  ::kill(worker, SIGKILL);
  EXPECT_TRUE(eventually([&] { return !held.intact(); }, kPatience)) << gateway->err();
  // The next worker goes on, in the same stream, without copies.
  const Sample after = take_next(radar_objects);
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

}  // namespace
}  // namespace sluice::test
