#include "pipeline/opencv/detector.hpp"

#include "tests/support/local_link.hpp"
#include "tests/support/photo_frames.hpp"
#include "tests/support/photos.hpp"
#include "tests/support/tiny_onnx.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>

namespace sluice::opencv {
namespace {

using test::must;

cv::Rect2d rect(const Box& box) { return {box.x, box.y, box.width, box.height}; }

std::string refusal(const DetectorOptions& options) {
  const auto made = Detector::create(options);
  return made ? "was accepted" : made.error().message;
}

// Faces of about 75 pixels, on a quarter of the pixels.
cv::Mat hopper() {
  cv::Mat picture;
  cv::resize(test::photo(test::kHopper), picture, {}, 0.5, 0.5, cv::INTER_AREA);
  return picture;
}

TEST(Detector, HaarFindsTheFacesOfTheGroundTruth) {
  DetectorOptions options;
  options.model = DetectorModel::haar;
  options.scale = 1;
  options.scale_factor = 1.05;
  options.min_size = 30;
  options.max_size = 90;
  const auto found = must(must(Detector::create(options))->detect(test::photo(test::kSolvay)));
  const auto truth = test::solvay_truth();
  ASSERT_EQ(truth.size(), 30u);
  const auto hits = std::count_if(truth.begin(), truth.end(), [&](const cv::Rect& face) {
    return std::any_of(found.begin(), found.end(), [&](const Detection& each) {
      return test::overlap(rect(each.box), face) > 0.5;
    });
  });
  EXPECT_GE(hits, 28);
  EXPECT_LE(found.size(), 34u) << "false ones";
  for (std::size_t i = 1; i < found.size(); ++i) EXPECT_LE(found[i].score, found[i - 1].score);
  for (const Detection& each : found) EXPECT_EQ(each.label, "face");
}

TEST(Detector, LbpFindsTheOneFaceInAPortrait) {
  const auto found = must(must(Detector::create({}))->detect(test::photo(test::kHopper)));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_GT((rect(found[0].box) & cv::Rect2d(170, 100, 200, 220)).area(),
            0.6 * rect(found[0].box).area());
  EXPECT_GE(found[0].score, 4);
}

TEST(Detector, BoxesAreOfTheWholeFrameAtEveryScale) {
  const cv::Mat picture = test::photo(test::kHopper);
  DetectorOptions options;
  options.scale = 1;
  const auto whole = must(must(Detector::create(options))->detect(picture));
  options.scale = 0.31;
  const auto reduced = must(must(Detector::create(options))->detect(picture));
  ASSERT_EQ(whole.size(), 1u);
  ASSERT_EQ(reduced.size(), 1u);
  EXPECT_GT(test::overlap(rect(whole[0].box), rect(reduced[0].box)), 0.6);
}

TEST(Detector, SizesAreOfTheWholeFrameAtEveryScale) {
  DetectorOptions options;
  for (const double scale : {1.0, 0.5}) {
    options.scale = scale;
    options.min_size = 0;
    options.max_size = 0;
    const cv::Mat picture = test::photo(test::kHopper);
    const auto found = must(must(Detector::create(options))->detect(picture));
    ASSERT_EQ(found.size(), 1u);
    const auto side = static_cast<int>(found[0].box.width);
    options.min_size = side * 8 / 5;
    EXPECT_TRUE(must(must(Detector::create(options))->detect(picture)).empty());
    options.min_size = 0;
    options.max_size = side * 5 / 8;
    EXPECT_TRUE(must(must(Detector::create(options))->detect(picture)).empty());
  }
}

TEST(Detector, LooksOnlyIntoTheRegion) {
  const cv::Mat picture = test::photo(test::kHopper);
  const auto whole = must(must(Detector::create({}))->detect(picture));
  ASSERT_EQ(whole.size(), 1u);
  DetectorOptions options;
  options.region = must(parse_region("0.3,0.05,0.5,0.5"));
  const auto part = must(must(Detector::create(options))->detect(picture));
  ASSERT_EQ(part.size(), 1u);
  EXPECT_GT(test::overlap(rect(whole[0].box), rect(part[0].box)), 0.6);
  options.region = must(parse_region("0,300,512,300"));
  EXPECT_TRUE(must(must(Detector::create(options))->detect(picture)).empty());
  options.region = must(parse_region("2000,0,10,10"));
  EXPECT_FALSE(must(Detector::create(options))->detect(picture));
}

TEST(Detector, UsesLumaInPlaceAndConvertsTheRest) {
  cv::Mat picture;
  cv::cvtColor(hopper(), picture, cv::COLOR_GRAY2BGR);
  picture = picture(cv::Rect(0, 0, picture.cols & ~1, picture.rows & ~1)).clone();
  StreamOptions stream;
  stream.pools = {{test::enough_for(picture)}};
  test::LocalLink link{stream};
  auto reader = link.attach({});
  DetectorOptions options;
  options.scale = 1;
  const auto detector = must(Detector::create(options));
  for (const PixelFormat format : test::kAllFormats) {
    SCOPED_TRACE(static_cast<std::uint32_t>(format));
    Loan loan = link.publisher().loan(test::enough_for(picture));
    ASSERT_NE(test::put_frame(loan, format, picture, 1, "front"), nullptr);
    ASSERT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
    const Sample sample = reader->take();
    EXPECT_EQ(must(detector->detect(must(view_frame(sample)))).size(), 1u);
    const bool luma =
        format == PixelFormat::grey || format == PixelFormat::nv12 || format == PixelFormat::i420;
    EXPECT_EQ(detector->converted(), !luma);
  }
}

TEST(Detector, HogFindsPeopleOnTheirFeet) {
  DetectorOptions options;
  options.model = DetectorModel::hog;
  options.scale = 1;
  const auto detector = must(Detector::create(options));
  const cv::Mat picture = test::photo(test::kSolvay);
  const auto found = must(detector->detect(picture));
  EXPECT_FALSE(found.empty());
  for (const Detection& each : found) {
    EXPECT_EQ(each.label, "person");
    EXPECT_EQ(rect(each.box) & cv::Rect2d(0, 0, picture.cols, picture.rows), rect(each.box));
  }
  EXPECT_TRUE(must(detector->detect(cv::Mat::zeros(20, 20, CV_8UC1))).empty());
}

TEST(Detector, PicturesOfAnySizeAreSearched) {
  for (const DetectorModel model : {DetectorModel::lbp, DetectorModel::haar, DetectorModel::hog}) {
    DetectorOptions options;
    options.model = model;
    const auto detector = must(Detector::create(options));
    for (const cv::Size size : {cv::Size(1, 1), cv::Size(7, 400), cv::Size(400, 3)}) {
      EXPECT_TRUE(must(detector->detect(cv::Mat::zeros(size, CV_8UC1))).empty());
    }
  }
}

TEST(Detector, OptionsOutOfRangeAreNamed) {
  const auto with = [](auto change) {
    DetectorOptions options;
    change(options);
    return refusal(options);
  };
  EXPECT_NE(with([](auto& o) { o.scale = 0; }).find("--scale"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.scale = 2; }).find("--scale"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.scale_factor = 1; }).find("--scale-factor"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.min_neighbors = -1; }).find("--min-neighbors"), std::string::npos);
  EXPECT_NE(with([](auto& o) { o.min_size = -1; }).find("--min-size"), std::string::npos);
  EXPECT_NE(with([](auto& o) {
              o.min_size = 9;
              o.max_size = 8;
            }).find("--max-size"),
            std::string::npos);
}

