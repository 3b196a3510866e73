#include "pipeline/gstreamer/frame_numbers.hpp"

#include <gtest/gtest.h>

namespace sluice::gst {
namespace {

TEST(FrameNumbers, WithoutACounterFramesAreCounted) {
  FrameNumbers numbers;
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(numbers.next(std::nullopt), i);
  EXPECT_EQ(numbers.gaps(), 0u);
}

TEST(FrameNumbers, WhatTheSourceLeftOutIsAGapAndIsMissingInTheNumbers) {
  FrameNumbers numbers;
  EXPECT_EQ(numbers.next(100), 0u);  // it began before us: no gap
  EXPECT_EQ(numbers.next(101), 1u);
  EXPECT_EQ(numbers.next(105), 5u);
  EXPECT_EQ(numbers.gaps(), 3u);
  EXPECT_EQ(numbers.next(106), 6u);
  EXPECT_EQ(numbers.gaps(), 3u);
}

TEST(FrameNumbers, NumbersGoOnWhenTheSourceIsOpenedAgain) {
  FrameNumbers numbers;
  EXPECT_EQ(numbers.next(7), 0u);
  EXPECT_EQ(numbers.next(8), 1u);
  numbers.source_restarted();
  EXPECT_EQ(numbers.next(0), 2u);
  EXPECT_EQ(numbers.next(1), 3u);
  numbers.source_restarted();
  EXPECT_EQ(numbers.next(500), 4u);
  EXPECT_EQ(numbers.gaps(), 0u);
}

TEST(FrameNumbers, ACounterThatGoesBackOrLeapsHasBegunAnew) {
  FrameNumbers numbers;
  EXPECT_EQ(numbers.next(0xffff'ffff), 0u);
  EXPECT_EQ(numbers.next(0), 1u);
  EXPECT_EQ(numbers.next(1), 2u);
  EXPECT_EQ(numbers.next(1), 3u);  // the same again
  EXPECT_EQ(numbers.next(UINT64_MAX - 1), 4u);
  EXPECT_EQ(numbers.next(UINT64_MAX), 5u);
  EXPECT_EQ(numbers.next(0), 6u);
  EXPECT_EQ(numbers.gaps(), 0u);
}

}  // namespace
}  // namespace sluice::gst
