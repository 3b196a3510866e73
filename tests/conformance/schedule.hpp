// A random schedule: one stream with random options, and every operation of publisher and readers
// in random order, in one thread. A model beside it knows what must have happened.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::test {

/// What a schedule did, to see that the schedules together reach everything.
struct ScheduleStatistics {
  std::uint64_t published = 0;
  std::uint64_t taken = 0;
  std::uint64_t lost_by_policy = 0;
  std::uint64_t lost_by_full = 0;
  std::uint64_t lost_by_eviction = 0;
  std::uint64_t full = 0;
  std::uint64_t no_slot = 0;
  std::uint64_t refused = 0;
  std::uint64_t resolved = 0;
  std::uint64_t expired = 0;
  std::uint64_t chained = 0;
  std::uint64_t all_loaned = 0;  ///< Schedules after which every slot was loaned at once.
};

/// Runs the schedule of this seed; empty, or what went wrong first.
std::string run_schedule(std::uint64_t seed, ScheduleStatistics& statistics);

}  // namespace sluice::test
