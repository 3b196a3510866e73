#include "sluice/opencv.hpp"

#include "tests/support/local_link.hpp"
#include "tests/support/photo_frames.hpp"
#include "tests/support/photos.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace sluice::opencv {
namespace {

using test::kAllFormats;
using test::LocalLink;

class OpenCv : public testing::Test {
 protected:
  static StreamOptions frames() {
    StreamOptions options;
    options.pools = {{1u << 20}};
    return options;
  }
  // The frame as a subscriber sees it; `change` may do what it likes before it is published.
  template <class Change>
  FrameView publish(PixelFormat format, Change change) {
    sample_ = Sample{};
    Loan loan = link_.publisher().loan(test::enough_for(picture_));
    FrameHeader* header = test::put_frame(loan, format, picture_, 7, "front");
    EXPECT_NE(header, nullptr);
    change(loan, *header);
    EXPECT_EQ(link_.publisher().publish(std::move(loan)), Outcome::ok);
    sample_ = reader_->take();
    return test::must(view_frame(sample_));
  }
  FrameView publish(PixelFormat format) {
    return publish(format, [](Loan&, FrameHeader&) {});
  }
  // Mean difference of two pictures, in steps of 256.
  static double difference(const cv::Mat& a, const cv::Mat& b) {
    return cv::norm(a, b, cv::NORM_L1) / static_cast<double>(a.total() * a.channels());
  }

  static cv::Mat small_photo() {
    cv::Mat picture;
    cv::resize(test::photo(test::kHopper, cv::IMREAD_COLOR), picture, {256, 300}, 0, 0,
               cv::INTER_AREA);
    return picture;
  }
  cv::Mat picture_ = small_photo();
  LocalLink link_{frames()};
  shm::ReaderPtr reader_ = link_.attach({});
  Sample sample_;
};

TEST_F(OpenCv, LumaAndPixelsLieInTheSlot) {
  for (const PixelFormat format : {PixelFormat::grey, PixelFormat::nv12, PixelFormat::i420}) {
    const FrameView view = publish(format);
    const cv::Mat seen = test::must(luma(view));
    EXPECT_EQ(static_cast<const void*>(seen.data), sample_.data() + view.header.planes[0].offset);
    EXPECT_EQ(seen.size(), picture_.size());
    EXPECT_EQ(seen.type(), CV_8UC1);
  }
  for (const auto& [format, type] : {std::pair{PixelFormat::grey, CV_8UC1},
                                     {PixelFormat::bgr, CV_8UC3},
                                     {PixelFormat::rgb, CV_8UC3},
                                     {PixelFormat::yuyv, CV_8UC2}}) {
    const FrameView view = publish(format);
    const cv::Mat seen = test::must(mat(view));
    EXPECT_EQ(static_cast<const void*>(seen.data), sample_.data() + view.header.planes[0].offset);
    EXPECT_EQ(seen.size(), picture_.size());
    EXPECT_EQ(seen.type(), type);
  }
}

TEST_F(OpenCv, RowsMayBeFartherApartThanTheyAreLong) {
  constexpr std::uint32_t kStride = 300;
  const FrameView view = publish(PixelFormat::grey, [&](Loan& loan, FrameHeader& header) {
    const auto rows = static_cast<std::uint32_t>(picture_.rows);
    ASSERT_TRUE(loan.resize(sizeof(FrameHeader) + kStride * rows));
    header.planes[0] = {sizeof(FrameHeader), kStride, rows, kStride * rows};
    for (std::uint32_t y = 0; y < rows; ++y) {
      std::memset(loan.data() + sizeof(FrameHeader) + y * kStride, static_cast<int>(y % 256),
                  kStride);
    }
  });
  const cv::Mat seen = test::must(luma(view));
  EXPECT_EQ(seen.step[0], kStride);
  EXPECT_EQ(seen.at<std::uint8_t>(299, 255), 299 % 256);
  cv::Mat copy;
  test::must(to_bgr(view, copy));
  EXPECT_EQ(copy.at<cv::Vec3b>(17, 3), cv::Vec3b(17, 17, 17));
}

TEST_F(OpenCv, FormatsThatHaveNoSuchPlaneSayWhatToUse) {
  for (const PixelFormat format :
       {PixelFormat::yuyv, PixelFormat::bgr, PixelFormat::rgb, PixelFormat::mjpeg}) {
    const auto none = luma(publish(format));
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Errc::unsupported);
    EXPECT_NE(none.error().message.find("to_grey"), std::string::npos);
  }
  for (const PixelFormat format : {PixelFormat::nv12, PixelFormat::i420, PixelFormat::mjpeg}) {
    EXPECT_FALSE(mat(publish(format)));
  }
}

