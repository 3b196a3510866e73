// Enrolled on one photograph, recognized on another one.
#include "pipeline/opencv/recognizer.hpp"

#include "pipeline/opencv/detector.hpp"
#include "pipeline/opencv/enrolment.hpp"
#include "pipeline/opencv/face_crop.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/photo_frames.hpp"
#include "tests/support/photos.hpp"
#include "tests/support/tiny_onnx.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace sluice::opencv {
namespace {

using test::must;

const Gallery& physicists() {
  static const Gallery gallery = [] {
    auto finder = must(Detector::create({}));
    return must(enrol(SLUICE_SOURCE_DIR "/examples/pipelines/solvay_people.toml", *finder)).gallery;
  }();
  return gallery;
}

Gallery only(std::size_t count, std::size_t from = 0) {
  Gallery some;
  const auto& all = physicists().faces;
  for (std::size_t i = 0; i < count; ++i) some.faces.push_back(all[(from + i) % all.size()]);
  return some;
}

// A stream of one's own for each frame that a test looks at.
class Shown {
 public:
  Shown(const cv::Mat& bgr, PixelFormat format) : link_(stream(bgr)), reader_(link_.attach({})) {
    Loan loan = link_.publisher().loan(test::enough_for(bgr));
    EXPECT_NE(test::put_frame(loan, format, bgr, 1, "front"), nullptr);
    EXPECT_EQ(link_.publisher().publish(std::move(loan)), Outcome::ok);
    sample_ = reader_->take();
  }
  [[nodiscard]] FrameView view() const { return must(view_frame(sample_)); }

