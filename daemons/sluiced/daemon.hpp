// The broker as a program: everything wired together, from options to the end.
#pragma once

#include "sluice/result.hpp"

#include <string>

namespace sluice::broker {

struct DaemonOptions {
  std::string config;  ///< Empty: kDefaultConfig where it exists, else the defaults.
  std::string socket;  ///< Empty: see transport/socket_path.hpp.
};

/// Listens until SIGTERM or SIGINT; SIGHUP reads the configuration again. Logging is set up
/// already.
Result<void> run_daemon(const DaemonOptions& options);

}  // namespace sluice::broker
