// sluice: the command-line tool.
#include "sluice/version.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>

int main(int argc, char** argv) {
  try {
    CLI::App app{"Sluice: shared-memory streams of camera frames and messages."};
    app.set_version_flag("--version", std::to_string(sluice::kVersionMajor) + "." +
                                          std::to_string(sluice::kVersionMinor) + "." +
                                          std::to_string(sluice::kVersionPatch));
    app.require_subcommand(1);
    app.footer(
        "sluice VERB --help says more, with examples. Exit codes: 0, 1 for a failure, 2 for bad "
        "usage.");
    sluice::tools::Run run;
#ifdef SLUICE_TOOL_RUN
    sluice::tools::add_run(app, run);
#endif
    sluice::tools::add_top(app, run);
    sluice::tools::add_ls(app, run);
    sluice::tools::add_info(app, run);
    sluice::tools::add_graph(app, run);
    sluice::tools::add_health(app, run);
    sluice::tools::add_trace(app, run);
    sluice::tools::add_echo(app, run);
    sluice::tools::add_hz(app, run);
    sluice::tools::add_snap(app, run);
    sluice::tools::add_pub(app, run);
    sluice::tools::add_sub(app, run);
    sluice::tools::add_request(app, run);
    sluice::tools::add_serve(app, run);
    sluice::tools::add_state(app, run);
    sluice::tools::add_breaker(app, run);
#ifdef SLUICE_TOOL_RECORDER
    sluice::tools::add_audit(app, run);
    sluice::tools::add_dlq(app, run);
#endif
    sluice::tools::add_doctor(app, run);
    sluice::tools::add_match(app, run);
    sluice::tools::add_traceparent(app, run);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return app.exit(error) == 0 ? 0 : 2;
    }
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluice: %s\n", error.what());
    return 1;
  }
}
