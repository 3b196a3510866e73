// sluice-iceoryx: programs that use iceoryx and programs that use Sluice see each other.
#include "daemons/common/program.hpp"
#include "daemons/common/toml_reader.hpp"
#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/keeper.hpp"
#include "daemons/iceoryx/worker.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-iceoryx";

int fail(const std::string& sentence) { return daemon::fail(kProgram, sentence); }

struct Options {
  std::string config, check, socket;
  daemon::LogChoice log;
  int worker = -1;
};

void add_options(CLI::App& app, Options& options) {
  daemon::prepare(app);
  app.add_option("--config", options.config, "TOML file: what is carried where");
  app.add_option("--check", options.check, "Only look whether this TOML file is right");
  daemon::add_socket_option(app, options.socket);
  daemon::add_log_options(app, options.log, "the file's, or info");
  app.add_option("--worker", options.worker, "")->group("");  // between its own two processes
}

void apply(const Options& options, iceoryx::Config& config) {
  if (!options.socket.empty()) config.socket = options.socket;
  config.log = daemon::log_options(options.log, config.log);
}

// For the worker, which reads the same file.
std::vector<std::string> words_of(const Options& options) {
  std::vector<std::string> words;
  if (!options.socket.empty()) words.insert(words.end(), {"--socket", options.socket});
  if (!options.log.level.empty()) words.insert(words.end(), {"--log-level", options.log.level});
  if (options.log.json) words.emplace_back("--log-json");
  return words;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"sluice-iceoryx: carries between iceoryx and Sluice, in both directions."};
  add_options(app, options);
  if (const auto code = daemon::parse(app, argc, argv)) return *code;
  const std::string& path = options.check.empty() ? options.config : options.check;
  if (path.empty()) {
    return daemon::fail(kProgram, "say what is carried where, with --config FILE",
                        daemon::kBadUsage);
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
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
