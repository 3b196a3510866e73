#include "daemons/recorder/json.hpp"

#include "daemons/recorder/convert.hpp"
#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <limits>
#include <utility>

namespace sluice::recorder {
namespace {

using nlohmann::json;

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::array<const char*, 5> kClasses{"message", "access", "life_cycle", "dead_letter",
                                              "purged"};
constexpr std::array<const char*, 5> kKinds{"none", "event", "request", "reply", "dead_letter"};
constexpr std::array<const char*, 5> kCodecs{"bytes", "flat", "flatbuffer", "json", "text"};
constexpr std::array<const char*, 4> kPriorities{"critical", "high", "normal", "low"};

template <std::size_t n>
const char* name_in(const std::array<const char*, n>& names, std::size_t index) {
  return index < n ? names[index] : "unknown";
}

template <std::size_t n>
std::optional<std::uint8_t> index_in(const std::array<const char*, n>& names,
                                     std::string_view name) {
  for (std::size_t i = 0; i < n; ++i) {
    if (name == names[i]) return static_cast<std::uint8_t>(i);
  }
  return {};
}

std::string hex(std::uint64_t value) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

template <std::size_t n>
std::string hex(const std::array<std::uint8_t, n>& bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t byte : bytes) text += {kDigits[byte >> 4], kDigits[byte & 15]};
  return text;
}

bool from_hex(std::string_view text, std::uint8_t* bytes, std::size_t count) {
  if (text.size() != 2 * count) return false;
  for (std::size_t i = 0; i < count; ++i) {
    const char* at = text.data() + 2 * i;
    if (std::from_chars(at, at + 2, bytes[i], 16).ptr != at + 2) return false;
  }
  return true;
}

std::string id_text(const RecordId& id) { return to_string(to_id(id)); }

// What JSON cannot say is replaced, so that one bad byte from another process spoils nothing.
std::string dumped(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool is_utf8(const std::string& text) {
  try {
    (void)json(text).dump();
    return true;
  } catch (const json::type_error&) {
    return false;
  }
}

void put_payload(json& out, const Record& record, bool as_base64) {
  const auto codec = static_cast<Codec>(record.codec);
  if (!as_base64 && codec == Codec::json) {
    json value = parse_json(record.payload);
    if (!value.is_discarded()) {
      out["payload"] = std::move(value);
      return;
    }
  }
  if (!as_base64 && codec == Codec::text && is_utf8(record.payload)) {
    out["payload"] = record.payload;
    return;
  }
  out["payload_base64"] = base64(record.payload);
}

json letter_json(const Record& record, const DeadLetterRecord& letter) {
  return {{"reason", to_string(letter.reason)},
          {"topic", original_topic(record)},
          {"attempts", letter.attempts},
          {"times", letter.times},
          {"first", rfc3339(static_cast<std::int64_t>(letter.first_ns))},
          {"last", rfc3339(static_cast<std::int64_t>(letter.last_ns))},
          {"failed_node", hex(letter.failed_node)},
          {"error", letter.error.data()}};
}

json without_payload(const Record& record) {
  json out;
  out["row"] = record.row;
  out["time"] = rfc3339(record.time_ns);
  out["time_ns"] = record.time_ns;
  out["topic"] = record.topic;
  out["class"] = to_string(record.what);
  out["kind"] = name_in(kKinds, record.kind);
  out["codec"] = name_in(kCodecs, record.codec);
  out["priority"] = name_in(kPriorities, record.priority);
  out["durable"] = record.durable;
  out["flags"] = record.flags;
  out["bytes"] = record.payload.size();
  out["source"] = hex(record.node_id);
  if (!record.node.empty()) out["node"] = record.node;
  if (record.pid >= 0) out["pid"] = record.pid;
  if (record.uid >= 0) out["uid"] = record.uid;
  if (record.type_hash != 0) out["type_hash"] = hex(record.type_hash);
  if (record.copy != 0) out["copy"] = record.copy;
  if (record.id) out["id"] = id_text(record.id);
  if (record.correlation) out["correlation"] = id_text(record.correlation);
  if (record.trace != decltype(record.trace){} && record.span != decltype(record.span){}) {
    std::string trace = "00-";
    trace.append(hex(record.trace)).append("-").append(hex(record.span)).append("-");
    out["traceparent"] = trace + hex(std::array<std::uint8_t, 1>{record.trace_flags});
  }
  if (const auto letter = dead_letter_of(record)) out["dead_letter"] = letter_json(record, *letter);
  return out;
}

}  // namespace

const char* to_string(RecordClass what) noexcept {
  return name_in(kClasses, static_cast<std::size_t>(what));
}

std::optional<RecordClass> parse_record_class(std::string_view name) noexcept {
  const auto index = index_in(kClasses, name);
  return index ? std::optional{static_cast<RecordClass>(*index)} : std::nullopt;
}

json to_json(const Record& record, bool with_payload) {
  json out = without_payload(record);
  if (with_payload) {
    put_payload(out, record, false);
    if (!record.extensions.empty()) out["extensions_base64"] = base64(record.extensions);
  }
  return out;
}

std::string json_line(const Record& record, std::size_t max_bytes, bool with_payload) {
  json out = to_json(record, with_payload);
  std::string line = dumped(out);
  if (line.size() <= max_bytes || !with_payload) return line;
  out.erase("payload");
  put_payload(out, record, true);
  return dumped(out);
}

// ---- reading

namespace {

// Reads keys of an object, and remembers the first that is not what it should be.
class Keys {
 public:
  explicit Keys(const json& object) : object_(object) {}
  [[nodiscard]] const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  std::string text(const char* key) {
    const json* value = find(key);
    if (value == nullptr) return {};
    if (value->is_string()) return value->get<std::string>();
    wrong(key, "a string");
    return {};
  }
  std::int64_t integer(const char* key, std::int64_t otherwise, std::int64_t least,
                       std::int64_t most) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    const bool fits = value->is_number_integer() &&
                      (!value->is_number_unsigned() ||
                       value->get<std::uint64_t>() <=
                           static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
    const std::int64_t number = fits ? value->get<std::int64_t>() : 0;
    if (fits && number >= least && number <= most) return number;
    wrong(key, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
    return otherwise;
  }
  std::uint64_t number(const char* key) {
    const json* value = find(key);
    if (value == nullptr) return 0;
    if (value->is_number_unsigned()) return value->get<std::uint64_t>();
    wrong(key, "an integer that is not negative");
    return 0;
  }
  bool boolean(const char* key) {
    const json* value = find(key);
    if (value == nullptr) return false;
    if (value->is_boolean()) return value->get<bool>();
    wrong(key, "true or false");
    return false;
  }
  std::uint64_t hex(const char* key) {
    const std::string word = text(key);
    std::uint64_t value = 0;
    if (word.empty()) return 0;
    const char* end = word.data() + word.size();
    if (std::from_chars(word.data(), end, value, 16).ptr != end) wrong(key, "a hexadecimal number");
    return value;
  }
  RecordId id(const char* key) {
    const std::string word = text(key);
    if (word.empty()) return {};
    const auto parsed = parse_correlation_id(word);
    if (!parsed) wrong(key, "a UUID, as \"0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c\"");
    return parsed ? to_record_id(*parsed) : RecordId{};
  }
  template <std::size_t n>
  std::uint8_t choice(const char* key, const std::array<const char*, n>& names,
                      std::uint8_t otherwise) {
    const std::string word = text(key);
    if (word.empty()) return otherwise;
    if (const auto index = index_in(names, word)) return *index;
    std::string all;
    for (const char* name : names) all.append(all.empty() ? "" : ", ").append(name);
    wrong(key, "one of " + all);
    return otherwise;
  }
  std::string bytes(const char* key) {
    const auto decoded = from_base64(text(key));
    if (!decoded) wrong(key, "base64");
    return decoded.value_or("");
  }
  std::int64_t time(const char* key, std::int64_t otherwise) {
    const json* value = find(key);
    if (value == nullptr) return otherwise;
    if (value->is_number_integer()) return value->get<std::int64_t>();
    if (value->is_string()) {
      if (const auto time = parse_time(value->get<std::string>(), 0)) return *time;
    }
    wrong(key, "a time, as \"2026-11-21T09:34:30Z\"");
    return otherwise;
  }
  void wrong(const char* key, const std::string& wanted) {
    if (error_.empty()) error_.append("\"").append(key).append("\" is ").append(wanted);
  }
  void only(std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : object_.items()) {
      bool is_known = false;
      for (const std::string_view name : known) is_known = is_known || name == key;
      if (is_known || !error_.empty()) continue;
      error_ = "there is no key \"";
      error_.append(key).append("\"; choose among");
      for (const std::string_view name : known) error_.append(" ").append(name);
    }
  }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  const json& object_;
  std::string error_;
};

}  // namespace

json parse_json(std::string_view text, int most_levels) {
  bool too_deep = false;
  const auto look = [&](int level, json::parse_event_t event, const json&) {
    using Event = json::parse_event_t;
    const bool opens = event == Event::array_start || event == Event::object_start;
    too_deep = too_deep || (opens && level >= most_levels);
    return !too_deep;
  };
  json value = json::parse(text, look, false);
  return too_deep ? json(json::value_t::discarded) : value;
}

Result<Record> record_from_json(std::string_view line) {
  const json object = parse_json(line, kMostLevels + 1);  // the payload is a level deeper
  if (!object.is_object()) return Error{Errc::untrusted, 0, "a record is no JSON object"};
  Keys keys{object};
  Record record;
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  record.row = keys.integer("row", 0, 0, kMost);
  record.time_ns = keys.integer("time_ns", 0, 0, kMost);
  record.topic = keys.text("topic");
  record.node = keys.text("node");
  record.node_id = keys.hex("source");
  record.pid = keys.integer("pid", -1, -1, kMost);
  record.uid = keys.integer("uid", -1, -1, kMost);
  record.type_hash = keys.hex("type_hash");
  record.codec = keys.choice("codec", kCodecs, 0);
  record.kind = keys.choice("kind", kKinds, 1);
  record.priority = keys.choice("priority", kPriorities, 2);
  record.flags = static_cast<std::uint8_t>(keys.integer("flags", 0, 0, 255));
  record.what = static_cast<RecordClass>(keys.choice("class", kClasses, 0));
  record.durable = keys.boolean("durable");
  record.copy = keys.number("copy");
  record.id = keys.id("id");
  record.correlation = keys.id("correlation");
  const std::string trace = keys.text("traceparent");
  if (!trace.empty() &&
      (trace.size() != 55 || !from_hex(trace.substr(3, 32), record.trace.data(), 16) ||
       !from_hex(trace.substr(36, 16), record.span.data(), 8) ||
       !from_hex(trace.substr(53, 2), &record.trace_flags, 1))) {
    keys.wrong("traceparent", "as W3C Trace Context has it");
  }
  record.extensions = keys.bytes("extensions_base64");
  if (const json* payload = keys.find("payload")) {
    record.payload = static_cast<Codec>(record.codec) == Codec::text && payload->is_string()
                         ? payload->get<std::string>()
                         : dumped(*payload);
  } else {
    record.payload = keys.bytes("payload_base64");
  }
  if (const auto topic = check_topic(record.topic); !topic) {
    keys.wrong("topic", "a topic: " + topic.error().message);
  }
  if (!keys.error().empty()) return Error{Errc::untrusted, 0, keys.error()};
  return record;
}

Result<Query> query_from_json(const json& request) {
  if (!request.is_object()) {
    return Error{Errc::invalid_argument, 0,
                 "the request is a JSON object, as {\"topic\": \"a/#\"}"};
  }
  Keys keys{request};
  keys.only({"since", "until", "topic", "correlation", "id", "class", "durable", "after_row",
             "before_row", "newest", "limit"});
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  Query query;
  query.since_ns = keys.time("since", query.since_ns);
  query.until_ns = keys.time("until", query.until_ns);
  query.filter = keys.text("topic");
  if (const RecordId id = keys.id("correlation")) query.correlation = id;
  if (const RecordId id = keys.id("id")) query.id = id;
  if (keys.find("class") != nullptr) {
    query.what = static_cast<RecordClass>(keys.choice("class", kClasses, 0));
  }
  query.durable = keys.boolean("durable");
  query.after_row = keys.integer("after_row", 0, 0, kMost);
  query.before_row = keys.integer("before_row", kMost, 0, kMost);
  query.newest_first = keys.boolean("newest");
  query.limit = static_cast<std::uint32_t>(keys.integer("limit", query.limit, 1, 100'000));
  if (!query.filter.empty()) {
    if (const auto filter = check_filter(query.filter); !filter) {
      keys.wrong("topic", "a filter: " + filter.error().message);
    }
  }
  if (!keys.error().empty()) return Error{Errc::invalid_argument, 0, keys.error()};
  return query;
}

json to_json(const Query& query) {
  const Query all;
  json out = json::object();
  if (query.since_ns != all.since_ns) out["since"] = query.since_ns;
  if (query.until_ns != all.until_ns) out["until"] = query.until_ns;
  if (!query.filter.empty()) out["topic"] = query.filter;
  if (query.correlation) out["correlation"] = id_text(*query.correlation);
  if (query.id) out["id"] = id_text(*query.id);
  if (query.what) out["class"] = to_string(*query.what);
  if (query.durable) out["durable"] = true;
  if (query.after_row != 0) out["after_row"] = query.after_row;
  if (query.before_row != all.before_row) out["before_row"] = query.before_row;
  if (query.newest_first) out["newest"] = true;
  out["limit"] = query.limit;
  return out;
}

// ---- times and bytes as text

std::string rfc3339(std::int64_t time_ns) {
  std::int64_t seconds = time_ns / kSecondNs, rest = time_ns % kSecondNs;
  if (rest < 0) {
    rest += kSecondNs;
    --seconds;
  }
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::array<char, 16> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%06dZ", static_cast<int>(rest / 1'000));
  return std::string(text.data(), size) + fraction.data();
}

namespace {

// Takes `digits` digits from the front.
bool take(std::string_view& text, std::size_t digits, int& value) {
  if (text.size() < digits) return false;
  const char* end = text.data() + digits;
  if (text[0] < '0' || text[0] > '9') return false;
  if (std::from_chars(text.data(), end, value).ptr != end) return false;
  text.remove_prefix(digits);
  return true;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<std::int64_t> parse_ago(std::string_view text, std::int64_t now_ns) {
  double count = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, count);
  const std::string_view unit = text.substr(static_cast<std::size_t>(parsed.ptr - text.data()));
  if (parsed.ec != std::errc{} || !(count >= 0) || unit.size() != 1) return {};
  const std::size_t which = std::string_view{"smhdw"}.find(unit[0]);
  if (which == std::string_view::npos) return {};
  constexpr std::array<double, 5> kSeconds{1, 60, 3'600, 86'400, 604'800};
  const double ago = count * kSeconds[which] * 1e9;
  if (ago > 9e18) return {};
  return now_ns - static_cast<std::int64_t>(ago);
}

bool take_clock(std::string_view& text, std::tm& parts, std::int64_t& fraction_ns,
                std::int64_t& offset_s) {
  if (!take(text, 2, parts.tm_hour) || !take(text, ':') || !take(text, 2, parts.tm_min) ||
      !take(text, ':') || !take(text, 2, parts.tm_sec)) {
    return false;
  }
  if (take(text, '.')) {
    std::int64_t unit = kSecondNs / 10;
    if (text.empty() || text[0] < '0' || text[0] > '9') return false;
    for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), unit /= 10) {
      fraction_ns += (text[0] - '0') * unit;
    }
  }
  if (take(text, 'Z') || take(text, 'z')) return text.empty();
  const int sign = take(text, '+') ? 1 : take(text, '-') ? -1 : 0;
  int hours = 0, minutes = 0;
  if (sign == 0 || !take(text, 2, hours) || !take(text, ':') || !take(text, 2, minutes) ||
      hours > 23 || minutes > 59) {
    return false;
  }
  offset_s = sign * (hours * 3'600 + minutes * 60);
  return text.empty();
}

}  // namespace

std::optional<std::int64_t> parse_time(std::string_view text, std::int64_t now_ns) noexcept {
  if (const auto ago = parse_ago(text, now_ns)) return ago;
  std::tm parts{};
  std::int64_t fraction_ns = 0, offset_s = 0;
  if (!take(text, 4, parts.tm_year) || !take(text, '-') || !take(text, 2, parts.tm_mon) ||
      !take(text, '-') || !take(text, 2, parts.tm_mday)) {
    return {};
  }
  if (!text.empty()) {
    if (!take(text, 'T') && !take(text, 't') && !take(text, ' ')) return {};
    if (!take_clock(text, parts, fraction_ns, offset_s)) return {};
  }
  // Nanoseconds in 64 bits reach from 1677 to 2262.
  if (parts.tm_year < 1970 || parts.tm_year > 2261 || parts.tm_mon < 1 || parts.tm_mon > 12 ||
      parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59 ||
      parts.tm_sec > 60) {
    return {};
  }
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  std::tm day{};
  day.tm_year = parts.tm_year;
  day.tm_mon = parts.tm_mon;
  day.tm_mday = parts.tm_mday;
  (void)::timegm(&day);
  if (day.tm_mday != parts.tm_mday) return {};  // the 31st of a month with 30 days
  const std::int64_t seconds = ::timegm(&parts);
  return (seconds - offset_s) * kSecondNs + fraction_ns;
}

std::string base64(std::string_view bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = group << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      text += at + i <= bytes.size() ? kDigits[group >> (18 - 6 * i) & 63] : '=';
    }
  }
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return {};
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::uint32_t group = 0;
    std::size_t padding = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const char c = text[at + i];
      std::uint32_t digit = 0;
      if (c >= 'A' && c <= 'Z') {
        digit = static_cast<std::uint32_t>(c - 'A');
      } else if (c >= 'a' && c <= 'z') {
        digit = static_cast<std::uint32_t>(c - 'a') + 26;
      } else if (c >= '0' && c <= '9') {
        digit = static_cast<std::uint32_t>(c - '0') + 52;
      } else if (c == '+' || c == '/') {
        digit = c == '+' ? 62 : 63;
      } else if (c == '=' && i >= 2 && at + 4 == text.size()) {
        ++padding;
      } else {
        return {};
      }
      if (padding != 0 && c != '=') return {};
      group = group << 6 | digit;
    }
    for (std::size_t i = 0; i + padding < 3; ++i) {
      bytes += static_cast<char>(group >> (16 - 8 * i) & 0xff);
    }
  }
  return bytes;
}

}  // namespace sluice::recorder