 private:
  static StreamOptions stream(const cv::Mat& bgr) {
    StreamOptions options;
    options.pools = {{test::enough_for(bgr)}};
    return options;
  }
  test::LocalLink link_;
  shm::ReaderPtr reader_;
  Sample sample_;
};

struct Tally {
  int right = 0, wrong = 0, unknown = 0;
};

// Pans a camera of 1280 x 720 over the other photograph and says for each face that the detector
// found what the recognizer made of it. "": where nobody is.
std::map<std::string_view, Tally> pan(Detector& detector, Recognizer& recognizer, int steps,
                                      bool print = false) {
  const cv::Mat whole = test::photo(test::kOtherSolvay, cv::IMREAD_COLOR);
  std::map<std::string_view, Tally> tally;
  for (int i = 0; i < steps; ++i) {
    const cv::Rect part((whole.cols - 1280) * i / (steps - 1), 350 + i % 3 * 17, 1280, 720);
    const Shown frame(whole(part), PixelFormat::nv12);
    const auto found = must(detector.detect(frame.view()));
    const auto identities = must(recognizer.recognize(frame.view(), found));
    EXPECT_EQ(identities.size(), found.size());
    EXPECT_FALSE(recognizer.converted());
    for (const Identity& each : identities) {
      const auto person = test::who_sits_at({each.box.x + static_cast<float>(part.x),
                                             each.box.y + static_cast<float>(part.y),
                                             each.box.width, each.box.height});
      Tally& t = tally[person];
      if (each.name == kUnknownName) {
        ++t.unknown;
        EXPECT_EQ(each.confidence, 0);
      } else if (each.name == person) {
        ++t.right;
        EXPECT_GT(each.confidence, 0);
      } else {
        ++t.wrong;
        ADD_FAILURE() << each.name << " seen at the place of '" << person << "', distance "
                      << each.distance << ", confidence " << each.confidence;
      }
    }
  }
  if (print) {
    for (const auto& [name, t] : tally) {
      std::printf("%-26s %3d right %3d unknown %3d wrong\n", std::string(name).c_str(), t.right,
                  t.unknown, t.wrong);
    }
  }
  return tally;
}

// With SLUICE_VISION_FIGURES set it takes a minute and prints what docs/vision.md says.
TEST(Recognizer, KnowsPeopleInAnotherPhotographAndNobodyElse) {
  auto recognizer = must(Recognizer::create({}, physicists()));
  EXPECT_EQ(recognizer->people(), 20u);
  const auto enrolled = physicists().names();
  const bool all = std::getenv("SLUICE_VISION_FIGURES") != nullptr;
  std::vector<std::pair<DetectorModel, double>> detectors{{DetectorModel::lbp, 0.5}};
  if (all) detectors.insert(detectors.end(), {{DetectorModel::lbp, 1}, {DetectorModel::haar, 0.5}});
  for (const auto& [model, scale] : detectors) {
    DetectorOptions options;
    options.model = model;
    options.scale = scale;
    auto detector = must(Detector::create(options));
    if (all) std::printf("%s, scale %.1f\n", detector->model(), scale);
    const auto tally = pan(*detector, *recognizer, all ? 60 : 9, all);
    std::size_t recognized = 0;
    for (const auto& [name, t] : tally) {
      if (std::find(enrolled.begin(), enrolled.end(), name) == enrolled.end()) {
        EXPECT_EQ(t.right + t.wrong, 0) << name << " is a stranger";
      } else {
        recognized += t.right > 0 ? 1 : 0;
      }
    }
    EXPECT_GE(recognized, 18u);
    for (const char* name : {"Albert Einstein", "Marie Curie", "Niels Bohr", "Max Planck",
                             "Hendrik Lorentz", "Max Born", "Peter Debye"}) {
      const auto t = tally.find(name);
      ASSERT_NE(t, tally.end()) << name;
      EXPECT_GT(t->second.right, t->second.unknown) << name;
    }
  }
}

TEST(Recognizer, SomebodyWhoWasNotThereIsUnknown) {
  auto recognizer = must(Recognizer::create({}, physicists()));
  auto detector = must(Detector::create({}));
  const cv::Mat portrait = test::photo(test::kHopper, cv::IMREAD_COLOR);
  const Shown frame(portrait, PixelFormat::i420);
  const auto found = must(detector->detect(frame.view()));
  ASSERT_EQ(found.size(), 1u);
  const auto identities = must(recognizer->recognize(frame.view(), found));
  ASSERT_EQ(identities.size(), 1u);
  EXPECT_EQ(identities[0].name, "unknown");
  EXPECT_EQ(identities[0].box, found[0].box);
  EXPECT_GT(identities[0].distance, kLbphThreshold);
}

// With few people enrolled the second nearest is far: the threshold must do it alone.
TEST(Recognizer, FewEnrolledPeopleAreNotSeenEverywhere) {
  auto detector = must(Detector::create({}));
  for (const auto& [count, from] : {std::pair<std::size_t, std::size_t>{1, 18}, {2, 16}, {3, 5}}) {
    auto recognizer = must(Recognizer::create({}, only(count, from)));
    const auto tally = pan(*detector, *recognizer, 3);
    int right = 0;
    for (const auto& [name, t] : tally) right += t.right;
    EXPECT_GT(right, 0);
  }
}

TEST(Recognizer, SavedFacesAreRecognizedAsBefore) {
  const std::string file = testing::TempDir() + "/sluice-faces-" + std::to_string(::getpid());
  must(physicists().save(file));
  auto fresh = must(Recognizer::create({}, physicists()));
  auto loaded = must(Recognizer::create({}, must(Gallery::load(file))));
  std::filesystem::remove(file);
  EXPECT_EQ(loaded->people(), fresh->people());
  const cv::Mat whole = test::photo(test::kOtherSolvay, cv::IMREAD_COLOR);
  const Shown frame(whole(cv::Rect(500, 350, 1280, 720)), PixelFormat::grey);
  const auto found = must(must(Detector::create({}))->detect(frame.view()));
  ASSERT_GT(found.size(), 5u);
  const auto before = must(fresh->recognize(frame.view(), found));
  const auto after = must(loaded->recognize(frame.view(), found));
  EXPECT_EQ(before, after);
}

TEST(Recognizer, FormatsWithoutLumaAreConvertedAndGiveTheSame) {
  auto recognizer = must(Recognizer::create({}, physicists()));
  const cv::Mat whole = test::photo(test::kOtherSolvay, cv::IMREAD_COLOR);
  const cv::Mat part = whole(cv::Rect(846, 500, 640, 480));
  const Shown grey(part, PixelFormat::grey);
  const auto found = must(must(Detector::create({}))->detect(grey.view()));
  const auto expected = must(recognizer->recognize(grey.view(), found));
  EXPECT_FALSE(recognizer->converted());
  for (const PixelFormat format : {PixelFormat::bgr, PixelFormat::yuyv, PixelFormat::mjpeg}) {
    const Shown frame(part, format);
    const auto got = must(recognizer->recognize(frame.view(), found));
    EXPECT_TRUE(recognizer->converted());
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].name, expected[i].name);
    // Nothing to look at is nothing to convert.
    EXPECT_TRUE(must(recognizer->recognize(frame.view(), {})).empty());
    EXPECT_FALSE(recognizer->converted());
  }
}

