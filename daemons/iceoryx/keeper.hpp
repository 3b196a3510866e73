// The process that users start: it has the Sluice streams, and sees to it that a worker runs
// whenever RouDi does.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "sluice/result.hpp"

#include <string>
#include <vector>

namespace sluice::iceoryx {

/// SIGTERM and SIGINT wait for run_keeper; to be called before the first thread is started.
void hold_back_signals();

/// Runs until SIGTERM or SIGINT. `text`: the configuration's, for workers; `options`: what was said
/// on the command line, for them as well.
Result<void> run_keeper(const Config& config, const std::string& text,
                        const std::vector<std::string>& options);

}  // namespace sluice::iceoryx
