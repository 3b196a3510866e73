#include "tools/sluice/picture.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <turbojpeg.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace sluice::tools {
namespace {

constexpr std::uint32_t kWidth = 64;
constexpr std::uint32_t kHeight = 48;

struct Rgb {
  int r, g, b;
};
// Four fields of one colour each, so that halved chroma has no edges inside.
Rgb colour(std::uint32_t x, std::uint32_t y) {
  const bool left = x < kWidth / 2;
  const bool top = y < kHeight / 2;
  return top    ? left ? Rgb{220, 30, 40} : Rgb{20, 200, 60}
            : left ? Rgb{30, 60, 210}
                : Rgb{235, 235, 235};
}
// The equations of BT.601 in limited range, in this direction only.
double y_of(const Rgb& c) { return 16 + (65.481 * c.r + 128.553 * c.g + 24.966 * c.b) / 255; }
double u_of(const Rgb& c) { return 128 + (-37.797 * c.r - 74.203 * c.g + 112.0 * c.b) / 255; }
double v_of(const Rgb& c) { return 128 + (112.0 * c.r - 93.786 * c.g - 18.214 * c.b) / 255; }
std::byte byte(double value) { return static_cast<std::byte>(static_cast<int>(value + 0.5)); }

// A frame with rows that are longer than its pixels.
struct Drawn {
  std::vector<std::byte> slot;
  FrameView view{};

  explicit Drawn(PixelFormat format) {
    FrameHeader& h = view.header;
    h.format = format;
    h.width = kWidth;
    h.height = kHeight;
    const auto plane = [&](std::uint32_t pixels_bytes, std::uint32_t rows) {
      const std::uint32_t stride = pixels_bytes + 10;
      h.planes[h.plane_count++] = {slot.size(), stride, rows, std::uint64_t{stride} * rows};
      slot.resize(slot.size() + std::size_t{stride} * rows, std::byte{0xee});
    };
    switch (format) {
      case PixelFormat::grey:
        plane(kWidth, kHeight);
        break;
      case PixelFormat::i420:
        plane(kWidth, kHeight);
        plane(kWidth / 2, kHeight / 2);
        plane(kWidth / 2, kHeight / 2);
        break;
      case PixelFormat::nv12:
        plane(kWidth, kHeight);
        plane(kWidth, kHeight / 2);
        break;
      case PixelFormat::yuyv:
        plane(kWidth * 2, kHeight);
        break;
      default:
        plane(kWidth * 3, kHeight);
        break;
    }
    for (std::uint32_t y = 0; y < kHeight; ++y) {
      for (std::uint32_t x = 0; x < kWidth; ++x) put(x, y);
    }
    view.data = slot.data();
  }

  std::byte& at(std::size_t plane, std::uint32_t x, std::uint32_t y) {
    const PlaneLayout& p = view.header.planes[plane];
    return slot[static_cast<std::size_t>(p.offset) + std::size_t{y} * p.stride + x];
  }
  void put(std::uint32_t x, std::uint32_t y) {
    const Rgb c = colour(x, y);
    switch (view.header.format) {
      case PixelFormat::grey:
        at(0, x, y) = byte(c.r);
        break;
      case PixelFormat::i420:
        at(0, x, y) = byte(y_of(c));
        at(1, x / 2, y / 2) = byte(u_of(c));
        at(2, x / 2, y / 2) = byte(v_of(c));
        break;
      case PixelFormat::nv12:
        at(0, x, y) = byte(y_of(c));
        at(1, x / 2 * 2, y / 2) = byte(u_of(c));
        at(1, x / 2 * 2 + 1, y / 2) = byte(v_of(c));
        break;
      case PixelFormat::yuyv:
        at(0, 2 * x, y) = byte(y_of(c));
        at(0, 2 * x + 1, y) = byte(x % 2 == 0 ? u_of(c) : v_of(c));
        break;
      default: {
        const bool rgb = view.header.format == PixelFormat::rgb;
        at(0, 3 * x, y) = byte(rgb ? c.r : c.b);
        at(0, 3 * x + 1, y) = byte(c.g);
        at(0, 3 * x + 2, y) = byte(rgb ? c.b : c.r);
      }
    }
  }
};

void expect_colours(const unsigned char* rgb, PixelFormat format, int tolerance) {
  for (const auto& [x, y] : {std::pair{16u, 12u}, {48u, 12u}, {16u, 36u}, {48u, 36u}}) {
    const Rgb c = colour(x, y);
    const unsigned char* at = rgb + (std::size_t{y} * kWidth + x) * 3;
    const bool grey = format == PixelFormat::grey;
    EXPECT_NEAR(at[0], c.r, tolerance) << x << "," << y;
    EXPECT_NEAR(at[1], grey ? c.r : c.g, tolerance) << x << "," << y;
    EXPECT_NEAR(at[2], grey ? c.r : c.b, tolerance) << x << "," << y;
  }
}

std::vector<unsigned char> decoded(const std::vector<std::byte>& jpeg) {
  tjhandle handle = tjInitDecompress();
  int width = 0, height = 0, sampling = 0, space = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(jpeg.data());
  EXPECT_EQ(tjDecompressHeader3(handle, bytes, jpeg.size(), &width, &height, &sampling, &space), 0);
  EXPECT_EQ(width, static_cast<int>(kWidth));
  EXPECT_EQ(height, static_cast<int>(kHeight));
  std::vector<unsigned char> rgb(std::size_t{kWidth} * kHeight * 3);
  EXPECT_EQ(tjDecompress2(handle, bytes, jpeg.size(), rgb.data(), width, 0, height, TJPF_RGB, 0),
            0);
  tjDestroy(handle);
  return rgb;
}

class PictureOf : public testing::TestWithParam<PixelFormat> {};

TEST_P(PictureOf, AJpegShowsTheColoursOfTheFrame) {
  const Drawn frame(GetParam());
  const auto jpeg = encode_picture(frame.view, PictureKind::jpeg);
  ASSERT_TRUE(jpeg);
  expect_colours(decoded(*jpeg).data(), GetParam(), 8);
}

TEST_P(PictureOf, APpmHasThemToo) {
  const Drawn frame(GetParam());
  const auto ppm = encode_picture(frame.view, PictureKind::ppm);
  ASSERT_TRUE(ppm);
  const std::string head = "P6\n64 48\n255\n";
  ASSERT_EQ(ppm->size(), head.size() + std::size_t{kWidth} * kHeight * 3);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(ppm->data()), head.size()), head);
  expect_colours(reinterpret_cast<const unsigned char*>(ppm->data()) + head.size(), GetParam(), 3);
}

