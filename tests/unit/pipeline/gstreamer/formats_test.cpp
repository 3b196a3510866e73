#include "pipeline/gstreamer/formats.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sluice::gst {
namespace {

class Formats : public testing::Test {
 protected:
  static void SetUpTestSuite() { gst_init(nullptr, nullptr); }
};

CapsRef caps(const std::string& text) { return CapsRef{gst_caps_from_string(text.c_str())}; }

TEST_F(Formats, NamesOfAllTraditionsMeanTheSame) {
  for (const PixelFormat format : kNativeFormats) {
    EXPECT_EQ(parse_pixel_format(name_of(format)), format);
    EXPECT_EQ(pixel_format(gst_format(format)), format);
  }
  EXPECT_EQ(parse_pixel_format("yuy2"), PixelFormat::yuyv);
  EXPECT_EQ(parse_pixel_format("YU12"), PixelFormat::i420);
  EXPECT_EQ(parse_pixel_format("mjpg"), PixelFormat::mjpeg);
  EXPECT_EQ(parse_pixel_format("GRAY8"), PixelFormat::grey);
  // DRM names by the bits of a word: RG24 has B first in memory.
  EXPECT_EQ(parse_pixel_format("RG24"), PixelFormat::bgr);
  EXPECT_EQ(parse_pixel_format("H264"), std::nullopt);
  EXPECT_EQ(parse_pixel_format(""), std::nullopt);
  EXPECT_EQ(pixel_format(GST_VIDEO_FORMAT_P010_10LE), std::nullopt);
}

TEST_F(Formats, CapsAreReadWithSizeAndInterval) {
  const auto format =
      stream_format(caps("video/x-raw, format=NV12, width=1280, height=720, framerate=25/1").get());
  ASSERT_TRUE(format);
  EXPECT_EQ(format->format, PixelFormat::nv12);
  EXPECT_EQ(format->width(), 1280u);
  EXPECT_EQ(format->height(), 720u);
  EXPECT_EQ(format->interval_ns, 40'000'000u);
  EXPECT_EQ(format->payload_bytes(), 1280u * 720 * 3 / 2);
  const auto jpeg = stream_format(caps("image/jpeg, width=640, height=480, framerate=0/1").get());
  ASSERT_TRUE(jpeg);
  EXPECT_TRUE(jpeg->compressed());
  EXPECT_EQ(jpeg->width(), 640u);
  EXPECT_EQ(jpeg->interval_ns, 0u);
}

TEST_F(Formats, CapsThatCannotBeAFrameAreRefused) {
  for (const char* text :
       {"video/x-raw, format=NV12, width=1281, height=720, framerate=25/1",
        "video/x-raw, format=I420, width=1280, height=721, framerate=25/1",
        "video/x-raw, format=YUY2, width=3, height=2, framerate=25/1",
        "video/x-raw, format=RGBA, width=16, height=16, framerate=25/1",
        "video/x-raw, format=GRAY8, width=40000, height=16, framerate=25/1",
        "video/x-raw, format=GRAY8, width=[1,2], height=16, framerate=25/1",
        "video/x-raw, format=GRAY8, framerate=25/1",
        "video/x-raw(memory:DMABuf), format=NV12, width=16, height=16, framerate=25/1",
        "image/jpeg, framerate=25/1", "image/png, width=16, height=16", "audio/x-raw"}) {
    EXPECT_FALSE(stream_format(caps(text).get())) << text;
  }
  EXPECT_FALSE(stream_format(nullptr));
}

// What GStreamer lays out lies behind the header, does not overlap and is within the slot.
TEST_F(Formats, PlanesLieAsGStreamerLaysThemOut) {
  for (const PixelFormat pixel : kNativeFormats) {
    if (pixel == PixelFormat::mjpeg) continue;
    for (const std::uint32_t width : {2u, 6u, 90u, 1280u, 1918u}) {
      const auto format = stream_format(caps_for(pixel, width, 6, 30).get());
      ASSERT_TRUE(format) << name_of(pixel) << width;
      const FrameHeader header = header_for(*format, 0);
      EXPECT_EQ(header.width, width);
      EXPECT_EQ(header.plane_count, GST_VIDEO_INFO_N_PLANES(&format->info));
      std::uint64_t end = sizeof(FrameHeader);
      for (std::uint32_t i = 0; i < header.plane_count; ++i) {
        const PlaneLayout& plane = header.planes[i];
        EXPECT_EQ(plane.offset, sizeof(FrameHeader) + format->info.offset[i]);
        EXPECT_EQ(plane.stride, static_cast<std::uint32_t>(format->info.stride[i]));
        EXPECT_GE(plane.offset, end);
        EXPECT_EQ(plane.size, std::uint64_t{plane.stride} * plane.rows);
        end = plane.offset + plane.size;
      }
      EXPECT_LE(end, kFrameHeaderBytes + format->payload_bytes()) << name_of(pixel) << width;
    }
  }
}

TEST_F(Formats, ACompressedFrameIsOnePlaneOfItsSize) {
  const auto format = stream_format(caps("image/jpeg, width=640, height=480").get());
  ASSERT_TRUE(format);
  const FrameHeader header = header_for(*format, 12'345);
  EXPECT_EQ(header.plane_count, 1u);
  EXPECT_EQ(header.planes[0].offset, sizeof(FrameHeader));
  EXPECT_EQ(header.planes[0].size, 12'345u);
}

}  // namespace
}  // namespace sluice::gst
