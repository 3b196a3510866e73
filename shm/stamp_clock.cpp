#include "shm/stamp_clock.hpp"

namespace sluice::shm {

void StampClock::synchronize(std::uint64_t ticks, std::uint64_t ns) noexcept {
  ticks_ = ticks;
  ns_ = ns;
  last_ = std::max(last_, ns);
  const std::uint64_t passed_ns = ns - from_ns_;
  if (passed_ns < kMeasureNs) return;
  const std::uint64_t passed_ticks = ticks - from_ticks_;
  from_ticks_ = ticks;
  from_ns_ = ns;
  // A measurement over a long pause says as much as one over a millisecond, but would overflow below.
  if (passed_ns >> kFraction != 0 || passed_ticks == 0) return;
  const std::uint64_t measured = (passed_ns << kFraction) / passed_ticks;
  const std::uint64_t differs =
      measured > ns_per_tick_ ? measured - ns_per_tick_ : ns_per_tick_ - measured;
  limit_ = measured != 0 && differs <= ns_per_tick_ / 256 ? (kExtrapolateNs << kFraction) / measured
                                                          : 0;
  ns_per_tick_ = measured;
}

}  // namespace sluice::shm
