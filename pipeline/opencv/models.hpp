// The models behind Detector::create, a file each.
#pragma once

#include "pipeline/opencv/detector.hpp"

namespace sluice::opencv {

Result<std::unique_ptr<Detector>> make_cascade_detector(const DetectorOptions& options);
Result<std::unique_ptr<Detector>> make_hog_detector(const DetectorOptions& options);
Result<std::unique_ptr<Detector>> make_yunet_detector(const DetectorOptions& options);

/// An error where `file` is not there, cannot be read, or is not what its first bytes should say;
/// `option` is the remedy.
Result<void> check_onnx(const std::string& file, const std::string& model);

}  // namespace sluice::opencv
