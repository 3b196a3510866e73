// One loop: it polls the processes' output and a signalfd, and does what is due.
//
//   not_yet -> running       in the order of the file; what follows a broker waits until it answers
//   running -> waiting       it ended, and is to be started again, after a delay that doubles
//   running -> ended         it ended, and is not
//   running -> stopping      SIGTERM was sent, in reverse order: each when the one after it has
//                            ended, or has taken its time
//   stopping -> ended        by itself, or by SIGKILL
#include "daemons/run/supervisor.hpp"

#include "shm/memory.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

namespace sluice::run {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kReadyEvery = 20ms;

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, number);
  return set;
}

std::string seconds_text(std::chrono::steady_clock::duration duration) {
  const auto tenths = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count() / 10;
  const std::string hundredths = std::to_string(100 + tenths % 100).substr(1);
  return std::to_string(tenths / 100) + "." + hundredths + " s";
}

}  // namespace

void Supervisor::block_signals() {
  const sigset_t set = our_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
}

Result<Supervisor> Supervisor::create(std::vector<Process> processes, SupervisorOptions options) {
  const sigset_t set = our_signals();
  shm::UniqueFd signals{::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!signals.valid()) return shm::system_error("a descriptor for signals");
  return Supervisor{std::move(processes), std::move(options), std::move(signals)};
}

Supervisor::Supervisor(std::vector<Process> processes, SupervisorOptions options,
                       shm::UniqueFd signals)
    : options_(std::move(options)),
      signals_(std::move(signals)),
      jitter_(static_cast<std::minstd_rand::result_type>(::getpid())) {
  for (Process& process : processes) {
    Watched watched;
    watched.lives = {process.name, process.kind};
    watched.process = std::move(process);
    all_.push_back(std::move(watched));
  }
}

void Supervisor::say(LogLevel level, const std::string& text) const {
  if (options_.log) options_.log(level, text);
}

Result<void> Supervisor::run() {
  ready_until_ = Clock::now() + options_.ready_patience;
  for (;;) {
    if (!stopping_) start_first_ones();
    if (!stopping_) start_due();
    if (!stopping_ && options_.look_every && Clock::now() >= look_at_) look();
    if (!stopping_ && Clock::now() >= stop_at_) begin_stop();
    if (stopping_) go_on_stopping();
    if (all_ended()) break;
    poll_all();
    take_signals();
    reap_all();
  }
  if (error_) return *error_;
  for (const Watched& watched : all_) {
    if (stopping_ || !watched.given_up) continue;
    return Error{Errc::system, 0,
                 "all processes have ended, " + watched.process.name +
                     " with a failure: " + watched.lives.last_exit};
  }
  return {};
}

std::vector<Lives> Supervisor::lives() const {
  std::vector<Lives> lives;
  for (const Watched& watched : all_) lives.push_back(watched.lives);
  return lives;
}

// --- starting
// ----------------------------------------------------------------------------------------

void Supervisor::start_first_ones() {
  while (started_ < all_.size()) {
    const bool after_broker = started_ == 1 && all_[0].process.kind == Kind::broker;
    if (after_broker && options_.ready && !options_.ready()) {
      if (Clock::now() < ready_until_) return;
      error_ = Error{Errc::system, 0,
                     "the broker does not answer " + seconds_text(options_.ready_patience) +
                         " after it was started" +
                         (all_[0].lives.last_exit.empty() ? "" : "; " + all_[0].lives.last_exit)};
      return begin_stop();
    }
    start(all_[started_++]);
  }
  if (stop_at_ == Clock::time_point::max() && options_.stop_after) {
    stop_at_ = Clock::now() + *options_.stop_after;
  }
  if (auto started = std::exchange(options_.on_started, nullptr)) started();
}

void Supervisor::start_due() {
  for (Watched& watched : all_) {
    if (watched.state == State::waiting && Clock::now() >= watched.due) start(watched);
  }
}

void Supervisor::start(Watched& watched) {
  const std::string& name = watched.process.name;
  auto child =
      Child::start(watched.process, options_.environment, [this, name](std::string_view line) {
        if (options_.output) options_.output(name, line);
      });
  watched.since = Clock::now();
  ++watched.lives.starts;
  if (!child) return failed(watched, child.error().message);
  watched.child.emplace(std::move(*child));
  watched.state = State::running;
  say(LogLevel::debug, name + ": started, process " + std::to_string(watched.child->pid()));
}

// --- ends
// --------------------------------------------------------------------------------------------

void Supervisor::ended(Watched& watched, const Exit& exit) {
  const std::string words = watched.child->last_words();
  watched.child.reset();
  if (!stopping_) {
    watched.processor_before_ns += exit.processor_ns;
    watched.lives.processor_ns = watched.processor_before_ns;
  }
  if (stopping_) {
    // Also who ended before its turn, and would otherwise wait to be started again for ever.
    if (watched.state == State::stopping) turn_until_ = {};  // it is the next one's turn
    watched.state = State::ended;
    if (watched.killed) {
      say(LogLevel::warning, watched.process.name + ": did not stop, and was killed");
    }
    return;
  }
  const std::string lived = " after " + seconds_text(Clock::now() - watched.since);
  if (!exit.well()) {
    return failed(watched, exit.text() + lived + (words.empty() ? "" : ": " + words));
  }
  watched.failures_in_a_row = 0;
  if (watched.process.restart == Restart::always) {
    say(LogLevel::warning, watched.process.name + ": ended with exit code 0" + lived);
    return again(watched);
  }
  say(LogLevel::info, watched.process.name + ": ended with exit code 0" + lived);
  watched.state = State::ended;
}

