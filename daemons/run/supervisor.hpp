// Starts processes, watches them, starts them again, and stops them in reverse order.
#pragma once

#include "daemons/run/child.hpp"
#include "daemons/run/pipeline_file.hpp"
#include "daemons/run/usage.hpp"
#include "shm/fd.hpp"
#include "sluice/node.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::run {

struct SupervisorOptions {
  std::vector<std::string> environment{};        ///< Of all processes: "NAME=value".
  std::chrono::milliseconds first_delay{250};    ///< Before a process is started again; doubles,
  std::chrono::milliseconds last_delay{10'000};  ///< up to this.
  std::chrono::milliseconds good_life{30'000};   ///< Who lived so long begins with the first delay.
  std::chrono::milliseconds patience{5'000};     ///< From SIGTERM to SIGKILL.
  std::chrono::milliseconds turn{1'000};         ///< How long the others wait while one stops.
  std::chrono::milliseconds ready_patience{10'000};  ///< For `ready`.
  /// Whether the first process, if it is a broker, can be used; nothing else is started before.
  std::function<bool()> ready{};
  std::function<void(LogLevel, std::string_view)> log{};
  /// A line of a process's output.
  std::function<void(const std::string& name, std::string_view line)> output{};
  /// Called once, when all have been started.
  std::function<void()> on_started{};
  /// Called before the processes are stopped, while they all run.
  std::function<void()> before_stop{};
  /// Stops by itself so long after all have been started.
  std::optional<std::chrono::milliseconds> stop_after{};
  /// Looks so often at the memory of the processes. The kernel walks all of it, so not too often.
  std::optional<std::chrono::milliseconds> look_every{};
};

/// What became of one process, for the summary.
struct Lives {
  std::string name;
  Kind kind = Kind::process;
  std::uint64_t starts = 0;
  std::uint64_t failures = 0;  ///< Ends that were not asked for, and not with exit code 0.
  std::string last_exit{};     ///< Of the last of those: "exit code 1: sluice-…: why".
  /// Of all lives, until all processes were stopped: the end of one counts exactly.
  std::uint64_t processor_ns = 0;
  std::optional<Memory> memory{};  ///< When it was last looked at; never, or not allowed: nothing.
};

/// Bound to the thread that makes it, whose signals SIGINT, SIGTERM and SIGCHLD it takes: block
/// them (block_signals) before any other thread is started.
class Supervisor {
 public:
  static void block_signals();
  static Result<Supervisor> create(std::vector<Process> processes, SupervisorOptions options);

  Supervisor(Supervisor&&) = default;

  /// Until SIGINT or SIGTERM (a second one kills at once), the end of the time, or the end of all
  /// processes. The error is what kept the pipeline from running: a broker that is not ready, a
  /// second signal, nothing left that would be started again after a failure.
  Result<void> run();

  [[nodiscard]] std::vector<Lives> lives() const;

 private:
  using Clock = std::chrono::steady_clock;
  enum class State : std::uint8_t { not_yet, waiting, running, stopping, ended };
  struct Watched {
    Process process;
    Lives lives;
    State state = State::not_yet;
    std::optional<Child> child{};
    Clock::time_point due{};  // waiting: to be started; stopping: to be killed
    Clock::time_point since{};
    std::uint64_t processor_before_ns = 0;  // of the lives that have ended
    unsigned failures_in_a_row = 0;
    bool killed = false;
    bool given_up = false;  // it failed, and is not to be started again
  };

  Supervisor(std::vector<Process> processes, SupervisorOptions options, shm::UniqueFd signals);
  void say(LogLevel level, const std::string& text) const;
  void start(Watched& watched);
  void start_due();
  void start_first_ones();
  void ended(Watched& watched, const Exit& exit);
  void failed(Watched& watched, const std::string& how);
  void again(Watched& watched);
  void begin_stop();
  void go_on_stopping();
  void kill_all();
  void poll_all();
  void take_signals();
  void reap_all();
  void look();
  [[nodiscard]] Clock::time_point next_due() const;
  [[nodiscard]] bool all_ended() const;

  std::vector<Watched> all_;
  SupervisorOptions options_;
  shm::UniqueFd signals_;
  std::minstd_rand jitter_;
  std::size_t started_ = 0;  // so many at the front of all_ have been started once
  bool stopping_ = false;
  Clock::time_point ready_until_{};
  Clock::time_point stop_at_ = Clock::time_point::max();
  Clock::time_point turn_until_{};
  Clock::time_point look_at_{};
  std::optional<Error> error_;
};

}  // namespace sluice::run
