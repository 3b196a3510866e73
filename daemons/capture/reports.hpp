// What sluice-capture tells others: its health, and a span for each frame.
#pragma once

#include "pipeline/gstreamer/frame_slots.hpp"
#include "shm/layout.hpp"
#include "sluice/node.hpp"
#include "sluice/tracing.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace sluice::capture {

/// trace() is called by one streaming thread after the other, everything else by the main thread.
class Reports {
 public:
  static Result<std::unique_ptr<Reports>> create(Node& node, const std::string& topic);

  /// Of a frame that was published.
  void trace(const gst::PublishedFrame& frame) noexcept;

  /// Whether it is another one than before.
  bool set_status(HealthStatus status) noexcept;
  void set_error(std::string_view sentence) noexcept { put_text(health_.last_error, sentence); }
  void publish(const gst::CaptureCounts& counts) noexcept;

 private:
  Reports(PublisherOf<Health> health, PublisherOf<TraceSpan> spans) noexcept
      : health_out_(std::move(health)), spans_out_(std::move(spans)) {}

  PublisherOf<Health> health_out_;
  PublisherOf<TraceSpan> spans_out_;
  Health health_;
  TraceSpan span_;
  std::unique_ptr<shm::Histogram> handling_ = std::make_unique<shm::Histogram>();
};

}  // namespace sluice::capture
