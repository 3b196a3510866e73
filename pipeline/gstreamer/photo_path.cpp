// The window goes down the picture and up again once while it goes from side to side three times,
// so that of a picture that is up to twice as high as the window nearly every part is in view for a
// while, on one of the ways; meanwhile it closes in and opens again. All of it is made of sines,
// and one turn leads into the next.
#include "pipeline/gstreamer/photo_path.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace sluice::gst {
namespace {

// 0, 1, 0 for progress 0, 1/2, 1; `times` in one turn.
double swing(double progress, double times) {
  return (1.0 - std::cos(2.0 * std::numbers::pi * times * progress)) / 2.0;
}

// 1/2, 1, 0, 1/2: the same, but begun in the middle, so that the sides are reached at other heights
// than the turning points.
double sway(double progress, double times) {
  return (1.0 + std::sin(2.0 * std::numbers::pi * times * progress)) / 2.0;
}

// Chroma at half size: windows begin and end on even pixels.
std::uint32_t even(double value, std::uint32_t most) {
  const auto whole = static_cast<std::uint32_t>(std::max(value, 0.0));
  return std::min(whole & ~1u, most & ~1u);
}

}  // namespace

PhotoMoment photo_moment(const PhotoMotion& motion, std::uint64_t number, double rate_hz,
                         std::uint64_t pictures) noexcept {
  const auto frames = std::max<std::uint64_t>(
      static_cast<std::uint64_t>(std::llround(motion.seconds * rate_hz)), 1);
  return {number / frames % std::max<std::uint64_t>(pictures, 1),
          static_cast<double>(number % frames) / static_cast<double>(frames)};
}

PhotoWindow photo_window(const PhotoMotion& motion, double progress, std::uint32_t picture_width,
                         std::uint32_t picture_height, std::uint32_t frame_width,
                         std::uint32_t frame_height) noexcept {
  const double zoom = motion.pan ? 1.0 + (motion.zoom - 1.0) * swing(progress, 1) : 1.0;
  double width = frame_width / (motion.scale * zoom);
  double height = frame_height / (motion.scale * zoom);
  // A picture smaller than the window fills the frame all the same.
  const double fit = std::min({1.0, picture_width / width, picture_height / height});
  width *= fit;
  height *= fit;
  PhotoWindow window;
  window.width = std::max(even(std::round(width), picture_width), 2u);
  window.height = std::max(even(std::round(height), picture_height), 2u);
  const double free_x = picture_width - window.width;
  const double free_y = picture_height - window.height;
  window.x = even(free_x * (motion.pan ? sway(progress, 3) : 0.5), picture_width - window.width);
  window.y = even(free_y * (motion.pan ? swing(progress, 1) : 0.5), picture_height - window.height);
  return window;
}

}  // namespace sluice::gst
