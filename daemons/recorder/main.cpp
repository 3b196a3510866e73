// sluice-recorder: keeps messages on disk.
#include "daemons/common/program.hpp"
#include "daemons/recorder/daemon.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-recorder";

int fail(const std::string& sentence) { return daemon::fail(kProgram, sentence); }

// What stands on the command line goes before the file.
struct Options {
  std::string config, check, socket, file;
  std::vector<std::string> record, durable;
  std::optional<double> max_age_days, batch_ms;
  std::optional<std::uint64_t> max_bytes, rotate_bytes, max_message_bytes;
  std::optional<std::uint32_t> keep, batch;
  daemon::LogChoice log;
};

void add_options(CLI::App& app, Options& options) {
  daemon::prepare(app);
  app.add_option("--config", options.config, "TOML file; else the options below alone");
  app.add_option("--check", options.check, "Only look whether this TOML file is right");
  app.add_option("--file", options.file,
                 "Where to write; default: $STATE_DIRECTORY or /var/lib/sluice or "
                 "~/.local/state/sluice, recorder.db");
  app.add_option("--record", options.record, "Record what this filter matches; may be repeated")
      ->take_all();
  app.add_option("--durable", options.durable,
                 "The same, and acknowledge it to its publisher when it is on the disk; may be "
                 "repeated")
      ->take_all();
  app.add_option("--max-bytes", options.max_bytes,
                 "Of all files; the oldest messages go first (default: 1 GiB)")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--max-age", options.max_age_days, "Days that messages are kept (default: 30)")
      ->check(CLI::Range(0.0, 36'500.0));
  app.add_option("--rotate-bytes", options.rotate_bytes,
                 "Begin a new file at this size (default: never)")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--keep", options.keep, "Rotated files to keep (default: 8)")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--max-message-bytes", options.max_message_bytes,
                 "Skip what is larger (default: 64 KiB)")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--batch", options.batch, "Commit when so many wait (default: 512)")
      ->check(CLI::Range(1, 8'192));
  app.add_option("--batch-ms", options.batch_ms,
                 "or when the commit before was begun so long ago (default: 5)")
      ->check(CLI::Range(0.0, 1'000.0));
  daemon::add_socket_option(app, options.socket);
  daemon::add_log_options(app, options.log, "the file's, or info");
}

void apply(const Options& options, recorder::Config& config) {
  constexpr double kDayNs = 86'400e9;
  recorder::FileOptions& file = config.store.file;
  if (!options.socket.empty()) config.socket = options.socket;
  if (!options.file.empty()) file.path = options.file;
  auto& recording = config.recording;
  recording.filters.insert(recording.filters.end(), options.record.begin(), options.record.end());
  recording.durable.insert(recording.durable.end(), options.durable.begin(), options.durable.end());
  if (options.max_bytes) file.max_bytes = *options.max_bytes;
  if (options.max_age_days) file.max_age_ns = std::llround(*options.max_age_days * kDayNs);
  if (options.rotate_bytes) file.rotate_bytes = *options.rotate_bytes;
  if (options.keep) file.keep = *options.keep;
  if (options.max_message_bytes) recording.max_message_bytes = *options.max_message_bytes;
  if (options.batch) config.store.batch_count = *options.batch;
  if (options.batch_ms) {
    config.store.batch_time = std::chrono::nanoseconds{std::llround(*options.batch_ms * 1e6)};
  }
  config.log = daemon::log_options(options.log, config.log);
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"sluice-recorder: keeps messages on disk, for audits and against power cuts."};
  add_options(app, options);
  if (const auto code = daemon::parse(app, argc, argv)) return *code;
  recorder::Config config;
  const std::string& path = options.check.empty() ? options.config : options.check;
  if (!path.empty()) {
    auto loaded = recorder::load_config(path);
    if (!loaded) return fail(loaded.error().message);
    config = std::move(loaded).value();
  }
  if (!options.check.empty()) {
    std::printf("%s: no mistakes found\n", path.c_str());
    return 0;
  }
  apply(options, config);
  if (const auto checked = recorder::check_config(config); !checked) {
    return fail(checked.error().message);
  }
  daemon::set_up_log(config.log);
  recorder::hold_back_signals();
  const auto ended = recorder::run_daemon(config);
  return ended ? 0 : fail(ended.error().message);
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
