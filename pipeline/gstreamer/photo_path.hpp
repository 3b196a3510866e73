// Where the window on a photograph is, frame by frame.
#pragma once

#include "pipeline/gstreamer/source_url.hpp"

#include <cstdint>

namespace sluice::gst {

struct PhotoWindow {
  std::uint32_t x = 0, y = 0, width = 0, height = 0;  ///< Pixels of the picture; all even.
  friend bool operator==(const PhotoWindow&, const PhotoWindow&) = default;
};

/// Which of the pictures frame `number` shows, and how far its movement has come (0 to 1).
struct PhotoMoment {
  std::uint64_t picture = 0;
  double progress = 0;
};
PhotoMoment photo_moment(const PhotoMotion& motion, std::uint64_t number, double rate_hz,
                         std::uint64_t pictures) noexcept;

/// The part of a picture that fills a frame. A function of its arguments alone, so a stream can be
/// repeated. Always inside the picture, with the frame's proportions as far as pixels allow.
PhotoWindow photo_window(const PhotoMotion& motion, double progress, std::uint32_t picture_width,
                         std::uint32_t picture_height, std::uint32_t frame_width,
                         std::uint32_t frame_height) noexcept;

}  // namespace sluice::gst
