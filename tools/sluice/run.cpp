// sluice run: starts the processes of a pipeline, watches them, and stops them.
#include "daemons/common/program.hpp"
#include "daemons/run/observer.hpp"
#include "daemons/run/pipeline_file.hpp"
#include "daemons/run/programs.hpp"
#include "daemons/run/summary.hpp"
#include "daemons/run/supervisor.hpp"
#include "shm/fd.hpp"
#include "tools/sluice/verb.hpp"
#include "transport/quote.hpp"
#include "transport/socket_path.hpp"

#include <CLI/CLI.hpp>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace sluice::tools {
namespace {

using namespace sluice::run;

constexpr std::chrono::milliseconds kLookAtMemoryEvery{1'000};

struct RunOptions {
  std::string file;
  std::string socket;
  std::string output;
  bool check = false;
  bool print = false;
  bool json = false;
  bool summary = false;
  daemon::LogChoice log;
  double seconds = 0;
};

int fail(const std::string& sentence) {
  std::fprintf(stderr, "sluice run: %s\n", sentence.c_str());
  return 1;
}

bool answers(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const shm::UniqueFd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  return fd.valid() &&
         ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// What the processes are told beside what the file says.
void complete(Process& process, const RunOptions& options, const std::string& socket) {
  if (process.kind == Kind::process) return;
  auto& command = process.command;
  command.insert(command.end(), {"--socket", socket});
  const auto& [level, json] = options.log;
  if (!level.empty()) command.insert(command.end(), {"--log-level", level});
  if (json) command.emplace_back("--log-json");
}

Result<void> find(Process& process) {
  auto program = find_program(process.command.front());
  if (!program) {
    Error error = std::move(program).error();
    error.message = process.name + ": " + error.message;
    return error;
  }
  process.command.front() = std::move(*program);
  return {};
}

std::vector<std::string> environment_with(const std::string& socket) {
  std::vector<std::string> all{"SLUICE_SOCKET=" + socket};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, "SLUICE_SOCKET=", 14) != 0) all.emplace_back(*variable);
  }
  return all;
}

// All that is to be started, in order. The broker is the first, or not among them.
Result<std::vector<Process>> plan(const RunOptions& options, Pipeline& pipeline,
                                  const std::string& socket) {
  std::vector<Process> all;
  bool broker = pipeline.start_broker == StartBroker::always;
  if (pipeline.start_broker != StartBroker::never && !options.print) {
    const bool there = answers(socket);
    if (there && broker) {
      return Error{Errc::refused, 0,
                   "a broker answers at " + socket +
                       " already; stop it, or write start = \"auto\" in [broker]"};
    }
    broker = !there;
  }
  if (broker || (options.print && pipeline.start_broker == StartBroker::automatic)) {
    all.push_back(pipeline.broker);
  }
  all.insert(all.end(), pipeline.processes.begin(), pipeline.processes.end());
  for (Process& process : all) {
    complete(process, options, socket);
    if (auto found = find(process); !found) return std::move(found).error();
  }
  return all;
}

Result<void> make_output(const std::string& folder) {
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (!code && ::access(folder.c_str(), W_OK | X_OK) != 0) {
    code = {errno, std::generic_category()};
  }
  if (!code) return {};
  return Error{Errc::system, code.value(),
               "nothing can be written to the folder " + transport::quoted(folder) + ": " +
                   std::strerror(code.value()) + "; choose another one with --output"};
}

