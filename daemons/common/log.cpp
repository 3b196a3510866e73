// spdlog with a formatter of our own: names and topics come from clients, so control characters
// must not reach a terminal, nor a line break forge a line.
#include "daemons/common/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <memory>
#include <utility>

namespace sluice::daemon {
namespace {

std::shared_ptr<spdlog::logger>& logger() {
  static std::shared_ptr<spdlog::logger> instance;
  return instance;
}

std::string escaped(std::string_view text, bool json) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size() + 2);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += json ? "\\u00" : "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      if (json && (c == '"' || c == '\\')) out += '\\';
      out += c;
    }
  }
  return out;
}

class Formatter final : public spdlog::formatter {
 public:
  explicit Formatter(bool json)
      : json_(json),
        head_(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":")"
                   : "%Y-%m-%d %H:%M:%S.%e %-7l ",
              spdlog::pattern_time_type::local, "") {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    head_.format(message, out);
    const std::string text = escaped({message.payload.data(), message.payload.size()}, json_);
    out.append(text.data(), text.data() + text.size());
    const std::string_view tail = json_ ? "\"}\n" : "\n";
    out.append(tail.data(), tail.data() + tail.size());
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<Formatter>(json_);
  }

 private:
  bool json_;
  spdlog::pattern_formatter head_;
};

constexpr std::array kLevels{spdlog::level::debug, spdlog::level::info, spdlog::level::warn,
                             spdlog::level::err};

}  // namespace

void set_up_log(const LogOptions& options) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  logger() = std::make_shared<spdlog::logger>("sluice", std::move(sink));
  logger()->set_formatter(std::make_unique<Formatter>(options.json));
  logger()->set_level(kLevels[static_cast<std::size_t>(options.level)]);
}

void log(LogLevel level, const std::string& text) {
  if (!logger()) return;
  logger()->log(kLevels[static_cast<std::size_t>(level)], spdlog::string_view_t{text});
}
void log_debug(const std::string& text) { log(LogLevel::debug, text); }
void log_info(const std::string& text) { log(LogLevel::info, text); }
void log_warning(const std::string& text) { log(LogLevel::warning, text); }
void log_error(const std::string& text) { log(LogLevel::error, text); }

}  // namespace sluice::daemon
