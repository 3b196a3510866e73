// The verbs of the tool `sluice`, one source file each. A verb adds its subcommand and, when it was
// chosen, leaves what to run in `run`; the exit code of that is the program's.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace sluice::tools {

using Run = std::function<int()>;

void add_demo(CLI::App& app, Run& run);
void add_doctor(CLI::App& app, Run& run);
void add_match(CLI::App& app, Run& run);

}  // namespace sluice::tools
