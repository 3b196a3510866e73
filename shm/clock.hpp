// CLOCK_MONOTONIC in nanoseconds, and absolute deadlines on it.
#pragma once

#include <time.h>

#include <chrono>
#include <cstdint>

namespace sluice::shm {

inline std::uint64_t now_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

/// steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++.
inline std::uint64_t to_ns(std::chrono::steady_clock::time_point time) noexcept {
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  return ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
}

inline constexpr std::uint64_t kNever = UINT64_MAX;

/// The absolute time `ns` from now; kNever stays kNever.
inline std::uint64_t deadline_in(std::uint64_t ns) noexcept {
  const std::uint64_t now = now_ns();
  return ns > kNever - now ? kNever : now + ns;
}

}  // namespace sluice::shm
