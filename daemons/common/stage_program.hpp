// What the programs around a Stage have in common: options, signals, exit codes.
#pragma once

#include "sluice/stage.hpp"

#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace sluice::daemon {

struct ProgramOptions {
  std::string socket{};  ///< Of the broker; empty: the default.
  std::string log_level = "info";
  bool log_json = false;
};

/// Adds --socket, --log-level, --log-json and --version.
void add_program_options(CLI::App& app, ProgramOptions& options);

/// Parses and sets the log up. 0: go on; what else: the exit code, plus one: 0 for --help becomes
/// 1, bad usage becomes 3.
int parse_or_exit_code(CLI::App& app, int argc, char** argv, const ProgramOptions& options);

/// Makes SIGTERM and SIGINT wait for run_stage. To be called before the first thread is started.
void hold_back_stop_signals();

/// Runs the stage until SIGTERM or SIGINT: 0; or until it ends by itself: 1, and the reason on
/// standard error. A broker that is not there is waited for. `ready` is called with the stage
/// before its first message.
int run_stage(const char* program, StageOptions options, const Stage::Handler& handler,
              const ProgramOptions& common, const std::function<void(Stage&)>& ready = {});

/// "program: sentence" on standard error; 1.
int fail(const char* program, const std::string& sentence);

}  // namespace sluice::daemon
