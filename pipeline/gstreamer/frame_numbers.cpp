// A counter that goes back or leaps by more than kLeap has begun anew; that is no gap. Both happen
// when a driver is reset, and counters of 32 bits end.
#include "pipeline/gstreamer/frame_numbers.hpp"

namespace sluice::gst {

namespace {
constexpr std::uint64_t kLeap = 100'000;  // an hour at 30 frames/s
}  // namespace

std::uint64_t FrameNumbers::next(std::optional<std::uint64_t> counted) noexcept {
  std::uint64_t missing = 0;
  if (counted) {
    if (expected_ && *counted >= *expected_ && *counted - *expected_ <= kLeap) {
      missing = *counted - *expected_;
    }
    expected_ = *counted + 1;
  }
  gaps_ += missing;
  const std::uint64_t number = given_ + missing;
  given_ = number + 1;
  return number;
}

}  // namespace sluice::gst
