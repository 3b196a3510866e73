// BiasedLock: exclusion that costs one side nothing.
//
// One thread, the *owner*, enters thousands of times a second and must not pay for it; others, the
// *visitors*, come seldom and pay for both. The owner's enter is a store and a load, its leave a
// store and a load: no locked instruction, no fence, no system call, as long as nobody visits. What
// orders the owner's store before its load is a barrier that the visitor has the kernel execute on
// every processor that runs a thread of this process (membarrier). Why that excludes stands in
// shm/protocol.md, exclude.
//
//   owner                                     visitor (one at a time: a mutex)
//   DEPTH := 1                                ATTENTION := 1
//   -- compiler barrier --                    membarrier
//   ATTENTION ?  0: inside                    DEPTH ?  0: inside, else wait
//                else DEPTH := 0, wait        …
//   …                                         ATTENTION := 0, wake the owner
//   DEPTH := 0, ATTENTION ?  wake visitors
//
// Visitors have precedence, so what they do inside must be short; the owner may be inside for long.
// Where the kernel has no membarrier both sides execute a fence instead. Never shared between
// processes. A child after fork may use the locks that it makes itself.
#pragma once

#include <atomic>
#include <mutex>

#include "shm/layout.hpp"

namespace sluice::shm {

/// Whether this process may use membarrier; asked once. `SLUICE_NO_MEMBARRIER` in the environment
/// says no, to test the other way.
bool has_membarrier() noexcept;

class BiasedLock {
 public:
  explicit BiasedLock(bool use_membarrier = has_membarrier()) noexcept
      : owner_fences_(!use_membarrier) {}
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

  /// The owner's side; calls nest. Waits only while a visitor is inside or about to be.
  void enter() noexcept {
    // relaxed: only the owner writes it
    const std::uint32_t depth = depth_.load(std::memory_order_relaxed);
    // relaxed: the visitor's barrier, or our fence, orders it before the load below
    depth_.store(depth + 1, std::memory_order_relaxed);
    if (depth != 0) return;
    barrier();
    // sync exclude (owner): what the last visitor did comes before
    if (attention_.load(std::memory_order_acquire) != 0) [[unlikely]]
      give_way();
  }
  void leave() noexcept {
    // relaxed: only the owner writes it
    const std::uint32_t depth = depth_.load(std::memory_order_relaxed) - 1;
    // sync exclude (owner): what we did comes before
    depth_.store(depth, std::memory_order_release);
    if (depth != 0) return;
    barrier();
    // relaxed: whom it sees asleep it wakes, nothing more
    if (attention_.load(std::memory_order_relaxed) != 0) [[unlikely]]
      wake_visitors();
  }

  /// The owner lets visitors in while it sleeps, however deep it is; returns what enter_again()
  /// needs.
  std::uint32_t leave_all() noexcept;
  void enter_again(std::uint32_t depth) noexcept;

  /// A visitor's side, for std::lock_guard. From any thread, but never from within the owner's
  /// side.
  void lock() noexcept;
  void unlock() noexcept;

 private:
  void barrier() const noexcept {
    if (owner_fences_) [[unlikely]] {
      // sync exclude (owner): DEPTH is visible before ATTENTION is read
      std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
      // sync exclude (owner): the compiler keeps their order; the visitor's barrier does the rest
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  void visitors_barrier() const noexcept;
  void give_way() noexcept;
  void wake_visitors() noexcept;

  Word32 depth_{0};      // the owner writes: 0 outside
  Word32 attention_{0};  // visitors write: 1 while one is inside or wants to be
  const bool owner_fences_;
  std::mutex visitors_;
};

/// The owner is inside as long as this lives.
class OwnerInside {
 public:
  explicit OwnerInside(BiasedLock& lock) noexcept : lock_(lock) { lock_.enter(); }
  ~OwnerInside() { lock_.leave(); }
  OwnerInside(const OwnerInside&) = delete;
  OwnerInside& operator=(const OwnerInside&) = delete;

 private:
  BiasedLock& lock_;
};

}  // namespace sluice::shm
