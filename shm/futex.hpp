// Sleeping on a shared word, and waking who sleeps there. Read access to the word is enough for
// both, so neither side needs a page that the other can write.
#pragma once

#include <cstdint>
#include <span>

#include "shm/layout.hpp"
#include "shm/private_export.hpp"

namespace sluice::shm {

enum class FutexResult : std::uint8_t { woken, changed, timeout };

/// Sleeps while `word` is `expected`, until woken or until the absolute CLOCK_MONOTONIC deadline.
/// May return `woken` spuriously; the caller looks again.
FutexResult futex_wait(const Word32& word, std::uint32_t expected,
                       std::uint64_t deadline_ns) noexcept;

/// Wakes all who sleep on `word`. A full barrier on the caller's side.
void futex_wake_all(const Word32& word) noexcept;

struct FutexWaiter {
  const Word32* word;
  std::uint32_t expected;
};
inline constexpr std::size_t kFutexWaitvMax = 128;

/// Sleeps on up to kFutexWaitvMax words at once (Linux 5.16).
FutexResult futex_waitv(std::span<const FutexWaiter> waiters, std::uint64_t deadline_ns) noexcept;

/// Whether this kernel has futex_waitv; asked once. `SLUICE_NO_FUTEX_WAITV` in the environment says
/// no, to test the other way.
SLUICE_PRIVATE_EXPORT bool has_futex_waitv() noexcept;

/// A short pause inside a busy wait.
inline void cpu_relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield" ::: "memory");
#endif
}

/// Asks for the cache line of `address` with the right to write it.
inline void prefetch_for_writing(const void* address) noexcept {
#if defined(__x86_64__)
  // The builtin would only ask for reading: the x86-64 baseline does not promise prefetchw, but
  // every processor that lacks it ignores it.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, 1);
#endif
}

/// Whether this thread may run on more than one processor; where not, spinning only delays the
/// other side.
SLUICE_PRIVATE_EXPORT bool can_spin() noexcept;

}  // namespace sluice::shm
