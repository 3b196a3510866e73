#include "shm/stamp_clock.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace sluice::shm {
namespace {

// Both clocks of a machine, three ticks to a nanosecond, and how often the system's was read.
class StampClockTest : public testing::Test {
 protected:
  void pass(std::uint64_t ns) {
    ns_ += ns;
    ticks_ += ns * 3;
  }
  std::uint64_t stamp() {
    return clock_.at(ticks_, [this] {
      ++readings_;
      return ns_;
    });
  }
  // Long enough for two measurements that agree.
  void calibrate() {
    for (int i = 0; i < 4; ++i) {
      pass(1'000'000);
      stamp();
    }
    readings_ = 0;
  }

  StampClock clock_;
  std::uint64_t ns_ = 5'000'000'000;
  std::uint64_t ticks_ = 77;
  int readings_ = 0;
};

TEST_F(StampClockTest, ReadsTheSystemsClockUntilATickIsKnown) {
  for (int i = 0; i < 10; ++i) {
    pass(100);
    EXPECT_EQ(stamp(), ns_);
  }
  EXPECT_EQ(readings_, 10);
}

TEST_F(StampClockTest, CountsTicksBetweenReadings) {
  calibrate();
  for (int i = 0; i < 1'000; ++i) {
    pass(100);
    EXPECT_NEAR(static_cast<double>(stamp()), static_cast<double>(ns_), 2);
  }
  EXPECT_GE(readings_, 4);  // 100 µs, at most 20 µs on ticks alone
  EXPECT_LE(readings_, 6);
}

TEST_F(StampClockTest, ReadsTheSystemsClockAfterAPause) {
  calibrate();
  pass(33'000'000);
  EXPECT_EQ(stamp(), ns_);
  EXPECT_EQ(readings_, 1);
}

TEST_F(StampClockTest, SurvivesACounterThatGoesBack) {
  calibrate();
  pass(100);
  stamp();
  ticks_ -= 1'000'000;  // another processor's
  pass(100);
  EXPECT_EQ(stamp(), ns_);
  EXPECT_EQ(readings_, 1);
}

TEST_F(StampClockTest, IsWrongByTheLimitAtMostWhenTheCounterJumps) {
  calibrate();
  pass(100);
  stamp();
  ticks_ += 3 * 15'000;
  EXPECT_LE(stamp(), ns_ + 20'000);
  ticks_ += 3 * 15'000;
  const std::uint64_t before = stamp();
  EXPECT_LE(before, ns_ + 20'000);
  pass(100);
  EXPECT_GE(stamp(), before) << "a stamp never goes back";
  pass(50'000);
  EXPECT_EQ(stamp(), ns_);
}

TEST_F(StampClockTest, MeasuresAnewWhenTheRateChanges) {
  calibrate();
  for (int i = 0; i < 2'000; ++i) {
    ns_ += 1'000;
    ticks_ += 1'000;  // a third of the rate before
    const std::uint64_t now = stamp();
    EXPECT_LE(now, ns_ + 60'000);
    EXPECT_GE(now + 60'000, ns_) << "what was taken for 20 µs";
  }
  pass(0);
  EXPECT_NEAR(static_cast<double>(stamp()), static_cast<double>(ns_), 25);
}

TEST_F(StampClockTest, ReadsTheSystemsClockWhereThereIsNoCounter) {
  for (int i = 0; i < 5'000; ++i) {
    ns_ += 1'000;
    EXPECT_EQ(clock_.at(0, [this] { return ns_; }), ns_);
  }
}

TEST(StampClock, FollowsTheSystemsClock) {
  StampClock clock;
  std::uint64_t last = 0;
  const std::uint64_t until = now_ns() + 20'000'000;
  while (now_ns() < until) {
    const std::uint64_t before = now_ns();
    const std::uint64_t stamp = clock.now();
    const std::uint64_t after = now_ns();
    EXPECT_GE(stamp, last);
    // A counter is believed for 20 µs; beyond that there is no excuse.
    EXPECT_GE(stamp + 20'000, before);
    EXPECT_LE(stamp, after + 20'000);
    last = stamp;
  }
}

}  // namespace
}  // namespace sluice::shm
