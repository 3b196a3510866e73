// The nearest of the enrolled people, if near enough, and nearer by far than anybody else.
//
// The second rule matters more than the first: two pictures of one person may be as far apart as
// two persons in the same light, but then the second person is hardly farther than the first. A
// stranger is about equally far from everybody.
#include "pipeline/opencv/recognizer.hpp"

#include "pipeline/opencv/face_crop.hpp"
#include "pipeline/opencv/guard.hpp"
#include "pipeline/opencv/recognizer_models.hpp"
#include "sluice/opencv.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace sluice::opencv {
namespace {

constexpr float kFarthest = 2;  // of both models' distances

}  // namespace

Result<std::unique_ptr<Recognizer>> Recognizer::create(const RecognizerOptions& given,
                                                       const Gallery& gallery) {
  RecognizerOptions options = given;
  const auto wrong = [](const char* text) { return Error{Errc::invalid_argument, 0, text}; };
  if (!(options.threshold >= 0)) return wrong("--threshold must not be negative");
  if (!(options.ratio >= 0 && options.ratio <= 1)) return wrong("--ratio must be from 0 to 1");
  if (gallery.faces.empty()) return wrong("nobody is enrolled; name --people or --load");
  const bool lbph = options.model == RecognizerModel::lbph;
  if (options.threshold == 0) options.threshold = lbph ? kLbphThreshold : kSfaceThreshold;
  if (options.ratio == 0) options.ratio = lbph ? kLbphRatio : 1;
  auto made = lbph ? make_lbph(options) : make_sface(options);
  if (!made) return made;
  Recognizer& recognizer = **made;
  auto enrolled = guarded("enrolment", [&] {
    for (const EnrolledFace& face : gallery.faces) {
      auto& people = recognizer.people_;
      auto person = std::find_if(people.begin(), people.end(),
                                 [&](const Person& p) { return p.name == face.name; });
      if (person == people.end()) person = people.insert(people.end(), Person{face.name, {}});
      auto more = recognizer.enrolled_features(face.crop);
      std::move(more.begin(), more.end(), std::back_inserter(person->faces));
    }
  });
  if (!enrolled) return std::move(enrolled).error();
  return made;
}

const char* Recognizer::model() const noexcept {
  return kRecognizerModels[static_cast<std::size_t>(options_.model)];
}

Verdict Recognizer::nearest(const Features& face) const {
  constexpr float kFar = std::numeric_limits<float>::max();
  const Person* best = nullptr;
  float first = kFar;
  float second = kFar;
  for (const Person& person : people_) {
    float d = kFar;
    for (const Features& known : person.faces) d = std::min(d, distance(face, known));
    if (d < first) {
      second = first;
      first = d;
      best = &person;
    } else {
      second = std::min(second, d);
    }
  }
  Verdict verdict;
  verdict.distance = first;
  const float by_threshold = first / static_cast<float>(options_.threshold);
  // With a single person enrolled there is no second one to compare with.
  const float by_ratio = second < kFar && second > 0 && options_.ratio < 1
                             ? first / second / static_cast<float>(options_.ratio)
                             : 0;
  const float doubt = std::max(by_threshold, by_ratio);
  if (best != nullptr && doubt < 1) {
    verdict.name = best->name;
    verdict.confidence = std::clamp(1 - doubt, 0.0F, 1.0F);
  }
  return verdict;
}

Result<Verdict> Recognizer::recognize(const cv::Mat& crop) {
  return guarded(std::string("recognition by ") + model(), [&] { return nearest(features(crop)); });
}

Result<std::vector<Identity>> Recognizer::recognize(const FrameView& view,
                                                    std::span<const Detection> detections) {
  converted_ = false;
  std::vector<Identity> identities;
  cv::Mat picture;
  for (const Detection& detection : detections) {
    if (detection.label != "face") continue;
    if (picture.empty()) {  // a frame without faces costs nothing
      if (needs_colour() ? view.header.format == PixelFormat::bgr : has_luma(view.header.format)) {
        picture = needs_colour() ? *mat(view) : *luma(view);
      } else {
        auto done =
            needs_colour() ? to_bgr(view, converted_frame_) : to_grey(view, converted_frame_);
        if (!done) return std::move(done).error();
        converted_ = true;
        picture = converted_frame_;
      }
    }
    auto verdict = guarded(std::string("recognition by ") + model(), [&] {
      const auto crop = crop_face(picture, detection.box);
      return crop ? nearest(features(*crop)) : Verdict{.distance = kFarthest};
    });
    if (!verdict) return std::move(verdict).error();
    identities.push_back(
        {detection.box, std::move(verdict->name), verdict->distance, verdict->confidence});
  }
  return identities;
}

}  // namespace sluice::opencv
