// sluice serve: a service whose handler is a shell command.
//
// Each worker is a thread with a member of the service's group of its own and one credit, so that a
// request always goes to one that is idle. While its command runs, a worker looks at the request
// every few milliseconds: it is cancelled where nobody wants the answer any more. The first SIGTERM
// or SIGINT drains: what is here is answered, the rest goes to other workers. A second one ends the
// commands.
#include "sluice/correlation.hpp"
#include "sluice/responder.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/command.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

struct ServeOptions {
  Reach reach;
  std::string service;
  std::string command;
  bool echo = false;
  std::uint32_t workers = 1;
  Duration timeout = 5s;
  bool quiet = false;
};

volatile sig_atomic_t stops_seen = 0;
void note_stop(int) { stops_seen = stops_seen + 1; }

Status status_of(const CommandEnd& end) {
  using How = CommandEnd::How;
  switch (end.how) {
    case How::exited:
      if (end.code == 0) return {};
      return {StatusCode::internal, !end.last_line.empty()
                                        ? end.last_line
                                        : "the command ended with " + std::to_string(end.code)};
    case How::too_late:
      return {StatusCode::deadline_exceeded, "the command took too long, and was ended"};
    case How::cancelled:
      return {StatusCode::cancelled, "the command was ended"};
    case How::too_much:
      return {StatusCode::resource_exhausted, "the command's answer is longer than " +
                                                  std::to_string(kMaxCommandOutput) + " bytes"};
    case How::not_started:
      return {StatusCode::internal, end.last_line};
  }
  return {StatusCode::unknown};
}

class Serve {
 public:
  explicit Serve(const ServeOptions& options) : options_(options) {}
  int run();

 private:
  void handle(Request& request);
  [[nodiscard]] CommandCall call_for(const Request& request) const;
  void tell(const Status& status);
  void wait_for_signals(std::vector<std::unique_ptr<Responder>>& workers);

  const ServeOptions& options_;
  std::atomic<bool> hurry_{false};
  std::atomic<std::size_t> running_{0};
  std::mutex telling_;
};

CommandCall Serve::call_for(const Request& request) const {
  CommandCall call;
  call.command = options_.command;
  call.input = request.payload();
  call.deadline = std::min(request.deadline(), after(options_.timeout));
  call.cancelled = [this, &request] {
    return hurry_ || (request.cancelled() && steady_clock::now() < request.deadline());
  };
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(call.deadline - steady_clock::now());
  const Context& context = current_context();
  call.environment = {
      {"SLUICE_SERVICE", options_.service},
      {"SLUICE_CORRELATION", sluice::to_string(context.correlation)},
      {"TRACEPARENT", context.trace.valid() ? to_traceparent(context.trace) : ""},
      {"TRACESTATE", context.tracestate},
      {"SLUICE_DEADLINE_MS", std::to_string(std::max<std::int64_t>(left.count(), 0))}};
  if (!options_.reach.socket.empty()) {
    call.environment.emplace_back("SLUICE_SOCKET", options_.reach.socket);
  }
  return call;
}

void Serve::tell(const Status& status) {
  if (options_.quiet) return;
  const std::lock_guard lock(telling_);
  (void)failed("serve", joined({sluice::to_string(status.code), ": ", clean(status.message)}));
}

void Serve::handle(Request& request) {
  if (options_.echo) {
    (void)request.reply(request.payload());
    return;
  }
  const CommandEnd end = run_command(call_for(request));
  const auto output = std::as_bytes(std::span{end.output.data(), end.output.size()});
  const Status status = status_of(end);
  if (status.ok()) {
    (void)request.reply(output);
    return;
  }
  tell(status);
  (void)request.reply(status,
                      end.how == CommandEnd::How::exited ? output : std::span<const std::byte>{});
}

