// Viola and Jones's boosted cascades: of local binary patterns (fast, integer) or Haar-like
// features (surer, about five times slower), on grey. The score is the number of hits that agreed.
#include "pipeline/opencv/guard.hpp"
#include "pipeline/opencv/models.hpp"
#include "transport/quote.hpp"

#include <filesystem>
#include <opencv2/objdetect.hpp>

namespace sluice::opencv {
namespace {

class CascadeDetector final : public Detector {
 public:
  CascadeDetector(const DetectorOptions& options, const cv::CascadeClassifier& cascade)
      : Detector(options), cascade_(cascade) {}

 private:
  std::vector<Detection> find(const cv::Mat& picture) override {
    std::vector<cv::Rect> boxes;
    std::vector<int> hits;
    cascade_.detectMultiScale(picture, boxes, hits, options().scale_factor, options().min_neighbors,
                              0, reduced(options().min_size), reduced(options().max_size));
    std::vector<Detection> found(boxes.size());
    for (std::size_t i = 0; i < boxes.size(); ++i) {
      const cv::Rect2f box = boxes[i];
      found[i].box = {box.x, box.y, box.width, box.height};
      found[i].score = static_cast<float>(hits[i]);
      found[i].label = "face";
    }
    return found;
  }
  cv::CascadeClassifier cascade_;
};

}  // namespace

Result<std::unique_ptr<Detector>> make_cascade_detector(const DetectorOptions& options) {
  std::string file = options.file;
  if (file.empty()) {
    auto found = find_cascade(options.model == DetectorModel::lbp
                                  ? "lbpcascades/lbpcascade_frontalface.xml"
                                  : "haarcascades/haarcascade_frontalface_alt2.xml");
    if (!found) return std::move(found).error();
    file = std::move(*found);
  }
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored)) {
    return Error{Errc::invalid_argument, 0,
                 "there is no file " + transport::quoted(file) + "; correct --file"};
  }
  cv::CascadeClassifier cascade;
  const auto loaded = guarded(file, [&] { return cascade.load(file); });
  if (!loaded || !*loaded || cascade.empty()) {
    return Error{Errc::invalid_argument, 0,
                 transport::quoted(file) + " is not a cascade of OpenCV; correct --file"};
  }
  return std::unique_ptr<Detector>(std::make_unique<CascadeDetector>(options, cascade));
}

}  // namespace sluice::opencv
