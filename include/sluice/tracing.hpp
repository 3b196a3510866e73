// What the stages of a pipeline tell about themselves: a span for each message that they handled,
// and their health. Both are small flat messages on ordinary streams.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message.hpp"
#include "sluice/typed.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// What became of one message in one stage.
enum class SpanEnd : std::uint32_t {
  done = 0,
  failed = 1,   ///< The handler threw or returned an error; the message is lost, the stage goes on.
  skipped = 2,  ///< The handler had nothing to do with it.
  no_room = 3,  ///< The result could not be published.
};

/// One hop of one message, on topic `trace/<node>`. All times are CLOCK_MONOTONIC nanoseconds, the
/// same for all processes of the machine; 0: there was no such moment (a source takes nothing).
struct TraceSpan {
  CorrelationId correlation;
  std::uint64_t origin_ns = 0;  ///< When the oldest ancestor was captured.
  std::uint64_t input_ns = 0;   ///< When the input was published.
  std::uint64_t taken_ns = 0;   ///< When it was taken; of a source: when the data had come.
  std::uint64_t output_ns = 0;  ///< When the last output was published.
  std::uint64_t done_ns = 0;    ///< When the handler had returned.
  Reference input;
  Reference output;  ///< The last one.
  SpanEnd end = SpanEnd::done;
  std::uint32_t pid = 0;
  std::array<char, 48> stage{};  ///< The node's name, ends with NUL.
  std::array<char, 64> topic{};  ///< The input's (of a source: the output's), cut off where it is
                                 ///< longer; ends with NUL.
};
static_assert(sizeof(TraceSpan) == 224, "TraceSpan is part of the shared layout");

enum class HealthStatus : std::uint32_t {
  starting = 0,
  healthy = 1,
  degraded = 2,
  failing = 3,
  stopping = 4
};

/// Retained on topic `health/<node>`, every second and when the status changes.
struct Health {
  HealthStatus status = HealthStatus::starting;
  std::uint32_t pid = 0;
  std::uint64_t since_ns = 0;  ///< Start of the stage, CLOCK_MONOTONIC.
  std::uint64_t at_ns = 0;     ///< Of this record.
  std::uint64_t handled = 0;   ///< Messages whose handler returned well.
  std::uint64_t failed = 0;    ///< Handler threw or returned an error.
  std::uint64_t skipped = 0;
  std::uint64_t slow = 0;  ///< Handled, but it took longer than StageOptions::slow.
  std::uint64_t published = 0;
  std::uint64_t no_room = 0;  ///< Results that could not be published.
  std::uint64_t copies = 0;   ///< Payloads that were copied instead of written in place.
  std::uint64_t handling_p50_ns = 0;
  std::uint64_t handling_p99_ns = 0;
  std::array<char, 48> node{};
  std::array<char, 160> last_error{};  ///< UTF-8, ends with NUL.
};
static_assert(sizeof(Health) == 304, "Health is part of the shared layout");

template <>
struct TypeName<TraceSpan> {
  static constexpr std::string_view value = "sluice.TraceSpan";
};
template <>
struct TypeName<Health> {
  static constexpr std::string_view value = "sluice.Health";
};

/// Topics for a node; a '/' in its name begins a level.
SLUICE_EXPORT std::string trace_topic(std::string_view node);
SLUICE_EXPORT std::string health_topic(std::string_view node);
/// The stream for spans: the newest 1,024 are kept for who comes later.
SLUICE_EXPORT StreamOptions trace_stream();
SLUICE_EXPORT StreamOptions health_stream();

/// Copies text into a fixed field, cut off at a character's border, and ends it with NUL; and back.
/// What came from another process ends at the field's end at the latest.
SLUICE_EXPORT void put_text(std::span<char> field, std::string_view text) noexcept;
SLUICE_EXPORT std::string_view text_of(std::span<const char> field) noexcept;

/// Whether the record is one: enumerators in range. Of foreign records.
SLUICE_EXPORT bool valid(const TraceSpan& span) noexcept;
SLUICE_EXPORT bool valid(const Health& health) noexcept;

}  // namespace sluice
