// The futex calls, with 64-bit time on every architecture.
#include "shm/futex.hpp"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "shm/clock.hpp"

#ifndef __NR_futex_waitv
#define __NR_futex_waitv 449
#endif

namespace sluice::shm {
namespace {

// The kernel's time structure with 64-bit seconds, also for 32-bit processes.
struct KernelTime {
  std::int64_t seconds;
  std::int64_t nanoseconds;
};

#if defined(SYS_futex_time64) && ULONG_MAX == 0xffffffffUL
constexpr long kFutex = SYS_futex_time64;
#else
constexpr long kFutex = SYS_futex;
#endif

// struct futex_waitv of linux/futex.h, which Debian 12's headers have but older ones lack.
struct WaitvEntry {
  std::uint64_t value;
  std::uint64_t address;
  std::uint32_t flags;
  std::uint32_t reserved;
};
constexpr std::uint32_t kFutex32 = 2;

KernelTime to_kernel(std::uint64_t ns) {
  return {static_cast<std::int64_t>(ns / 1'000'000'000u),
          static_cast<std::int64_t>(ns % 1'000'000'000u)};
}

FutexResult from_errno(long result) {
  if (result >= 0) return FutexResult::woken;
  if (errno == EAGAIN) return FutexResult::changed;
  if (errno == ETIMEDOUT) return FutexResult::timeout;
  return FutexResult::woken;  // EINTR: the caller looks again
}

}  // namespace

FutexResult futex_wait(const Word32& word, std::uint32_t expected,
                       std::uint64_t deadline_ns) noexcept {
  const KernelTime time = to_kernel(deadline_ns);
  const long result =
      ::syscall(kFutex, &word, FUTEX_WAIT_BITSET, expected,
                deadline_ns == kNever ? nullptr : &time, nullptr, FUTEX_BITSET_MATCH_ANY);
  return from_errno(result);
}

void futex_wake_all(const Word32& word) noexcept {
  (void)::syscall(kFutex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

FutexResult futex_waitv(std::span<const FutexWaiter> waiters, std::uint64_t deadline_ns) noexcept {
  std::array<WaitvEntry, kFutexWaitvMax> entries;
  const std::size_t n = waiters.size() < entries.size() ? waiters.size() : entries.size();
  for (std::size_t i = 0; i < n; ++i) {
    entries[i] = {waiters[i].expected, reinterpret_cast<std::uintptr_t>(waiters[i].word), kFutex32,
                  0};
  }
  const KernelTime time = to_kernel(deadline_ns);
  return from_errno(::syscall(__NR_futex_waitv, entries.data(), n, 0,
                              deadline_ns == kNever ? nullptr : &time, CLOCK_MONOTONIC));
}

bool has_futex_waitv() noexcept {
  static const bool has = [] {
    if (std::getenv("SLUICE_NO_FUTEX_WAITV") != nullptr) return false;
    const long result = ::syscall(__NR_futex_waitv, nullptr, 0, 0, nullptr, CLOCK_MONOTONIC);
    return result < 0 && errno == EINVAL;  // no waiters: a kernel that has the call says EINVAL
  }();
  return has;
}

bool can_spin() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails with EINVAL on machines with more processors than the set holds: then there are many.
  return ::sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
}

}  // namespace sluice::shm
