// What the programs around a Stage have in common beyond program.hpp: a broker, a stage, signals.
#pragma once

#include "daemons/common/program.hpp"
#include "sluice/stage.hpp"

#include <functional>
#include <string>

namespace sluice::daemon {

struct ProgramOptions {
  std::string socket{};  ///< Of the broker; empty: the default.
  LogChoice log{};
};

/// Adds --socket, --log-level, --log-json and --version.
void add_program_options(CLI::App& app, ProgramOptions& options);

/// Makes SIGTERM and SIGINT wait for run_stage. To be called before the first thread is started.
void hold_back_stop_signals();

/// Runs the stage until SIGTERM or SIGINT: 0; or until it ends by itself: 1, and the reason on
/// standard error. A broker that is not there is waited for. `ready` is called with the stage
/// before its first message.
int run_stage(const char* program, StageOptions options, const Stage::Handler& handler,
              const ProgramOptions& common, const std::function<void(Stage&)>& ready = {});

}  // namespace sluice::daemon
