// Detection as a stage: camera/<camera>/frames to detect/<name>/objects.
#pragma once

#include "pipeline/opencv/detector.hpp"
#include "sluice/results.hpp"
#include "sluice/stage.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace sluice::opencv {

/// Streams of results are shallow, since every message in them holds a frame of the camera:
/// kResultDepth wait at most, and all subscribers together hold kResultHeld.
inline constexpr std::uint32_t kResultDepth = 4;
inline constexpr std::uint32_t kResultHeld = 8;
/// Frames that a stage needs who attaches one to each of its results: those, the one it is about,
/// and one in each of its loans. This is what it asks of the camera in max_held.
inline constexpr std::uint32_t kFramesHeld = kResultDepth + kResultHeld + 3;
/// Objects in one message; the surest are kept.
inline constexpr std::uint32_t kMaxObjects = 64;

/// results_stream with these limits.
StreamOptions result_stream(std::string_view type_name);

struct DetectOptions {
  std::string name{};    ///< Of the detector.
  std::string camera{};  ///< Whose frames.
  std::string node{};    ///< Empty: detect-<name>.
  DeliveryMode mode = DeliveryMode::latest;
  std::string group{};        ///< Not empty: one of several workers who share the frames.
  std::uint32_t credits = 1;  ///< Of a worker.
  /// Every how-manieth frame. By frame numbers, so that workers of a group agree on them; in mode
  /// latest the first frame that is so far from the last one.
  std::uint64_t every = 1;
};

StageOptions detect_stage(const DetectOptions& options);

/// The handler. Publishes a message for every frame that is looked at, also where nothing was
/// found.
class DetectHandler {
 public:
  DetectHandler(const DetectOptions& options, std::shared_ptr<Detector> detector)
      : by_number_(!options.group.empty() || options.mode != DeliveryMode::latest),
        every_(options.every),
        detector_(std::move(detector)) {}
  Result<void> operator()(Job& job);

 private:
  bool due(std::uint64_t number);
  bool by_number_;
  std::uint64_t every_;
  std::uint64_t last_ = 0;
  bool first_ = true;
  std::shared_ptr<Detector> detector_;
};

}  // namespace sluice::opencv
