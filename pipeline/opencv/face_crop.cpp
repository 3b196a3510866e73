// Boxes come from detectors, cameras and files at any size. Whatever is reduced is averaged over
// the area (aliasing would look like texture to what follows), whatever is enlarged interpolated.
#include "pipeline/opencv/face_crop.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace sluice::opencv {

cv::Mat cut_square(const cv::Mat& picture, Square square, int size) {
  constexpr int kRim = 2;  // interpolation looks at the neighbours
  const float half = square.side / 2;
  const cv::Rect wanted(cvFloor(square.middle.x - half) - kRim,
                        cvFloor(square.middle.y - half) - kRim, cvCeil(square.side) + 2 * kRim,
                        cvCeil(square.side) + 2 * kRim);
  const cv::Rect inside = wanted & cv::Rect({}, picture.size());
  CV_Assert(!inside.empty());
  cv::Mat part;
  cv::copyMakeBorder(picture(inside), part, inside.y - wanted.y, wanted.br().y - inside.br().y,
                     inside.x - wanted.x, wanted.br().x - inside.br().x, cv::BORDER_REPLICATE);
  cv::Point2f middle = square.middle - cv::Point2f(wanted.tl());
  float factor = static_cast<float>(size) / square.side;
  if (factor < 0.75F) {
    cv::Mat smaller;
    cv::resize(part, smaller, {}, factor, factor, cv::INTER_AREA);
    middle = {middle.x * static_cast<float>(smaller.cols) / static_cast<float>(part.cols),
              middle.y * static_cast<float>(smaller.rows) / static_cast<float>(part.rows)};
    part = smaller;
    factor = 1;
  }
  const auto centre = static_cast<float>(size) / 2;
  const cv::Mat map = (cv::Mat_<float>(2, 3) << factor, 0, centre - factor * middle.x, 0, factor,
                       centre - factor * middle.y);
  cv::Mat out;
  cv::warpAffine(part, out, map, cv::Size(size, size), cv::INTER_LINEAR, cv::BORDER_REPLICATE);
  return out;
}

std::optional<cv::Mat> crop_face(const cv::Mat& picture, const Box& box) {
  constexpr float kNarrowest = 8;
  constexpr float kLongest = 3;  // the longer side to the shorter one
  const auto largest = static_cast<float>(std::max(picture.cols, picture.rows));
  // Written so that a number that is none fails, too.
  const bool sane = box.width >= kNarrowest && box.height >= kNarrowest && box.width <= largest &&
                    box.height <= largest && std::abs(box.x) <= largest &&
                    std::abs(box.y) <= largest && box.width <= kLongest * box.height &&
                    box.height <= kLongest * box.width;
  if (!sane) return std::nullopt;
  const cv::Rect2f whole(box.x, box.y, box.width, box.height);
  const cv::Rect2f inside =
      whole & cv::Rect2f(0, 0, static_cast<float>(picture.cols), static_cast<float>(picture.rows));
  if (inside.area() < whole.area() / 2) return std::nullopt;
  const float side = std::max(box.width, box.height) * kCropSide / kFaceSide;
  return cut_square(picture, {(whole.tl() + whole.br()) / 2, side}, kCropSide);
}

}  // namespace sluice::opencv
