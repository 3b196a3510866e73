// sluiced: the broker.
#include "daemons/sluiced/daemon.hpp"
#include "sluice/version.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

using namespace sluice;

int report(const Result<void>& result) {
  if (result) return 0;
  std::fprintf(stderr, "sluiced: %s\n", result.error().message.c_str());
  return 1;
}

Result<void> check(const std::string& path) {
  auto config = broker::load_config(path);
  if (!config) return std::move(config).error();
  std::printf("%s: no mistakes found\n", path.c_str());
  return {};
}

int run(int argc, char** argv) {
  broker::DaemonOptions options;
  std::string to_check, level;
  const std::vector<std::string> levels(broker::kLogLevels.begin(), broker::kLogLevels.end());
  CLI::App app{"sluiced: the broker by which the nodes of Sluice find each other."};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--config", options.config,
                 std::string("TOML file; default: ") + broker::kDefaultConfig + ", if it is there");
  app.add_option(
      "--socket", options.socket,
      "Where to listen; default: the file's, SLUICE_SOCKET, /run/sluice/sluiced.sock for "
      "root, else $XDG_RUNTIME_DIR/sluice/sluiced.sock");
  app.add_option("--check", to_check, "Only look whether this TOML file is right");
  app.add_option("--log-level", level, "debug, info, warning or error; default: the file's, info")
      ->check(CLI::IsMember(levels).description(""));
  app.add_flag("--log-json", options.log_json, "Log one JSON object a line");
  app.set_version_flag("--version", std::to_string(kVersionMajor) + "." +
                                        std::to_string(kVersionMinor) + "." +
                                        std::to_string(kVersionPatch));
  CLI11_PARSE(app, argc, argv);
  const auto named = std::find(levels.begin(), levels.end(), level);
  if (named != levels.end()) {
    options.log_level = static_cast<LogLevel>(named - levels.begin());
  }
  return report(to_check.empty() ? broker::run_daemon(options) : check(to_check));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluiced: %s\n", error.what());
    return 1;
  }
}
