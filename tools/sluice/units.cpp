#include "tools/sluice/units.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace sluice::tools {

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) noexcept {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || !std::isfinite(number) || std::signbit(number)) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  struct Unit {
    std::string_view name;
    double ns;
  };
  constexpr std::array<Unit, 8> kUnits{{{"", 1e9},
                                        {"ns", 1},
                                        {"us", 1e3},
                                        {"ms", 1e6},
                                        {"s", 1e9},
                                        {"m", 60e9},
                                        {"h", 3600e9},
                                        {"d", 86'400e9}}};
  constexpr double kMost = 100 * 366 * 86'400e9;
  for (const Unit& known : kUnits) {
    if (known.name != unit) continue;
    if (number * known.ns > kMost) return std::nullopt;
    return std::chrono::nanoseconds{std::llround(number * known.ns)};
  }
  return std::nullopt;
}

namespace {
constexpr std::array<const char*, kMaxLanes> kPriorities{"critical", "high", "normal", "low"};
}

std::optional<Priority> parse_priority(std::string_view text) noexcept {
  const auto at = std::find(kPriorities.begin(), kPriorities.end(), text);
  if (at == kPriorities.end()) return std::nullopt;
  return static_cast<Priority>(at - kPriorities.begin());
}

const char* to_string(Priority priority) noexcept {
  const auto index = static_cast<std::size_t>(priority);
  return index < kPriorities.size() ? kPriorities[index] : "unknown";
}

std::optional<std::uint64_t> parse_hex16(std::string_view text) noexcept {
  std::uint64_t number = 0;
  if (text.size() != 16) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::string hex16(std::uint64_t number) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(number));
  return text.data();
}

bool is_text(const std::string& bytes) {
  if (bytes.find('\0') != std::string::npos) return false;
  try {
    (void)nlohmann::json(bytes).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

}  // namespace sluice::tools
