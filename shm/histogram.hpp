// Recording into and reading from a shared Histogram. One writer records; anybody may read.
#pragma once

#include "shm/layout.hpp"
#include "shm/private_export.hpp"
#include "sluice/stats.hpp"

#include <bit>
#include <cstdint>

namespace sluice::shm {

static_assert(DurationCounts::kBuckets == kHistogramBuckets);
/// Far enough below the end for threads that count at the same moment.
inline constexpr std::uint32_t kHistogramFull = 0xffff'0000;

constexpr std::size_t histogram_bucket(std::uint64_t ns) noexcept {
  if (ns < 64) return 0;
  const auto exponent = static_cast<std::size_t>(std::bit_width(ns)) - 1;  // >= 6
  const std::size_t bucket = 1 + (exponent - 6) * 4 + ((ns >> (exponent - 2)) & 3);
  return bucket < kHistogramBuckets ? bucket : kHistogramBuckets - 1;
}

/// Lower bound of a bucket in ns.
constexpr std::uint64_t histogram_floor_ns(std::size_t bucket) noexcept {
  if (bucket == 0) return 0;
  const std::size_t exponent = 6 + (bucket - 1) / 4;
  return (std::uint64_t{4} + (bucket - 1) % 4) << (exponent - 2);
}

inline void add_relaxed(Word64& word, std::uint64_t n) noexcept {
  // relaxed: one writer, and readers of counters need no order between them
  word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

/// All buckets, so that their proportions stay.
SLUICE_PRIVATE_EXPORT void halve(Histogram& histogram) noexcept;

/// By the one thread that writes this histogram.
inline void record(Histogram& histogram, std::uint64_t ns) noexcept {
  Word32& word = histogram.count[histogram_bucket(ns)];
  // relaxed: one writer, and readers of counters need no order between them
  const std::uint32_t n = word.load(std::memory_order_relaxed);
  word.store(n + 1, std::memory_order_relaxed);  // relaxed: as above
  if (n >= kHistogramFull) [[unlikely]]
    halve(histogram);
}

/// By any thread of the process that writes it.
inline void record_shared(Histogram& histogram, std::uint64_t ns) noexcept {
  Word32& word = histogram.count[histogram_bucket(ns)];
  // relaxed: a counter; full after more than a month at one measurement a millisecond
  if (word.load(std::memory_order_relaxed) < kHistogramFull) {
    word.fetch_add(1, std::memory_order_relaxed);  // relaxed: as above
  }
}

/// A copy, of one (slightly blurred) moment.
DurationCounts counts_of(const Histogram& histogram) noexcept;

/// The value below which `quantile` (0 to 1) of the recorded ones lie, in ns; 0 when empty.
SLUICE_PRIVATE_EXPORT std::uint64_t histogram_quantile_ns(const Histogram& histogram,
                                                          double quantile) noexcept;

/// How many values were recorded.
std::uint64_t histogram_count(const Histogram& histogram) noexcept;

}  // namespace sluice::shm
