// A face as histograms of its local binary patterns.
#pragma once

#include <opencv2/core.hpp>
#include <span>
#include <vector>

namespace sluice::opencv {

/// Side of the grey picture that lbp_histogram takes.
inline constexpr int kPatternSide = 48;

/// Histograms of uniform patterns at radius 1, 2 and 3, in 5 x 5 cells each; those of a cell sum up
/// to 1. The picture is equalized first.
std::vector<float> lbp_histogram(const cv::Mat& face);

/// Chi-square distance of two such histograms, per cell: 0 for the same face, 2 at most.
float lbp_distance(std::span<const float> a, std::span<const float> b);

}  // namespace sluice::opencv
