// SFace, a neural network that makes 128 numbers of a face, by OpenCV's FaceRecognizerSF. The ONNX
// file is the user's: none comes with Debian or with Sluice. Faces are taken as the box cuts them,
// not turned upright by landmarks, since cascades have none.
#include "pipeline/opencv/face_crop.hpp"
#include "pipeline/opencv/guard.hpp"
#include "pipeline/opencv/models.hpp"
#include "pipeline/opencv/recognizer_models.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>

namespace sluice::opencv {
namespace {

class SfaceRecognizer final : public Recognizer {
 public:
  SfaceRecognizer(const RecognizerOptions& options, cv::Ptr<cv::FaceRecognizerSF> net)
      : Recognizer(options), net_(std::move(net)) {}

 private:
  [[nodiscard]] bool needs_colour() const noexcept override { return true; }
  Features features(const cv::Mat& crop) override {
    constexpr int kInput = 112;
    cv::Mat colour = crop;
    if (crop.channels() == 1) cv::cvtColor(crop, colour, cv::COLOR_GRAY2BGR);
    const cv::Mat face = cut_square(
        colour, {{kCropSide / 2.0F, kCropSide / 2.0F}, static_cast<float>(kFaceSide)}, kInput);
    cv::Mat out;
    net_->feature(face, out);
    CV_Assert(out.type() == CV_32FC1 && !out.empty());
    out = out.reshape(1, 1);
    return {out.ptr<float>(), out.ptr<float>() + out.cols};
  }
  // 1 - cosine of the angle between them.
  [[nodiscard]] float distance(const Features& a, const Features& b) const override {
    float both = 0;
    float aa = 0;
    float bb = 0;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      both += a[i] * b[i];
      aa += a[i] * a[i];
      bb += b[i] * b[i];
    }
    const float length = std::sqrt(aa * bb);
    return length > 0 ? 1 - both / length : 2;
  }
  cv::Ptr<cv::FaceRecognizerSF> net_;
};

}  // namespace

Result<std::unique_ptr<Recognizer>> make_sface(const RecognizerOptions& options) {
  if (auto checked = check_onnx(options.file, "sface"); !checked) return std::move(checked).error();
  auto net = guarded(transport::quoted(options.file) + " could not be loaded as SFace",
                     [&] { return cv::FaceRecognizerSF::create(options.file, ""); });
  if (!net) return std::move(net).error();
  return std::unique_ptr<Recognizer>(std::make_unique<SfaceRecognizer>(options, std::move(*net)));
}

}  // namespace sluice::opencv
