#include "transport/bus/handling.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::bus {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kNow = 50'000 * kMs;

HandlingRules rules(bool dead_letters = true, bool acknowledges = true, bool pass_on = false) {
  HandlingRules r;
  r.dead_letters = dead_letters;
  r.acknowledges = acknowledges;
  r.pass_on = pass_on;
  r.retry.jitter_low = r.retry.jitter_high = 1;
  return r;
}

TEST(Handling, BeforeTheHandlerIsCalled) {
  struct Case {
    HandlingRules rules;
    Attempts attempts;
    Then then;
    DeadLetterReason reason;
    const char* what;
  };
  const auto none = DeadLetterReason::rejected;
  const std::vector<Case> cases{
      {rules(), {}, Then::handle, none, "the first time"},
      {rules(), {0, 0, kNow + 1}, Then::handle, none, "still in time"},
      {rules(), {0, 0, kNow}, Then::bury, DeadLetterReason::expired, "too late"},
      {rules(), {0, 2, kNow - 5}, Then::bury, DeadLetterReason::expired, "too late for a retry"},
      {rules(false), {0, 0, kNow}, Then::drop, DeadLetterReason::expired, "no dead letters"},
      {rules(true, false), {0, 0, kNow}, Then::drop, DeadLetterReason::expired, "best effort"},
      {rules(), {2, 0, 0}, Then::handle, none, "others had it twice"},
      {rules(),
       {3, 0, 0},
       Then::bury,
       DeadLetterReason::peer_died,
       "as often as there are attempts"},
      {rules(), {255, 0, 0}, Then::bury, DeadLetterReason::peer_died, "at least so often"},
      {rules(false), {3, 0, 0}, Then::drop, DeadLetterReason::peer_died, "no dead letters"},
      {rules(), {0, 5, 0}, Then::handle, none, "after failures here, which after() judged"},
  };
  for (const Case& c : cases) {
    const Decision decision = Handling{c.rules, 1}.before(c.attempts, kNow);
    EXPECT_EQ(decision.then, c.then) << c.what;
    EXPECT_EQ(decision.at_ns, 0u) << c.what;
    if (c.then == Then::handle) continue;
    EXPECT_EQ(decision.reason, c.reason) << c.what;
  }
}

TEST(Handling, AfterTheHandlerHasReturned) {
  struct Case {
    HandlingRules rules;
    Attempts attempts;
    Handled handled;
    Then then;
    std::uint64_t at_ns;
    DeadLetterReason reason;
    const char* what;
  };
  using enum Handled;
  const auto rejected = DeadLetterReason::rejected;
  const auto decode = DeadLetterReason::decode_error;
  const auto exhausted = DeadLetterReason::max_attempts;
  const std::vector<Case> cases{
      {rules(), {}, ok, Then::acknowledge, 0, rejected, "well"},
      {rules(), {2, 2, 1}, ok, Then::acknowledge, 0, rejected, "well in the end"},
      {rules(), {0, 1, 0}, reject, Then::bury, 0, decode, "no retry helps"},
      {rules(false), {0, 1, 0}, reject, Then::drop, 0, decode, "no dead letters"},
      {rules(), {0, 1, 0}, retry, Then::handle, kNow + 100 * kMs, rejected, "first failure"},
      {rules(), {0, 2, 0}, retry, Then::handle, kNow + 200 * kMs, rejected, "second"},
      {rules(), {1, 1, 0}, retry, Then::handle, kNow + 200 * kMs, rejected, "second, elsewhere"},
      {rules(), {0, 3, 0}, retry, Then::bury, 0, exhausted, "third"},
      {rules(), {2, 1, 0}, retry, Then::bury, 0, exhausted, "third in all"},
      {rules(false), {0, 3, 0}, retry, Then::drop, 0, exhausted, "third, no dead letters"},
      {rules(true, true, true),
       {0, 1, 0},
       retry,
       Then::pass_on,
       kNow + 100 * kMs,
       rejected,
       "another member"},
      {rules(true, true, true), {2, 1, 0}, retry, Then::bury, 0, exhausted, "was the last one"},
      {rules(true, false),
       {0, 1, 0},
       retry,
       Then::handle,
       kNow + 100 * kMs,
       rejected,
       "best effort too"},
      {rules(),
       {0, 1, kNow + 30 * kMs},
       retry,
       Then::handle,
       kNow + 30 * kMs,
       rejected,
       "expires before"},
      {rules(),
       {0, 1, kNow + 900 * kMs},
       retry,
       Then::handle,
       kNow + 100 * kMs,
       rejected,
       "expires later"},
  };
  for (const Case& c : cases) {
    const DeadLetterReason given = c.handled == reject ? decode : rejected;
    const Decision decision = Handling{c.rules, 1}.after(c.attempts, c.handled, given, kNow);
    EXPECT_EQ(decision.then, c.then) << c.what;
    EXPECT_EQ(decision.at_ns, c.at_ns) << c.what;
    EXPECT_EQ(decision.reason, c.reason) << c.what;
  }
}

