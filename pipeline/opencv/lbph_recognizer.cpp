// Histograms of local binary patterns; see lbp_histogram.cpp. A detector's boxes for one face
// differ by some pixels from frame to frame, so an enrolled face is looked at in several ways,
// shifted and scaled by as much; the face in a frame only as it is, which keeps recognition quick.
#include "pipeline/opencv/face_crop.hpp"
#include "pipeline/opencv/lbp_histogram.hpp"
#include "pipeline/opencv/recognizer_models.hpp"

#include <array>
#include <opencv2/imgproc.hpp>

namespace sluice::opencv {
namespace {

struct Look {
  float dx = 0, dy = 0, scale = 1;  // of the face's side
};
constexpr std::array<Look, 7> kLooks{{{0, 0, 1},
                                      {.05F, 0, 1},
                                      {-.05F, 0, 1},
                                      {0, .05F, 1},
                                      {0, -.05F, 1},
                                      {0, 0, 1.08F},
                                      {0, 0, .92F}}};

std::vector<float> look_at(const cv::Mat& crop, const Look& look) {
  cv::Mat grey = crop;
  if (crop.channels() == 3) cv::cvtColor(crop, grey, cv::COLOR_BGR2GRAY);
  constexpr float kSide = kFaceSide;
  constexpr float kMiddle = kCropSide / 2.0F;
  return lbp_histogram(
      cut_square(grey, {{kMiddle + look.dx * kSide, kMiddle + look.dy * kSide}, kSide * look.scale},
                 kPatternSide));
}

class LbphRecognizer final : public Recognizer {
 public:
  using Recognizer::Recognizer;
  explicit LbphRecognizer(const RecognizerOptions& options) : Recognizer(options) {}

 private:
  Features features(const cv::Mat& crop) override { return look_at(crop, {}); }
  std::vector<Features> enrolled_features(const cv::Mat& crop) override {
    std::vector<Features> all;
    all.reserve(kLooks.size());
    for (const Look& look : kLooks) all.push_back(look_at(crop, look));
    return all;
  }
  [[nodiscard]] float distance(const Features& a, const Features& b) const override {
    return lbp_distance(a, b);
  }
};

}  // namespace

Result<std::unique_ptr<Recognizer>> make_lbph(const RecognizerOptions& options) {
  if (!options.file.empty()) {
    return Error{Errc::invalid_argument, 0,
                 "the model lbph needs no ONNX file; leave --file out or say --model sface"};
  }
  return std::unique_ptr<Recognizer>(std::make_unique<LbphRecognizer>(options));
}

}  // namespace sluice::opencv
