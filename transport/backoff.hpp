// How long a client waits before it looks for the broker again: 5 ms, doubled up to 250 ms, half as
// long to one and a half times as long by chance, so that a broker that comes back is found within
// a second and is not met by all its clients at one moment.
#pragma once

#include <algorithm>
#include <cstdint>

namespace sluice::transport {

class Backoff {
 public:
  static constexpr std::uint64_t kFirstNs = 5'000'000;
  static constexpr std::uint64_t kLongestNs = 250'000'000;

  /// After one more failure; `chance` is in [0, 1).
  constexpr std::uint64_t next_ns(double chance) noexcept {
    pause_ns_ = std::clamp(pause_ns_ * 2, kFirstNs, kLongestNs);
    return pause_ns_ / 2 + static_cast<std::uint64_t>(chance * static_cast<double>(pause_ns_));
  }
  constexpr void reset() noexcept { pause_ns_ = 0; }

 private:
  std::uint64_t pause_ns_ = 0;
};

}  // namespace sluice::transport
