// A camera made of photographs.
#pragma once

#include "pipeline/gstreamer/source_url.hpp"

#include <gst/gst.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::gst {

struct PhotoSourceOptions {
  std::vector<std::string> files;  ///< list_photos()
  PhotoMotion motion{};
  bool live = true;  ///< At the pace of the clock; otherwise as fast as frames are taken.
  /// A picture that cannot be used is left out; called from GStreamer's threads.
  std::function<void(const std::string&)> on_unusable{};
};

/// A GstPushSrc: shows each picture through a window that moves over it (photo_path.hpp), for ever,
/// in any size, rate and format that it is asked for. Each picture is decoded once, or again when
/// all of them are too many to be kept.
GstElement* new_photo_source(PhotoSourceOptions options);

}  // namespace sluice::gst
