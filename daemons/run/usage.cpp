// Two files of /proc, whose formats proc(5) promises: fields are found by their position or name,
// and what is missing is said to be missing, not taken for 0.
#include "daemons/run/usage.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

namespace sluice::run {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;

std::string contents(pid_t pid, const char* name) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/" + name);
  // Of a process that has just ended the file can be opened, and reading it fails: what an iterator
  // would throw is an empty text here.
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

// The number behind spaces, which is taken off.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

// "Pss:    1234 kB"
std::optional<std::uint64_t> bytes_of(std::string_view text, std::string_view key) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.substr(0, key.size()) != key) continue;
    line.remove_prefix(key.size());
    const auto number = take_number(line);
    if (!number || line != " kB") return std::nullopt;
    return *number * 1'024;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_stat(std::string_view text) {
  // The second field is the program's name, which may have anything in it.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos) return std::nullopt;
  text.remove_prefix(name_end + 1);
  constexpr int kBefore = 11;  // state to cmajflt
  for (int i = 0; i < kBefore; ++i) {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    text.remove_prefix(std::min(text.find(' '), text.size()));
  }
  std::uint64_t ticks = 0;
  for (int i = 0; i < 4; ++i) {  // utime, stime, cutime, cstime
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    ticks += *number;
  }
  return ticks;
}

std::optional<Memory> parse_smaps_rollup(std::string_view text) {
  const auto pss = bytes_of(text, "Pss:");
  const auto clean = bytes_of(text, "Private_Clean:");
  const auto dirty = bytes_of(text, "Private_Dirty:");
  if (!pss || !clean || !dirty) return std::nullopt;
  return Memory{*pss, *clean + *dirty};
}

std::optional<std::uint64_t> processor_ns_of(pid_t pid) {
  const auto ticks = parse_stat(contents(pid, "stat"));
  if (!ticks) return std::nullopt;
  return *ticks * (kSecondNs / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK)));
}

std::optional<Memory> memory_of(pid_t pid) {
  return parse_smaps_rollup(contents(pid, "smaps_rollup"));
}

}  // namespace sluice::run
