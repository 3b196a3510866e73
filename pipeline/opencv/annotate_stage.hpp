// Pictures for people as a stage: recognize/<recognizer>/identities to annotate/<name>/frames.
#pragma once

#include "pipeline/opencv/original_frame.hpp"
#include "sluice/stage.hpp"

#include <cstdint>
#include <functional>
#include <opencv2/core.hpp>
#include <string>

namespace sluice::opencv {

struct AnnotateOptions {
  std::string name{};        ///< Of the annotator.
  std::string camera{};      ///< Frames of other cameras are passed over.
  std::string recognizer{};  ///< Whose identities.
  std::string node{};        ///< Empty: annotate-<name>.
  /// Not empty: a JPEG file that is replaced by each frame with more known people than before.
  std::string picture{};
};

StageOptions annotate_stage(const AnnotateOptions& options);

/// The handler. Draws boxes and names on a BGR copy of the frame, which is counted as one, and
/// publishes it as a camera would.
class AnnotateHandler {
 public:
  /// `output` gives the stage's output, to let it grow when a camera has larger frames than before.
  AnnotateHandler(AnnotateOptions options, std::function<Publisher*()> output)
      : options_(std::move(options)), output_(std::move(output)) {}
  Result<void> operator()(Job& job);

 private:
  Loan loan(Job& job, std::uint64_t bytes);
  Result<void> save_if_best(const cv::Mat& picture, const Identities& identities);
  AnnotateOptions options_;
  std::function<Publisher*()> output_;
  OriginalFrames frames_;
  std::size_t most_people_ = 0;
  bool saved_ = false;
  std::uint64_t copies_ = 0;
  std::uint64_t largest_ = frame_bytes(PixelFormat::bgr, 1280, 720);  // that there are slots for
};

}  // namespace sluice::opencv
