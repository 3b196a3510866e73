#include "pipeline/gstreamer/photo_path.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace sluice::gst {
namespace {

TEST(PhotoPath, PicturesTakeTurns) {
  const PhotoMotion motion{true, 2, 1, 1};
  EXPECT_EQ(photo_moment(motion, 0, 30, 3).picture, 0u);
  EXPECT_EQ(photo_moment(motion, 59, 30, 3).picture, 0u);
  EXPECT_EQ(photo_moment(motion, 60, 30, 3).picture, 1u);
  EXPECT_EQ(photo_moment(motion, 180, 30, 3).picture, 0u);
  EXPECT_DOUBLE_EQ(photo_moment(motion, 90, 30, 3).progress, 0.5);
}

TEST(PhotoPath, AtScaleOneWithoutMotionPixelsArePixels) {
  const PhotoMotion motion{false, 8, 1, 1.5};
  EXPECT_EQ(photo_window(motion, 0.3, 2126, 1463, 1280, 720), (PhotoWindow{422, 370, 1280, 720}));
}

TEST(PhotoPath, ScaleTwoShowsHalfAsMuch) {
  const PhotoMotion motion{false, 8, 2, 1};
  const PhotoWindow window = photo_window(motion, 0, 2126, 1463, 1280, 720);
  EXPECT_EQ(window.width, 640u);
  EXPECT_EQ(window.height, 360u);
}

// Of any picture: inside, even, of the frame's proportions; and the movement reaches all four
// corners' sides and comes back to where it began.
TEST(PhotoPath, TheWindowStaysInsideAndSeesEverything) {
  struct Case {
    std::uint32_t picture_width, picture_height, frame_width, frame_height;
    double scale;
  };
  for (const Case& c : {Case{2126, 1463, 1280, 720, 1}, Case{640, 440, 1280, 720, 1},
                        Case{512, 600, 640, 480, 2}, Case{17, 16, 1920, 1080, 1},
                        Case{2127, 1465, 1280, 720, 0.1}, Case{3000, 200, 320, 240, 16}}) {
    const PhotoMotion motion{true, 8, c.scale, 1.0};
    std::uint32_t left = UINT32_MAX, top = UINT32_MAX, right = 0, bottom = 0;
    for (int i = 0; i <= 240; ++i) {
      const PhotoWindow w = photo_window(motion, i / 240.0, c.picture_width, c.picture_height,
                                         c.frame_width, c.frame_height);
      ASSERT_LE(w.x + w.width, c.picture_width);
      ASSERT_LE(w.y + w.height, c.picture_height);
      ASSERT_GE(w.width, 2u);
      ASSERT_GE(w.height, 2u);
      ASSERT_EQ((w.x | w.y | w.width | w.height) & 1u, 0u);
      const double drift =
          std::abs(w.width * 1.0 / c.frame_width - w.height * 1.0 / c.frame_height);
      ASSERT_LE(drift, 3.0 / std::min(c.frame_width, c.frame_height));
      left = std::min(left, w.x);
      top = std::min(top, w.y);
      right = std::max(right, w.x + w.width);
      bottom = std::max(bottom, w.y + w.height);
    }
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(top, 0u);
    EXPECT_GE(right + 3, c.picture_width);
    EXPECT_GE(bottom + 3, c.picture_height);
  }
}

TEST(PhotoPath, NearlyEveryPartIsInViewAsAWhole) {
  const PhotoMotion motion{true, 20, 1, 1.25};
  constexpr std::uint32_t kPart = 100;  // a face
  std::size_t parts = 0;
  std::size_t seen = 0;
  for (std::uint32_t y = 0; y + kPart <= 1463; y += 20) {
    for (std::uint32_t x = 0; x + kPart <= 2126; x += 20, ++parts) {
      for (int i = 0; i < 600; ++i) {
        const PhotoWindow w = photo_window(motion, i / 600.0, 2126, 1463, 1280, 720);
        if (x >= w.x && y >= w.y && x + kPart <= w.x + w.width && y + kPart <= w.y + w.height) {
          ++seen;
          break;
        }
      }
    }
  }
  EXPECT_GE(static_cast<double>(seen), 0.95 * static_cast<double>(parts));
}

TEST(PhotoPath, TheZoomOpensAndCloses) {
  const PhotoMotion motion{true, 8, 1, 2};
  const auto width = [&](double progress) {
    return photo_window(motion, progress, 2126, 1463, 1280, 720).width;
  };
  EXPECT_EQ(width(0), 1280u);
  EXPECT_EQ(width(0.5), 640u);
  EXPECT_EQ(width(1), 1280u);
}

}  // namespace
}  // namespace sluice::gst
