// What a daemon has to say, on standard error: lines for people, or JSON objects.
#pragma once

#include <array>
#include <string>

#include "sluice/node.hpp"

namespace sluice::daemon {

/// The names of LogLevel, in its order.
inline constexpr std::array<const char*, 4> kLogLevels{"debug", "info", "warning", "error"};

struct LogOptions {
  LogLevel level = LogLevel::info;
  bool json = false;  ///< One JSON object per line.
};

/// May be called again. Before the first call, and in tests, nothing is logged. Thread-safe from then on.
void set_up_log(const LogOptions& options);

void log(LogLevel level, const std::string& text);
void log_debug(const std::string& text);
void log_info(const std::string& text);
void log_warning(const std::string& text);
void log_error(const std::string& text);

}  // namespace sluice::daemon
