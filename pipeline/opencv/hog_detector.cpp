// People on their feet: histograms of oriented gradients and OpenCV's own linear classifier (Dalal
// and Triggs), which needs no file. The score is the distance to the classifier's plane.
#include "pipeline/opencv/models.hpp"

#include <algorithm>
#include <opencv2/objdetect.hpp>

namespace sluice::opencv {
namespace {

class HogDetector final : public Detector {
 public:
  explicit HogDetector(const DetectorOptions& options) : Detector(options) {
    hog_.setSVMDetector(cv::HOGDescriptor::getDefaultPeopleDetector());
  }

 private:
  std::vector<Detection> find(const cv::Mat& picture) override {
    std::vector<cv::Rect> boxes;
    std::vector<double> weights;
    // A picture smaller than the window has nobody in it, and OpenCV does not like it.
    if (picture.cols < hog_.winSize.width || picture.rows < hog_.winSize.height) return {};
    hog_.detectMultiScale(picture, boxes, weights, options().threshold, cv::Size(8, 8),
                          cv::Size(8, 8), options().scale_factor);
    std::vector<Detection> found;
    const int smallest = reduced(options().min_size).height;
    const int largest = reduced(options().max_size).height;
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      if (boxes[i].height < smallest || (largest != 0 && boxes[i].height > largest)) continue;
      // Windows reach into the padding.
      const cv::Rect2f box = boxes[i] & cv::Rect({}, picture.size());
      if (box.empty()) continue;
      Detection& person = found.emplace_back();
      person.box = {box.x, box.y, box.width, box.height};
      person.score = static_cast<float>(weights[i]);
      person.label = "person";
    }
    return found;
  }
  cv::HOGDescriptor hog_;
};

}  // namespace

Result<std::unique_ptr<Detector>> make_hog_detector(const DetectorOptions& options) {
  if (!options.file.empty()) {
    return Error{Errc::invalid_argument, 0, "the model hog needs no file; leave --file out"};
  }
  return std::unique_ptr<Detector>(std::make_unique<HogDetector>(options));
}

}  // namespace sluice::opencv
