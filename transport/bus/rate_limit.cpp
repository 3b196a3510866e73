// The level is a number of tokens at the time of the last take; what has come in since is computed
// when it is asked for. A time before that one brings nothing.
#include "sluice/rate_limit.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sluice {
namespace {

constexpr double kSecond = 1e9;
// Of a token: what rounding may take away.
constexpr double kSlack = 1e-6;

RateLimitOptions sane(RateLimitOptions options) {
  if (!std::isfinite(options.per_second)) options.per_second = 0;
  if (!(options.burst >= 1)) options.burst = 1;
  return options;
}

}  // namespace

TokenBucket::TokenBucket(RateLimitOptions options) noexcept
    : options_(sane(options)), level_(options_.burst) {}

double TokenBucket::level(std::uint64_t now_ns) const noexcept {
  if (now_ns <= at_ns_) return level_;
  const double come = static_cast<double>(now_ns - at_ns_) / kSecond * options_.per_second;
  return std::min(options_.burst, level_ + come);
}

bool TokenBucket::take(std::uint64_t now_ns, double tokens) noexcept {
  if (!limited() || !(tokens > 0)) return true;
  const double there = level(now_ns);
  if (there + kSlack < tokens) return false;
  level_ = std::max(0.0, there - tokens);
  at_ns_ = std::max(at_ns_, now_ns);
  return true;
}

std::uint64_t TokenBucket::wait_ns(std::uint64_t now_ns, double tokens) const noexcept {
  if (!limited() || !(tokens > 0)) return 0;
  const double missing = tokens - level(now_ns);
  if (missing <= kSlack) return 0;
  constexpr auto kNever = std::numeric_limits<std::uint64_t>::max();
  if (tokens > options_.burst + kSlack) return kNever;
  // Where the time has gone back, what comes in first only makes up for that.
  const double behind = now_ns < at_ns_ ? static_cast<double>(at_ns_ - now_ns) : 0;
  const double wait = std::ceil(behind + missing / options_.per_second * kSecond);
  return wait < static_cast<double>(kNever) ? static_cast<std::uint64_t>(wait) : kNever;
}

}  // namespace sluice
