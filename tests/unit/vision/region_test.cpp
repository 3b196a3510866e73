#include "pipeline/opencv/region.hpp"

#include <gtest/gtest.h>

namespace sluice::opencv {
namespace {

cv::Rect in(const char* text, cv::Size frame) {
  auto region = parse_region(text);
  if (!region) return {};
  auto rect = region->in(frame);
  return rect ? *rect : cv::Rect{};
}

TEST(Region, IsPixelsOrFractions) {
  EXPECT_EQ(in("100,50,200,300", {1280, 720}), cv::Rect(100, 50, 200, 300));
  EXPECT_EQ(in("0.25,0,0.5,1", {1280, 720}), cv::Rect(320, 0, 640, 720));
  EXPECT_EQ(in("0,0,1,1", {1280, 720}), cv::Rect(0, 0, 1280, 720));
  EXPECT_EQ(*Region{}.in({640, 480}), cv::Rect(0, 0, 640, 480));
}

TEST(Region, EndsAtTheFrame) {
  EXPECT_EQ(in("1200,700,200,300", {1280, 720}), cv::Rect(1200, 700, 80, 20));
  EXPECT_EQ(in("0.9,0.9,0.9,0.9", {100, 100}), cv::Rect(90, 90, 10, 10));
  EXPECT_EQ(in("0,0,1e30,1e30", {100, 100}), cv::Rect(0, 0, 100, 100));
}

TEST(Region, OutsideOfTheFrameIsAnErrorThatNamesBoth) {
  const auto nothing = parse_region("1300,0,100,100")->in({1280, 720});
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("1280 x 720"), std::string::npos);
  EXPECT_NE(nothing.error().message.find("--roi"), std::string::npos);
}

TEST(Region, WhatIsNoneIsRefused) {
  for (const char* text : {"", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,0,4", "1,2,3,0", "-1,2,3,4",
                           "1,2,3,4 ", " 1,2,3,4", "nan,0,1,1", "0,0,inf,1", "1;2;3;4", "1,2,,4"}) {
    EXPECT_FALSE(parse_region(text)) << text;
  }
}

}  // namespace
}  // namespace sluice::opencv
