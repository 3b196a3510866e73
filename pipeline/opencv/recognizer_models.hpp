// The models behind Recognizer::create, a file each.
#pragma once

#include "pipeline/opencv/recognizer.hpp"

namespace sluice::opencv {

Result<std::unique_ptr<Recognizer>> make_lbph(const RecognizerOptions& options);
Result<std::unique_ptr<Recognizer>> make_sface(const RecognizerOptions& options);

}  // namespace sluice::opencv
