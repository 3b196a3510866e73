// When to try again.
#pragma once

#include "sluice/export.hpp"
#include "sluice/rate_limit.hpp"

#include <cstdint>

namespace sluice {

struct RetryOptions {
  std::uint32_t attempts = 3;  ///< In all, the first one included; 1: never again.
  std::uint64_t first_delay_ns = 100'000'000;
  double factor = 2;  ///< Of each delay to the one before, at least 1.
  std::uint64_t max_delay_ns = 10'000'000'000;
  /// Each delay is multiplied by a random number between these.
  double jitter_low = 0.8;
  double jitter_high = 1.2;
  /// Of the retries of one user of the budget (a subscription, a requester): a tenth of its
  /// messages and ten more. A flood of failures does not multiply itself.
  double budget_share = 0.1;
  double budget_burst = 10;
};

/// Delays and budget. Thread-compatible; the caller brings time and chance.
class SLUICE_EXPORT RetryPolicy {
 public:
  explicit RetryPolicy(RetryOptions options = {}) noexcept;

  /// A first attempt was made: pays into the budget.
  void attempted() noexcept;
  enum class Verdict : std::uint8_t { again, exhausted, no_budget };
  struct Decision {
    Verdict verdict = Verdict::exhausted;
    std::uint64_t delay_ns = 0;  ///< Verdict::again: from now on.
  };
  /// After attempt number `attempt` (from 1) failed. `chance`: evenly distributed in [0, 1).
  Decision failed(std::uint32_t attempt, double chance) noexcept;
  [[nodiscard]] double budget() const noexcept { return budget_; }
  [[nodiscard]] const RetryOptions& options() const noexcept { return options_; }

 private:
  RetryOptions options_;
  double budget_;
};

}  // namespace sluice
