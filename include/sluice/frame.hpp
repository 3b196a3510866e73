// Camera frames: a fixed header at the start of a slot, then up to four planes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "sluice/export.hpp"
#include "sluice/loan.hpp"
#include "sluice/result.hpp"
#include "sluice/sample.hpp"

namespace sluice {

/// Pixel formats by their DRM FourCC (linux drm_fourcc.h), the name that V4L2, GStreamer and
/// libcamera all map to.
enum class PixelFormat : std::uint32_t {
  grey = 0x2020'3852,  ///< "R8  ": one plane, 8-bit luma
  nv12 = 0x3231'564e,  ///< "NV12": luma, interleaved chroma at half size
  i420 = 0x3231'5559,  ///< "YU12": luma, U and V at half size
  yuyv = 0x5659'5559,  ///< "YUYV": packed 4:2:2
  bgr = 0x3432'4752,   ///< "RG24": bytes B, G, R in memory
  rgb = 0x3432'4742,   ///< "BG24": bytes R, G, B in memory
  mjpeg = 0x4745'504a,  ///< "JPEG": one compressed plane (V4L2's code; DRM has none)
};

struct PlaneLayout {
  std::uint64_t offset = 0;  ///< From the start of the slot.
  std::uint32_t stride = 0;  ///< Bytes from one row to the next; 0 for compressed data.
  std::uint32_t rows = 0;
  std::uint64_t size = 0;  ///< Bytes of the plane.
};

/// The first bytes of every frame's slot. Part of the shared layout: fixed-width, little-endian,
/// no padding.
struct FrameHeader {
  static constexpr std::uint32_t kMagic = 0x314d'5246;  // "FRM1"
  std::uint32_t magic = kMagic;
  std::uint32_t header_bytes = sizeof(FrameHeader);
  PixelFormat format = PixelFormat::nv12;
  std::uint32_t width = 0;   ///< Pixels.
  std::uint32_t height = 0;  ///< Pixels.
  std::uint32_t plane_count = 0;
  std::uint64_t modifier = 0;  ///< DRM format modifier; 0: linear.
  std::uint64_t number = 0;    ///< The camera's own frame counter; gaps are losses before us.
  std::uint64_t sensor_ns = 0;  ///< Start of exposure.
  std::uint32_t sensor_clock = 1;  ///< clockid_t of sensor_ns; 1: CLOCK_MONOTONIC.
  std::uint32_t rotation = 0;      ///< Degrees clockwise: 0, 90, 180, 270.
  std::uint32_t exposure_us = 0;   ///< 0: unknown.
  std::uint32_t gain_milli = 0;    ///< Analogue gain times 1000; 0: unknown.
  std::array<PlaneLayout, 4> planes{};
  std::array<char, 32> camera{};  ///< Name, UTF-8, ends with NUL.
};
static_assert(sizeof(FrameHeader) == 192, "FrameHeader is part of the shared layout");

/// Bytes of a slot that holds such a frame, header included; 0 for a size or format that has no
/// fixed size (mjpeg) or is not valid (a side of 0 or above 32768, an odd side where chroma is
/// halved).
SLUICE_EXPORT std::uint64_t frame_bytes(PixelFormat format, std::uint32_t width,
                                        std::uint32_t height) noexcept;

/// Lays a frame out at the start of the loan: header and planes, tightly packed, 64-byte aligned.
/// Returns the header inside the slot, to be completed by the caller, or nullptr when the loan is
/// too small or the format has no fixed size. Resizes the loan to the frame.
SLUICE_EXPORT FrameHeader* lay_out_frame(Loan& loan, PixelFormat format, std::uint32_t width,
                                         std::uint32_t height) noexcept;

/// A validated look at a frame in a sample; valid for as long as the sample.
struct FrameView {
  FrameHeader header;     ///< A copy: its writer cannot change it after validation.
  const std::byte* data;  ///< Start of the slot; plane i begins at data + header.planes[i].offset.
  [[nodiscard]] const std::byte* plane(std::uint32_t i) const noexcept {
    return data + header.planes[i].offset;
  }
};

/// Validates and opens the frame in `sample`. `untrusted` with a sentence when it is not one: every
/// offset, stride and size is checked against the sample's size before it can be used.
SLUICE_EXPORT Result<FrameView> view_frame(const Sample& sample);

}  // namespace sluice
