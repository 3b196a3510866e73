#include "tests/support/patient_futex.hpp"

#include "shm/clock.hpp"
#include "shm/futex.hpp"

#include <poll.h>

#include <algorithm>
#include <atomic>

namespace {

constexpr std::uint64_t kPatienceNs = 30'000'000'000;
std::atomic<std::uint64_t> sleeps{0};

std::uint64_t later(std::uint64_t deadline_ns) {
  ++sleeps;
  return std::max(deadline_ns, sluice::shm::deadline_in(kPatienceNs));
}

}  // namespace

// The names are those of shm::futex_wait and shm::futex_waitv; where they change, linking fails.
namespace sluice::shm {
FutexResult real_wait(const Word32& word, std::uint32_t expected,
                      std::uint64_t deadline_ns) noexcept
    asm("__real__ZN6sluice3shm10futex_waitERKSt6atomicIjEjm");
FutexResult wrap_wait(const Word32& word, std::uint32_t expected,
                      std::uint64_t deadline_ns) noexcept
    asm("__wrap__ZN6sluice3shm10futex_waitERKSt6atomicIjEjm");
FutexResult real_waitv(std::span<const FutexWaiter> waiters, std::uint64_t deadline_ns) noexcept
    asm("__real__ZN6sluice3shm11futex_waitvESt4spanIKNS0_11FutexWaiterELm18446744073709551615EEm");
FutexResult wrap_waitv(std::span<const FutexWaiter> waiters, std::uint64_t deadline_ns) noexcept
    asm("__wrap__ZN6sluice3shm11futex_waitvESt4spanIKNS0_11FutexWaiterELm18446744073709551615EEm");

FutexResult wrap_wait(const Word32& word, std::uint32_t expected,
                      std::uint64_t deadline_ns) noexcept {
  return real_wait(word, expected, later(deadline_ns));
}
FutexResult wrap_waitv(std::span<const FutexWaiter> waiters, std::uint64_t deadline_ns) noexcept {
  return real_waitv(waiters, later(deadline_ns));
}
}  // namespace sluice::shm

extern "C" {
int __real_poll(pollfd* fds, nfds_t count, int timeout_ms);
int __wrap_poll(pollfd* fds, nfds_t count, int timeout_ms);
int __wrap_poll(pollfd* fds, nfds_t count, int timeout_ms) {
  if (timeout_ms <= 0) return __real_poll(fds, count, timeout_ms);
  ++sleeps;
  return __real_poll(fds, count, std::max(timeout_ms, static_cast<int>(kPatienceNs / 1'000'000)));
}
}

namespace sluice::test {

std::uint64_t patient_sleeps() { return sleeps; }

}  // namespace sluice::test
