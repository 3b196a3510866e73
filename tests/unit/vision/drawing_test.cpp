#include "pipeline/opencv/drawing.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace sluice::opencv {
namespace {

TEST(Drawing, KnownPeopleAndStrangersLookDifferent) {
  cv::Mat known = cv::Mat::zeros(200, 300, CV_8UC3);
  cv::Mat stranger = known.clone();
  const Box box{100, 80, 60, 60};
  draw(known, std::vector<Identity>{{box, "Max Born", 0.4F, 0.5F}});
  draw(stranger, std::vector<Identity>{{box, "unknown", 0.9F, 0}});
  EXPECT_NE(cv::countNonZero(known.reshape(1)), 0);
  EXPECT_NE(cv::countNonZero(stranger.reshape(1)), 0);
  EXPECT_NE(known.at<cv::Vec3b>(110, 100), stranger.at<cv::Vec3b>(110, 100));
  // Only the name stands above the box.
  EXPECT_NE(cv::countNonZero(known.rowRange(0, 78).reshape(1)), 0);
  EXPECT_EQ(cv::countNonZero(stranger.rowRange(0, 78).reshape(1)), 0);
}

TEST(Drawing, AnyBoxIsSurvived) {
  cv::Mat picture = cv::Mat::zeros(50, 50, CV_8UC3);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<Identity> identities;
  for (const float value : {kNan, kInf, -kInf, 1e30F, -1e30F, 0.0F, -7.5F, 1e5F}) {
    identities.push_back({{value, value, value, value}, "somebody with a long name", 0, 0});
    identities.push_back({{10, 10, value, value}, "unknown", 0, 0});
  }
  draw(picture, identities);
  EXPECT_EQ(picture.size(), cv::Size(50, 50));
}

TEST(Drawing, LettersLoseTheirAccentsOnly) {
  EXPECT_EQ(plain_ascii("Erwin Schrödinger"), "Erwin Schrodinger");
  EXPECT_EQ(plain_ascii("Émile Henriot, Ångström, Weiß, Núñez"),
            "Emile Henriot, Angstrom, Weis, Nunez");
  EXPECT_EQ(plain_ascii("湯川"), "??");
  EXPECT_EQ(plain_ascii("a\n\x1b\xc3"), "a???");
}

TEST(Drawing, PeopleAreCountedOnce) {
  EXPECT_EQ(known_people(std::vector<Identity>{
                {{}, "a", 0, 0}, {{}, "unknown", 0, 0}, {{}, "b", 0, 0}, {{}, "a", 0, 0}}),
            2u);
  EXPECT_EQ(known_people({}), 0u);
}

}  // namespace
}  // namespace sluice::opencv
