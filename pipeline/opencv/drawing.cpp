// OpenCV's Hershey fonts know ASCII only, and names do not: é and ö lose their accents rather than
// become question marks. The table is Unicode's Latin-1 Supplement, U+00C0 to U+00FF.
#include "pipeline/opencv/drawing.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <set>

namespace sluice::opencv {
namespace {

constexpr std::string_view kLatin =
    "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYTsaaaaaaaceeeeiiiidnooooo/ouuuuyty";
static_assert(kLatin.size() == 64);

int to_pixel(float value) {
  constexpr float kLimit = 65'536;  // far outside of every frame, far inside of int
  return std::isfinite(value) ? cvRound(std::clamp(value, -kLimit, kLimit)) : 0;
}

}  // namespace

std::string plain_ascii(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    std::size_t bytes = 1;
    if (byte >= 0xc0) {  // the start of a character of several bytes
      while (i + bytes < text.size() &&
             (static_cast<unsigned char>(text[i + bytes]) & 0xc0) == 0x80) {
        ++bytes;
      }
    }
    if (byte == 0xc3 && bytes == 2) {
      out += kLatin[static_cast<unsigned char>(text[i + 1]) - 0x80U];
    } else {
      out += byte >= 0x20 && byte < 0x7f ? text[i] : '?';
    }
    i += bytes;
  }
  return out;
}

void draw(cv::Mat& picture, std::span<const Identity> identities) {
  const cv::Scalar known(80, 220, 80);
  const cv::Scalar stranger(170, 170, 170);
  const cv::Scalar shadow(0, 0, 0);
  for (const Identity& identity : identities) {
    const Box& b = identity.box;
    const cv::Rect box(cv::Point(to_pixel(b.x), to_pixel(b.y)),
                       cv::Point(to_pixel(b.x + b.width), to_pixel(b.y + b.height)));
    const bool named = identity.name != kUnknownName;
    cv::rectangle(picture, box, named ? known : stranger, 1, cv::LINE_AA);
    if (!named) continue;
    const std::string text = plain_ascii(identity.name);
    const double size = std::clamp(picture.cols / 2600.0, 0.35, 1.0);
    int under = 0;
    const cv::Size extent = cv::getTextSize(text, cv::FONT_HERSHEY_SIMPLEX, size, 1, &under);
    // Above the box, or under it at the upper border; never beyond the right one.
    const int x = std::clamp(box.x + (box.width - extent.width) / 2, 0,
                             std::max(0, picture.cols - extent.width));
    const int above = box.y - under - 1;
    const int y = above > extent.height ? above : box.br().y + extent.height + under;
    cv::putText(picture, text, {x + 1, y + 1}, cv::FONT_HERSHEY_SIMPLEX, size, shadow, 2,
                cv::LINE_AA);
    cv::putText(picture, text, {x, y}, cv::FONT_HERSHEY_SIMPLEX, size, known, 1, cv::LINE_AA);
  }
}

std::size_t known_people(std::span<const Identity> identities) {
  std::set<std::string_view> names;
  for (const Identity& identity : identities) {
    if (identity.name != kUnknownName) names.insert(identity.name);
  }
  return names.size();
}

}  // namespace sluice::opencv
