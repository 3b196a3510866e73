// Finding faces and people in frames.
#pragma once

#include "pipeline/opencv/region.hpp"
#include "sluice/frame.hpp"
#include "sluice/result.hpp"
#include "sluice/results.hpp"

#include <array>
#include <memory>
#include <opencv2/core.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::opencv {

enum class DetectorModel { lbp, haar, hog, yunet };
/// The names of DetectorModel, in its order.
inline constexpr std::array<const char*, 4> kDetectorModels{"lbp", "haar", "hog", "yunet"};

struct DetectorOptions {
  DetectorModel model = DetectorModel::lbp;
  /// A cascade or, for yunet, an ONNX file; empty: the cascade that Debian's opencv-data has.
  std::string file{};
  /// The picture is reduced by this factor before it is searched, 0 < scale <= 1. Boxes and sizes
  /// are of the whole frame all the same.
  double scale = 0.5;
  double scale_factor = 1.1;  ///< From one size that is searched to the next, above 1.
  int min_neighbors = 4;      ///< Cascades: hits that must agree.
  int min_size = 0;           ///< Pixels of the frame; 0: the smallest that the model knows.
  int max_size = 0;           ///< Pixels of the frame; 0: no limit.
  double threshold = 0;       ///< hog, yunet: least score; 0: the model's default.
  Region region{};
};

/// One model. Thread-bound; uses the luma plane of a frame in place where the model works on grey
/// and the format has one.
class Detector {
 public:
  /// Loads the model. The error names the file or option, and the package or remedy.
  static Result<std::unique_ptr<Detector>> create(const DetectorOptions& options);
  virtual ~Detector() = default;

  /// Boxes in pixels of the whole frame, the surest first.
  Result<std::vector<Detection>> detect(const FrameView& view);
  /// The same in a grey or BGR picture.
  Result<std::vector<Detection>> detect(const cv::Mat& picture);

  /// Whether the last frame's pixels had to be converted before the model could look at them.
  [[nodiscard]] bool converted() const noexcept { return converted_; }
  [[nodiscard]] const char* model() const noexcept;

 protected:
  explicit Detector(DetectorOptions options) : options_(std::move(options)) {}
  /// In pixels of `picture`, which is reduced by options().scale already.
  virtual std::vector<Detection> find(const cv::Mat& picture) = 0;
  [[nodiscard]] virtual bool needs_colour() const noexcept { return false; }
  [[nodiscard]] const DetectorOptions& options() const noexcept { return options_; }
  /// A size in pixels of the frame as it is in the reduced picture; empty for 0.
  [[nodiscard]] cv::Size reduced(int size) const;

 private:
  std::vector<Detection> search(const cv::Mat& picture, const cv::Rect& region);
  DetectorOptions options_;
  cv::Mat converted_frame_, reduced_;
  bool converted_ = false;
};

/// FaceDetectorYN's rows (x, y, width, height, five landmarks, score) as detections; a row with
/// numbers that are not finite is left out.
std::vector<Detection> detections_of_yunet(const cv::Mat& rows);

/// Where Debian's opencv-data has this file, as "haarcascades/haarcascade_frontalface_alt2.xml"; an
/// error that names the package when it is nowhere.
Result<std::string> find_cascade(const std::string& name,
                                 const std::vector<std::string>& folders = {
                                     "/usr/share/opencv4", "/usr/local/share/opencv4"});

}  // namespace sluice::opencv
