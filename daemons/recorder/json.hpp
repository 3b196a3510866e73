// Records for people and programs, one JSON object in one line; and what is asked for.
#pragma once

#include "daemons/recorder/record.hpp"
#include "sluice/result.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::recorder {

/// Levels of what other processes say in JSON, as is_json() has them: what is nested deeper is not
/// written again, which takes a level of our stack for each of it.
inline constexpr int kMostLevels = 64;
/// Discarded where it is no JSON, or too deep.
nlohmann::json parse_json(std::string_view text, int most_levels = kMostLevels);

/// Of a record: JSON and text payloads as what they are, others in base64 (key "payload_base64").
nlohmann::json to_json(const Record& record, bool with_payload = true);
/// The same in one line, at most so long: a payload that takes more as text is given in base64.
std::string json_line(const Record& record, std::size_t max_bytes, bool with_payload = true);
/// The inverse, for what a recorder answered: input, checked. Errors name the key.
Result<Record> record_from_json(std::string_view line);

/// {"since": …, "until": …, "topic": filter, "correlation": id, "id": id, "class": name, "durable":
/// bool, "after_row": n, "before_row": n, "newest": bool, "limit": n}; times as RFC 3339 or
/// nanoseconds since 1970. Unknown keys and wrong types are errors, which name them.
Result<Query> query_from_json(const nlohmann::json& request);
nlohmann::json to_json(const Query& query);

const char* to_string(RecordClass what) noexcept;
std::optional<RecordClass> parse_record_class(std::string_view name) noexcept;

/// "2026-11-21T09:34:30.123456Z"
std::string rfc3339(std::int64_t time_ns);
/// RFC 3339 with an offset or Z, or a date alone (midnight, UTC), or "10m", "2h", "1d", "30s" ago.
std::optional<std::int64_t> parse_time(std::string_view text, std::int64_t now_ns) noexcept;

std::string base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

}  // namespace sluice::recorder
