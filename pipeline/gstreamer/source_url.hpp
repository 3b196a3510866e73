// Where frames come from, as a URL.
#pragma once

#include "sluice/result.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sluice::gst {

enum class SourceKind : std::uint8_t { v4l2, libcamera, rtsp, file, images, test };

/// How the window moves over the photographs of an images source.
struct PhotoMotion {
  bool pan = true;
  double seconds = 8;  ///< For each picture; the movement ends where it began.
  double scale = 1;    ///< Magnification: at 1 a pixel of the picture is one of the frame.
  double zoom = 1.25;  ///< The most that the window is magnified by beyond that, on its way.
  friend bool operator==(const PhotoMotion&, const PhotoMotion&) = default;
};

struct SourceUrl {
  SourceKind kind = SourceKind::test;
  /// v4l2: the device; libcamera: the camera's id or nothing; rtsp: the URL itself; file, images:
  /// a path; test: the pattern.
  std::string location{};
  PhotoMotion motion{};     ///< images
  std::string io = "auto";  ///< v4l2: mmap, userptr, dmabuf or auto.
  std::string text{};       ///< As it was given, for people; without a password.

  /// A camera may come back at any time; a file that has failed stays as it is.
  [[nodiscard]] bool comes_back() const noexcept {
    return kind == SourceKind::v4l2 || kind == SourceKind::libcamera || kind == SourceKind::rtsp;
  }
};

/// The error says what is wrong and what would be right.
Result<SourceUrl> parse_source_url(std::string_view text);

}  // namespace sluice::gst
