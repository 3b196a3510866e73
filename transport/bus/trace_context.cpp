// W3C Trace Context, Level 1, Recommendation of 23 November 2021.
//
//   traceparent   00-<32 hex: trace>-<16 hex: span>-<2 hex: flags>, lower case, no zero ids
//   tracestate    member *( "," member ), a member is key "=" value, or empty
//     key         simple: a-z, then up to 255 of a-z 0-9 _ - * /
//                 tenant@system: a-z 0-9, then up to 240; a-z, then up to 13 of the same
//     value       up to 256 of 0x20 to 0x7e but "," and "=", the last one no space
//
// White space around members is not theirs, so a value may begin with spaces only behind its "=".
// Empty members count as members: that is how the grammar's 0*31 is written, and it bounds the
// work.
#include "sluice/trace_context.hpp"

#include "sluice/correlation.hpp"
#include "transport/bus/envelope_writer.hpp"
#include "transport/correlation.hpp"

#include <endian.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <new>
#include <numeric>
#include <utility>

namespace sluice {
namespace {

constexpr std::size_t kTraceparentBytes = 55;
constexpr std::size_t kMaxSimpleKey = 256;
constexpr std::size_t kMaxTenant = 241;
constexpr std::size_t kMaxSystem = 14;
constexpr std::size_t kMaxValue = 256;
constexpr std::size_t kLongMember = 128;  // section 3.3.1.5: longer ones are left out first

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// -1: no lower-case hexadecimal digit.
int digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Reads two digits for each byte; false if any is none.
bool read_hex(std::string_view text, std::uint8_t* bytes) {
  for (std::size_t i = 0; i < text.size() / 2; ++i) {
    const int upper = digit(text[2 * i]);
    const int lower = digit(text[2 * i + 1]);
    if (upper < 0 || lower < 0) return false;
    bytes[i] = static_cast<std::uint8_t>(upper << 4 | lower);
  }
  return true;
}

template <std::size_t Bytes>
void print_hex(std::string& text, const std::array<std::uint8_t, Bytes>& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
}

template <std::size_t Bytes>
bool any(const std::array<std::uint8_t, Bytes>& bytes) {
  static_assert(Bytes % 8 == 0);
  std::array<std::uint64_t, Bytes / 8> words;
  std::memcpy(words.data(), bytes.data(), Bytes);
  return std::accumulate(words.begin(), words.end(), std::uint64_t{0}, std::bit_or{}) != 0;
}

void store(std::uint64_t word, std::uint8_t* bytes) {
  const std::uint64_t big_endian = htobe64(word);
  std::memcpy(bytes, &big_endian, sizeof big_endian);
}

// Never zero.
void new_span(TraceContext& context) {
  const std::uint64_t word = random_word();
  store(word + (word == 0), context.span_id.data());
}

bool is_key_char(char c) {
  return is_lower(c) || is_digit(c) || c == '_' || c == '-' || c == '*' || c == '/';
}

bool is_name(std::string_view text, std::size_t max, bool digit_first) {
  if (text.empty() || text.size() > max) return false;
  if (!is_lower(text.front()) && !(digit_first && is_digit(text.front()))) return false;
  return std::all_of(text.begin(), text.end(), is_key_char);
}

bool is_key(std::string_view text) {
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos) return is_name(text, kMaxSimpleKey, false);
  return is_name(text.substr(0, at), kMaxTenant, true) &&
         is_name(text.substr(at + 1), kMaxSystem, false);
}

bool is_value(std::string_view text) {
  if (text.empty() || text.size() > kMaxValue || text.back() == ' ') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= 0x20 && c <= 0x7e && c != ',' && c != '='; });
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kWhite = " \t";
  const std::size_t first = text.find_first_not_of(kWhite);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhite) - first + 1);
}

using Member = std::pair<std::string, std::string>;

std::size_t bytes_of(const Member& member) {
  return member.first.size() + 1 + member.second.size();
}

