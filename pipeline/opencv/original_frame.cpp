// The result holds its frame, so the reference resolves for as long as we hold the result. What a
// process says about a frame is input nevertheless: the frame that is found must carry the
// correlation id that the result names.
#include "pipeline/opencv/original_frame.hpp"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

namespace sluice::opencv {
namespace {

constexpr std::chrono::milliseconds kPatience{1'000};
constexpr std::chrono::milliseconds kPause{2};
constexpr std::size_t kMostStreams = 256;

}  // namespace

Result<OriginalFrames::Found> OriginalFrames::find(Job& job, const FrameOf& frame) {
  const auto refuse = [&](const std::string& why) {
    return Error{
        Errc::untrusted, 0,
        "frame " + std::to_string(frame.number) + " of camera '" + frame.camera + "' " + why};
  };
  Sample sample = job.resolve(frame.reference);
  const std::uint64_t stream = frame.reference.stream_id;
  if (sample.outcome() == Outcome::mismatch && !sample &&
      std::find(waited_for_.begin(), waited_for_.end(), stream) == waited_for_.end()) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!sample && sample.outcome() == Outcome::mismatch &&
           std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(kPause);
      sample = job.resolve(frame.reference);
    }
    if (waited_for_.size() == kMostStreams) waited_for_.erase(waited_for_.begin());
    waited_for_.push_back(stream);
  }
  if (!sample) {
    return refuse(std::string("cannot be reached: ") + to_string(sample.outcome()) +
                  (sample.outcome() == Outcome::mismatch
                       ? "; its stream is none of camera/+/frames that we may see"
                       : ""));
  }
  if (sample.info().correlation != frame.correlation) {
    return refuse("is not the one that its result names");
  }
  auto view = view_frame(sample);
  if (!view) return std::move(view).error();
  return Found{std::move(sample), *view};
}

}  // namespace sluice::opencv
