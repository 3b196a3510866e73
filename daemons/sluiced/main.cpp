// sluiced: the broker.
#include "daemons/common/program.hpp"
#include "daemons/sluiced/daemon.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluiced";

int report(const Result<void>& result) {
  if (result) return 0;
  return daemon::fail(kProgram, result.error().message);
}

Result<void> check(const std::string& path) {
  auto config = broker::load_config(path);
  if (!config) return std::move(config).error();
  std::printf("%s: no mistakes found\n", path.c_str());
  return {};
}

int run(int argc, char** argv) {
  broker::DaemonOptions options;
  std::string to_check;
  CLI::App app{"sluiced: the broker by which the nodes of Sluice find each other."};
  daemon::prepare(app);
  app.add_option("--config", options.config,
                 std::string("TOML file; default: ") + broker::kDefaultConfig + ", if it is there");
  app.add_option(
      "--socket", options.socket,
      "Where to listen; default: the file's, SLUICE_SOCKET, /run/sluice/sluiced.sock for "
      "root, else $XDG_RUNTIME_DIR/sluice/sluiced.sock");
  app.add_option("--check", to_check, "Only look whether this TOML file is right");
  daemon::add_log_options(app, options.log, "the file's, or info");
  if (const auto code = daemon::parse(app, argc, argv)) return *code;
  return report(to_check.empty() ? broker::run_daemon(options) : check(to_check));
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
