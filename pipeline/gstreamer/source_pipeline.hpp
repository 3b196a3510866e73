// From a URL to a pipeline that ends in a slot sink.
#pragma once

#include "pipeline/gstreamer/frame_slots.hpp"
#include "pipeline/gstreamer/handles.hpp"
#include "pipeline/gstreamer/source_url.hpp"
#include "sluice/result.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace sluice::gst {

enum class RtspTransport : std::uint8_t { tcp, udp, automatic };

struct PipelineOptions {
  SourceUrl source{};
  std::optional<PixelFormat> format{};  ///< Nothing: the source's own, where it is native.
  std::uint32_t width = 0;              ///< 0: the source's own; of images and test 1280.
  std::uint32_t height = 0;             ///< … 720
  std::uint32_t rate_hz = 0;       ///< … 30. Asked of cameras; files and rtsp have their own.
  bool pace = true;                ///< Files, images and test at the speed of the clock.
  std::uint32_t latency_ms = 100;  ///< rtsp: how long to wait for packets out of order.
  RtspTransport transport = RtspTransport::tcp;
  /// What is not an error: a picture left out. From any thread.
  std::function<void(const std::string&)> on_warning{};
};

/// Not started. The error names what is missing: a file, an element and its package.
Result<Ref<GstElement>> build_pipeline(const PipelineOptions& options,
                                       const std::shared_ptr<FrameSlots>& slots);

}  // namespace sluice::gst
