// OpenCV in a process that has a log of its own.
#pragma once

#include <opencv2/core.hpp>

namespace sluice::opencv {

/// Lets OpenCV use so many threads, and say nothing on standard error: its errors are exceptions as
/// well, and reach the log as sentences.
inline void quiet(int threads) {
  cv::setNumThreads(threads);
  cv::redirectError([](int, const char*, const char*, const char*, int, void*) { return 0; });
}

}  // namespace sluice::opencv
