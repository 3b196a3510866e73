// What all models share: the picture they get to see.
//
// A model that works on grey gets the luma plane as it lies in the slot, cut to the region of
// interest, which is a matter of pointers. Reducing it writes a picture of its own, much smaller;
// the frame is read once for that. Only formats without luma are converted, and that is told.
#include "pipeline/opencv/detector.hpp"

#include "pipeline/opencv/guard.hpp"
#include "pipeline/opencv/models.hpp"
#include "sluice/opencv.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <opencv2/imgproc.hpp>

namespace sluice::opencv {
namespace {

Result<void> check(const DetectorOptions& o) {
  const auto wrong = [](const std::string& text) { return Error{Errc::invalid_argument, 0, text}; };
  if (!(o.scale > 0 && o.scale <= 1)) return wrong("--scale must be above 0 and at most 1");
  if (!(o.scale_factor > 1 && o.scale_factor <= 4)) {
    return wrong("--scale-factor must be above 1 and at most 4");
  }
  if (o.min_neighbors < 0) return wrong("--min-neighbors must not be negative");
  if (o.min_size < 0 || o.max_size < 0) {
    return wrong("--min-size and --max-size must not be negative");
  }
  if (o.max_size != 0 && o.max_size < o.min_size) {
    return wrong("--max-size is smaller than --min-size");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Detector>> Detector::create(const DetectorOptions& options) {
  if (auto checked = check(options); !checked) return std::move(checked).error();
  switch (options.model) {
    case DetectorModel::lbp:
    case DetectorModel::haar:
      return make_cascade_detector(options);
    case DetectorModel::hog:
      return make_hog_detector(options);
    case DetectorModel::yunet:
      return make_yunet_detector(options);
  }
  return Error{Errc::invalid_argument, 0, "there is no such model"};
}

const char* Detector::model() const noexcept {
  return kDetectorModels[static_cast<std::size_t>(options_.model)];
}

cv::Size Detector::reduced(int size) const {
  if (size == 0) return {};
  const int side = std::max(1, cvRound(size * options_.scale));
  return {side, side};
}

Result<std::vector<Detection>> Detector::detect(const FrameView& view) {
  const cv::Size size(static_cast<int>(view.header.width), static_cast<int>(view.header.height));
  converted_ = false;
  auto region = options_.region.in(size);
  if (!region) return std::move(region).error();
  cv::Mat picture;
  if (needs_colour() && view.header.format == PixelFormat::bgr) {
    picture = *mat(view);
  } else if (!needs_colour() && has_luma(view.header.format)) {
    picture = *luma(view);
  } else {
    auto done = needs_colour() ? to_bgr(view, converted_frame_) : to_grey(view, converted_frame_);
    if (!done) return std::move(done).error();
    converted_ = true;
    picture = converted_frame_;
  }
  return guarded(std::string("detection by ") + model(), [&] { return search(picture, *region); });
}

Result<std::vector<Detection>> Detector::detect(const cv::Mat& given) {
  converted_ = false;
  auto region = options_.region.in(given.size());
  if (!region) return std::move(region).error();
  return guarded(std::string("detection by ") + model(), [&] {
    cv::Mat picture = given;
    if (needs_colour() != (given.channels() == 3)) {
      cv::cvtColor(given, converted_frame_,
                   needs_colour() ? cv::COLOR_GRAY2BGR : cv::COLOR_BGR2GRAY);
      picture = converted_frame_;
    }
    return search(picture, *region);
  });
}

std::vector<Detection> Detector::search(const cv::Mat& picture, const cv::Rect& region) {
  cv::Mat seen = picture(region);
  if (options_.scale < 1) {
    const cv::Size size(std::max(1, cvRound(region.width * options_.scale)),
                        std::max(1, cvRound(region.height * options_.scale)));
    cv::resize(seen, reduced_, size, 0, 0, cv::INTER_AREA);
    seen = reduced_;
  }
  std::vector<Detection> found = find(seen);
  // Rounding made the two sides' factors differ a little from the one asked for.
  const float kx = static_cast<float>(region.width) / static_cast<float>(seen.cols);
  const float ky = static_cast<float>(region.height) / static_cast<float>(seen.rows);
  const auto x0 = static_cast<float>(region.x);
  const auto y0 = static_cast<float>(region.y);
  for (Detection& each : found) {
    each.box = {each.box.x * kx + x0, each.box.y * ky + y0, each.box.width * kx,
                each.box.height * ky};
    for (Point& point : each.landmarks) point = {point.x * kx + x0, point.y * ky + y0};
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Detection& a, const Detection& b) { return a.score > b.score; });
  return found;
}

Result<std::string> find_cascade(const std::string& name, const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    std::string path = folder;
    path.append("/").append(name);
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) return path;
  }
  return Error{Errc::invalid_argument, 0,
               "the cascade " + name + " is not in " + folders.front() +
                   ": install Debian's package opencv-data, or name a file with --file"};
}

}  // namespace sluice::opencv
