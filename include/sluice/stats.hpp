// Snapshots of the counters that a stream and its subscriptions keep in shared memory.
#pragma once

#include <cstdint>

namespace sluice {

/// What a publisher has done since its stream was made.
struct StreamStats {
  std::uint64_t published = 0;  ///< Messages.
  std::uint64_t bytes = 0;
  std::uint64_t wakes = 0;        ///< System calls made to wake a subscriber.
  std::uint64_t overwritten = 0;  ///< Entries given up although somebody had not passed them.
  std::uint64_t no_slot = 0;      ///< Loans that found no slot.
  std::uint64_t full = 0;         ///< Loans refused because of a reliable subscriber.
  std::uint64_t full_waits = 0;   ///< Loans that had to wait for one.
  std::uint64_t evicted = 0;      ///< Subscriptions.
  std::uint64_t slots_committed = 0;
  std::uint64_t slots_in_use = 0;  ///< As of the last look at the subscribers.
  std::uint64_t slots_in_use_most = 0;
  std::uint64_t interval_p50_ns = 0;  ///< Between two publications.
  std::uint64_t interval_p99_ns = 0;
};

/// What a subscription has seen. Always: published since it was attached (of a group's member: given to
/// it) = taken + the five losses + waiting.
struct SubscriptionStats {
  std::uint64_t taken = 0;
  std::uint64_t lost_policy = 0;   ///< Skipped for a newer one (DeliveryMode::latest).
  std::uint64_t lost_full = 0;     ///< Overwritten before it was taken.
  std::uint64_t lost_evicted = 0;  ///< Published until the eviction, not taken.
  std::uint64_t lost_expired = 0;  ///< Time to live passed.
  std::uint64_t lost_invalid = 0;  ///< The descriptor failed validation.
  std::uint64_t waiting = 0;       ///< Published, still to be taken.
  std::uint64_t held = 0;          ///< Samples that exist now.
  std::uint64_t bytes = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t sleeps = 0;      ///< Waits that went to sleep.
  std::uint64_t age_p50_ns = 0;  ///< From publish to take.
  std::uint64_t age_p99_ns = 0;
  std::uint64_t processing_p50_ns = 0;  ///< From take to release.
  std::uint64_t processing_p99_ns = 0;

  [[nodiscard]] std::uint64_t lost() const noexcept {
    return lost_policy + lost_full + lost_evicted + lost_expired + lost_invalid;
  }
};

}  // namespace sluice
