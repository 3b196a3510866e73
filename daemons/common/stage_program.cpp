// Signals are held back in all threads and read from a descriptor by one, which stops the stage:
// nothing runs in a signal handler, and one that comes while the broker is still waited for counts.
#include "daemons/common/stage_program.hpp"

#include "daemons/common/log.hpp"
#include "shm/fd.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>
#include <utility>

namespace sluice::daemon {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

// Waits for a signal in a thread of its own.
class StopSignal {
 public:
  StopSignal() {
    const sigset_t set = stop_signals();
    signal_ = shm::UniqueFd{::signalfd(-1, &set, SFD_CLOEXEC)};
    over_ = shm::UniqueFd{::eventfd(0, EFD_CLOEXEC)};
    thread_ = std::thread{[this] { wait(); }};
  }
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal() {
    const std::uint64_t one = 1;
    (void)!::write(over_.get(), &one, sizeof one);
    thread_.join();
  }
  [[nodiscard]] bool came() {
    const std::lock_guard lock(mutex_);
    return came_;
  }
  /// The stage that is stopped from now on; nullptr: none.
  void stops(Stage* stage) {
    const std::lock_guard lock(mutex_);
    stage_ = stage;
    if (came_ && stage_ != nullptr) stage_->stop();
  }

 private:
  void wait() {
    std::array<pollfd, 2> fds{{{signal_.get(), POLLIN, 0}, {over_.get(), POLLIN, 0}}};
    while (::poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
    }
    if ((fds[0].revents & POLLIN) == 0) return;
    const std::lock_guard lock(mutex_);
    came_ = true;
    if (stage_ != nullptr) stage_->stop();
  }
  shm::UniqueFd signal_, over_;
  std::thread thread_;
  std::mutex mutex_;
  bool came_ = false;
  Stage* stage_ = nullptr;
};

}  // namespace

void add_program_options(CLI::App& app, ProgramOptions& options) {
  prepare(app);
  add_socket_option(app, options.socket);
  add_log_options(app, options.log);
}

void hold_back_stop_signals() {
  const sigset_t set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

int run_stage(const char* program, StageOptions options, const Stage::Handler& handler,
              const ProgramOptions& common, const std::function<void(Stage&)>& ready) {
  options.socket = common.socket;
  options.connect_timeout = std::chrono::seconds{1};
  if (!options.log) {
    options.log = [](LogLevel level, std::string_view text) { log(level, std::string(text)); };
  }
  StopSignal signal;
  bool told = false;
  while (!signal.came()) {
    auto stage = Stage::create(options, handler);
    if (!stage) {
      if (stage.error().code != Errc::system) return fail(program, stage.error().message);
      // No broker, or it went away in between.
      if (!told) log_warning(stage.error().message + "; waiting");
      told = true;
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      continue;
    }
    if (ready) ready(*stage);
    log_info("ready");
    signal.stops(&*stage);
    const auto ended = stage->run();
    signal.stops(nullptr);
    if (!ended) return fail(program, ended.error().message);
    const Health health = stage->health();
    log_info(std::to_string(health.handled) + " handled, " + std::to_string(health.failed) +
             " failed, " + std::to_string(health.skipped) + " skipped");
    return 0;
  }
  return 0;
}

}  // namespace sluice::daemon
