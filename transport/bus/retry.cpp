// The budget is a number of retries: each first attempt adds a share of one, each retry takes one,
// and no more than the burst is saved up, so that a long quiet time does not pay for a flood.
#include "sluice/retry.hpp"

#include <algorithm>
#include <cmath>

namespace sluice {
namespace {

// Ten times a tenth is one, also where it is not.
constexpr double kSlack = 1e-9;
// Delays beyond a year are a year: no sum with a clock overflows.
constexpr double kLongest = 365.0 * 24 * 3600 * 1e9;

double at_least(double value, double least) { return value >= least ? value : least; }

RetryOptions sane(RetryOptions options) {
  options.attempts = std::max(options.attempts, 1u);
  options.factor = at_least(options.factor, 1);
  options.jitter_low = at_least(options.jitter_low, 0);
  options.jitter_high = at_least(options.jitter_high, options.jitter_low);
  options.budget_share = at_least(options.budget_share, 0);
  options.budget_burst = at_least(options.budget_burst, 0);
  return options;
}

}  // namespace

RetryPolicy::RetryPolicy(RetryOptions options) noexcept
    : options_(sane(options)), budget_(options_.budget_burst) {}

void RetryPolicy::attempted() noexcept {
  budget_ = std::min(options_.budget_burst, budget_ + options_.budget_share);
}

RetryPolicy::Decision RetryPolicy::failed(std::uint32_t attempt, double chance) noexcept {
  if (attempt >= options_.attempts) return {Verdict::exhausted, 0};
  if (budget_ + kSlack < 1) return {Verdict::no_budget, 0};
  budget_ = std::max(0.0, budget_ - 1);
  if (options_.first_delay_ns == 0) return {Verdict::again, 0};
  const double steps = attempt > 1 ? static_cast<double>(attempt - 1) : 0;
  const double grown =
      static_cast<double>(options_.first_delay_ns) * std::pow(options_.factor, steps);
  const double capped = std::min(grown, static_cast<double>(options_.max_delay_ns));
  const double jitter = options_.jitter_low + (options_.jitter_high - options_.jitter_low) * chance;
  return {Verdict::again, static_cast<std::uint64_t>(std::min(capped * jitter, kLongest))};
}

}  // namespace sluice
