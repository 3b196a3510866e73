// Snapshots of the counters that a stream and its subscriptions keep in shared memory.
#pragma once

#include "sluice/export.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice {

/// How often each duration was seen: log-linear buckets, four per power of two from 64 ns to 2^38
/// ns. Quantiles have a relative error of 12.5 % at most. The difference of two snapshots is what
/// happened between them.
struct SLUICE_EXPORT DurationCounts {
  static constexpr std::size_t kBuckets = 128;
  std::array<std::uint64_t, kBuckets> count{};

  [[nodiscard]] std::uint64_t total() const noexcept;
  /// The value below which `quantile` (0 to 1) of them lie, in ns; 0 when there are none.
  [[nodiscard]] std::uint64_t quantile_ns(double quantile) const noexcept;
  /// What came since `earlier`; a bucket that went back counts as 0.
  [[nodiscard]] DurationCounts since(const DurationCounts& earlier) const noexcept;
};

/// What a producer says of where its data comes from (Publisher::describe). Shown to people,
/// interpreted by nobody.
struct SourceInfo {
  std::uint64_t expected_interval_ns =
      0;                         ///< Between two messages, as configured; 0: not periodic.
  std::uint64_t gaps = 0;        ///< Messages that were lost before they came to us.
  std::uint64_t reconnects = 0;  ///< Times the source was lost and opened again.
  std::uint64_t copies = 0;      ///< Payloads that were copied instead of written in place.
  std::uint64_t dropped = 0;     ///< Messages that came, but found no slot or no room.
  std::uint32_t fourcc = 0;      ///< PixelFormat; 0: no frames.
  std::uint32_t width = 0;       ///< Pixels.
  std::uint32_t height = 0;
  friend bool operator==(const SourceInfo&, const SourceInfo&) = default;
};

/// What a publisher has done since its stream was made.
struct StreamStats {
  std::uint64_t published = 0;  ///< Messages.
  std::uint64_t bytes = 0;
  std::uint64_t wakes = 0;        ///< System calls made to wake a subscriber.
  std::uint64_t overwritten = 0;  ///< Entries given up although somebody had not passed them.
  std::uint64_t no_slot = 0;      ///< Loans that found no slot.
  std::uint64_t full = 0;         ///< Loans refused because of a reliable subscriber.
  std::uint64_t full_waits = 0;   ///< Loans that had to wait for one.
  /// Entries that were for a group and that nobody of it has dealt with: no member had a credit
  /// (OnFull::drop), nobody came back to a durable group in time, or the stream ended first.
  std::uint64_t dropped = 0;
  std::uint64_t evicted = 0;      ///< Subscriptions.
  std::uint64_t slots = 0;        ///< In all pools.
  std::uint64_t slots_committed = 0;
  std::uint64_t slots_in_use = 0;  ///< As of the last look at the subscribers.
  std::uint64_t slots_in_use_most = 0;
  std::uint64_t interval_p50_ns = 0;  ///< Between two publications.
  std::uint64_t interval_p99_ns = 0;
  std::uint64_t jitter_ns = 0;  ///< Of these intervals: RFC 3550's interarrival jitter.
  /// CLOCK_MONOTONIC; 0: the stream does not stamp, or nothing yet.
  std::uint64_t last_publish_ns = 0;
};

/// What a subscription has seen. Always: published since it was attached (of a group's member:
/// given to it) = taken + the five losses + waiting.
struct SubscriptionStats {
  std::uint64_t taken = 0;
  std::uint64_t lost_policy = 0;   ///< Skipped for a newer one (DeliveryMode::latest).
  std::uint64_t lost_full = 0;     ///< Overwritten before it was taken.
  std::uint64_t lost_evicted = 0;  ///< Published until the eviction, not taken.
  std::uint64_t lost_expired = 0;  ///< Time to live passed.
  std::uint64_t lost_invalid = 0;  ///< The descriptor failed validation.
  std::uint64_t waiting = 0;       ///< Published, still to be taken.
  std::uint64_t held = 0;  ///< Slots held now, by samples and by messages they are attached to.
  std::uint64_t bytes = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t rejected = 0;    ///< Given back: DeliveryMode::group.
  std::uint64_t sleeps = 0;      ///< Waits that went to sleep.
  std::uint64_t age_p50_ns = 0;  ///< From publish to take.
  std::uint64_t age_p99_ns = 0;
  std::uint64_t processing_p50_ns = 0;  ///< From take to release.
  std::uint64_t processing_p99_ns = 0;
  std::uint64_t end_to_end_p50_ns = 0;  ///< From the origin to release.
  std::uint64_t end_to_end_p99_ns = 0;
  std::uint64_t resolved = 0;    ///< References that led to their message.
  std::uint64_t unresolved = 0;  ///< References that had expired.
  std::uint64_t quota = 0;       ///< Takes refused because max_held was reached.

  [[nodiscard]] std::uint64_t lost() const noexcept {
    return lost_policy + lost_full + lost_evicted + lost_expired + lost_invalid;
  }
};

}  // namespace sluice
