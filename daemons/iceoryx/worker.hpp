// The process that has iceoryx's runtime. Started by the keeper.
#pragma once

#include "daemons/iceoryx/config.hpp"

namespace sluice::iceoryx {

/// Runs until the keeper lets go of the link, RouDi asks for it or is gone; the exit code. Ends the
/// process by itself where iceoryx cannot go on.
int run_worker(const Config& config, int link_fd);

}  // namespace sluice::iceoryx