TEST(Handling, ABudgetThatIsUsedUpIsAReason) {
  Handling handling{rules(), 1};
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(handling.after({0, 1, 0}, Handled::retry, {}, kNow).then, Then::handle);
  }
  const Decision decision = handling.after({0, 1, 0}, Handled::retry, {}, kNow);
  EXPECT_EQ(decision.then, Then::bury);
  EXPECT_EQ(decision.reason, DeadLetterReason::no_budget);
  // Messages that come for the first time pay, others do not.
  for (int i = 0; i < 100; ++i) (void)handling.before({1, 0, 0}, kNow);
  EXPECT_EQ(handling.after({0, 1, 0}, Handled::retry, {}, kNow).then, Then::bury);
  for (int i = 0; i < 10; ++i) (void)handling.before({}, kNow);
  EXPECT_EQ(handling.after({0, 1, 0}, Handled::retry, {}, kNow).then, Then::handle);
}

TEST(Handling, DelaysDifferByChance) {
  HandlingRules r = rules();
  r.retry.jitter_low = 0.8;
  r.retry.jitter_high = 1.2;
  r.retry.budget_burst = 1e6;
  Handling one{r, 1};
  Handling same{r, 1};
  Handling other{r, 2};
  bool differ = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t at = one.after({0, 1, 0}, Handled::retry, {}, kNow).at_ns;
    EXPECT_GE(at, kNow + 80 * kMs);
    EXPECT_LT(at, kNow + 120 * kMs);
    EXPECT_EQ(at, same.after({0, 1, 0}, Handled::retry, {}, kNow).at_ns);
    differ = differ || at != other.after({0, 1, 0}, Handled::retry, {}, kNow).at_ns;
  }
  EXPECT_TRUE(differ);
}

TEST(Handling, WhatCannotBeBuriedWaitsLongerAndLonger) {
  const Handling handling{rules(), 1};
  const auto reason = DeadLetterReason::no_budget;
  const std::vector<std::uint64_t> delays{50,    100,   200,   400,   800,
                                          1'600, 3'200, 6'400, 8'000, 8'000};
  for (std::uint32_t times = 0; times < delays.size(); ++times) {
    const Decision decision = handling.not_buried(times, reason, kNow);
    EXPECT_EQ(decision.then, Then::bury);
    EXPECT_EQ(decision.at_ns, kNow + delays[times] * kMs);
    EXPECT_EQ(decision.reason, reason);
  }
  EXPECT_EQ(handling.not_buried(UINT32_MAX, reason, kNow).at_ns, kNow + 8'000 * kMs);
  EXPECT_EQ((Handling{rules(true, false), 1}.not_buried(0, reason, kNow).then), Then::drop);
}

}  // namespace
}  // namespace sluice::bus
