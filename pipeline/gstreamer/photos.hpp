// Photographs, decoded by GStreamer.
#pragma once

#include "pipeline/gstreamer/handles.hpp"
#include "sluice/result.hpp"

#include <string>
#include <vector>

namespace sluice::gst {

/// One decoded picture.
struct Photo {
  GstVideoInfo info{};
  BufferRef buffer;
};

/// The pictures in a folder by name (.jpg .jpeg .png .bmp .webp .tif .tiff .pnm .ppm .pgm), or the
/// one file that was named. The error says what is not there.
Result<std::vector<std::string>> list_photos(const std::string& path);

/// Decodes a file into the format and colours of `like`, in its own size. `untrusted` with a
/// sentence when it is no picture, or smaller than 16 x 16 or larger than 16384 pixels on a side.
Result<Photo> load_photo(const std::string& path, const GstVideoInfo& like);

}  // namespace sluice::gst
