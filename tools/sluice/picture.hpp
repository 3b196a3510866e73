// A frame as a picture file: JPEG, PPM, or the pixels as they are.
#pragma once

#include "sluice/frame.hpp"
#include "sluice/result.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace sluice::tools {

enum class PictureKind { jpeg, ppm, raw };

/// By the end of the name (.jpg .jpeg .ppm .raw), or nothing.
Result<PictureKind> picture_kind(const std::string& path);

/// The bytes of the file. YUV is taken as BT.601 of limited range, as cameras and decoders give it.
/// Compressed frames are passed on as they are, or decompressed where pixels are wanted. `raw`: the
/// planes one after the other, rows without padding.
Result<std::vector<std::byte>> encode_picture(const FrameView& frame, PictureKind kind,
                                              int quality = 90);

/// All of the bytes under that name, or what was there before: written beside it and renamed.
Result<void> write_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace sluice::tools
