// What people write on the command line: durations, priorities, ids.
#pragma once

#include "sluice/options.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::tools {

/// "100ms", "1.5s", "2m", "3h", "1d", "20us"; a number alone is seconds. At most a hundred years.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) noexcept;

/// "critical", "high", "normal", "low".
std::optional<Priority> parse_priority(std::string_view text) noexcept;
const char* to_string(Priority priority) noexcept;

/// 16 hexadecimal digits, as nodes and types are shown.
std::optional<std::uint64_t> parse_hex16(std::string_view text) noexcept;
std::string hex16(std::uint64_t number);

/// Well-formed, without surrogates and U+0000.
bool is_text(const std::string& bytes);

}  // namespace sluice::tools
