#include "sluice/rate_limit.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>

namespace sluice {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();

TEST(TokenBucket, WithoutARateEverythingPasses) {
  for (const double rate : {0.0, -1.0, kNoNumber, kInfinity}) {
    TokenBucket bucket{{rate, 1}};
    EXPECT_FALSE(bucket.limited());
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(bucket.take(0, 1e9));
    EXPECT_EQ(bucket.wait_ns(0, 1e9), 0u);
  }
}

TEST(TokenBucket, IsFullAtFirstAndThenFillsAtItsRate) {
  TokenBucket bucket{{10, 3}};
  EXPECT_TRUE(bucket.limited());
  std::uint64_t now = 5 * kSecond;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.wait_ns(now), kSecond / 10);
  now += kSecond / 20;
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.wait_ns(now), kSecond / 20);
  now += kSecond / 20;
  EXPECT_EQ(bucket.wait_ns(now), 0u);
  EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
  // No more than the burst is saved up.
  now += 3600 * kSecond;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(now));
  EXPECT_FALSE(bucket.take(now));
}

TEST(TokenBucket, AWaitIsNeverTooShort) {
  std::mt19937_64 random{1};
  for (int i = 0; i < 10'000; ++i) {
    const double rate = 0.001 + static_cast<double>(random() % 1'000'000'000) / 997.0;
    const double burst = 1 + static_cast<double>(random() % 1'000) / 7.0;
    TokenBucket bucket{{rate, burst}};
    std::uint64_t now = random() % (1'000 * kSecond);
    ASSERT_TRUE(bucket.take(now, burst));
    const double tokens = 1 + (burst - 1) * static_cast<double>(random() % 1'000) / 1'000;
    const std::uint64_t wait = bucket.wait_ns(now, tokens);
    EXPECT_TRUE(bucket.take(now + wait, tokens)) << rate << " " << burst << " " << tokens;
  }
}

TEST(TokenBucket, TimeThatStandsOrGoesBackBringsNothing) {
  TokenBucket bucket{{1, 2}};
  const std::uint64_t now = 100 * kSecond;
  EXPECT_TRUE(bucket.take(now, 2));
  EXPECT_FALSE(bucket.take(now - 50 * kSecond));
  EXPECT_FALSE(bucket.take(now));
  EXPECT_EQ(bucket.wait_ns(now - 2 * kSecond), 3 * kSecond);
  EXPECT_TRUE(bucket.take(now + kSecond));
  EXPECT_FALSE(bucket.take(now + kSecond));
  // What is there can be taken at an earlier time; it is not there twice.
  TokenBucket full{{1, 2}};
  EXPECT_TRUE(full.take(now));
  EXPECT_TRUE(full.take(now - kSecond));
  EXPECT_FALSE(full.take(now));
}

TEST(TokenBucket, SeveralTokensAtATime) {
  TokenBucket bucket{{2, 10}};
  EXPECT_TRUE(bucket.take(0, 4));
  EXPECT_FALSE(bucket.take(0, 6.5));
  EXPECT_EQ(bucket.wait_ns(0, 6.5), kSecond / 4);
  EXPECT_TRUE(bucket.take(0, 6));
  EXPECT_TRUE(bucket.take(0, 0));
  EXPECT_TRUE(bucket.take(0, -3));
  EXPECT_TRUE(bucket.take(0, kNoNumber));
  EXPECT_EQ(bucket.wait_ns(0, -3), 0u);
  EXPECT_FALSE(bucket.take(0));
}

TEST(TokenBucket, MoreThanTheBurstNeverComes) {
  TokenBucket bucket{{1'000, 2}};
  EXPECT_FALSE(bucket.take(kSecond, 3));
  EXPECT_EQ(bucket.wait_ns(kSecond, 3), kNever);
  // Nor what takes longer than there is time.
  TokenBucket slow{{1e-300, 2}};
  EXPECT_TRUE(slow.take(0, 2));
  EXPECT_EQ(slow.wait_ns(0), kNever);
}

TEST(TokenBucket, ABurstIsAtLeastOne) {
  for (const double burst : {0.0, -5.0, 0.5, kNoNumber}) {
    TokenBucket bucket{{1, burst}};
    EXPECT_TRUE(bucket.take(0));
    EXPECT_FALSE(bucket.take(0));
    EXPECT_TRUE(bucket.take(kSecond));
  }
}

TEST(TokenBucket, OverALongTimeTheRateIsHeld) {
  TokenBucket bucket{{3, 5}};
  int taken = 0;
  for (std::uint64_t now = 0; now <= 1'000 * kSecond; now += kSecond / 100)
    taken += bucket.take(now);
  EXPECT_GE(taken, 3'000);
  EXPECT_LE(taken, 3'005);
}

}  // namespace
}  // namespace sluice
