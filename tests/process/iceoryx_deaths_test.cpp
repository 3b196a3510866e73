// RouDi, the gateway, its worker and both ends are killed.
#include "tests/process/iceoryx_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <set>

namespace sluice::test {
namespace {

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
  const Sample after = take_next(radar_objects);
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
  let_rest(worker);
  ::kill(worker, SIGKILL);
  EXPECT_TRUE(is_replaced(worker, *gateway)) << gateway->err();
  const Sample after = take_next(radar_objects);
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
  let_rest(worker);
  ::kill(worker, SIGSTOP);
  EXPECT_TRUE(eventually(
      [&] { return (roudi_->out() + roudi_->err()).find("removing it") != std::string::npos; },
      kPatience))
      << roudi_->out() << roudi_->err();
  ::kill(worker, SIGCONT);
  EXPECT_TRUE(is_replaced(worker, *gateway)) << gateway->err();
  EXPECT_TRUE(take_next(radar_objects)) << gateway->err();
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
  let_rest(child_of(gateway->pid()));
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
    EXPECT_TRUE(take_next(radar_objects)) << gateway->err();
    let_rest(sender->pid());
    sender->end(SIGKILL);
    (void)publish(out, {});
  }
  EXPECT_EQ(gateway->end(), 0) << gateway->err();
}

}  // namespace
}  // namespace sluice::test
