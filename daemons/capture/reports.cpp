// A source takes no message: its span has no input, and begins when the frame had come to the sink.
#include "daemons/capture/reports.hpp"

#include "shm/clock.hpp"
#include "shm/histogram.hpp"

#include <unistd.h>

#include <utility>

namespace sluice::capture {

Result<std::unique_ptr<Reports>> Reports::create(Node& node, const std::string& topic) {
  auto health = PublisherOf<Health>::create(node, health_topic(node.name()), health_stream());
  if (!health) return std::move(health).error();
  auto spans = PublisherOf<TraceSpan>::create(node, trace_topic(node.name()), trace_stream());
  if (!spans) return std::move(spans).error();
  std::unique_ptr<Reports> reports{new Reports(std::move(*health), std::move(*spans))};
  reports->health_.pid = reports->span_.pid = static_cast<std::uint32_t>(::getpid());
  reports->health_.since_ns = shm::now_ns();
  put_text(reports->health_.node, node.name());
  put_text(reports->span_.stage, node.name());
  put_text(reports->span_.topic, topic);
  return reports;
}

void Reports::trace(const gst::PublishedFrame& frame) noexcept {
  shm::record(*handling_, frame.output_ns - frame.times.taken_ns);
  span_.correlation = frame.correlation;
  span_.origin_ns = frame.times.sensor_ns;
  span_.taken_ns = frame.times.taken_ns;
  span_.output_ns = frame.output_ns;
  span_.done_ns = shm::now_ns();
  span_.output = frame.reference;
  (void)spans_out_.publish(span_);  // a span less is no frame less
}

bool Reports::set_status(HealthStatus status) noexcept {
  return std::exchange(health_.status, status) != status;
}

void Reports::publish(const gst::CaptureCounts& counts) noexcept {
  health_.at_ns = shm::now_ns();
  health_.handled = health_.published = counts.published;
  health_.failed = counts.failed;
  health_.no_room = counts.dropped;
  health_.copies = counts.copies;
  health_.handling_p50_ns = shm::histogram_quantile_ns(*handling_, 0.5);
  health_.handling_p99_ns = shm::histogram_quantile_ns(*handling_, 0.99);
  (void)health_out_.publish(health_);  // the next one comes in a second
}

}  // namespace sluice::capture
