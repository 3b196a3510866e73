// sluiced: the broker.
#include "daemons/sluiced/daemon.hpp"
#include "daemons/sluiced/log.hpp"
#include "sluice/version.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>

int main(int argc, char** argv) {
  using namespace sluice;
  try {
    broker::DaemonOptions options;
    std::string log_level = "info";
    bool log_json = false;
    CLI::App app{"sluiced: the broker by which Sluice's nodes find each other."};
    app.add_option(
        "--socket", options.socket,
        "Where to listen; default: SLUICE_SOCKET, /run/sluice/sluiced.sock for root, else "
        "$XDG_RUNTIME_DIR/sluice/sluiced.sock");
    app.add_option("--log-level", log_level, "debug, info, warning or error");
    app.add_flag("--log-json", log_json, "Log one JSON object a line");
    app.set_version_flag("--version", std::to_string(kVersionMajor) + "." +
                                          std::to_string(kVersionMinor) + "." +
                                          std::to_string(kVersionPatch));
    CLI11_PARSE(app, argc, argv);
    auto result = broker::set_up_log(log_level, log_json);
    if (result) result = broker::run_daemon(options);
    if (result) return 0;
    std::fprintf(stderr, "sluiced: %s\n", result.error().message.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluiced: %s\n", error.what());
  }
  return 1;
}
