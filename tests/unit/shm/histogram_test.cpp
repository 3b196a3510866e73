#include "shm/histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

namespace sluice::shm {
namespace {

constexpr std::uint64_t kTop = std::uint64_t{1} << 37;  // where the last whole power of two begins

TEST(Histograms, HaveBucketsWithRisingBounds) {
  EXPECT_EQ(histogram_floor_ns(0), 0u);
  EXPECT_EQ(histogram_floor_ns(1), 64u);
  for (std::size_t i = 1; i < kHistogramBuckets; ++i) {
    EXPECT_GT(histogram_floor_ns(i), histogram_floor_ns(i - 1)) << i;
  }
}

TEST(Histograms, PutEveryValueBetweenTheBoundsOfItsBucket) {
  for (std::size_t i = 0; i < kHistogramBuckets; ++i) {
    EXPECT_EQ(histogram_bucket(histogram_floor_ns(i)), i);
    if (i > 0) {
      EXPECT_EQ(histogram_bucket(histogram_floor_ns(i) - 1), i - 1);
    }
  }
  EXPECT_EQ(histogram_bucket(UINT64_MAX), kHistogramBuckets - 1);
  EXPECT_EQ(histogram_bucket(63), 0u);
}

TEST(Histograms, CountWhatWasRecorded) {
  const auto histogram = std::make_unique<Histogram>();
  EXPECT_EQ(histogram_count(*histogram), 0u);
  EXPECT_EQ(histogram_quantile_ns(*histogram, 0.5), 0u);
  for (std::uint64_t i = 0; i < 1000; ++i) record(*histogram, i * i);
  EXPECT_EQ(histogram_count(*histogram), 1000u);
}

TEST(Histograms, KeepTheirProportionsWhenABucketIsFull) {
  const auto histogram = std::make_unique<Histogram>();
  histogram->count[histogram_bucket(100)] = kHistogramFull;
  histogram->count[histogram_bucket(5000)] = 1000;
  record(*histogram, 100);
  EXPECT_EQ(histogram->count[histogram_bucket(100)], (kHistogramFull + 1) / 2);
  EXPECT_EQ(histogram->count[histogram_bucket(5000)], 500u);
}

TEST(Histograms, CountNoMoreInAFullBucketThatThreadsShare) {
  const auto histogram = std::make_unique<Histogram>();
  histogram->count[histogram_bucket(100)] = kHistogramFull - 1;
  for (int i = 0; i < 3; ++i) record_shared(*histogram, 100);
  EXPECT_EQ(histogram->count[histogram_bucket(100)], kHistogramFull);
}

TEST(Histograms, TellWhatCameBetweenTwoMoments) {
  const auto histogram = std::make_unique<Histogram>();
  record(*histogram, 100);
  const DurationCounts before = counts_of(*histogram);
  record(*histogram, 1'000'000);
  record(*histogram, 1'000'000);
  const DurationCounts between = counts_of(*histogram).since(before);
  EXPECT_EQ(between.total(), 2u);
  EXPECT_NEAR(static_cast<double>(between.quantile_ns(0)), 1e6, 0.125e6);
  EXPECT_EQ(before.since(counts_of(*histogram)).total(), 0u) << "a counter that went back";
}

TEST(Histograms, AnswerAQuantileWithinAnEighth) {
  std::mt19937_64 random{42};
  for (int round = 0; round < 20; ++round) {
    const auto histogram = std::make_unique<Histogram>();
    std::lognormal_distribution<double> value(8.0 + round * 0.7, 1.5);
    std::vector<std::uint64_t> values;
    for (int i = 0; i < 5000; ++i) {
      const double v = std::clamp(value(random), 64.0, static_cast<double>(kTop - 1));
      values.push_back(static_cast<std::uint64_t>(v));
      record(*histogram, values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double q : {0.0, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const auto exact =
          static_cast<double>(values[static_cast<std::size_t>(q * static_cast<double>(4999))]);
      const auto answer = static_cast<double>(histogram_quantile_ns(*histogram, q));
      EXPECT_LE(std::abs(answer - exact), 0.125 * exact) << "quantile " << q;
    }
  }
}

}  // namespace
}  // namespace sluice::shm
