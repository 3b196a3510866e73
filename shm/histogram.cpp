// Quantiles of a histogram that its writer goes on changing: one pass copies the counts, a second
// works on the copy, so that the answer belongs to one (slightly blurred) moment.
#include "shm/histogram.hpp"

#include <array>

namespace sluice::shm {
namespace {

std::uint64_t copy(const Histogram& histogram, std::array<std::uint64_t, kHistogramBuckets>& out) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    // relaxed: counters, no order needed
    out[i] = histogram.count[i].load(std::memory_order_relaxed);
    total += out[i];
  }
  return total;
}

}  // namespace

std::uint64_t histogram_count(const Histogram& histogram) noexcept {
  std::array<std::uint64_t, kHistogramBuckets> counts{};
  return copy(histogram, counts);
}

std::uint64_t histogram_quantile_ns(const Histogram& histogram, double quantile) noexcept {
  std::array<std::uint64_t, kHistogramBuckets> counts{};
  const std::uint64_t total = copy(histogram, counts);
  if (total == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(quantile * static_cast<double>(total - 1));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    seen += counts[i];
    if (seen > wanted) {
      const std::uint64_t low = histogram_floor_ns(i);
      const std::uint64_t high =
          i + 1 < kHistogramBuckets ? histogram_floor_ns(i + 1) : low + low / 4;
      return low + (high - low) / 2;
    }
  }
  return histogram_floor_ns(kHistogramBuckets - 1);
}

}  // namespace sluice::shm
