#include "sluice/frame.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>

#include "tests/support/local_link.hpp"

namespace sluice {
namespace {

using test::LocalLink;

StreamOptions frames(std::uint64_t bytes) {
  StreamOptions options;
  options.pools = {{bytes}};
  options.lanes[0].depth = 4;
  return options;
}

TEST(Frame, BytesFollowFromFormatAndSize) {
  // 192 bytes of header, then each plane at a multiple of 64.
  EXPECT_EQ(frame_bytes(PixelFormat::nv12, 1920, 1080), 192u + 1920 * 1080 * 3 / 2);
  EXPECT_EQ(frame_bytes(PixelFormat::bgr, 1920, 1080), 192u + 1920 * 1080 * 3);
  EXPECT_EQ(frame_bytes(PixelFormat::grey, 3, 3), 192u + 9);
  EXPECT_EQ(frame_bytes(PixelFormat::i420, 4, 4), 192u + 64 + 64 + 4);
  EXPECT_EQ(frame_bytes(PixelFormat::yuyv, 640, 480), 192u + 640 * 480 * 2);
}

TEST(Frame, SizesThatAFormatCannotHaveAreZero) {
  EXPECT_EQ(frame_bytes(PixelFormat::nv12, 1919, 1080), 0u);
  EXPECT_EQ(frame_bytes(PixelFormat::i420, 1920, 1081), 0u);
  EXPECT_EQ(frame_bytes(PixelFormat::yuyv, 3, 2), 0u);
  EXPECT_EQ(frame_bytes(PixelFormat::bgr, 0, 1), 0u);
  EXPECT_EQ(frame_bytes(PixelFormat::bgr, 32'769, 1), 0u);
  EXPECT_EQ(frame_bytes(PixelFormat::mjpeg, 640, 480), 0u);
  EXPECT_EQ(frame_bytes(static_cast<PixelFormat>(1), 640, 480), 0u);
}

TEST(Frame, IsSeenInPlaceAsItWasLaidOut) {
  const std::uint64_t bytes = frame_bytes(PixelFormat::i420, 64, 48);
  LocalLink link{frames(bytes)};
  auto reader = link.attach({});
  Loan loan = link.publisher().loan(bytes);
  FrameHeader* header = lay_out_frame(loan, PixelFormat::i420, 64, 48);
  ASSERT_NE(header, nullptr);
  header->number = 42;
  std::strcpy(header->camera.data(), "front");
  for (std::uint32_t i = 0; i < header->plane_count; ++i) {
    std::memset(loan.data() + header->planes[i].offset, static_cast<int>(i + 1),
                static_cast<std::size_t>(header->planes[i].size));
  }
  link.publisher().publish(std::move(loan));

  const Sample sample = reader->take();
  const auto view = view_frame(sample);
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_EQ(view->header.number, 42u);
  EXPECT_STREQ(view->header.camera.data(), "front");
  EXPECT_EQ(view->header.plane_count, 3u);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_GE(view->plane(i), sample.data());
    EXPECT_LE(view->plane(i) + view->header.planes[i].size, sample.data() + sample.size());
    EXPECT_EQ(static_cast<int>(*view->plane(i)), static_cast<int>(i + 1));
    EXPECT_EQ(view->header.planes[i].offset % 64, 0u);
  }
}

TEST(Frame, DoesNotFitASmallerLoan) {
  LocalLink link{frames(1000)};
  Loan loan = link.publisher().loan(1000);
  EXPECT_EQ(lay_out_frame(loan, PixelFormat::bgr, 64, 48), nullptr);
  EXPECT_EQ(loan.size(), 1000u);
}

// Every lie in a header is refused: what another process wrote is input.
TEST(Frame, EveryCorruptedHeaderIsRefused) {
  const std::uint64_t bytes = frame_bytes(PixelFormat::nv12, 64, 48);
  const std::function<void(FrameHeader&)> lies[] = {
      [](FrameHeader& h) { h.magic ^= 1; },
      [](FrameHeader& h) { h.header_bytes = 8; },
      [](FrameHeader& h) { h.plane_count = 0; },
      [](FrameHeader& h) { h.plane_count = 5; },
      [](FrameHeader& h) { h.plane_count = 1; },
      [](FrameHeader& h) { h.format = PixelFormat::i420; },
      [](FrameHeader& h) { h.format = static_cast<PixelFormat>(7); },
      [](FrameHeader& h) { h.width = 0; },
      [](FrameHeader& h) { h.width = 66; },
      [](FrameHeader& h) { h.height = 50; },
      [](FrameHeader& h) { h.height = 0xffff'fffe; },
      [](FrameHeader& h) { h.planes[0].offset = 0; },
      [](FrameHeader& h) { h.planes[1].offset = ~std::uint64_t{0}; },
      [](FrameHeader& h) { h.planes[1].offset += 64; },
      [](FrameHeader& h) { h.planes[1].size = ~std::uint64_t{0}; },
      [](FrameHeader& h) { h.planes[0].size = 64 * 47; },
      [](FrameHeader& h) { h.planes[0].stride = 63; },
      [](FrameHeader& h) { h.planes[0].stride = 65; },
      [](FrameHeader& h) { h.planes[0].rows = 49; },
  };
  LocalLink link{frames(bytes)};
  auto reader = link.attach({});
  int index = 0;
  for (const auto& lie : lies) {
    Loan loan = link.publisher().loan(bytes);
    FrameHeader* header = lay_out_frame(loan, PixelFormat::nv12, 64, 48);
    ASSERT_NE(header, nullptr);
    lie(*header);
    link.publisher().publish(std::move(loan));
    const auto view = view_frame(reader->take());
    ASSERT_FALSE(view) << "lie " << index;
    EXPECT_EQ(view.error().code, Errc::untrusted);
    ++index;
  }
}

TEST(Frame, ACameraNameWithoutAnEndIsEnded) {
  const std::uint64_t bytes = frame_bytes(PixelFormat::grey, 8, 8);
  LocalLink link{frames(bytes)};
  auto reader = link.attach({});
  Loan loan = link.publisher().loan(bytes);
  lay_out_frame(loan, PixelFormat::grey, 8, 8)->camera.fill('x');
  link.publisher().publish(std::move(loan));
  const Sample sample = reader->take();
  const auto view = view_frame(sample);
  ASSERT_TRUE(view);
  EXPECT_EQ(std::string(view->header.camera.data()).size(), 31u);
}

TEST(Frame, WhatIsTooShortOrEmptyIsNoFrame) {
  LocalLink link{frames(64)};
  auto reader = link.attach({});
  link.publisher().publish(link.publisher().loan(64));
  EXPECT_FALSE(view_frame(reader->take()));
  EXPECT_FALSE(view_frame(Sample{}));
}

}  // namespace
}  // namespace sluice
