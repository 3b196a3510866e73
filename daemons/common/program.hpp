// What programs have in common before their work begins: options, the log, exit codes.
#pragma once

#include "daemons/common/log.hpp"

#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace sluice::daemon {

inline constexpr int kFailure = 1;
inline constexpr int kBadUsage = 2;

/// What the command line says of the log.
struct LogChoice {
  std::string level{};  ///< Empty: nothing.
  bool json = false;
};

/// --version, and of an option that is given twice the last one counts. To be called before options
/// are added.
void prepare(CLI::App& app);
/// --socket, of the broker.
void add_socket_option(CLI::App& app, std::string& socket);
/// --log-level and --log-json. `fallback` is what help says of the level that is meant otherwise.
void add_log_options(CLI::App& app, LogChoice& choice, const std::string& fallback = "info");

/// Reads the arguments. A value is the code to exit with at once: 0 after --help, kBadUsage after a
/// mistake, which has been said on standard error.
std::optional<int> parse(CLI::App& app, int argc, char** argv);

/// The level that the choice names, if it names one.
std::optional<LogLevel> level_of(const LogChoice& choice);
/// The choice goes before what stands in a file.
LogOptions log_options(const LogChoice& choice, LogOptions file = {});

/// "program: sentence" on standard error; returns the code.
int fail(const char* program, const std::string& sentence, int code = kFailure);
/// main() around `run`: what it throws is a failure.
int run_program(const char* program, int (*run)(int, char**), int argc, char** argv);

}  // namespace sluice::daemon
