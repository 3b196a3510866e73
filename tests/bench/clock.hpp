// The one clock of all figures.
#pragma once

#include <time.h>

#include <cstdint>

namespace sluice::bench {

/// CLOCK_MONOTONIC in ns: the same clock in every process, read without a system call.
inline std::uint64_t now_ns() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

inline std::uint64_t ns_of_seconds(double seconds) noexcept {
  return static_cast<std::uint64_t>(seconds * 1e9);
}

}  // namespace sluice::bench
