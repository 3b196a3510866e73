// sluice: the command-line tool.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "sluice/version.hpp"
#include "tools/sluice/verb.hpp"

int main(int argc, char** argv) {
  try {
    CLI::App app{"Sluice: shared-memory streams of camera frames and messages."};
    app.set_version_flag("--version", std::to_string(sluice::kVersionMajor) + "." +
                                          std::to_string(sluice::kVersionMinor) + "." +
                                          std::to_string(sluice::kVersionPatch));
    app.require_subcommand(1);
    sluice::tools::Run run;
    sluice::tools::add_demo(app, run);
    sluice::tools::add_doctor(app, run);
    sluice::tools::add_match(app, run);
    CLI11_PARSE(app, argc, argv);
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluice: %s\n", error.what());
    return 1;
  }
}