TEST(Recognizer, BoxesFromElsewhereAreSurvived) {
  auto recognizer = must(Recognizer::create({}, only(2)));
  const Shown frame(test::photo(test::kHopper, cv::IMREAD_COLOR), PixelFormat::nv12);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<Detection> detections;
  for (const Box& box : {Box{-1e9F, 0, 10, 10}, Box{0, 0, 1e9F, 1e9F}, Box{0, 0, kInf, kInf},
                         Box{500, 590, 100, 100}, Box{0, 0, 0, 0}, Box{0, 0, -5, -5}}) {
    detections.push_back({box, 1, "face", {}});
  }
  detections.push_back({{10, 10, 100, 100}, 1, "person", {}});
  const auto identities = must(recognizer->recognize(frame.view(), detections));
  ASSERT_EQ(identities.size(), detections.size() - 1) << "a person is no face";
  for (const Identity& each : identities) {
    EXPECT_EQ(each.name, "unknown");
    EXPECT_EQ(each.distance, 2);
  }
}

TEST(Recognizer, OptionsAndFilesThatCannotBeAreNamed) {
  const auto refusal = [](const RecognizerOptions& options, const Gallery& gallery) {
    const auto made = Recognizer::create(options, gallery);
    return made ? std::string("was accepted") : made.error().message;
  };
  EXPECT_NE(refusal({}, {}).find("nobody is enrolled"), std::string::npos);
  EXPECT_NE(refusal({.threshold = -1}, only(1)).find("--threshold"), std::string::npos);
  EXPECT_NE(refusal({.ratio = 2}, only(1)).find("--ratio"), std::string::npos);
  EXPECT_NE(refusal({.file = "x.onnx"}, only(1)).find("--model sface"), std::string::npos);
  RecognizerOptions sface{.model = RecognizerModel::sface};
  EXPECT_NE(refusal(sface, only(1)).find("--file"), std::string::npos);
  sface.file = "/nowhere/x.onnx";
  EXPECT_NE(refusal(sface, only(1)).find("there is no file"), std::string::npos);
  sface.file = testing::TempDir() + "/sluice-onnx-" + std::to_string(::getpid()) + ".onnx";
  std::ofstream(sface.file) << "\x08 no net";
  EXPECT_NE(refusal(sface, only(1)).find("could not be loaded as SFace"), std::string::npos);
  std::filesystem::remove(sface.file);
}

// A network whose features are the mean colours: enough to know red from blue.
TEST(Recognizer, SfaceComparesWhatItsNetworkSays) {
  const std::string file =
      testing::TempDir() + "/sluice-sface-" + std::to_string(::getpid()) + ".onnx";
  test::TinyOnnx{}.mean_of_channels("fc1").output("fc1", 3).save(file, 112, 112);
  const auto plain = [](const cv::Scalar& bgr) {
    return cv::Mat(kCropSide, kCropSide, CV_8UC3, bgr);
  };
  Gallery gallery;
  gallery.faces = {{"Red", plain({10, 10, 200})}, {"Blue", plain({220, 20, 10})}};
  const RecognizerOptions options{.model = RecognizerModel::sface, .file = file, .threshold = 0.1};
  auto recognizer = must(Recognizer::create(options, gallery));
  std::filesystem::remove(file);
  EXPECT_STREQ(recognizer->model(), "sface");
  EXPECT_EQ(must(recognizer->recognize(plain({12, 14, 90}))).name, "Red");
  EXPECT_EQ(must(recognizer->recognize(plain({120, 12, 14}))).name, "Blue");
  const Verdict green = must(recognizer->recognize(plain({10, 200, 10})));
  EXPECT_EQ(green.name, "unknown");
  EXPECT_GT(green.distance, 0.5);
  // In a frame: colour is in place in BGR only.
  cv::Mat picture(200, 300, CV_8UC3, cv::Scalar(10, 10, 180));
  const std::vector<Detection> face{{{50, 50, 80, 80}, 1, "face", {}}};
  for (const PixelFormat format : {PixelFormat::bgr, PixelFormat::nv12}) {
    const Shown frame(picture, format);
    const auto identities = must(recognizer->recognize(frame.view(), face));
    ASSERT_EQ(identities.size(), 1u);
    EXPECT_EQ(identities[0].name, "Red");
    EXPECT_EQ(recognizer->converted(), format != PixelFormat::bgr);
  }
}

TEST(Recognizer, AThresholdOfOnesOwnHolds) {
  auto strict = must(Recognizer::create({.threshold = 0.01}, physicists()));
  auto itself = must(strict->recognize(physicists().faces[3].crop));
  EXPECT_EQ(itself.name, physicists().faces[3].name);
  EXPECT_EQ(itself.distance, 0);
  EXPECT_EQ(itself.confidence, 1);
  cv::Mat blurred;
  cv::GaussianBlur(physicists().faces[3].crop, blurred, {5, 5}, 0);
  EXPECT_EQ(must(strict->recognize(blurred)).name, "unknown");
}

}  // namespace
}  // namespace sluice::opencv
