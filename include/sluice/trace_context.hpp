// W3C Trace Context (Level 1, Recommendation of 23 November 2021): where a message stands in a
// trace.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

/// The fields of `traceparent`; a trace or span id of zeros is no context.
struct TraceContext {
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> span_id{};
  std::uint8_t flags = 0;  ///< Bit 0: sampled.
  [[nodiscard]] SLUICE_EXPORT bool valid() const noexcept;
  friend bool operator==(const TraceContext&, const TraceContext&) = default;
};
inline constexpr std::uint8_t kTraceSampled = 1;

/// Section 3.2: version 00 exactly as written there; of a higher version what version 00 has of it;
/// nothing for ff, for zeros, upper case, or any other text.
SLUICE_EXPORT std::optional<TraceContext> parse_traceparent(std::string_view text) noexcept;
/// "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"; flags but `sampled` are left out, as
/// section 3.2.2.5 wants it of what is version 00.
SLUICE_EXPORT std::string to_traceparent(const TraceContext& context);

/// A new trace, whose id is the correlation's (where that is not zero), with a new span id.
SLUICE_EXPORT TraceContext new_trace(const CorrelationId& correlation,
                                     bool sampled = true) noexcept;
/// The same trace, a new span id.
SLUICE_EXPORT TraceContext child_span(const TraceContext& parent) noexcept;

/// Section 3.3: what the vendors of a trace say, newest first: at most 32 members.
class SLUICE_EXPORT TraceState {
 public:
  static constexpr std::size_t kMaxMembers = 32;
  /// What is passed on at least (section 3.3.1.5); more is cut off at whole members, long ones
  /// first.
  static constexpr std::size_t kMaxBytes = 512;

  /// The combined value of all `tracestate` headers; nothing if any member is wrong, a key is there
  /// twice or there are more than 32.
  static std::optional<TraceState> parse(std::string_view text);
  [[nodiscard]] std::string print() const;

  [[nodiscard]] std::optional<std::string_view> get(std::string_view key) const noexcept;
  /// Puts it in front, as section 3.3.1.4 says; false (and no change) for a wrong key or value.
  bool set(std::string_view key, std::string_view value);
  bool erase(std::string_view key);
  [[nodiscard]] const std::vector<std::pair<std::string, std::string>>& members() const noexcept {
    return members_;
  }

 private:
  std::vector<std::pair<std::string, std::string>> members_;
};

}  // namespace sluice
