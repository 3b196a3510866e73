// One table; and the layout of the planes: what GstVideoInfo says, moved behind the frame's header.
// Chroma at half size needs even sides (view_frame refuses others), which the caps say by a range
// with a step: a converter upstream then chooses a format that has no such rule.
#include "pipeline/gstreamer/formats.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace sluice::gst {
namespace {

struct Names {
  PixelFormat format;
  GstVideoFormat gst;
  const char* name;
  std::array<const char*, 4> others;
};
constexpr std::array<Names, 7> kFormats{{
    {PixelFormat::nv12, GST_VIDEO_FORMAT_NV12, "NV12", {}},
    {PixelFormat::i420, GST_VIDEO_FORMAT_I420, "I420", {"YU12"}},
    {PixelFormat::yuyv, GST_VIDEO_FORMAT_YUY2, "YUYV", {"YUY2"}},
    {PixelFormat::bgr, GST_VIDEO_FORMAT_BGR, "BGR", {"BGR3", "RG24", "BGR888"}},
    {PixelFormat::rgb, GST_VIDEO_FORMAT_RGB, "RGB", {"RGB3", "BG24", "RGB888"}},
    {PixelFormat::grey, GST_VIDEO_FORMAT_GRAY8, "GREY", {"GRAY8", "GRAY", "R8", "Y800"}},
    {PixelFormat::mjpeg, GST_VIDEO_FORMAT_ENCODED, "MJPEG", {"MJPG", "JPEG"}},
}};

const Names& names_of(PixelFormat format) noexcept {
  const auto* found = std::find_if(kFormats.begin(), kFormats.end(),
                                   [&](const Names& names) { return names.format == format; });
  return found != kFormats.end() ? *found : kFormats.front();
}

bool same(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::toupper(x) == std::toupper(y);
  });
}

}  // namespace

GstVideoFormat gst_format(PixelFormat format) noexcept { return names_of(format).gst; }
const char* name_of(PixelFormat format) noexcept { return names_of(format).name; }

std::optional<PixelFormat> pixel_format(GstVideoFormat format) noexcept {
  for (const Names& names : kFormats) {
    if (names.gst == format) return names.format;
  }
  return std::nullopt;
}

std::optional<PixelFormat> parse_pixel_format(std::string_view name) {
  for (const Names& names : kFormats) {
    if (same(name, names.name)) return names.format;
    for (const char* other : names.others) {
      if (other != nullptr && same(name, other)) return names.format;
    }
  }
  return std::nullopt;
}

CapsRef native_caps() {
  return CapsRef{gst_caps_from_string(
      "video/x-raw, format = (string) { NV12, I420 }, width = (int) [ 2, 32768, 2 ], "
      "height = (int) [ 2, 32768, 2 ], framerate = (fraction) [ 0, max ]; "
      "video/x-raw, format = (string) YUY2, width = (int) [ 2, 32768, 2 ], "
      "height = (int) [ 1, 32768 ], framerate = (fraction) [ 0, max ]; "
      "video/x-raw, format = (string) { BGR, RGB, GRAY8 }, width = (int) [ 1, 32768 ], "
      "height = (int) [ 1, 32768 ], framerate = (fraction) [ 0, max ]; "
      "image/jpeg, width = (int) [ 1, 32768 ], height = (int) [ 1, 32768 ], "
      "framerate = (fraction) [ 0, max ]")};
}

CapsRef caps_for(std::optional<PixelFormat> format, std::uint32_t width, std::uint32_t height,
                 std::uint32_t rate) {
  const bool jpeg = format == PixelFormat::mjpeg;
  CapsRef caps{gst_caps_new_empty_simple(jpeg ? "image/jpeg" : "video/x-raw")};
  const auto set_int = [&](const char* key, std::uint32_t value) {
    if (value != 0)
      gst_caps_set_simple(caps.get(), key, G_TYPE_INT, static_cast<gint>(value), nullptr);
  };
  if (format && !jpeg) {
    gst_caps_set_simple(caps.get(), "format", G_TYPE_STRING,
                        gst_video_format_to_string(gst_format(*format)), nullptr);
  }
  set_int("width", width);
  set_int("height", height);
  if (rate != 0) {
    gst_caps_set_simple(caps.get(), "framerate", GST_TYPE_FRACTION, static_cast<gint>(rate), 1,
                        nullptr);
  }
  return caps;
}

std::optional<StreamFormat> stream_format(const GstCaps* caps) {
  static const CapsRef native = native_caps();
  if (caps == nullptr || !gst_caps_is_fixed(caps)) return std::nullopt;
  StreamFormat out;
  const GstStructure* structure = gst_caps_get_structure(caps, 0);
  if (gst_structure_has_name(structure, "image/jpeg")) {
    gint width = 0;
    gint height = 0;
    // Some sources of JPEG do not say the size; the picture does, but we do not read pictures.
    if (!gst_structure_get_int(structure, "width", &width) ||
        !gst_structure_get_int(structure, "height", &height)) {
      return std::nullopt;
    }
    gst_video_info_init(&out.info);
    out.info.finfo = gst_video_format_get_info(GST_VIDEO_FORMAT_ENCODED);
    out.info.width = width;
    out.info.height = height;
    gst_structure_get_fraction(structure, "framerate", &out.info.fps_n, &out.info.fps_d);
    out.format = PixelFormat::mjpeg;
  } else {
    if (!gst_structure_has_name(structure, "video/x-raw") ||
        !gst_video_info_from_caps(&out.info, caps)) {
      return std::nullopt;
    }
    const auto format = pixel_format(GST_VIDEO_INFO_FORMAT(&out.info));
    if (!format || *format == PixelFormat::mjpeg) return std::nullopt;
    out.format = *format;
  }
  if (!gst_caps_can_intersect(caps, native.get())) return std::nullopt;
  if (out.info.fps_n > 0 && out.info.fps_d > 0) {
    out.interval_ns = gst_util_uint64_scale(GST_SECOND, static_cast<guint64>(out.info.fps_d),
                                            static_cast<guint64>(out.info.fps_n));
  }
  return out;
}

FrameHeader header_for(const StreamFormat& format, std::uint64_t payload_bytes) noexcept {
  FrameHeader header;
  header.format = format.format;
  header.width = format.width();
  header.height = format.height();
  if (format.compressed()) {
    header.plane_count = 1;
    header.planes[0] = {kFrameHeaderBytes, 0, 0, payload_bytes};
    return header;
  }
  const GstVideoInfo& info = format.info;
  header.plane_count = GST_VIDEO_INFO_N_PLANES(&info);
  for (std::uint32_t i = 0; i < header.plane_count; ++i) {
    const auto stride = static_cast<std::uint32_t>(info.stride[i]);
    // Only chroma planes are lower than the picture, and only at half its height.
    const std::uint32_t rows = i == 0 ? header.height : header.height / 2;
    header.planes[i] = {kFrameHeaderBytes + info.offset[i], stride, rows,
                        std::uint64_t{stride} * rows};
  }
  return header;
}

}  // namespace sluice::gst
