// Frames as cv::Mat. The only public header that includes a third party, and header only: whoever
// uses it links OpenCV (core, imgproc, imgcodecs) beside sluice::pipeline.
//
// luma() and mat() look at the frame in its slot, without a copy. That memory is mapped read-only:
// cv::Mat has no const pixels, so writing to such a Mat compiles, and faults. It is valid for as
// long as the sample that the view was opened on. to_grey() and to_bgr() convert, which writes
// every pixel once more: a caller that counts copies counts these.
#pragma once

#include "sluice/frame.hpp"
#include "sluice/result.hpp"

#include <cstddef>
#include <cstdint>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <optional>
#include <string>

namespace sluice::opencv {

/// Whether frames of this format have their luma, or grey, in a plane of its own.
constexpr bool has_luma(PixelFormat format) noexcept {
  return format == PixelFormat::grey || format == PixelFormat::nv12 || format == PixelFormat::i420;
}

namespace detail {

// A plane in place. Strides, rows and sizes were checked by view_frame.
inline cv::Mat plane(const FrameView& view, std::uint32_t index, std::uint32_t width,
                     std::uint32_t height, int type) {
  return {static_cast<int>(height), static_cast<int>(width), type,
          const_cast<std::byte*>(view.plane(index)), view.header.planes[index].stride};
}

inline Error refuse(const FrameView& view, const std::string& why) {
  return {Errc::untrusted, 0, "frame " + std::to_string(view.header.number) + ": " + why};
}

/// What the picture's own header says about its size (ITU-T T.81, B.2.2): bytes that claim to be
/// 1280 x 720 must not make the decoder fill a gigabyte.
inline std::optional<cv::Size> jpeg_size(const std::byte* data, std::uint64_t size) {
  const auto at = [&](std::uint64_t i) { return std::to_integer<std::uint32_t>(data[i]); };
  if (size < 4 || at(0) != 0xff || at(1) != 0xd8) return std::nullopt;
  std::uint64_t i = 2;
  while (i + 9 <= size && at(i) == 0xff) {
    const std::uint32_t marker = at(i + 1);
    if (marker == 0xff) {  // fill byte
      ++i;
      continue;
    }
    const bool frame =
        marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) {
      return cv::Size(static_cast<int>(at(i + 7) << 8 | at(i + 8)),
                      static_cast<int>(at(i + 5) << 8 | at(i + 6)));
    }
    if (marker == 0xd9 || marker == 0xda) return std::nullopt;
    i += 2 + (at(i + 2) << 8 | at(i + 3));
  }
  return std::nullopt;
}

inline Result<void> decode_jpeg(const FrameView& view, int flags, cv::Mat& out) {
  const FrameHeader& h = view.header;
  const std::uint64_t bytes = h.planes[0].size;
  const cv::Size size(static_cast<int>(h.width), static_cast<int>(h.height));
  // Some kilobytes of JPEG can be gigabytes of pixels.
  constexpr std::uint64_t kMostPixels = std::uint64_t{1} << 26;
  if (std::uint64_t{h.width} * h.height > kMostPixels) {
    return refuse(view, "its JPEG picture has more than 8192 x 8192 pixels");
  }
  if (bytes > INT32_MAX || jpeg_size(view.plane(0), bytes) != size) {
    return refuse(view, "it is no JPEG picture of " + std::to_string(h.width) + " x " +
                            std::to_string(h.height) + " pixels, as its header says");
  }
  const cv::Mat packed(1, static_cast<int>(bytes), CV_8UC1, const_cast<std::byte*>(view.plane(0)));
  cv::imdecode(packed, flags | cv::IMREAD_IGNORE_ORIENTATION, &out);
  if (out.size() != size) return refuse(view, "its JPEG picture is corrupt");
  return {};
}

template <class Convert>
Result<void> guarded(const FrameView& view, Convert convert) {
  try {
    return convert();
  } catch (const std::exception& error) {  // cv::Exception, std::bad_alloc
    return refuse(view, std::string("it could not be converted: ") + error.what());
  }
}

}  // namespace detail

/// The luma plane of a GREY, NV12 or I420 frame in place; `unsupported` for other formats.
inline Result<cv::Mat> luma(const FrameView& view) {
  if (!has_luma(view.header.format)) {
    return Error{Errc::unsupported, 0,
                 "frames of this format have no luma plane; use sluice::opencv::to_grey"};
  }
  return detail::plane(view, 0, view.header.width, view.header.height, CV_8UC1);
}

