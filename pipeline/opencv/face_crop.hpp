// Faces as small pictures of one size.
#pragma once

#include "sluice/results.hpp"

#include <opencv2/core.hpp>
#include <optional>

namespace sluice::opencv {

/// A square of the picture around a face, for enrolment and recognition alike: `kCropSide` pixels
/// wide, of which the middle `kFaceSide` are the box, so that it can be shifted and scaled later.
inline constexpr int kFaceSide = 96;
inline constexpr int kCropSide = 144;

/// A square of a picture, in its pixels; it may reach over the border.
struct Square {
  cv::Point2f middle;
  float side = 0;
};

/// That square, `size` pixels wide; what lies outside repeats the border. Of the same type as
/// `picture`. Takes the square's own pixels only, so it is quick in a large picture.
cv::Mat cut_square(const cv::Mat& picture, Square square, int size);

/// The crop of a box; nothing when the box cannot be a face in this picture: narrower than 8
/// pixels, less than half of it inside, three times as long as wide. The box comes from another
/// process.
std::optional<cv::Mat> crop_face(const cv::Mat& picture, const Box& box);

}  // namespace sluice::opencv
