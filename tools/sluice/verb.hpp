// The verbs of the tool `sluice`, one source file each. A verb adds its subcommand and, when it was
// chosen, leaves what to run in `run`; the exit code of that is the program's.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sluice::tools {

using Run = std::function<int()>;

// The groups in `sluice --help`; a verb names its own.
inline constexpr const char* kRunning = "Run";
inline constexpr const char* kSeeing = "See";
inline constexpr const char* kMessages = "Look at messages";
inline constexpr const char* kBus = "Talk";
inline constexpr const char* kChecking = "Check";

void add_audit(CLI::App& app, Run& run);  // where the recorder is built
void add_breaker(CLI::App& app, Run& run);
void add_dlq(CLI::App& app, Run& run);  // likewise
void add_doctor(CLI::App& app, Run& run);
void add_echo(CLI::App& app, Run& run);
void add_graph(CLI::App& app, Run& run);
void add_health(CLI::App& app, Run& run);
void add_hz(CLI::App& app, Run& run);
void add_info(CLI::App& app, Run& run);
void add_ls(CLI::App& app, Run& run);
void add_match(CLI::App& app, Run& run);
void add_pub(CLI::App& app, Run& run);
void add_request(CLI::App& app, Run& run);
void add_run(CLI::App& app, Run& run);  // where the daemons are built
void add_serve(CLI::App& app, Run& run);
void add_snap(CLI::App& app, Run& run);
void add_state(CLI::App& app, Run& run);
void add_sub(CLI::App& app, Run& run);
void add_top(CLI::App& app, Run& run);
void add_trace(CLI::App& app, Run& run);
void add_traceparent(CLI::App& app, Run& run);

}  // namespace sluice::tools