void Supervisor::failed(Watched& watched, const std::string& how) {
  ++watched.lives.failures;
  watched.lives.last_exit = how;
  if (watched.process.kind == Kind::broker && options_.ready && options_.ready()) {
    say(LogLevel::warning,
        watched.process.name + ": failed, but another broker answers, which is used; " + how);
    watched.state = State::ended;
    return;
  }
  if (watched.process.restart == Restart::never) {
    say(LogLevel::error, watched.process.name + ": failed and is not started again; " + how);
    watched.given_up = true;
    watched.state = State::ended;
    return;
  }
  say(LogLevel::error, watched.process.name + ": failed; " + how);
  again(watched);
}

void Supervisor::again(Watched& watched) {
  if (Clock::now() - watched.since >= options_.good_life) watched.failures_in_a_row = 0;
  const unsigned doublings = std::min(watched.failures_in_a_row++, 20u);
  const auto longest = std::min<std::chrono::milliseconds>(
      options_.first_delay * (std::int64_t{1} << doublings), options_.last_delay);
  // So that those who failed together do not come back together.
  const double factor = std::uniform_real_distribution<double>{0.8, 1.2}(jitter_);
  const auto delay = std::chrono::duration_cast<Clock::duration>(longest * factor);
  watched.due = Clock::now() + delay;
  watched.state = State::waiting;
  say(LogLevel::info, watched.process.name + ": is started again in " + seconds_text(delay));
}

// --- stopping
// ----------------------------------------------------------------------------------------

void Supervisor::begin_stop() {
  if (std::exchange(stopping_, true)) return;
  if (options_.look_every) look();
  if (auto before = std::exchange(options_.before_stop, nullptr)) before();
  for (Watched& watched : all_) {
    if (watched.state != State::running) watched.state = State::ended;
  }
}

void Supervisor::go_on_stopping() {
  const auto now = Clock::now();
  for (Watched& watched : all_) {
    if (watched.state == State::stopping && !watched.killed && now >= watched.due) {
      watched.killed = true;
      watched.child->signal(SIGKILL);
    }
  }
  while (Clock::now() >= turn_until_) {
    const auto last = std::find_if(all_.rbegin(), all_.rend(), [](const Watched& watched) {
      return watched.state == State::running;
    });
    if (last == all_.rend()) return;
    last->state = State::stopping;
    last->due = Clock::now() + options_.patience;
    last->child->signal(SIGTERM);
    turn_until_ = Clock::now() + options_.turn;
  }
}

void Supervisor::kill_all() {
  for (Watched& watched : all_) {
    if (!watched.child) continue;
    watched.state = State::stopping;
    watched.killed = true;
    watched.child->signal(SIGKILL);
  }
}

// --- waiting
// -----------------------------------------------------------------------------------------

bool Supervisor::all_ended() const {
  return std::all_of(all_.begin(), all_.end(),
                     [](const Watched& watched) { return watched.state == State::ended; });
}

Supervisor::Clock::time_point Supervisor::next_due() const {
  auto due = stopping_ ? Clock::time_point::max() : stop_at_;
  if (!stopping_ && started_ < all_.size()) due = Clock::now() + kReadyEvery;
  if (!stopping_ && options_.look_every) due = std::min(due, look_at_);
  for (const Watched& watched : all_) {
    if (watched.state == State::waiting) due = std::min(due, watched.due);
    if (watched.state == State::stopping && !watched.killed) due = std::min(due, watched.due);
    if (watched.state == State::running && stopping_) due = std::min(due, turn_until_);
  }
  return due;
}

void Supervisor::poll_all() {
  std::vector<pollfd> fds{{signals_.get(), POLLIN, 0}};
  for (const Watched& watched : all_) {
    if (!watched.child) continue;
    for (const int fd : {watched.child->out(), watched.child->err()}) {
      if (fd >= 0) fds.push_back({fd, POLLIN, 0});
    }
  }
  const auto due = next_due();
  int patience = -1;
  if (due != Clock::time_point::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - Clock::now()).count();
    patience = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  }
  if (::poll(fds.data(), fds.size(), patience) <= 0) return;
  for (Watched& watched : all_) {
    if (watched.child) watched.child->read_lines();
  }
}

void Supervisor::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;  // reap_all() looks at all of them
    if (!stopping_) {
      begin_stop();
    } else {
      if (!error_)
        error_ = Error{Errc::refused, 0, "everything was killed, as was asked for twice"};
      kill_all();
    }
  }
}

void Supervisor::look() {
  for (Watched& watched : all_) {
    if (!watched.child) continue;
    const pid_t pid = watched.child->pid();
    if (const auto used = processor_ns_of(pid)) {
      watched.lives.processor_ns = watched.processor_before_ns + *used;
    }
    if (const auto memory = memory_of(pid)) watched.lives.memory = memory;
  }
  look_at_ = Clock::now() + *options_.look_every;
}

void Supervisor::reap_all() {
  for (Watched& watched : all_) {
    Exit exit;
    if (watched.child && watched.child->reap(exit)) ended(watched, exit);
  }
}

}  // namespace sluice::run
