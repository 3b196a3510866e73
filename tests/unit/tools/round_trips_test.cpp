#include "tools/sluice/round_trips.hpp"

#include <gtest/gtest.h>

namespace sluice::tools {
namespace {

TEST(RoundTrips, GivesQuantilesByNearestRank) {
  RoundTrips trips;
  for (std::uint64_t i = 100; i >= 1; --i) trips.add(i * 1'000, true);
  const nlohmann::json all = trips.json();
  EXPECT_EQ(all["calls"], 100);
  EXPECT_EQ(all["failed"], 0);
  EXPECT_EQ(all["min_us"], 1.0);
  EXPECT_EQ(all["p50_us"], 50.0);
  EXPECT_EQ(all["p99_us"], 99.0);
  EXPECT_EQ(all["max_us"], 100.0);
  EXPECT_EQ(trips.text(), "100 calls, 0 failed   min 1.0µs  p50 50µs  p99 99µs  max 100µs");
}

TEST(RoundTrips, CountsFailuresWithoutTheirTimes) {
  RoundTrips trips;
  trips.add(5'000'000'000, false);
  EXPECT_EQ(trips.text(), "1 call, 1 failed");
  EXPECT_TRUE(trips.json()["p50_us"].is_null());
  trips.add(2'000, true);
  EXPECT_EQ(trips.json()["max_us"], 2.0);
  EXPECT_EQ(trips.failed(), 1u);
}

}  // namespace
}  // namespace sluice::tools
