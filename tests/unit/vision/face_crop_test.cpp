#include "pipeline/opencv/face_crop.hpp"

#include "pipeline/opencv/lbp_histogram.hpp"
#include "tests/support/photos.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace sluice::opencv {
namespace {

// Brightness is the column, so that a crop tells from where it is.
cv::Mat ramp() {
  cv::Mat picture(200, 200, CV_8UC1);
  for (int x = 0; x < picture.cols; ++x) picture.col(x) = x;
  return picture;
}

TEST(FaceCrop, TheMiddleIsTheBox) {
  const auto crop = crop_face(ramp(), {70, 50, 48, 48});
  ASSERT_TRUE(crop);
  EXPECT_EQ(crop->size(), cv::Size(kCropSide, kCropSide));
  EXPECT_EQ(crop->type(), CV_8UC1);
  const int margin = (kCropSide - kFaceSide) / 2;
  EXPECT_NEAR(crop->at<std::uint8_t>(72, 72), 94, 1);
  EXPECT_NEAR(crop->at<std::uint8_t>(72, margin), 70, 1);
  EXPECT_NEAR(crop->at<std::uint8_t>(72, kCropSide - margin), 118, 1);
}

TEST(FaceCrop, LargeFacesAreReducedToTheSamePlace) {
  cv::Mat large;
  cv::resize(ramp(), large, {1600, 1600}, 0, 0, cv::INTER_LINEAR);
  const auto crop = crop_face(large, {560, 400, 384, 384});
  ASSERT_TRUE(crop);
  EXPECT_NEAR(crop->at<std::uint8_t>(72, 72), 94, 2);
  EXPECT_NEAR(crop->at<std::uint8_t>(72, 24), 70, 2);
}

TEST(FaceCrop, BordersAreRepeated) {
  const auto crop = crop_face(ramp(), {-10, -10, 60, 60});
  ASSERT_TRUE(crop);
  EXPECT_EQ(crop->at<std::uint8_t>(0, 0), 0);
  EXPECT_EQ(crop->at<std::uint8_t>(143, 0), 0);
}

TEST(FaceCrop, BoxesThatCannotBeFacesAreNone) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const Box& box :
       {Box{0, 0, 0, 0}, Box{10, 10, 7, 7}, Box{10, 10, -50, -50}, Box{190, 190, 60, 60},
        Box{-50, 0, 60, 60}, Box{0, 0, 1e30F, 1e30F}, Box{kNan, 0, 50, 50}, Box{0, 0, kNan, 50},
        Box{kInf, 0, 50, 50}, Box{0, 0, kInf, kInf}, Box{-kInf, 0, 50, 50}, Box{1e9F, 1e9F, 50, 50},
        Box{0, 0, 190, 10}, Box{0, 0, 300, 300}}) {
    EXPECT_FALSE(crop_face(ramp(), box)) << box.x << ' ' << box.y << ' ' << box.width;
  }
}

cv::Mat face_of_hopper() {
  return cut_square(test::photo(test::kHopper), {{262, 145}, 130}, kPatternSide);
}

TEST(LbpHistogram, CellsSumUpToOneAndTheDistanceToItselfIsZero) {
  const auto histogram = lbp_histogram(face_of_hopper());
  EXPECT_NEAR(std::accumulate(histogram.begin(), histogram.end(), 0.0F), 75, 0.01);
  EXPECT_EQ(lbp_distance(histogram, histogram), 0);
}

TEST(LbpHistogram, LightDoesNotMatterAndContentDoes) {
  const cv::Mat face = face_of_hopper();
  const auto original = lbp_histogram(face);
  cv::Mat darker;
  face.convertTo(darker, CV_8U, 0.6, 20);
  cv::Mat mirrored;
  cv::flip(face, mirrored, 1);
  const auto dark = lbp_histogram(darker);
  const auto mirror = lbp_histogram(mirrored);
  EXPECT_LT(lbp_distance(original, dark), 0.3);
  EXPECT_GT(lbp_distance(original, mirror), 0.3);
  EXPECT_EQ(lbp_distance(mirror, original), lbp_distance(original, mirror));
  const auto nothing = lbp_histogram(cv::Mat::zeros(kPatternSide, kPatternSide, CV_8UC1));
  EXPECT_GT(lbp_distance(original, nothing), 0.7);
  EXPECT_LE(lbp_distance(original, nothing), 2);
}

}  // namespace
}  // namespace sluice::opencv
