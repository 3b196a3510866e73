// Latencies with an error below 0.4 %, in memory of a fixed size that lies in a shared page.
//
// Values up to 511 ns have a bucket each; above, every power of two is cut into 256 equal buckets.
// A value beyond 2^41 ns (36 minutes) falls into the last one. One thread records; others read when
// it has finished.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace sluice::bench {

class Histogram {
 public:
  void record(std::uint64_t ns) noexcept {
    ++counts_[bucket_of(ns)];
    ++count_;
    max_ns_ = std::max(max_ns_, ns);
  }

  void add(const Histogram& other) noexcept;

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t max_ns() const noexcept { return max_ns_; }

  /// The smallest value that at least `fraction` (0 to 1) of the recorded ones do not exceed, as
  /// the middle of its bucket. 0 when nothing was recorded.
  double quantile_ns(double fraction) const noexcept;

  static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < 2 * kPerPower) return static_cast<std::size_t>(ns);
    const auto shift = static_cast<std::size_t>(std::bit_width(ns)) - kPowerBits - 1;
    return std::min(shift * kPerPower + static_cast<std::size_t>(ns >> shift), kBuckets - 1);
  }
  static constexpr double middle_of(std::size_t bucket) noexcept {
    if (bucket < 2 * kPerPower) return static_cast<double>(bucket);
    const std::size_t shift = bucket / kPerPower - 1;
    const std::uint64_t floor = std::uint64_t{bucket - shift * kPerPower} << shift;
    return static_cast<double>(floor) + static_cast<double>((std::uint64_t{1} << shift) - 1) / 2;
  }

 private:
  static constexpr std::size_t kPowerBits = 8;
  static constexpr std::size_t kPerPower = std::size_t{1} << kPowerBits;
  static constexpr std::size_t kBuckets = (41 - kPowerBits + 1) * kPerPower;

  std::uint64_t count_ = 0;
  std::uint64_t max_ns_ = 0;
  std::array<std::uint32_t, kBuckets> counts_{};
};

static_assert(Histogram::bucket_of(511) == 511 && Histogram::bucket_of(512) == 512);
static_assert(Histogram::bucket_of(513) == 512 && Histogram::bucket_of(1023) == 767);
static_assert(Histogram::bucket_of(1024) == 768 && Histogram::middle_of(768) == 1025.5);

}  // namespace sluice::bench