void Serve::wait_for_signals(std::vector<std::unique_ptr<Responder>>& workers) {
  const auto working = [this] { return running_ != 0; };
  bool draining = false;
  while (working()) {
    std::this_thread::sleep_for(20ms);
    if (stops_seen != 0 && !draining) {
      draining = true;
      for (const auto& worker : workers) worker->drain();
    }
    if (stops_seen > 1) hurry_ = true;
  }
}

int Serve::run() {
  catch_interrupts();
  struct sigaction action {};
  action.sa_handler = note_stop;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  auto node = connect(options_.reach, "serve");
  if (!node) return failed("serve", node.error().message);
  ResponderOptions with;
  with.reply_bytes = kMaxCommandOutput;
  with.credits = options_.echo ? 4 : 1;
  with.max_held = options_.echo ? 64 : 1;
  with.codec = options_.echo ? Codec::bytes : Codec::text;
  std::vector<std::unique_ptr<Responder>> workers;
  for (std::uint32_t i = 0; i < options_.workers; ++i) {
    auto made = Responder::create(
        *node, options_.service, [this](Request& request) { handle(request); }, with);
    if (!made) return failed("serve", made.error().message);
    workers.push_back(std::move(*made));
  }
  if (!options_.quiet) {
    std::fprintf(stderr, "sluice serve: '%s', %s\n", clean(options_.service).c_str(),
                 plural(options_.workers, "worker").c_str());
  }
  std::atomic<int> code{0};
  running_ = workers.size();
  std::vector<std::thread> threads;
  for (const auto& worker : workers) {
    threads.emplace_back([this, &code, responder = worker.get()] {
      if (const auto ran = responder->run(); !ran) {
        code = failed("serve", ran.error().message);
        ::raise(SIGTERM);  // the others too
      }
      --running_;
    });
  }
  wait_for_signals(workers);
  for (std::thread& thread : threads) thread.join();
  return code;
}

int run_serve(const ServeOptions& options) {
  if (const auto checked = check_topic(options.service); !checked) {
    return misused("serve", checked.error().message);
  }
  if (options.command.empty() != options.echo) {
    return misused("serve", "give one of --command and --echo");
  }
  return Serve{options}.run();
}

}  // namespace

void add_serve(CLI::App& app, Run& run) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* verb = app.add_subcommand("serve", "Answer requests with a shell command");
  verb->group(kBus);
  verb->add_option("SERVICE", options->service, "Which service")->required();
  verb->add_option("--command", options->command,
                   "Is run for each request, with the request on its standard input; what it "
                   "prints is the answer")
      ->type_name("COMMAND");
  verb->add_flag("--echo", options->echo, "Answer with the request");
  verb->add_option("--workers", options->workers, "Commands at the same time (default: 1)")
      ->type_name("N")
      ->check(CLI::Range(1, 64));
  add_duration(*verb, "--timeout", options->timeout,
               "Longest time of a command (default: 5s); the request's deadline holds as well");
  verb->add_flag("-q,--quiet", options->quiet, "Say nothing of what fails");
  add_reach(*verb, options->reach);
  verb->footer(
      "In the command's environment: SLUICE_SERVICE, SLUICE_CORRELATION, TRACEPARENT, TRACESTATE,\n"
      "SLUICE_DEADLINE_MS (milliseconds left when it starts). An exit code other than 0 answers\n"
      "with the status internal and the last line of its standard error; at most 64 KiB are an\n"
      "answer. When the time is over, or nobody wants the answer any more, the command and all it\n"
      "has started are ended. SIGTERM finishes what is here; a second one ends that too.\n"
      "Exit code 0; 1 for a failure, 2 for bad usage.\n\n"
      "Examples:\n"
      "  sluice serve text/upper --command 'tr a-z A-Z'\n"
      "  sluice serve photo/shrink --command 'convert - -resize 25% -' --workers 2 --timeout 30s");
  verb->callback([options, &run] { run = [options] { return run_serve(*options); }; });
}

}  // namespace sluice::tools
