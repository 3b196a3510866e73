// Recording into and reading from a shared Histogram. One writer records; anybody may read.
#pragma once

#include <bit>
#include <cstdint>

#include "shm/layout.hpp"

namespace sluice::shm {

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

inline void record(Histogram& histogram, std::uint64_t ns) noexcept {
  add_relaxed(histogram.count[histogram_bucket(ns)], 1);
}

/// The value below which `quantile` (0 to 1) of the recorded ones lie, in ns; 0 when empty.
std::uint64_t histogram_quantile_ns(const Histogram& histogram, double quantile) noexcept;

/// How many values were recorded.
std::uint64_t histogram_count(const Histogram& histogram) noexcept;

}  // namespace sluice::shm
