// The status of a stage, from what its messages came to:
//
//   starting   nothing was handled yet
//   healthy    nothing went wrong between the last two regular records
//   degraded   something did: a message was lost, a result found no room
//   failing    the last three messages were lost, or more
//   stopping   the last record
//
// A record goes out with each interval and with each change. One log line a second tells of errors;
// what is left out is counted in the next.
#include "pipeline/stage_report.hpp"

#include "pipeline/text.hpp"
#include "shm/clock.hpp"
#include "shm/histogram.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace sluice::pipeline {
namespace {

constexpr std::uint64_t kFailingAfter = 3;
constexpr std::uint64_t kLogIntervalNs = 1'000'000'000;

// For records and logs, whatever a handler's exception had to say.
std::string readable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t size = character_bytes(text);
    const bool control = size == 1 && static_cast<unsigned char>(text[0]) < 0x20;
    if (size == 0 || control) {
      result += size == 0 ? '?' : ' ';
    } else {
      result += text.substr(0, size);
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return result;
}

template <class T>
Outcome publish(Publisher& publisher, const T& record, const Headers& headers) {
  Loan loan = publisher.loan(sizeof record);
  if (!loan) return loan.outcome();
  std::memcpy(loan.data(), &record, sizeof record);
  loan.headers = headers;
  return publisher.publish(std::move(loan));
}

}  // namespace

StageReport::StageReport(Options options, Publisher health, std::optional<Publisher> spans)
    : options_(std::move(options)), records_(std::move(health)), spans_(std::move(spans)) {
  const std::uint64_t now = shm::now_ns();
  health_.pid = static_cast<std::uint32_t>(::getpid());
  health_.since_ns = now;
  put_text(health_.node, options_.name);
  publish_health(now);
  next_record_ns_ = now + static_cast<std::uint64_t>(options_.interval.count());
}

void StageReport::handled(Handled&& message) {
  TraceSpan& span = message.span;
  const bool failed = span.end == SpanEnd::failed;
  const std::uint64_t took = span.done_ns - span.taken_ns;
  const std::string why = failed ? readable(message.why) : std::string{};
  HealthStatus status{};
  {
    const std::lock_guard lock{mutex_};
    health_.published += message.published;
    health_.no_room += message.no_room;
    health_.copies += message.copies;
    if (failed) {
      ++health_.failed;
      put_text(health_.last_error, why);
    } else if (span.end == SpanEnd::skipped) {
      ++health_.skipped;
    } else {
      ++health_.handled;
      if (took > static_cast<std::uint64_t>(options_.slow.count())) ++health_.slow;
    }
    ++handling_.count[shm::histogram_bucket(took)];
    status = health_.status;
  }
  failed_in_a_row_ = failed ? failed_in_a_row_ + 1 : 0;
  if (failed || message.no_room != 0) trouble_ = true;
  if (failed_in_a_row_ >= kFailingAfter) {
    status = HealthStatus::failing;
  } else if (trouble_) {
    status = HealthStatus::degraded;
  } else if (status == HealthStatus::starting) {
    status = HealthStatus::healthy;
  }
  set_status(status, span.done_ns);
  publish_span(span);
  if (failed) {
    limited_log(LogLevel::error,
                "a message of '" + std::string(text_of(span.topic)) + "' was lost: " + why,
                span.done_ns);
  }
}

void StageReport::warn(std::string_view text) {
  limited_log(LogLevel::warning, readable(text), shm::now_ns());
}

void StageReport::publish_span(TraceSpan& span) {
  if (!spans_) return;
  span.pid = health_.pid;
  std::copy(health_.node.begin(), health_.node.end(), span.stage.begin());
  // Where a span finds no room, there is one span less.
  (void)publish(*spans_, span, {.correlation = span.correlation, .origin_ns = span.origin_ns});
}

void StageReport::set_status(HealthStatus status, std::uint64_t now_ns) {
  {
    const std::lock_guard lock{mutex_};
    if (health_.status == status) return;
    health_.status = status;
  }
  publish_health(now_ns);
}

void StageReport::tick(std::uint64_t now_ns) {
  if (suppressed_ != 0 && now_ns - logged_ns_ >= kLogIntervalNs) {
    const std::string last = std::move(suppressed_text_);
    --suppressed_;  // the one that is told now
    limited_log(suppressed_level_, last, now_ns);
  }
  if (now_ns < next_record_ns_) return;
  next_record_ns_ = now_ns + static_cast<std::uint64_t>(options_.interval.count());
  const bool healthy_again = !std::exchange(trouble_, false) && failed_in_a_row_ == 0;
  {
    const std::lock_guard lock{mutex_};
    if (healthy_again && health_.status == HealthStatus::degraded) {
      health_.status = HealthStatus::healthy;
    }
  }
  publish_health(now_ns);
}

void StageReport::stop() {
  if (std::exchange(stopped_, true)) return;
  set_status(HealthStatus::stopping, shm::now_ns());
}

void StageReport::publish_health(std::uint64_t now_ns) {
  Health record = health();
  record.at_ns = now_ns;
  (void)publish(records_, record, {});
}

Health StageReport::health() const {
  const std::lock_guard lock{mutex_};
  Health record = health_;
  record.at_ns = shm::now_ns();
  record.handling_p50_ns = handling_.quantile_ns(0.50);
  record.handling_p99_ns = handling_.quantile_ns(0.99);
  return record;
}

void StageReport::limited_log(LogLevel level, const std::string& text, std::uint64_t now_ns) {
  if (!options_.log) return;
  if (logged_ns_ != 0 && now_ns - logged_ns_ < kLogIntervalNs) {
    ++suppressed_;
    suppressed_level_ = level;
    suppressed_text_ = text;
    return;
  }
  const std::uint64_t left_out = std::exchange(suppressed_, 0);
  logged_ns_ = now_ns;
  if (left_out == 0) {
    options_.log(level, text);
  } else {
    options_.log(level, text + " (" + std::to_string(left_out) + " more since the last such line)");
  }
}

}  // namespace sluice::pipeline
