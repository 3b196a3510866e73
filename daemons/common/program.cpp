#include "daemons/common/program.hpp"

#include "sluice/version.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <vector>

namespace sluice::daemon {

void prepare(CLI::App& app) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::to_string(kVersionMajor) + "." +
                                        std::to_string(kVersionMinor) + "." +
                                        std::to_string(kVersionPatch));
}

void add_socket_option(CLI::App& app, std::string& socket) {
  app.add_option("--socket", socket,
                 "Of the broker; default: SLUICE_SOCKET, /run/sluice/sluiced.sock for root, else "
                 "$XDG_RUNTIME_DIR/sluice/sluiced.sock");
}

void add_log_options(CLI::App& app, LogChoice& choice, const std::string& fallback) {
  const std::vector<std::string> levels(kLogLevels.begin(), kLogLevels.end());
  app.add_option("--log-level", choice.level,
                 "debug, info, warning or error; default: " + fallback)
      ->check(CLI::IsMember(levels).description(""));
  app.add_flag("--log-json", choice.json, "Log one JSON object a line");
}

std::optional<int> parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadUsage;
  }
  return std::nullopt;
}

std::optional<LogLevel> level_of(const LogChoice& choice) {
  const auto* level = std::find(kLogLevels.begin(), kLogLevels.end(), choice.level);
  if (level == kLogLevels.end()) return std::nullopt;
  return static_cast<LogLevel>(level - kLogLevels.begin());
}

LogOptions log_options(const LogChoice& choice, LogOptions file) {
  return {level_of(choice).value_or(file.level), choice.json || file.json};
}

int fail(const char* program, const std::string& sentence, int code) {
  std::fprintf(stderr, "%s: %s\n", program, sentence.c_str());
  return code;
}

int run_program(const char* program, int (*run)(int, char**), int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return fail(program, error.what());
  }
}

}  // namespace sluice::daemon