TEST(Detector, FilesThatAreNotThereOrSomethingElseAreNamed) {
  char name[] = "/tmp/sluice-vision-XXXXXX";
  const std::string folder = ::mkdtemp(name);
  const std::string garbage = folder + "/garbage";
  std::ofstream(garbage) << "this is <no cascade";
  const std::string empty = folder + "/empty";
  std::ofstream{empty};
  const std::string looks_like_onnx = folder + "/model.onnx";
  std::ofstream(looks_like_onnx) << '\x08' << "and then nothing that makes sense";

  DetectorOptions options;
  for (const DetectorModel model : {DetectorModel::lbp, DetectorModel::haar}) {
    options.model = model;
    options.file = folder + "/none.xml";
    EXPECT_NE(refusal(options).find("there is no file"), std::string::npos) << refusal(options);
    for (const std::string& file : {garbage, empty, looks_like_onnx}) {
      options.file = file;
      EXPECT_NE(refusal(options).find("not a cascade"), std::string::npos) << refusal(options);
    }
  }
  options.model = DetectorModel::yunet;
  options.file = "";
  EXPECT_NE(refusal(options).find("--file"), std::string::npos) << refusal(options);
  options.file = folder + "/none.onnx";
  EXPECT_NE(refusal(options).find("there is no file"), std::string::npos) << refusal(options);
  for (const std::string& file : {garbage, empty, folder}) {
    options.file = file;
    EXPECT_NE(refusal(options), "was accepted");
  }
  options.file = looks_like_onnx;
  EXPECT_NE(refusal(options).find("could not be loaded as YuNet"), std::string::npos)
      << refusal(options);
  options.model = DetectorModel::hog;
  EXPECT_NE(refusal(options).find("leave --file out"), std::string::npos);

  const auto nowhere = find_cascade("lbpcascades/lbpcascade_frontalface.xml", {folder});
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.error().message.find("opencv-data"), std::string::npos);
  std::filesystem::remove_all(folder);
}

