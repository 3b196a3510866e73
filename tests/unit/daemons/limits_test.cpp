#include "daemons/sluiced/limits.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace sluice::broker {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

LimitTable small_table() {
  LimitTable table;
  table.each_user = {1000, 3, 3, 2, 10};
  table.in_all = {1500, 6, 6, 3, 15};
  table.users[7] = {"camera", {1200, 5, 5, 5, 12}};
  return table;
}

std::string why_not(const Result<void>& result) {
  if (result) return "";
  EXPECT_EQ(result.error().code, Errc::exhausted);
  return result.error().message;
}

TEST(Limits, LetAHundredNodesOfOneUserIn) {
  Ledger ledger{LimitTable{}};
  std::uint64_t requests = 0;
  for (int node = 0; node < 100; ++node) {
    ASSERT_TRUE(ledger.charge(1, Resource::connections, 1));
    ASSERT_TRUE(ledger.charge(1, Resource::streams, 10));
    ASSERT_TRUE(ledger.charge(1, Resource::subscriptions, 10));
    // All at once, as after a restart of the broker: a greeting, streams, subscriptions,
    // attachments.
    for (int i = 0; i < 1 + 10 + 10 + 20; ++i, ++requests) ASSERT_TRUE(ledger.request(1, 5));
  }
  EXPECT_EQ(requests, 4'100u);
}

TEST(Limits, LeaveRoomForOthersWhenOneUserIsAtAll) {
  const LimitTable table;
  for (const LimitField& field : kLimitFields) {
    EXPECT_LT(table.each_user.*field.value, table.in_all.*field.value) << field.name;
  }
  EXPECT_GE(table.each_user.connections, 1'000u);
}

TEST(Ledger, CountsWhatIsTakenAndGivenBack) {
  Ledger ledger(small_table());
  EXPECT_TRUE(ledger.charge(1, Resource::bytes, 600));
  EXPECT_TRUE(ledger.charge(1, Resource::bytes, 400));
  EXPECT_TRUE(ledger.charge(2, Resource::bytes, 500));
  EXPECT_EQ(ledger.used(1, Resource::bytes), 1000u);
  EXPECT_EQ(ledger.used(2, Resource::bytes), 500u);
  EXPECT_EQ(ledger.used_in_all(Resource::bytes), 1500u);
  EXPECT_EQ(ledger.used(1, Resource::streams), 0u);
  EXPECT_EQ(ledger.used(3, Resource::bytes), 0u);
  ledger.give_back(1, Resource::bytes, 400);
  EXPECT_EQ(ledger.used(1, Resource::bytes), 600u);
  EXPECT_EQ(ledger.used_in_all(Resource::bytes), 1100u);
  EXPECT_TRUE(ledger.charge(1, Resource::bytes, 400));
}

TEST(Ledger, RefusesWithTheFiguresAndTheKey) {
  Ledger ledger(small_table());
  ASSERT_TRUE(ledger.charge(1, Resource::streams, 2));
  EXPECT_EQ(why_not(ledger.charge(1, Resource::streams, 2)),
            "the user with uid 1 has 2 of 3 streams and asks for 2 more; raise "
            "limits.each_user.streams, or limits.user.<name>.streams for this one alone");
  ASSERT_TRUE(ledger.charge(7, Resource::streams, 4));
  EXPECT_EQ(
      why_not(ledger.charge(1, Resource::streams, 1)),
      "all users together have 6 of 6 streams, the user with uid 1 has 2 and asks for 1 more; "
      "raise limits.in_all.streams");
  ledger.give_back(1, Resource::streams, 2);
  EXPECT_EQ(why_not(ledger.charge(7, Resource::streams, 2)),
            "user 'camera' (uid 7) has 4 of 5 streams and asks for 2 more; raise "
            "limits.user.camera.streams");
}

TEST(Ledger, ChangesNothingWhenItRefuses) {
  Ledger ledger(small_table());
  ASSERT_TRUE(ledger.charge(1, Resource::connections, 2));
  EXPECT_FALSE(ledger.charge(1, Resource::connections, 1));
  EXPECT_FALSE(ledger.charge(2, Resource::connections, 2));  // two of three are taken
  EXPECT_EQ(ledger.used(1, Resource::connections), 2u);
  EXPECT_EQ(ledger.used(2, Resource::connections), 0u);
  EXPECT_EQ(ledger.used_in_all(Resource::connections), 2u);
  EXPECT_TRUE(ledger.charge(2, Resource::connections, 1));
}

TEST(Ledger, IsNotFooledByAmountsThatWrapAround) {
  Ledger ledger(small_table());
  ASSERT_TRUE(ledger.charge(1, Resource::bytes, 10));
  EXPECT_FALSE(ledger.charge(1, Resource::bytes, UINT64_MAX));
  EXPECT_FALSE(ledger.charge(1, Resource::bytes, UINT64_MAX - 9));
  EXPECT_EQ(ledger.used(1, Resource::bytes), 10u);
  EXPECT_TRUE(ledger.charge(1, Resource::bytes, 0));
}

TEST(Ledger, KeepsWhatWasTakenWhenLimitsShrink) {
  Ledger ledger(small_table());
  ASSERT_TRUE(ledger.charge(1, Resource::streams, 3));
  LimitTable less = small_table();
  less.each_user.streams = 1;
  ledger.set_limits(less);
  EXPECT_EQ(ledger.used(1, Resource::streams), 3u);
  EXPECT_FALSE(ledger.charge(1, Resource::streams, 1));
  ledger.give_back(1, Resource::streams, 3);
  EXPECT_TRUE(ledger.charge(1, Resource::streams, 1));
}

TEST(Ledger, TakesNoneOfALimitOfZero) {
  LimitTable table;
  table.each_user.streams = 0;
  Ledger ledger(table);
  EXPECT_FALSE(ledger.charge(1, Resource::streams, 1));
}

TEST(Ledger, LimitsRequestsOfOneUserWithoutTouchingAnother) {
  Ledger ledger(small_table());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(ledger.request(1, 1)) << i;
  EXPECT_EQ(why_not(ledger.request(1, 1)),
            "the user with uid 1 sends more than 10 requests a second; send fewer, or raise "
            "limits.each_user.requests_per_second, or limits.user.<name>.requests_per_second for "
            "this one alone");
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(ledger.request(1, 1));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(ledger.request(2, 1)) << i;
  EXPECT_EQ(why_not(ledger.request(2, 1)),
            "all users together send more than 15 requests a second; send fewer, or raise "
            "limits.in_all.requests_per_second");
  // What was refused for the sake of all was not charged to the one.
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(ledger.request(2, 1 + kSecondNs)) << i;
}

TEST(TokenBucket, LetsThroughItsRateAndASecondsWorthAtOnce) {
  TokenBucket bucket;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(bucket.take(100, 5)) << i;
  EXPECT_FALSE(bucket.take(100, 5));
  EXPECT_FALSE(bucket.take(100 + kSecondNs / 5 - 1, 5));
  EXPECT_TRUE(bucket.take(100 + kSecondNs / 5, 5));
  EXPECT_FALSE(bucket.take(100 + kSecondNs / 5, 5));
  // A long pause saves up no more than a second's worth.
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(bucket.take(100 * kSecondNs, 5)) << i;
  EXPECT_FALSE(bucket.take(100 * kSecondNs, 5));
}

TEST(TokenBucket, HoldsItsRateOverTime) {
  for (const std::uint64_t rate_hz :
       {std::uint64_t{1}, std::uint64_t{3}, std::uint64_t{7'000}, kMaxRequestsPerSecond}) {
    TokenBucket bucket;
    std::uint64_t through = 0;
    const std::uint64_t step_ns = kSecondNs / rate_hz / 3 + 1;
    std::uint64_t now_ns = 12'345;
    for (int i = 0; i < 100'000; ++i, now_ns += step_ns) through += bucket.take(now_ns, rate_hz);
    const double seconds = static_cast<double>(now_ns - 12'345) / 1e9;
    const double most = seconds * static_cast<double>(rate_hz) + static_cast<double>(rate_hz) + 1;
    EXPECT_LE(static_cast<double>(through), most) << rate_hz;
    EXPECT_GE(static_cast<double>(through), seconds * static_cast<double>(rate_hz) * 0.99)
        << rate_hz;
  }
}

TEST(TokenBucket, FollowsAChangeOfItsRateAndLetsNothingThroughAtZero) {
  TokenBucket bucket;
  EXPECT_FALSE(bucket.take(1, 0));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(bucket.take(1, 2));
  EXPECT_FALSE(bucket.take(1, 2));
  EXPECT_TRUE(bucket.take(1 + kSecondNs / 2, 1000));
  EXPECT_FALSE(bucket.take(1 + kSecondNs / 2, 0));
}

TEST(TokenBucket, EnduresATimeThatGoesBack) {
  TokenBucket bucket;
  ASSERT_TRUE(bucket.take(UINT64_MAX / 2, 1));
  EXPECT_FALSE(bucket.take(0, 1));
  EXPECT_TRUE(bucket.take(UINT64_MAX / 2 + kSecondNs, 1));
}

TEST(Limits, AStreamsPayloadIsHeldAgainstTheUsers) {
  LimitTable limits;
  limits.each_user.message_bytes = 1'000;
  limits.users[7] = {"camera", Limits{}};
  limits.users[8] = {"mute", Limits{}};
  limits.users[8].limits.messages_per_second = 0;
  const Ledger ledger{limits};
  EXPECT_TRUE(ledger.check_stream(5, 1'000));
  EXPECT_TRUE(ledger.check_stream(5, 1'063)) << "slots are whole lines";
  const auto refused = ledger.check_stream(5, 1'064);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::exhausted);
  EXPECT_NE(refused.error().message.find("limits.each_user.message_bytes"), std::string::npos)
      << refused.error().message;
  EXPECT_TRUE(ledger.check_stream(7, 6'000'000));
  EXPECT_EQ(ledger.messages_per_second(7), kNoLimit);
  EXPECT_FALSE(ledger.check_stream(8, 1));
}

}  // namespace
}  // namespace sluice::broker
