// Whose face it is.
#pragma once

#include "pipeline/opencv/gallery.hpp"
#include "sluice/frame.hpp"
#include "sluice/result.hpp"
#include "sluice/results.hpp"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sluice::opencv {

enum class RecognizerModel { lbph, sface };
/// The names of RecognizerModel, in its order.
inline constexpr std::array<const char*, 2> kRecognizerModels{"lbph", "sface"};

struct RecognizerOptions {
  RecognizerModel model = RecognizerModel::lbph;
  std::string file{};    ///< sface: the ONNX file.
  double threshold = 0;  ///< A face farther from everybody is unknown; 0: the model's default.
  /// The nearest person must be this much nearer than the second one: at most ratio times the
  /// distance. 0: the model's default; 1: no such rule.
  double ratio = 0;
};

/// What was measured on the photographs of docs/vision.md.
inline constexpr double kLbphThreshold = 0.60;
inline constexpr double kLbphRatio = 0.85;
/// The cosine distance that OpenCV documents for SFace (a similarity of 0.363).
inline constexpr double kSfaceThreshold = 0.637;

struct Verdict {
  std::string name{kUnknownName};
  float distance = 0;
  float confidence = 0;
};

/// A model and the faces it knows. Thread-bound.
class Recognizer {
 public:
  /// The error names the option or file.
  static Result<std::unique_ptr<Recognizer>> create(const RecognizerOptions& options,
                                                    const Gallery& gallery);
  virtual ~Recognizer() = default;

  /// One identity for each detection that is a face, in their order; a box that cannot be one in
  /// this frame is unknown. Uses the luma plane in place where the format has one.
  Result<std::vector<Identity>> recognize(const FrameView& view,
                                          std::span<const Detection> detections);
  /// A crop as of crop_face.
  Result<Verdict> recognize(const cv::Mat& crop);

  /// Whether the last frame's pixels had to be converted.
  [[nodiscard]] bool converted() const noexcept { return converted_; }
  [[nodiscard]] const char* model() const noexcept;
  [[nodiscard]] std::size_t people() const noexcept { return people_.size(); }

 protected:
  using Features = std::vector<float>;
  explicit Recognizer(const RecognizerOptions& options) : options_(options) {}
  virtual Features features(const cv::Mat& crop) = 0;
  /// Those of an enrolled face: several where that makes the model sturdier.
  virtual std::vector<Features> enrolled_features(const cv::Mat& crop) { return {features(crop)}; }
  [[nodiscard]] virtual float distance(const Features& a, const Features& b) const = 0;
  [[nodiscard]] virtual bool needs_colour() const noexcept { return false; }

 private:
  struct Person {
    std::string name;
    std::vector<Features> faces;
  };
  Verdict nearest(const Features& face) const;
  RecognizerOptions options_;
  std::vector<Person> people_;
  cv::Mat converted_frame_;
  bool converted_ = false;
};

/// Whether enrolment for this model wants crops in colour.
constexpr bool wants_colour(RecognizerModel model) { return model == RecognizerModel::sface; }

}  // namespace sluice::opencv
