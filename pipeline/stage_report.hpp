// What a stage counts and tells of itself: its health, its spans, its errors.
#pragma once

#include "sluice/node.hpp"
#include "sluice/stats.hpp"
#include "sluice/tracing.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::pipeline {

/// What one message came to.
struct Handled {
  TraceSpan span;               ///< Without what is the same for all of a stage's.
  std::uint64_t published = 0;  ///< Messages about it.
  std::uint64_t no_room = 0;
  std::uint64_t copies = 0;
  std::string why{};  ///< SpanEnd::failed.
};

/// Bound to the stage's thread, but for health().
class StageReport {
 public:
  struct Options {
    std::string name;
    std::chrono::nanoseconds slow;
    std::chrono::nanoseconds interval;  ///< Of health records.
    std::function<void(LogLevel, std::string_view)> log;
  };
  StageReport(Options options, Publisher health, std::optional<Publisher> spans);

  /// Counts, publishes the span, and tells of a failure.
  void handled(Handled&& message);
  /// Something that is wrong, but with no message: is logged within the same limits.
  void warn(std::string_view text);
  /// Does what is due.
  void tick(std::uint64_t now_ns);
  /// When tick() has something to do next.
  [[nodiscard]] std::uint64_t due_ns() const noexcept { return next_record_ns_; }
  /// The last record.
  void stop();

  /// Any thread.
  [[nodiscard]] Health health() const;

 private:
  void publish_health(std::uint64_t now_ns);
  void publish_span(TraceSpan& span);
  void set_status(HealthStatus status, std::uint64_t now_ns);
  void limited_log(LogLevel level, const std::string& text, std::uint64_t now_ns);

  Options options_;
  Publisher records_;
  std::optional<Publisher> spans_;
  std::uint64_t next_record_ns_;
  std::uint64_t failed_in_a_row_ = 0;
  bool trouble_ = false;  // since the last regular record
  bool stopped_ = false;

  std::uint64_t logged_ns_ = 0;   // 0: never
  std::uint64_t suppressed_ = 0;  // since then
  LogLevel suppressed_level_ = LogLevel::warning;
  std::string suppressed_text_;  // the last of them

  mutable std::mutex mutex_;  // guards what follows
  Health health_;
  DurationCounts handling_;
};

}  // namespace sluice::pipeline
