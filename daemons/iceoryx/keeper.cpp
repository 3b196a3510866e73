// iceoryx lets a process have one runtime in its life, waits without an end for a RouDi that dies
// at the wrong moment, ends the process where it meets an error, and lies with mutexes in memory
// that all processes write to. So it gets a process of its own, the worker, and is given up
// together with it. What Sluice's subscribers are attached to belongs to this process, the keeper,
// which does not even link with what it says: streams go on when RouDi, the worker or both are
// killed, and are filled again by the next worker.
//
// One thread, one poll: the worker's link, signals, a tick.
#include "daemons/iceoryx/keeper.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/intake.hpp"
#include "daemons/iceoryx/roudi.hpp"
#include "daemons/iceoryx/streams.hpp"
#include "daemons/iceoryx/worker_process.hpp"
#include "sluice/agent.hpp"
#include "sluice/version.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kTick = 50ms;
constexpr auto kSilence = 10s;  ///< After which a worker is taken for hung.
constexpr auto kFirstPause = 100ms;
constexpr auto kLongestPause = 5s;

sigset_t signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

std::string sentence_of(int code) {
  switch (code) {
    case kWorkerAsked:
      return "RouDi is ending";
    case kWorkerOrphaned:
      return "RouDi is gone, or has taken the worker for dead";
    case kIceoryxFailed:
      return "iceoryx reported an error that it cannot go on after";
    default:
      return code < 0 ? "the worker was killed by signal " + std::to_string(-code)
                      : "the worker ended with code " + std::to_string(code);
  }
}

class Keeper {
 public:
  Keeper(const Config& config, const std::string& text, const std::vector<std::string>& options,
         shm::UniqueFd signal_fd)
      : config_(config), text_(text), options_(options), signal_fd_(std::move(signal_fd)) {}

  Result<void> run() {
    auto connected = connect();
    if (!connected || !*connected) return connected ? Result<void>{} : std::move(connected).error();
    AgentOptions agent_options;
    agent_options.figures = [this] { return figures(); };
    auto agent = Agent::create(*node_, std::move(agent_options));
    if (!agent) return std::move(agent).error();
    streams_.emplace(*node_, config_.routes);
    daemon::log_info(
        "carrying between iceoryx and Sluice: " + std::to_string(config_.routes.size()) +
        " routes, " + std::to_string(config_.services.size()) + " services");
    ::sd_notify(0, "READY=1");
    while (!stopping_) {
      wait();
      if (worker_) serve();
      tend_worker();
      if (Clock::now() >= next_tick_) tick(*agent);
    }
    ::sd_notify(0, "STOPPING=1");
    streams_.reset();  // readers learn it before iceoryx uses the memory again
    if (worker_) worker_->let_go();
    return {};
  }

 private:
  // Whether there is a node; none, when the program shall end first.
  Result<bool> connect() {
    NodeOptions options;
    options.name = config_.node;
    options.socket = config_.socket;
    options.connect_timeout = 1s;
    options.capabilities = {"iceoryx"};
    options.version = std::to_string(kVersionMajor) + "." + std::to_string(kVersionMinor) + "." +
                      std::to_string(kVersionPatch);
    options.log = [](LogLevel level, std::string_view text) {
      daemon::log(level, std::string(text));
    };
    for (bool told = false;; told = true) {
      auto node = Node::create(options);
      if (node) {
        node_ = std::move(node).value();
        return true;
      }
      if (node.error().code != Errc::system) return std::move(node).error();
      if (!told) daemon::log_warning(node.error().message + "; waiting");
      wait();
      if (stopping_) return false;
    }
  }

