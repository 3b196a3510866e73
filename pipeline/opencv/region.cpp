// Regions are written by people, before they know the size of the frames: fractions suit every
// camera, pixels one. Numbers that are all at most 1 cannot be meant as pixels.
#include "pipeline/opencv/region.hpp"

#include "transport/quote.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

namespace sluice::opencv {

Result<cv::Rect> Region::in(cv::Size frame) const {
  const bool fractions = x <= 1 && y <= 1 && width <= 1 && height <= 1;
  const float kx = fractions ? static_cast<float>(frame.width) : 1;
  const float ky = fractions ? static_cast<float>(frame.height) : 1;
  // Clamped before they become integers, which have an end.
  const auto pixel = [](float value, int limit) {
    return cvRound(std::clamp(value, 0.0F, static_cast<float>(limit)));
  };
  const cv::Point from(pixel(x * kx, frame.width), pixel(y * ky, frame.height));
  const cv::Point to(pixel((x + width) * kx, frame.width), pixel((y + height) * ky, frame.height));
  if (to.x <= from.x || to.y <= from.y) {
    return Error{Errc::invalid_argument, 0,
                 "the region of interest lies outside of the frame of " +
                     std::to_string(frame.width) + " x " + std::to_string(frame.height) +
                     " pixels; correct --roi"};
  }
  return cv::Rect(from, to);
}

Result<Region> parse_region(std::string_view text) {
  const Error wrong{Errc::invalid_argument, 0,
                    "a region is X,Y,WIDTH,HEIGHT in pixels, or in fractions from 0 to 1 as "
                    "0.25,0,0.5,1; this is not one: " +
                        transport::quoted(text)};
  std::array<float, 4> numbers{};
  std::size_t count = 0;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (; count < numbers.size(); ++count) {
    if (count != 0 && (at == end || *at++ != ',')) return wrong;
    const auto [next, code] = std::from_chars(at, end, numbers[count]);
    if (code != std::errc{} || !std::isfinite(numbers[count]) || numbers[count] < 0) return wrong;
    at = next;
  }
  if (at != end || numbers[2] <= 0 || numbers[3] <= 0) return wrong;
  return Region{numbers[0], numbers[1], numbers[2], numbers[3]};
}

}  // namespace sluice::opencv
