// Histograms that their writers go on changing: one pass copies the counts, all else works on the
// copy, so that an answer belongs to one (slightly blurred) moment.
#include "shm/histogram.hpp"

namespace sluice {

std::uint64_t DurationCounts::total() const noexcept {
  std::uint64_t sum = 0;
  for (const std::uint64_t n : count) sum += n;
  return sum;
}

std::uint64_t DurationCounts::quantile_ns(double quantile) const noexcept {
  const std::uint64_t all = total();
  if (all == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(quantile * static_cast<double>(all - 1));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += count[i];
    if (seen > wanted) {
      const std::uint64_t low = shm::histogram_floor_ns(i);
      const std::uint64_t high = i + 1 < kBuckets ? shm::histogram_floor_ns(i + 1) : low + low / 4;
      return low + (high - low) / 2;
    }
  }
  return shm::histogram_floor_ns(kBuckets - 1);
}

DurationCounts DurationCounts::since(const DurationCounts& earlier) const noexcept {
  DurationCounts difference;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    if (count[i] > earlier.count[i]) difference.count[i] = count[i] - earlier.count[i];
  }
  return difference;
}

namespace shm {

DurationCounts counts_of(const Histogram& histogram) noexcept {
  DurationCounts counts;
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    // relaxed: counters, no order needed
    counts.count[i] = histogram.count[i].load(std::memory_order_relaxed);
  }
  return counts;
}

void halve(Histogram& histogram) noexcept {
  for (Word32& word : histogram.count) {
    // relaxed: as in record()
    word.store(word.load(std::memory_order_relaxed) / 2, std::memory_order_relaxed);
  }
}

std::uint64_t histogram_count(const Histogram& histogram) noexcept {
  return counts_of(histogram).total();
}

std::uint64_t histogram_quantile_ns(const Histogram& histogram, double quantile) noexcept {
  return counts_of(histogram).quantile_ns(quantile);
}

}  // namespace shm
}  // namespace sluice