int run_all(const RunOptions& options, const Pipeline& pipeline, std::vector<Process> processes,
            const std::string& socket) {
  const bool has_broker = !processes.empty() && processes.front().kind == Kind::broker;
  const bool wants_summary = options.json || options.summary || options.seconds > 0;
  std::unique_ptr<Observer> observer;
  Observations seen;
  std::chrono::steady_clock::time_point began{};
  double seconds = 0;

  SupervisorOptions with;
  with.environment = environment_with(socket);
  if (wants_summary) with.look_every = kLookAtMemoryEvery;
  if (has_broker) with.ready = [&socket] { return answers(socket); };
  with.log = [](LogLevel level, std::string_view text) { daemon::log(level, std::string(text)); };
  with.output = [](const std::string& name, std::string_view line) {
    std::fprintf(stderr, "%s | %.*s\n", name.c_str(), static_cast<int>(line.size()), line.data());
  };
  with.on_started = [&] {
    began = std::chrono::steady_clock::now();
    if (!wants_summary) return;
    auto made = Observer::create(socket);
    if (made) {
      observer = std::move(*made);
    } else {
      daemon::log_warning("there will be no summary: " + made.error().message);
    }
  };
  with.before_stop = [&] {
    if (began != std::chrono::steady_clock::time_point{} && seconds == 0) {
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    }
    if (observer) seen = observer->finish();
    observer.reset();
  };
  if (options.seconds > 0) {
    with.stop_after = std::chrono::milliseconds{static_cast<std::int64_t>(options.seconds * 1e3)};
  }
  auto supervisor = Supervisor::create(std::move(processes), with);
  if (!supervisor) return fail(supervisor.error().message);
  auto ended = supervisor->run();
  with.before_stop();  // where all ended by themselves
  if (wants_summary) {
    const auto summary = summary_of(pipeline, seen, supervisor->lives(), seconds);
    if (options.json) {
      // What is no UTF-8 is replaced.
      const std::string text =
          summary.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
      std::printf("%s\n", text.c_str());
    } else {
      std::fputs(summary_text(summary).c_str(), stdout);
    }
    if (std::fflush(stdout) != 0) return fail("the summary could not be written");
  }
  return ended ? 0 : fail(ended.error().message);
}

int run_pipeline(const RunOptions& options) {
  auto pipeline = load_pipeline(options.file, options.output);
  if (!pipeline) return fail(pipeline.error().message);
  if (options.check) {
    std::printf("%s: no mistakes found\n", options.file.c_str());
    return 0;
  }
  auto socket =
      transport::client_socket_path(options.socket.empty() ? pipeline->socket : options.socket);
  // Where one would be started there is one way only to name it.
  if (socket && pipeline->start_broker != StartBroker::never && !answers(*socket)) {
    socket =
        transport::broker_socket_path(options.socket.empty() ? pipeline->socket : options.socket);
  }
  if (!socket) return fail(socket.error().message);
  if (pipeline->processes.empty()) {
    return fail(options.file + " names nothing to run; add [camera.NAME] or [process.NAME]");
  }
  auto processes = plan(options, *pipeline, *socket);
  if (!processes) return fail(processes.error().message);
  if (options.print) {
    for (const Process& process : *processes) {
      std::printf("%s\n", shell_text(process.command).c_str());
    }
    return 0;
  }
  if (!options.output.empty()) {
    if (auto made = make_output(options.output); !made) return fail(made.error().message);
  }
  // Before any thread is started, the log's and the observer's.
  Supervisor::block_signals();
  daemon::set_up_log(daemon::log_options(options.log));
  return run_all(options, *pipeline, std::move(*processes), *socket);
}

}  // namespace

void add_run(CLI::App& app, Run& run) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* verb = app.add_subcommand("run", "Start a pipeline's processes and watch them");
  verb->group(kRunning);
  verb->add_option("FILE", options->file, "TOML: cameras, detectors, recognizers, processes")
      ->required();
  auto* check = verb->add_flag("--check", options->check, "Only look whether the file is right");
  verb->add_flag("--print", options->print, "Only print the command lines")->excludes(check);
  verb->add_option("--seconds", options->seconds, "Stop so long after all have been started")
      ->check(CLI::Range(0.001, 1e6));
  verb->add_flag("--summary", options->summary,
                 "Print what came of the frames at the end; with --seconds in any case");
  verb->add_flag("--json", options->json, "The summary as one JSON object, on the last line");
  verb->add_option("--output", options->output,
                   "A folder for pictures and models that are written; default: the file's")
      ->check([](const std::string& folder) {
        return std::string(folder.empty() ? "the folder has no name" : "");
      });
  verb->add_option("--socket", options->socket,
                   "Of the broker; default: the file's, SLUICE_SOCKET, or the broker's own");
  daemon::add_log_options(*verb, options->log);
  verb->footer(
      "Ctrl-C stops the processes in reverse order; a second one kills them. What they print goes "
      "to\n"
      "standard error, with their names in front. docs/pipeline.md says what the file may "
      "contain.\n"
      "Exit code 0 when it was stopped or all has ended well, 1 otherwise, 2 for bad usage.\n\n"
      "Examples: sluice run pipeline.toml\n"
      "          sluice run --seconds 30 --json pipeline.toml | tail -n 1");
  verb->callback([options, &run] { run = [options] { return run_pipeline(*options); }; });
}

}  // namespace sluice::tools
