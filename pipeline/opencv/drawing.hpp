// Boxes and names on pictures for people.
#pragma once

#include "sluice/results.hpp"

#include <opencv2/core.hpp>
#include <span>
#include <string>
#include <string_view>

namespace sluice::opencv {

/// Draws into `picture`, BGR: known people with their name and in green, others thin and grey. What
/// lies outside is not drawn; nothing is asserted about the boxes.
void draw(cv::Mat& picture, std::span<const Identity> identities);

/// UTF-8 as OpenCV's fonts can show it: Latin letters without their accents, '?' for the rest.
std::string plain_ascii(std::string_view text);

/// How many different known people there are.
std::size_t known_people(std::span<const Identity> identities);

}  // namespace sluice::opencv
