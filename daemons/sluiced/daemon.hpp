// The broker as a program: everything wired together, from options to the end.
#pragma once

#include "daemons/common/program.hpp"
#include "daemons/sluiced/config.hpp"
#include "sluice/result.hpp"

#include <string>

namespace sluice::broker {

/// What the command line says; it goes before what the file says.
struct DaemonOptions {
  std::string config;  ///< Empty: kDefaultConfig, if it is there.
  std::string socket;  ///< Empty: SLUICE_SOCKET, else the file's, else the default.
  daemon::LogChoice log;
};
inline constexpr const char* kDefaultConfig = "/etc/sluice/sluiced.toml";

/// Listens until SIGTERM or SIGINT. SIGHUP reads the configuration again: rights, limits and
/// logging change, the socket does not; a wrong file changes nothing.
Result<void> run_daemon(const DaemonOptions& options);

}  // namespace sluice::broker
