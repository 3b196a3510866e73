// sluice-iceoryx: programs that use iceoryx and programs that use Sluice see each other.
#include "daemons/common/toml_reader.hpp"
#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/keeper.hpp"
#include "daemons/iceoryx/worker.hpp"
#include "sluice/version.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

using namespace sluice;

int fail(const std::string& sentence) {
  std::fprintf(stderr, "sluice-iceoryx: %s\n", sentence.c_str());
  return 1;
}

struct Options {
  std::string config, check, socket, level;
  bool log_json = false;
  int worker = -1;
};

void add_options(CLI::App& app, Options& options) {
  const std::vector<std::string> levels(daemon::kLogLevels.begin(), daemon::kLogLevels.end());
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--config", options.config, "TOML file: what is carried where");
  app.add_option("--check", options.check, "Only look whether this TOML file is right");
  app.add_option("--socket", options.socket,
                 "Of the broker; default: SLUICE_SOCKET, /run/sluice/sluiced.sock for root, else "
                 "$XDG_RUNTIME_DIR/sluice/sluiced.sock");
  app.add_option("--log-level", options.level, "debug, info, warning or error; default: info")
      ->check(CLI::IsMember(levels).description(""));
  app.add_flag("--log-json", options.log_json, "Log one JSON object a line");
  app.add_option("--worker", options.worker, "")->group("");  // between its own two processes
  app.set_version_flag("--version", std::to_string(kVersionMajor) + "." +
                                        std::to_string(kVersionMinor) + "." +
                                        std::to_string(kVersionPatch));
}

void apply(const Options& options, iceoryx::Config& config) {
  if (!options.socket.empty()) config.socket = options.socket;
  const auto level = std::find(daemon::kLogLevels.begin(), daemon::kLogLevels.end(), options.level);
  if (level != daemon::kLogLevels.end()) {
    config.log.level = static_cast<LogLevel>(level - daemon::kLogLevels.begin());
  }
  config.log.json = config.log.json || options.log_json;
}

// For the worker, which reads the same file.
std::vector<std::string> words_of(const Options& options) {
  std::vector<std::string> words;
  if (!options.socket.empty()) words.insert(words.end(), {"--socket", options.socket});
  if (!options.level.empty()) words.insert(words.end(), {"--log-level", options.level});
  if (options.log_json) words.emplace_back("--log-json");
  return words;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"sluice-iceoryx: carries between iceoryx and Sluice, in both directions."};
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const std::string& path = options.check.empty() ? options.config : options.check;
  if (path.empty()) {
    std::fprintf(stderr, "sluice-iceoryx: say what is carried where, with --config FILE\n");
    return 2;
  }
  auto text = daemon::load_toml(path, "the configuration");
  if (!text) return fail(text.error().message);
  auto config = iceoryx::parse_config(*text, path);
  if (!config) return fail(config.error().message);
  if (!options.check.empty()) {
    std::printf("%s: no mistakes found\n", path.c_str());
    return 0;
  }
  apply(options, *config);
  daemon::set_up_log(config->log);
  if (options.worker >= 0) return iceoryx::run_worker(*config, options.worker);
  iceoryx::hold_back_signals();
  const auto ended = iceoryx::run_keeper(*config, *text, words_of(options));
  return ended ? 0 : fail(ended.error().message);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
