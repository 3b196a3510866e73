// YuNet, a small neural network for faces with five landmarks, by OpenCV's FaceDetectorYN. The ONNX
// file is the user's: none comes with Debian or with Sluice. Works on colour.
#include "pipeline/opencv/guard.hpp"
#include "pipeline/opencv/models.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <opencv2/objdetect.hpp>

namespace sluice::opencv {
namespace {

constexpr float kDefaultScore = 0.9F;  // FaceDetectorYN's

class YunetDetector final : public Detector {
 public:
  YunetDetector(const DetectorOptions& options, cv::Ptr<cv::FaceDetectorYN> net)
      : Detector(options), net_(std::move(net)) {}

 private:
  [[nodiscard]] bool needs_colour() const noexcept override { return true; }
  std::vector<Detection> find(const cv::Mat& picture) override {
    cv::Mat rows;
    net_->setInputSize(picture.size());
    net_->detect(picture, rows);
    std::vector<Detection> found = detections_of_yunet(rows);
    const auto smallest = static_cast<float>(reduced(options().min_size).height);
    const auto largest = static_cast<float>(reduced(options().max_size).height);
    std::erase_if(found, [&](const Detection& each) {
      return each.box.height < smallest || (largest > 0 && each.box.height > largest);
    });
    return found;
  }
  cv::Ptr<cv::FaceDetectorYN> net_;
};

}  // namespace

std::vector<Detection> detections_of_yunet(const cv::Mat& rows) {
  constexpr int kColumns = 15;
  std::vector<Detection> found;
  if (rows.empty()) return found;
  CV_Assert(rows.type() == CV_32FC1 && rows.cols == kColumns);
  for (int i = 0; i < rows.rows; ++i) {
    const auto* row = rows.ptr<float>(i);
    if (!std::all_of(row, row + kColumns, [](float value) { return std::isfinite(value); })) {
      continue;
    }
    Detection& face = found.emplace_back();
    face.box = {row[0], row[1], row[2], row[3]};
    for (int k = 4; k < 14; k += 2) face.landmarks.push_back({row[k], row[k + 1]});
    face.score = row[14];
    face.label = "face";
  }
  return found;
}

Result<void> check_onnx(const std::string& file, const std::string& model) {
  if (file.empty()) {
    return Error{Errc::invalid_argument, 0,
                 "the model " + model +
                     " needs its ONNX file, which does not come with Sluice; name "
                     "it with --file"};
  }
  std::ifstream in(file, std::ios::binary);
  // An ONNX file is a protobuf message that begins with its ir_version: field 1, a varint.
  const int first = in ? in.get() : 0;
  if (!in) {
    return Error{
        Errc::invalid_argument, 0,
        "there is no file " + transport::quoted(file) + " that can be read; correct --file"};
  }
  // OpenCV goes by the name.
  if (first != 0x08 || !file.ends_with(".onnx")) {
    return Error{
        Errc::invalid_argument, 0,
        transport::quoted(file) + " is not an ONNX file whose name ends in .onnx; correct --file"};
  }
  return {};
}

Result<std::unique_ptr<Detector>> make_yunet_detector(const DetectorOptions& options) {
  if (auto checked = check_onnx(options.file, "yunet"); !checked) return std::move(checked).error();
  const auto score = options.threshold > 0 ? static_cast<float>(options.threshold) : kDefaultScore;
  auto net = guarded(transport::quoted(options.file) + " could not be loaded as YuNet", [&] {
    return cv::FaceDetectorYN::create(options.file, "", cv::Size(320, 320), score);
  });
  if (!net) return std::move(net).error();
  return std::unique_ptr<Detector>(std::make_unique<YunetDetector>(options, std::move(*net)));
}

}  // namespace sluice::opencv