// Which members travel: all, or as many as kMaxBytes holds; the long ones go first, then those that
// are oldest.
std::vector<const Member*> travelling(const std::vector<Member>& members) {
  std::vector<const Member*> kept;
  kept.reserve(members.size());
  std::size_t bytes = 0;
  for (const Member& member : members) {
    kept.push_back(&member);
    bytes += bytes_of(member) + 1;
  }
  for (const bool only_long : {true, false}) {
    for (std::size_t i = kept.size(); i-- > 0 && bytes > TraceState::kMaxBytes + 1;) {
      if (only_long && bytes_of(*kept[i]) <= kLongMember) continue;
      bytes -= bytes_of(*kept[i]) + 1;
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  return kept;
}

// `put(key, value)` for each member; false where one is wrong, put says no, or there are too many.
template <class Put>
bool read_members(std::string_view text, Put put) {
  std::size_t count = 0;
  for (bool more = true; more;) {
    if (++count > TraceState::kMaxMembers) return false;
    const std::size_t comma = text.find(',');
    const std::string_view member = trimmed(text.substr(0, comma));
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);
    if (member.empty()) continue;
    const std::size_t equals = member.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string_view key = member.substr(0, equals);
    const std::string_view value = member.substr(equals + 1);
    if (!is_key(key) || !is_value(value) || !put(key, value)) return false;
  }
  return true;
}

// Whether printing what was read would give the same text, found out without an allocation.
bool travels_as_it_is(std::string_view text) {
  if (text.size() > TraceState::kMaxBytes) return false;
  std::array<std::string_view, TraceState::kMaxMembers> keys;
  std::size_t count = 0;
  std::size_t bytes = 0;
  const bool right = read_members(text, [&](std::string_view key, std::string_view value) {
    const auto end = keys.begin() + static_cast<std::ptrdiff_t>(count);
    if (std::find(keys.begin(), end, key) != end) return false;
    keys[count++] = key;
    bytes += key.size() + 1 + value.size();
    return true;
  });
  return right && count != 0 && bytes + count - 1 == text.size();
}

}  // namespace

namespace bus {

void settle_tracestate(const TraceContext& trace, std::string& state) noexcept {
  if (state.empty() || (trace.valid() && travels_as_it_is(state))) return;
  try {
    const auto read = trace.valid() ? TraceState::parse(state) : std::nullopt;
    state = read ? read->print() : std::string{};
  } catch (const std::bad_alloc&) {  // it may be left out
    state.clear();
  }
}

}  // namespace bus

bool TraceContext::valid() const noexcept { return any(trace_id) && any(span_id); }

std::optional<TraceContext> parse_traceparent(std::string_view text) noexcept {
  if (text.size() < kTraceparentBytes) return std::nullopt;
  if (text[2] != '-' || text[35] != '-' || text[52] != '-') return std::nullopt;
  std::uint8_t version = 0;
  if (!read_hex(text.substr(0, 2), &version) || version == 0xff) return std::nullopt;
  if (text.size() > kTraceparentBytes && (version == 0 || text[kTraceparentBytes] != '-')) {
    return std::nullopt;
  }
  TraceContext context;
  if (!read_hex(text.substr(3, 32), context.trace_id.data()) ||
      !read_hex(text.substr(36, 16), context.span_id.data()) ||
      !read_hex(text.substr(53, 2), &context.flags) || !context.valid()) {
    return std::nullopt;
  }
  if (version != 0) context.flags &= kTraceSampled;  // what the others mean there is not known
  return context;
}

std::string to_traceparent(const TraceContext& context) {
  std::string text;
  text.reserve(kTraceparentBytes);
  text += "00-";
  print_hex(text, context.trace_id);
  text += '-';
  print_hex(text, context.span_id);
  text += (context.flags & kTraceSampled) != 0 ? "-01" : "-00";
  return text;
}

TraceContext new_trace(const CorrelationId& correlation, bool sampled) noexcept {
  const CorrelationId id = correlation == CorrelationId{} ? new_correlation_id() : correlation;
  TraceContext context;
  store(id.high, context.trace_id.data());
  store(id.low, context.trace_id.data() + 8);
  context.flags = sampled ? kTraceSampled : std::uint8_t{0};
  new_span(context);
  return context;
}

TraceContext child_span(const TraceContext& parent) noexcept {
  TraceContext context = parent;
  new_span(context);
  return context;
}

std::optional<TraceState> TraceState::parse(std::string_view text) {
  TraceState state;
  const bool right = read_members(text, [&state](std::string_view key, std::string_view value) {
    if (state.get(key)) return false;
    state.members_.emplace_back(key, value);
    return true;
  });
  return right ? std::optional{std::move(state)} : std::nullopt;
}

std::string TraceState::print() const {
  std::string text;
  for (const Member* member : travelling(members_)) {
    if (!text.empty()) text += ',';
    text.append(member->first).append(1, '=').append(member->second);
  }
  return text;
}

std::optional<std::string_view> TraceState::get(std::string_view key) const noexcept {
  for (const auto& [name, value] : members_) {
    if (name == key) return value;
  }
  return std::nullopt;
}

bool TraceState::set(std::string_view key, std::string_view value) {
  if (!is_key(key) || !is_value(value)) return false;
  Member member{key, value};
  erase(member.first);
  if (members_.size() == kMaxMembers) members_.pop_back();  // the oldest makes room
  members_.insert(members_.begin(), std::move(member));
  return true;
}

bool TraceState::erase(std::string_view key) {
  return std::erase_if(members_, [key](const Member& member) { return member.first == key; }) != 0;
}

}  // namespace sluice
