// What stages tell about themselves: the streams, and text in fixed fields.
#include "sluice/tracing.hpp"

#include "pipeline/text.hpp"

#include <algorithm>
#include <cstring>

namespace sluice {
namespace {

constexpr std::uint32_t kSpansKept = 1'024;

// For records of one type that nobody may be held up by.
template <class T>
StreamOptions records(std::uint32_t depth, std::uint32_t history) {
  StreamOptions options;
  options.lanes = {{.depth = depth, .history = history}};
  options.pools = {{sizeof(T)}};
  options.max_loans = 1;
  options.type_hash = type_fingerprint<T>();
  options.type_name = std::string(TypeName<T>::value);
  options.offered.reliable = false;
  options.offered.group = false;
  return options;
}

}  // namespace

std::string trace_topic(std::string_view node) { return "trace/" + std::string(node); }
std::string health_topic(std::string_view node) { return "health/" + std::string(node); }

StreamOptions trace_stream() { return records<TraceSpan>(kSpansKept, kSpansKept); }
StreamOptions health_stream() { return records<Health>(4, 1); }

void put_text(std::span<char> field, std::string_view text) noexcept {
  if (field.empty()) return;
  text = text.substr(0, text.find('\0'));
  std::size_t size = std::min(text.size(), field.size() - 1);
  // Cut off in the middle of a character: back to its beginning. What is no UTF-8 is cut where it
  // is.
  if (size < text.size()) {
    std::size_t start = size;
    while (start > 0 && size - start < 3 &&
           (static_cast<unsigned char>(text[start]) & 0xc0) == 0x80) {
      --start;
    }
    if (pipeline::character_bytes(text.substr(start)) > size - start) size = start;
  }
  if (size != 0) std::memcpy(field.data(), text.data(), size);
  std::fill(field.begin() + static_cast<std::ptrdiff_t>(size), field.end(), '\0');
}

std::string_view text_of(std::span<const char> field) noexcept {
  const auto end = std::find(field.begin(), field.end(), '\0');
  return {field.data(), static_cast<std::size_t>(end - field.begin())};
}

bool valid(const TraceSpan& span) noexcept {
  return static_cast<std::uint32_t>(span.end) <= static_cast<std::uint32_t>(SpanEnd::no_room);
}
bool valid(const Health& health) noexcept {
  return static_cast<std::uint32_t>(health.status) <=
         static_cast<std::uint32_t>(HealthStatus::stopping);
}

}  // namespace sluice
