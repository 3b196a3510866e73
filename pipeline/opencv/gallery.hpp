// The faces that are known: what enrolment makes and a recognizer starts from.
#pragma once

#include "sluice/result.hpp"

#include <opencv2/core.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::opencv {

struct EnrolledFace {
  std::string name;
  cv::Mat crop;  ///< As crop_face makes it: kCropSide wide, CV_8UC1 or CV_8UC3.
};

/// A value. As a file: the names and crops themselves, from which each model makes its features, so
/// that one file serves all models and outlives a change of theirs.
struct Gallery {
  std::vector<EnrolledFace> faces;

  /// Each name once, in the order of their first faces.
  [[nodiscard]] std::vector<std::string> names() const;

  [[nodiscard]] Result<void> save(const std::string& path) const;
  /// The error says what is wrong with the file: not a gallery, cut off, or corrupt.
  static Result<Gallery> load(const std::string& path);
};

/// What is wrong with a name: nothing (empty), or the end of a sentence about it. Names are shown
/// on terminals and carried in messages: 1 to 255 bytes of UTF-8 without control characters.
std::string fault_of_name(std::string_view name);

}  // namespace sluice::opencv
