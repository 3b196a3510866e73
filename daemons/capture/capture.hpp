// One camera's process.
#pragma once

#include "pipeline/gstreamer/backoff.hpp"
#include "pipeline/gstreamer/source_pipeline.hpp"
#include "sluice/result.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace sluice::capture {

struct CaptureOptions {
  std::string camera;
  std::string socket{};  ///< As NodeOptions::socket.
  gst::PipelineOptions pipeline{};
  bool loop = false;        ///< Files begin again at their end.
  std::uint32_t depth = 4;  ///< Frames that may wait in the stream.
  /// Frames that all subscribers together may hold. More than there are slots: most hold far fewer
  /// than they ask for, and when there are none left a frame is dropped, and counted.
  std::uint32_t max_held = 256;
  std::uint32_t slots = 40;                ///< Memory for frames; 0: as many as can ever be in use.
  std::chrono::milliseconds stall{5'000};  ///< Without a frame: the source is lost.
  gst::BackoffOptions backoff{};
};

/// Publishes until the source ends, SIGTERM or SIGINT; cameras that are lost are waited for. Blocks
/// these signals in the calling thread, and so must be called before others are made. GStreamer
/// must be initialised. An error's sentence is for standard error.
Result<void> run_capture(const CaptureOptions& options);

}  // namespace sluice::capture