// A network that sees the same face in every picture of 64 x 64: YuNet has 235 places to look at
// there; the 86th is a square of 16 around (36, 28).
TEST(Detector, YunetsFacesAreOfTheWholeFrame) {
  constexpr std::size_t kPlaces = 8 * 8 * 3 + 4 * 4 * 2 + 2 * 2 * 2 + 3;
  constexpr std::size_t kPlace = (3 * 8 + 4) * 3 + 1;
  std::vector<float> where(kPlaces * 14, 0.0F);
  std::vector<float> face(kPlaces * 2, 0.0F);
  std::vector<float> fit(kPlaces, 0.0F);
  face[kPlace * 2 + 1] = 1;
  fit[kPlace] = 1;
  const std::string file =
      testing::TempDir() + "/sluice-yunet-" + std::to_string(::getpid()) + ".onnx";
  test::TinyOnnx{}
      .mean_of_channels("mean")
      .constant("mean", "loc", where)
      .constant("mean", "conf", face)
      .constant("mean", "iou", fit)
      .output("loc", static_cast<std::int64_t>(where.size()))
      .output("conf", static_cast<std::int64_t>(face.size()))
      .output("iou", static_cast<std::int64_t>(fit.size()))
      .save(file, 64, 64);
  DetectorOptions options;
  options.model = DetectorModel::yunet;
  options.file = file;
  options.region = must(parse_region("0.5,0,0.5,1"));
  const auto detector = must(Detector::create(options));
  const auto found = must(detector->detect(cv::Mat(128, 256, CV_8UC1, cv::Scalar(50))));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].box, (Box{128 + 56, 40, 32, 32}));
  EXPECT_EQ(found[0].score, 1);
  ASSERT_EQ(found[0].landmarks.size(), 5u);
  EXPECT_EQ(found[0].landmarks[0], (Point{128 + 72, 56}));
  options.min_size = 40;
  EXPECT_TRUE(
      must(must(Detector::create(options))->detect(cv::Mat::zeros(128, 256, CV_8UC3))).empty());
  std::filesystem::remove(file);
}

TEST(Detector, RowsOfYunetBecomeDetections) {
  cv::Mat rows = (cv::Mat_<float>(2, 15) << 10, 20, 30, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0.95F, 0,
                  0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5F);
  rows.at<float>(1, 2) = std::numeric_limits<float>::quiet_NaN();
  const auto found = detections_of_yunet(rows);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].box, (Box{10, 20, 30, 40}));
  EXPECT_EQ(found[0].score, 0.95F);
  ASSERT_EQ(found[0].landmarks.size(), 5u);
  EXPECT_EQ(found[0].landmarks[4], (Point{9, 10}));
  EXPECT_TRUE(detections_of_yunet({}).empty());
}

}  // namespace
}  // namespace sluice::opencv
