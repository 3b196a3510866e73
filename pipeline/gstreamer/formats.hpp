// GStreamer's formats and ours.
#pragma once

#include "pipeline/gstreamer/handles.hpp"
#include "sluice/frame.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::gst {

/// Formats that travel as they are; all others are converted.
inline constexpr PixelFormat kNativeFormats[] = {
    PixelFormat::nv12, PixelFormat::i420, PixelFormat::yuyv, PixelFormat::bgr,
    PixelFormat::rgb,  PixelFormat::grey, PixelFormat::mjpeg};

/// GST_VIDEO_FORMAT_ENCODED for mjpeg.
GstVideoFormat gst_format(PixelFormat format) noexcept;
std::optional<PixelFormat> pixel_format(GstVideoFormat format) noexcept;

/// "NV12", "I420", "YUYV", "BGR", "RGB", "GREY", "MJPEG".
const char* name_of(PixelFormat format) noexcept;
/// The inverse, in any case, and the names that GStreamer, V4L2 and DRM have for the same.
std::optional<PixelFormat> parse_pixel_format(std::string_view name);

/// What is known of a stream from its caps.
struct StreamFormat {
  PixelFormat format = PixelFormat::nv12;
  GstVideoInfo info{};            ///< Of mjpeg: size and rate only.
  std::uint64_t interval_ns = 0;  ///< Between frames; 0: not said.

  [[nodiscard]] std::uint32_t width() const noexcept {
    return static_cast<std::uint32_t>(GST_VIDEO_INFO_WIDTH(&info));
  }
  [[nodiscard]] std::uint32_t height() const noexcept {
    return static_cast<std::uint32_t>(GST_VIDEO_INFO_HEIGHT(&info));
  }
  [[nodiscard]] bool compressed() const noexcept { return format == PixelFormat::mjpeg; }
  /// Bytes of the planes as GStreamer lays them out; 0 for mjpeg.
  [[nodiscard]] std::uint64_t payload_bytes() const noexcept {
    return compressed() ? 0 : GST_VIDEO_INFO_SIZE(&info);
  }
};

/// Bytes in front of the planes.
inline constexpr std::uint64_t kFrameHeaderBytes = sizeof(FrameHeader);

/// What the sink takes: sizes that view_frame() accepts, in ordinary memory.
CapsRef native_caps();
/// Caps for one format; zero: any.
CapsRef caps_for(std::optional<PixelFormat> format, std::uint32_t width, std::uint32_t height,
                 std::uint32_t rate);
/// Nothing for caps that native_caps() does not contain.
std::optional<StreamFormat> stream_format(const GstCaps* caps);

/// Format, size and planes filled in, with GStreamer's strides and offsets behind the header.
/// `payload_bytes`: of mjpeg, the picture's.
FrameHeader header_for(const StreamFormat& format, std::uint64_t payload_bytes) noexcept;

}  // namespace sluice::gst
