// The part of a frame in which a detector looks.
#pragma once

#include "sluice/result.hpp"

#include <opencv2/core.hpp>
#include <string_view>

namespace sluice::opencv {

/// In pixels, or in fractions of the frame's sides when none of the four is above 1.
struct Region {
  float x = 0, y = 0, width = 1, height = 1;

  /// Pixels of a frame of this size, cut off at its borders; an error when nothing is left.
  [[nodiscard]] Result<cv::Rect> in(cv::Size frame) const;
};

/// "X,Y,WIDTH,HEIGHT"; the error says what is wrong with it.
Result<Region> parse_region(std::string_view text);

}  // namespace sluice::opencv
