// The slow halves: a visitor that comes in, and an owner that finds one.
//
// Both sleep in futex on the word that the other writes, and the other wakes them after it has
// written; the hand-shake is the one of enter, so no wake-up is lost. Sleeps end after a slice all
// the same.
#include "shm/biased_lock.hpp"

#include "shm/clock.hpp"
#include "shm/futex.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace sluice::shm {
namespace {

constexpr std::uint64_t kWaitNs = 10'000'000;
constexpr int kSpins = 100;
constexpr long kDrainNs = 10'000'000;

long membarrier(int command) noexcept { return ::syscall(SYS_membarrier, command, 0, 0); }

// Spins for a moment, then sleeps, until the word is 0.
template <typename Load>
void wait_for_zero(const Word32& word, Load load) noexcept {
  for (int i = 0; i < kSpins; ++i) {
    if (load() == 0) return;
    cpu_relax();
  }
  for (std::uint32_t value = load(); value != 0; value = load()) {
    futex_wait(word, value, deadline_in(kWaitNs));
  }
}

}  // namespace

bool has_membarrier() noexcept {
  static const bool has = [] {
    if (std::getenv("SLUICE_NO_MEMBARRIER") != nullptr) return false;
    return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
           membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
  }();
  return has;
}

std::uint32_t BiasedLock::leave_all() noexcept {
  // relaxed: only the owner writes it
  const std::uint32_t depth = depth_.load(std::memory_order_relaxed);
  // relaxed: still inside
  depth_.store(1, std::memory_order_relaxed);
  leave();
  return depth;
}

void BiasedLock::enter_again(std::uint32_t depth) noexcept {
  enter();
  // relaxed: inside already
  depth_.store(depth, std::memory_order_relaxed);
}

void BiasedLock::lock() noexcept {
  visitors_.lock();
  // sync exclude (visitor): before the barrier and the look at DEPTH
  attention_.store(1, std::memory_order_seq_cst);
  visitors_barrier();
  wait_for_zero(depth_, [this] {
    // sync exclude (visitor): what the owner did inside comes before
    return depth_.load(std::memory_order_acquire);
  });
}

void BiasedLock::unlock() noexcept {
  // sync exclude (visitor): what we did inside comes before
  attention_.store(0, std::memory_order_release);
  futex_wake_all(attention_);
  visitors_.unlock();
}

void BiasedLock::visitors_barrier() const noexcept {
  // sync exclude (visitor): ATTENTION is visible before DEPTH is read
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (owner_fences_ || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) return;
  // A child has the memory of its parent, but perhaps not its registration.
  if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
      membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0) {
    return;
  }
  // The kernel said yes at the start and says no now: a filter for system calls was put in place in
  // between. What a processor has stored is visible to all long before this pause ends.
  timespec pause{0, kDrainNs};
  while (::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, &pause) == EINTR) continue;
}

// The owner, not inside yet, has seen a visitor.
void BiasedLock::give_way() noexcept {
  do {
    // sync exclude (owner): we are not inside, and have done nothing
    depth_.store(0, std::memory_order_release);
    wake_visitors();
    wait_for_zero(attention_, [this] {
      // sync exclude (owner): what the visitor did comes before
      return attention_.load(std::memory_order_acquire);
    });
    // relaxed: as in enter()
    depth_.store(1, std::memory_order_relaxed);
    barrier();
    // sync exclude (owner): as in enter()
  } while (attention_.load(std::memory_order_acquire) != 0);
}

void BiasedLock::wake_visitors() noexcept { futex_wake_all(depth_); }

}  // namespace sluice::shm