TEST_P(PictureOf, RawPixelsHaveNoPadding) {
  const Drawn frame(GetParam());
  const auto raw = encode_picture(frame.view, PictureKind::raw);
  ASSERT_TRUE(raw);
  EXPECT_EQ(std::count(raw->begin(), raw->end(), std::byte{0xee}), 0);
  const std::size_t pixels = std::size_t{kWidth} * kHeight;
  const PixelFormat f = GetParam();
  EXPECT_EQ(raw->size(), f == PixelFormat::grey                             ? pixels
                         : f == PixelFormat::i420 || f == PixelFormat::nv12 ? pixels * 3 / 2
                         : f == PixelFormat::yuyv                           ? pixels * 2
                                                                            : pixels * 3);
}

INSTANTIATE_TEST_SUITE_P(AllFormats, PictureOf,
                         testing::Values(PixelFormat::grey, PixelFormat::i420, PixelFormat::nv12,
                                         PixelFormat::yuyv, PixelFormat::bgr, PixelFormat::rgb));

FrameView compressed(const std::vector<std::byte>& jpeg) {
  FrameView view{};
  view.header.format = PixelFormat::mjpeg;
  view.header.width = kWidth;
  view.header.height = kHeight;
  view.header.plane_count = 1;
  view.header.planes[0] = {0, 0, 0, jpeg.size()};
  view.data = jpeg.data();
  return view;
}

TEST(Picture, AFrameThatIsJpegIsPassedOnAsItIs) {
  const Drawn frame(PixelFormat::rgb);
  const auto jpeg = encode_picture(frame.view, PictureKind::jpeg);
  ASSERT_TRUE(jpeg);
  const FrameView view = compressed(*jpeg);
  const auto same = encode_picture(view, PictureKind::jpeg);
  ASSERT_TRUE(same);
  EXPECT_EQ(*same, *jpeg);
  const auto ppm = encode_picture(view, PictureKind::ppm);
  ASSERT_TRUE(ppm);
  expect_colours(reinterpret_cast<const unsigned char*>(ppm->data()) + 13, PixelFormat::rgb, 8);
}

TEST(Picture, AJpegThatIsNoneOrOfAnotherSizeIsRefused) {
  std::vector<std::byte> bytes(500, std::byte{0x55});
  EXPECT_FALSE(encode_picture(compressed(bytes), PictureKind::ppm));
  bytes.clear();
  EXPECT_FALSE(encode_picture(compressed(bytes), PictureKind::ppm));
  const auto jpeg = encode_picture(Drawn(PixelFormat::rgb).view, PictureKind::jpeg);
  ASSERT_TRUE(jpeg);
  FrameView lying = compressed(*jpeg);
  lying.header.width = 30'000;
  EXPECT_FALSE(encode_picture(lying, PictureKind::ppm));
}

TEST(Picture, TheNameSaysTheKind) {
  EXPECT_EQ(*picture_kind("a.jpg"), PictureKind::jpeg);
  EXPECT_EQ(*picture_kind("a.JPEG"), PictureKind::jpeg);
  EXPECT_EQ(*picture_kind("a.ppm"), PictureKind::ppm);
  EXPECT_EQ(*picture_kind("a.raw"), PictureKind::raw);
  EXPECT_FALSE(picture_kind("a.png"));
}

TEST(Picture, AFileIsThereWholeOrNotAtAll) {
  std::string folder = testing::TempDir() + "sluice-picture-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/a.raw";
  const std::vector<std::byte> bytes(3000, std::byte{7});
  ASSERT_TRUE(write_file(path, bytes));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 3000);
  const auto refused = write_file(folder + "/none/a.raw", bytes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("none"), std::string::npos);
  ::unlink(path.c_str());
  EXPECT_EQ(::rmdir(folder.c_str()), 0) << "something was left behind";
}

}  // namespace
}  // namespace sluice::tools
