// StampClock: CLOCK_MONOTONIC for who asks for it a million times a second.
//
// Reading the system's clock costs 20 to 40 ns and holds up the instructions around it. Between two
// readings of it that lie close together the processor's counter tells how much time has passed, for a
// few nanoseconds:
//
//   now = ns at the last reading + ticks since then x ns per tick      while ticks since < limit
//
// The limit is 20 µs of ticks, so whatever the counter does (a process that moves to a processor whose
// counter differs, a machine that sleeps), a stamp is wrong by at most that, and not for longer. The
// length of a tick is measured against the system's clock again and again; as long as two successive
// measurements differ by more than one in 256, or where no such counter exists, each stamp is a reading.
//
// One thread at a time. Never goes back.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/clock.hpp"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace sluice::shm {

/// A counter at a constant rate, read without waiting for earlier instructions; 0: there is none.
inline std::uint64_t counter_ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  std::uint64_t ticks = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
  return ticks;
#else
  return 0;
#endif
}

class StampClock {
 public:
  std::uint64_t now() noexcept { return at(counter_ticks(), now_ns); }

  /// The same with both clocks given. `read` is called where the counter does not do.
  template <typename Read>
  std::uint64_t at(std::uint64_t ticks, Read read) noexcept {
    const std::uint64_t since = ticks - ticks_;  // huge when the counter went back
    if (since < limit_) [[likely]] {
      last_ = std::max(last_, ns_ + (since * ns_per_tick_ >> kFraction));
    } else {
      synchronize(ticks, read());
    }
    return last_;
  }

 private:
  static constexpr unsigned kFraction = 32;
  static constexpr std::uint64_t kExtrapolateNs = 20'000;
  static constexpr std::uint64_t kMeasureNs = 1'000'000;  // a tick is measured over at least this

  void synchronize(std::uint64_t ticks, std::uint64_t ns) noexcept;  // stamp_clock.cpp

  std::uint64_t ticks_ = 0;  // at the last reading
  std::uint64_t ns_ = 0;
  std::uint64_t limit_ = 0;        // ticks that may be extrapolated
  std::uint64_t ns_per_tick_ = 0;  // times 2^32; 0: not known
  std::uint64_t from_ticks_ = 0;   // where the measurement that is under way began
  std::uint64_t from_ns_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace sluice::shm
