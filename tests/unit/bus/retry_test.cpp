#include "sluice/retry.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace sluice {
namespace {

using Verdict = RetryPolicy::Verdict;
constexpr double kNoNumber = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kMs = 1'000'000;

// Without chance and without a budget that ends.
RetryOptions plain(std::uint32_t attempts = 10) {
  RetryOptions options;
  options.attempts = attempts;
  options.jitter_low = options.jitter_high = 1;
  options.budget_burst = 1e9;
  return options;
}

TEST(RetryPolicy, DelaysGrowUpToTheLongest) {
  RetryPolicy policy{plain()};
  const std::vector<std::uint64_t> expected{100,   200,   400,    800,   1'600,
                                            3'200, 6'400, 10'000, 10'000};
  for (std::uint32_t attempt = 1; attempt <= expected.size(); ++attempt) {
    const auto decision = policy.failed(attempt, 0.5);
    EXPECT_EQ(decision.verdict, Verdict::again);
    EXPECT_EQ(decision.delay_ns, expected[attempt - 1] * kMs) << attempt;
  }
}

TEST(RetryPolicy, TheLastAttemptIsTheLast) {
  RetryPolicy policy;
  EXPECT_EQ(policy.failed(1, 0).verdict, Verdict::again);
  EXPECT_EQ(policy.failed(2, 0).verdict, Verdict::again);
  EXPECT_EQ(policy.failed(3, 0).verdict, Verdict::exhausted);
  EXPECT_EQ(policy.failed(4, 0).verdict, Verdict::exhausted);
  for (const std::uint32_t attempts : {0u, 1u}) {
    EXPECT_EQ(RetryPolicy{plain(attempts)}.failed(1, 0).verdict, Verdict::exhausted);
  }
  // What gives up takes nothing from the budget.
  EXPECT_DOUBLE_EQ(policy.budget(), 8);
}

TEST(RetryPolicy, JitterIsEvenlyDistributedBetweenItsEnds) {
  RetryPolicy policy;
  EXPECT_EQ(policy.failed(1, 0).delay_ns, 80 * kMs);
  EXPECT_EQ(policy.failed(1, 0.5).delay_ns, 100 * kMs);
  EXPECT_NEAR(static_cast<double>(policy.failed(1, 0.999'999).delay_ns), 120e6, 100.0);
  EXPECT_EQ(policy.failed(2, 0.25).delay_ns, 180 * kMs);
}

TEST(RetryPolicy, TheBudgetIsAShareOfTheMessagesAndSomeMore) {
  RetryPolicy policy;
  EXPECT_DOUBLE_EQ(policy.budget(), 10);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(policy.failed(1, 0).verdict, Verdict::again);
  EXPECT_EQ(policy.failed(1, 0).verdict, Verdict::no_budget);
  for (int i = 0; i < 9; ++i) policy.attempted();
  EXPECT_EQ(policy.failed(1, 0).verdict, Verdict::no_budget);
  policy.attempted();
  EXPECT_EQ(policy.failed(1, 0).verdict, Verdict::again);
  EXPECT_EQ(policy.failed(1, 0).verdict, Verdict::no_budget);
  EXPECT_EQ(policy.failed(3, 0).verdict, Verdict::exhausted);  // the better reason
}

TEST(RetryPolicy, NoMoreThanTheBurstIsSavedUp) {
  RetryPolicy policy;
  for (int i = 0; i < 100'000; ++i) policy.attempted();
  EXPECT_DOUBLE_EQ(policy.budget(), 10);
}

TEST(RetryPolicy, AFloodOfFailuresIsNotMultiplied) {
  RetryPolicy policy;
  int retries = 0;
  for (int i = 0; i < 10'000; ++i) {
    policy.attempted();
    retries += policy.failed(1, 0.3).verdict == Verdict::again;
  }
  EXPECT_GE(retries, 1'000);
  EXPECT_LE(retries, 1'010);
}

TEST(RetryPolicy, StrangeOptionsAreMadeSane) {
  RetryOptions options;
  options.attempts = 0;
  options.factor = 0.5;
  options.jitter_low = -1;
  options.jitter_high = -2;
  options.budget_share = -1;
  options.budget_burst = -1;
  const RetryPolicy made{options};
  EXPECT_EQ(made.options().attempts, 1u);
  EXPECT_EQ(made.options().factor, 1);
  EXPECT_EQ(made.options().jitter_low, 0);
  EXPECT_EQ(made.options().jitter_high, 0);
  EXPECT_EQ(made.options().budget_share, 0);
  EXPECT_EQ(made.budget(), 0);

  options.factor = options.jitter_low = options.jitter_high = kNoNumber;
  options.budget_share = options.budget_burst = kNoNumber;
  const RetryPolicy other{options};
  EXPECT_EQ(other.options().factor, 1);
  EXPECT_EQ(other.options().jitter_high, 0);
  EXPECT_EQ(other.budget(), 0);
}

TEST(RetryPolicy, NoDelayOverflows) {
  RetryOptions options = plain(UINT32_MAX);
  options.factor = 1e300;
  options.max_delay_ns = UINT64_MAX;
  RetryPolicy policy{options};
  constexpr std::uint64_t kYear = 365ull * 24 * 3600 * 1'000'000'000;
  EXPECT_EQ(policy.failed(1, 0).delay_ns, 100 * kMs);
  EXPECT_EQ(policy.failed(2, 0).delay_ns, kYear);
  EXPECT_EQ(policy.failed(UINT32_MAX - 1, 0).delay_ns, kYear);
  options.first_delay_ns = 0;
  RetryPolicy at_once{options};
  EXPECT_EQ(at_once.failed(1'000, 0).delay_ns, 0u);
  EXPECT_EQ(at_once.failed(0, 0).verdict, Verdict::again);
  EXPECT_EQ(policy.failed(0, 0).delay_ns, 100 * kMs);
}

}  // namespace
}  // namespace sluice