/// The pixels of a GREY, BGR, RGB (CV_8UC3, in the order of the name) or YUYV (CV_8UC2) frame in
/// place; `unsupported` for other formats.
inline Result<cv::Mat> mat(const FrameView& view) {
  const FrameHeader& h = view.header;
  switch (h.format) {
    case PixelFormat::grey:
      return detail::plane(view, 0, h.width, h.height, CV_8UC1);
    case PixelFormat::bgr:
    case PixelFormat::rgb:
      return detail::plane(view, 0, h.width, h.height, CV_8UC3);
    case PixelFormat::yuyv:
      return detail::plane(view, 0, h.width, h.height, CV_8UC2);
    case PixelFormat::nv12:
    case PixelFormat::i420:
    case PixelFormat::mjpeg:
      break;
  }
  return Error{Errc::unsupported, 0,
               "frames of this format are not one cv::Mat; use sluice::opencv::to_bgr"};
}

/// Grey pixels of a frame of any format, converted into `out` (its memory is used again when size
/// and type fit). For formats with luma this is a plain copy: luma() needs none.
inline Result<void> to_grey(const FrameView& view, cv::Mat& out) {
  return detail::guarded(view, [&]() -> Result<void> {
    const FrameHeader& h = view.header;
    switch (h.format) {
      case PixelFormat::grey:
      case PixelFormat::nv12:
      case PixelFormat::i420:
        detail::plane(view, 0, h.width, h.height, CV_8UC1).copyTo(out);
        return {};
      case PixelFormat::bgr:
        cv::cvtColor(*mat(view), out, cv::COLOR_BGR2GRAY);
        return {};
      case PixelFormat::rgb:
        cv::cvtColor(*mat(view), out, cv::COLOR_RGB2GRAY);
        return {};
      case PixelFormat::yuyv:
        cv::extractChannel(*mat(view), out, 0);
        return {};
      case PixelFormat::mjpeg:
        return detail::decode_jpeg(view, cv::IMREAD_GRAYSCALE, out);
    }
    return detail::refuse(view, "its format is not known");
  });
}

/// BGR pixels of a frame of any format, converted into `out` (its memory is used again when size
/// and type fit, so it may be a slot's).
inline Result<void> to_bgr(const FrameView& view, cv::Mat& out) {
  return detail::guarded(view, [&]() -> Result<void> {
    const FrameHeader& h = view.header;
    const auto luma_plane = [&] { return detail::plane(view, 0, h.width, h.height, CV_8UC1); };
    switch (h.format) {
      case PixelFormat::grey:
        cv::cvtColor(luma_plane(), out, cv::COLOR_GRAY2BGR);
        return {};
      case PixelFormat::bgr:
        mat(view)->copyTo(out);
        return {};
      case PixelFormat::rgb:
        cv::cvtColor(*mat(view), out, cv::COLOR_RGB2BGR);
        return {};
      case PixelFormat::yuyv:
        cv::cvtColor(*mat(view), out, cv::COLOR_YUV2BGR_YUY2);
        return {};
      case PixelFormat::nv12:
        cv::cvtColorTwoPlane(luma_plane(),
                             detail::plane(view, 1, h.width / 2, h.height / 2, CV_8UC2), out,
                             cv::COLOR_YUV2BGR_NV12);
        return {};
      case PixelFormat::i420: {
        // OpenCV wants the three planes without gaps, which nobody promises; interleaved chroma
        // may lie anywhere.
        cv::Mat chroma;
        const cv::Mat planes[] = {detail::plane(view, 1, h.width / 2, h.height / 2, CV_8UC1),
                                  detail::plane(view, 2, h.width / 2, h.height / 2, CV_8UC1)};
        cv::merge(planes, 2, chroma);
        cv::cvtColorTwoPlane(luma_plane(), chroma, out, cv::COLOR_YUV2BGR_NV12);
        return {};
      }
      case PixelFormat::mjpeg:
        return detail::decode_jpeg(view, cv::IMREAD_COLOR, out);
    }
    return detail::refuse(view, "its format is not known");
  });
}

}  // namespace sluice::opencv