TEST_F(OpenCv, EveryFormatBecomesTheSamePicture) {
  for (const PixelFormat format : kAllFormats) {
    SCOPED_TRACE(static_cast<std::uint32_t>(format));
    const FrameView view = publish(format);
    cv::Mat colour;
    cv::Mat grey;
    test::must(to_bgr(view, colour));
    test::must(to_grey(view, grey));
    ASSERT_EQ(colour.size(), picture_.size());
    ASSERT_EQ(grey.type(), CV_8UC1);
    cv::Mat expected;
    cv::cvtColor(picture_, expected, cv::COLOR_BGR2GRAY);
    if (format == PixelFormat::grey) {
      EXPECT_EQ(difference(grey, expected), 0);
      continue;
    }
    // Chroma at half size and JPEG's losses; exchanged channels would be 40 and more.
    EXPECT_LT(difference(colour, picture_), 6);
    // Luma has the range 16 to 235.
    const bool limited = has_luma(format) || format == PixelFormat::yuyv;
    if (limited) grey.convertTo(grey, CV_8U, 255.0 / 219, -16 * 255.0 / 219);
    EXPECT_LT(difference(grey, expected), 2);
  }
}

TEST_F(OpenCv, ConversionGoesIntoTheMemoryThatIsGiven) {
  std::vector<std::uint8_t> memory(picture_.total() * 3);
  for (const PixelFormat format : kAllFormats) {
    cv::Mat out(picture_.size(), CV_8UC3, memory.data());
    test::must(to_bgr(publish(format), out));
    EXPECT_EQ(out.data, memory.data()) << static_cast<std::uint32_t>(format);
  }
}

TEST_F(OpenCv, PicturesThatAreNoneAreRefused) {
  const auto refused = [&](const FrameView& view) {
    cv::Mat out;
    const auto done = to_grey(view, out);
    if (done) return std::string("was accepted");
    EXPECT_EQ(done.error().code, Errc::untrusted);
    return done.error().message;
  };
  const auto bytes_of = [](Loan& loan, const FrameHeader& header) {
    return loan.bytes().subspan(header.planes[0].offset, header.planes[0].size);
  };
  EXPECT_NE(refused(publish(PixelFormat::mjpeg,
                            [&](Loan& loan, FrameHeader& header) {
                              for (auto& byte : bytes_of(loan, header)) byte = std::byte{0x5a};
                            }))
                .find("no JPEG picture"),
            std::string::npos);
  EXPECT_NE(
      refused(publish(PixelFormat::mjpeg, [](Loan&, FrameHeader& header) { header.width += 16; }))
          .find("no JPEG picture of 272 x 300"),
      std::string::npos);
  EXPECT_NE(refused(publish(PixelFormat::mjpeg,
                            [&](Loan& loan, FrameHeader& header) {
                              header.width = header.height = 32'768;
                              const std::uint8_t says_so[] = {0xff, 0xd8, 0xff, 0xc0, 0, 11,
                                                              8,    0x80, 0,    0x80, 0, 1};
                              std::memcpy(bytes_of(loan, header).data(), says_so, sizeof says_so);
                            }))
                .find("8192 x 8192"),
            std::string::npos);
  // The picture's own header is right, and nothing follows.
  EXPECT_NE(refused(publish(PixelFormat::mjpeg,
                            [](Loan&, FrameHeader& header) { header.planes[0].size = 200; }))
                .find("frame 7"),
            std::string::npos);
  EXPECT_NE(refused(publish(PixelFormat::mjpeg,
                            [](Loan&, FrameHeader& header) { header.planes[0].size = 0; }))
                .find("no JPEG picture"),
            std::string::npos);
}

TEST_F(OpenCv, NoCutOfAJpegPictureDoesHarm) {
  for (std::uint64_t size = 0; size < 900; ++size) {
    const FrameView view = publish(PixelFormat::mjpeg, [&](Loan&, FrameHeader& header) {
      header.planes[0].size = std::min(header.planes[0].size, size);
    });
    cv::Mat out;
    if (to_grey(view, out)) {
      EXPECT_EQ(out.size(), picture_.size());
    }
  }
}

}  // namespace
}  // namespace sluice::opencv
