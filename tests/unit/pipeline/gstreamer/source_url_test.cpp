#include "pipeline/gstreamer/source_url.hpp"

#include <gtest/gtest.h>

namespace sluice::gst {
namespace {

SourceUrl parsed(std::string_view text) {
  auto url = parse_source_url(text);
  EXPECT_TRUE(url) << url.error().message;
  return url ? *url : SourceUrl{};
}

std::string refusal(std::string_view text) {
  auto url = parse_source_url(text);
  EXPECT_FALSE(url) << text;
  return url ? "" : url.error().message;
}

TEST(SourceUrl, KnowsEverySchemeAndWhereItLeads) {
  EXPECT_EQ(parsed("v4l2:///dev/video0").kind, SourceKind::v4l2);
  EXPECT_EQ(parsed("v4l2:///dev/video0").location, "/dev/video0");
  EXPECT_EQ(parsed("libcamera://").location, "");
  EXPECT_EQ(parsed("libcamera:///base/soc/i2c0mux/i2c@1/imx219@10").location,
            "/base/soc/i2c0mux/i2c@1/imx219@10");
  EXPECT_EQ(parsed("file:///films/a%20b%3F.mp4").location, "/films/a b?.mp4");
  EXPECT_EQ(parsed("test://ball").location, "ball");
  EXPECT_EQ(parsed("test://").location, "");
  EXPECT_EQ(parsed("images:///photos").kind, SourceKind::images);
}

TEST(SourceUrl, RtspIsPassedOnAsItIsButItsPasswordIsNotShown) {
  const SourceUrl url = parsed("rtsp://user:se%20cret@cam:8554/a?channel=1&x");
  EXPECT_EQ(url.kind, SourceKind::rtsp);
  EXPECT_EQ(url.location, "rtsp://user:se%20cret@cam:8554/a?channel=1&x");
  EXPECT_EQ(url.text, "rtsp://user:***@cam:8554/a?channel=1&x");
  EXPECT_EQ(parsed("rtsp://cam:8554/a@b").text, "rtsp://cam:8554/a@b");
  EXPECT_EQ(refusal("rtsp:///x").find("host") == std::string::npos, false);
  const std::string misspelt = refusal("rstp://user:secret@cam/a");
  EXPECT_NE(misspelt.find("rstp://user:***@cam/a"), std::string::npos) << misspelt;
  EXPECT_EQ(misspelt.find("secret"), std::string::npos) << misspelt;
}

TEST(SourceUrl, SettingsOfImages) {
  const SourceUrl url = parsed("images:///p?motion=none&seconds=2.5&scale=2&zoom=1");
  EXPECT_EQ(url.motion, (PhotoMotion{false, 2.5, 2, 1}));
  EXPECT_EQ(parsed("images:///p").motion, PhotoMotion{});
}

TEST(SourceUrl, SlipsAreNamedWithTheirRemedy) {
  EXPECT_NE(refusal("/dev/video0").find("v4l2:///dev/video0"), std::string::npos);
  EXPECT_NE(refusal("http://x").find("rtsp://"), std::string::npos);
  EXPECT_NE(refusal("").find("test://"), std::string::npos);
  EXPECT_NE(refusal("file://films/a.mp4").find("three slashes"), std::string::npos);
  EXPECT_NE(refusal("images:///p?sped=1").find("'sped'"), std::string::npos);
  EXPECT_NE(refusal("images:///p?seconds=0").find("'0'"), std::string::npos);
  EXPECT_NE(refusal("images:///p?seconds=nan").find("'nan'"), std::string::npos);
  EXPECT_NE(refusal("images:///p?motion").find("key=value"), std::string::npos);
  EXPECT_NE(refusal("images:///p?scale=2x").find("'2x'"), std::string::npos);
  EXPECT_NE(refusal("v4l2:///dev/video0?io=magic").find("mmap"), std::string::npos);
  EXPECT_NE(refusal("file:///a?b=c").find("%3F"), std::string::npos);
  EXPECT_NE(refusal("file:///100%").find("%25"), std::string::npos);
  EXPECT_NE(refusal("file:///a%00b").find("hexadecimal"), std::string::npos);
  EXPECT_NE(refusal({"file:///a\0b", 11}).find("zero byte"), std::string::npos);
}

TEST(SourceUrl, OnlyCamerasComeBack) {
  for (const char* text : {"v4l2:///dev/video0", "libcamera://", "rtsp://cam/x"}) {
    EXPECT_TRUE(parsed(text).comes_back()) << text;
  }
  for (const char* text : {"file:///x", "images:///x", "test://"}) {
    EXPECT_FALSE(parsed(text).comes_back()) << text;
  }
}

}  // namespace
}  // namespace sluice::gst
