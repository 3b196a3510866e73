// A token bucket.
#pragma once

#include "sluice/export.hpp"

#include <cstdint>

namespace sluice {

struct RateLimitOptions {
  double per_second = 0;  ///< Tokens that come in a second; 0: no limit.
  double burst = 1;       ///< Tokens that can be saved up, at least 1.
};

/// A value; the caller brings the time, which may stand still or go back without harm. Full at
/// first.
class SLUICE_EXPORT TokenBucket {
 public:
  explicit TokenBucket(RateLimitOptions options = {}) noexcept;
  /// Takes a token, if there is one.
  bool take(std::uint64_t now_ns, double tokens = 1) noexcept;
  /// When take() will succeed next, in ns from now; 0: now.
  [[nodiscard]] std::uint64_t wait_ns(std::uint64_t now_ns, double tokens = 1) const noexcept;
  [[nodiscard]] bool limited() const noexcept { return options_.per_second > 0; }

 private:
  [[nodiscard]] double level(std::uint64_t now_ns) const noexcept;
  RateLimitOptions options_;
  double level_ = 0;
  std::uint64_t at_ns_ = 0;
};

}  // namespace sluice