  void wait() {
    std::array<pollfd, 2> fds{{{signal_fd_.get(), POLLIN, 0}, {-1, POLLIN, 0}}};
    if (worker_ && worker_->link().open()) {
      fds[1].fd = worker_->link().fd();
      if (worker_->link().has_waiting()) fds[1].events |= POLLOUT;
    }
    (void)::poll(fds.data(), fds.size(), static_cast<int>(kTick.count()));
    signalfd_siginfo info{};
    while (::read(signal_fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      stopping_ = stopping_ || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
    }
  }

  // What the worker says; a bounded number of packets, so that signals are seen.
  void serve() {
    constexpr int kAtOnce = 256;
    Link& link = worker_->link();
    (void)link.flush();
    for (int i = 0; i < kAtOnce; ++i) {
      auto received = link.receive();
      if (!received) return;
      heard_ = Clock::now();
      if (received->packet.say == Say::counts) {
        counts_ = received->packet.counts;
      } else {
        streams_->handle(std::move(*received), link);
      }
    }
  }

  void tend_worker() {
    const auto now = Clock::now();
    if (!worker_) {
      if (now >= next_start_) start_worker();
      return;
    }
    if (const auto code = worker_->ended()) {
      worker_is_gone(*code);
    } else if (now - heard_ > kSilence) {
      daemon::log_error("the worker has said nothing for 10 s: iceoryx hangs; it is killed");
      worker_->kill();
      heard_ = now;
    }
  }

  void start_worker() {
    const auto roudi = find_roudi();
    // Who is just ending would take a new worker with it.
    const bool is_the_old_one = ending_ && roudi == ending_ && Clock::now() < ending_until_;
    if (!roudi || is_the_old_one) {
      set_problem("RouDi is not running");
      next_start_ = Clock::now() + kFirstPause;
      return;
    }
    ending_.reset();
    auto worker = WorkerProcess::start(text_, options_);
    started_ = heard_ = Clock::now();
    if (!worker) {
      set_problem(worker.error().message);
      next_start_ = started_ + kLongestPause;
      return;
    }
    set_problem("");
    roudi_ = roudi;
    worker_.emplace(std::move(worker).value());
    streams_->begin(worker_->link());
    daemon::log_info("RouDi is there; the worker is process " + std::to_string(worker_->pid()));
  }

  void worker_is_gone(int code) {
    serve();  // what it said last
    worker_.reset();
    streams_->pause(find_roudi() == roudi_);
    daemon::log_warning(sentence_of(code) + "; Sluice streams stay, and are filled again later");
    add(gone_, counts_);
    counts_ = {};
    if (code == kWorkerAsked) {
      ending_ = roudi_;
      ending_until_ = Clock::now() + 60s;
    }
    const bool lived = Clock::now() - started_ > kLongestPause;
    pause_ = lived ? kFirstPause : std::min<std::chrono::milliseconds>(2 * pause_, kLongestPause);
    next_start_ = Clock::now() + pause_;
  }

  static void add(WorkerCounts& sum, const WorkerCounts& more) {
    sum.received += more.received;
    sum.missed += more.missed;
    sum.published += more.published;
    sum.lost += more.lost;
    sum.own += more.own;
    sum.hops += more.hops;
    sum.calls += more.calls;
    sum.failed_calls += more.failed_calls;
  }

  HealthFigures figures() const {
    WorkerCounts all = gone_;
    add(all, counts_);
    HealthFigures figures;
    figures.received = all.received + all.calls;
    figures.handled = streams_ ? streams_->published() : 0;
    figures.published = all.published;
    figures.failed =
        all.missed + all.lost + all.hops + all.failed_calls + (streams_ ? streams_->dropped() : 0);
    return figures;
  }

  void set_problem(const std::string& problem) {
    if (problem == problem_) return;
    problem_ = problem;
    if (!problem.empty()) daemon::log_warning(problem + "; waiting for it");
    ::sd_notify(0, ("STATUS=" + (problem.empty() ? "carrying" : problem)).c_str());
  }

  void tick(Agent& agent) {
    next_tick_ = Clock::now() + kTick;
    streams_->tend();
    agent.set_problem(problem_);
    (void)agent.step();
    ::sd_notify(0, "WATCHDOG=1");
  }

  const Config& config_;
  const std::string& text_;
  const std::vector<std::string>& options_;
  shm::UniqueFd signal_fd_;
  std::optional<Node> node_;
  std::optional<Streams> streams_;
  std::optional<WorkerProcess> worker_;
  std::optional<Roudi> roudi_, ending_;
  WorkerCounts counts_;  // of this worker
  WorkerCounts gone_;    // of those before
  std::string problem_;
  std::chrono::milliseconds pause_ = kFirstPause;
  Clock::time_point started_, heard_, next_start_, next_tick_, ending_until_;
  bool stopping_ = false;
};

}  // namespace

void hold_back_signals() {
  const sigset_t set = signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Result<void> run_keeper(const Config& config, const std::string& text,
                        const std::vector<std::string>& options) {
  const sigset_t set = signals();
  shm::UniqueFd signal_fd{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!signal_fd.valid()) {
    return Error{Errc::system, errno, std::string("signalfd: ") + std::strerror(errno)};
  }
  return Keeper{config, text, options, std::move(signal_fd)}.run();
}

}  // namespace sluice::iceoryx
