// Thousands of random schedules. SLUICE_SEED=n runs just that one again; SLUICE_SCHEDULES=n so
// many, from a random seed on.
#include "tests/conformance/schedule.hpp"
#include "tests/support/sanitized.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

namespace sluice::test {
namespace {

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

void run(std::uint64_t first, std::uint64_t count, ScheduleStatistics& statistics) {
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const std::string trouble = run_schedule(seed, statistics);
    ASSERT_EQ(trouble, "") << "again: SLUICE_SEED=" << seed;
  }
}

TEST(RandomSchedules, AddUp) {
  ScheduleStatistics s;
  if (std::getenv("SLUICE_SEED") != nullptr) {
    run(number_from("SLUICE_SEED", 0), 1, s);
    return;
  }
  const std::uint64_t thousands = kSanitized ? 1 : 3;
  run(1, thousands * 1000, s);
  if (HasFatalFailure()) return;
  // Together they get everywhere.
  EXPECT_GT(s.taken, 10'000 * thousands / 3);
  EXPECT_GT(s.lost_by_policy, 1000 * thousands / 3);
  EXPECT_GT(s.lost_by_full, 1000 * thousands / 3);
  EXPECT_GT(s.lost_by_eviction, 100 * thousands / 3);
  EXPECT_GT(s.full, 1000 * thousands / 3);
  EXPECT_GT(s.no_slot, 100 * thousands / 3);
  EXPECT_GT(s.refused, 100 * thousands / 3);
  EXPECT_GT(s.resolved, 1000 * thousands / 3);
  EXPECT_GT(s.expired, 100 * thousands / 3);
  EXPECT_GT(s.chained, 500 * thousands / 3);
  EXPECT_GT(s.all_loaned, 100 * thousands / 3);
}

TEST(RandomSchedules, AddUpFromARandomSeedOn) {
  const std::uint64_t first = std::random_device{}() * std::uint64_t{1000} + 1'000'000;
  std::printf("seeds from %llu on\n", static_cast<unsigned long long>(first));
  ScheduleStatistics s;
  run(first, number_from("SLUICE_SCHEDULES", kSanitized ? 300 : 1000), s);
}

}  // namespace
}  // namespace sluice::test
