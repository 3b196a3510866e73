// Recognition as a stage: detect/<detector>/objects to recognize/<name>/identities.
#pragma once

#include "pipeline/opencv/original_frame.hpp"
#include "pipeline/opencv/recognizer.hpp"
#include "sluice/stage.hpp"

#include <memory>
#include <string>
#include <vector>

namespace sluice::opencv {

struct RecognizeOptions {
  std::string name{};  ///< Of the recognizer.
  std::vector<std::string> detectors{};
  std::string node{};  ///< Empty: recognize-<name>.
};

StageOptions recognize_stage(const RecognizeOptions& options);

/// The handler. Looks at the faces in the original frame, in place, and publishes a message for
/// every one that comes, with that frame attached.
class RecognizeHandler {
 public:
  explicit RecognizeHandler(std::shared_ptr<Recognizer> recognizer)
      : recognizer_(std::move(recognizer)) {}
  Result<void> operator()(Job& job);

 private:
  std::shared_ptr<Recognizer> recognizer_;
  OriginalFrames frames_;
};

}  // namespace sluice::opencv
