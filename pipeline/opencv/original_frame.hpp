// From a result back to the frame it is about.
#pragma once

#include "sluice/results.hpp"
#include "sluice/stage.hpp"

#include <cstdint>
#include <vector>

namespace sluice::opencv {

/// Resolves references to frames, and has patience with streams that are not attached yet: a result
/// may be quicker than the broker's answer about the camera. Thread-bound, blocks for a second at
/// most, and only once for each stream.
class OriginalFrames {
 public:
  struct Found {
    Sample sample;
    FrameView view;  ///< Of `sample`.
  };
  /// The frame, checked to be the one that the result names.
  Result<Found> find(Job& job, const FrameOf& frame);

 private:
  std::vector<std::uint64_t> waited_for_;  // stream ids
};

}  // namespace sluice::opencv
