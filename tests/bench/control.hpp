// How the processes of one measurement go through it in step, and where they leave their results.
//
// The cell (the process that forks the roles) creates one Control in a shared mapping. Everybody
// sleeps in a futex between the phases, so that nobody's waiting disturbs somebody's measuring:
//
//   setup      roles open their ends and connect them        -> each role: ready
//   running    warm-up messages                              -> role 0: window_opened
//   measuring  the window of the processor times begins      -> each role: finished
//   exiting    processor times and memory were read          -> each role closes its ends and exits
//
// A role that fails writes why into its report and exits with code 1. The cell bounds every step in
// time.
#pragma once

#include "tests/bench/histogram.hpp"
#include "tests/bench/workload.hpp"

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace sluice::bench {

inline constexpr unsigned kMaxRoles = 16;
inline constexpr unsigned kMaxDaemons = 4;

/// Written by one role, read by the cell when that role has finished.
struct alignas(64) RoleReport {
  std::uint64_t messages = 0;  // inside the window: round trips, or messages taken
  std::uint64_t lost = 0;  // sequence numbers that never came (fan-out only; elsewhere an error)
  std::uint64_t begin_ns = 0;
  std::uint64_t end_ns = 0;
  std::array<char, 256> error{};
  Histogram latency;  // whole round trips of a ping-pong; publish to taken of a fan-out

  void fail(std::string_view why) noexcept;
};

/// Time used so far, by those who are measured and by the whole machine.
struct Usage {
  std::uint64_t wall_ns = 0;
  std::uint64_t machine_ns = 0;  // all processors, all processes
  std::uint64_t roles_ns = 0;    // user and system, all threads
  std::uint64_t daemons_ns = 0;
};

struct Control {
  enum Phase : std::uint32_t { kSetup, kRunning, kMeasuring, kExiting };

  std::atomic<std::uint32_t> phase{kSetup};
  std::atomic<std::uint32_t> ready{0};       // roles that are connected
  std::atomic<std::uint32_t> finished{0};    // roles that have done their part
  std::array<pid_t, kMaxRoles> roles{};      // written by the cell before kRunning; 0: none
  std::array<pid_t, kMaxDaemons> daemons{};  // the same
  Usage window_begin;                        // written by role 0 when it opens the window
  std::array<RoleReport, kMaxRoles> reports;

  /// In a mapping that children inherit; lives until the process ends. Throws std::system_error.
  static Control& create();

  Usage usage() const;
  void enter(Phase next) noexcept;
  /// Role 0, after its warm-up. Takes some 100 µs: warm up once more where that matters.
  void open_window();
  /// Blocks without a limit: the cell kills who waits too long.
  void await(Phase wanted) noexcept;
  void count(std::atomic<std::uint32_t>& counter) noexcept;
};

static_assert(std::atomic<std::uint32_t>::is_always_lock_free, "the words are shared by processes");

/// Blocks until *word differs from `value`, a signal arrives, or the time is over.
void sleep_while_equal(std::atomic<std::uint32_t>& word, std::uint32_t value,
                       std::uint64_t timeout_ns) noexcept;
/// Without a limit.
void sleep_while_equal(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept;
void wake_all(std::atomic<std::uint32_t>& word) noexcept;

/// What a role knows about the measurement that it is part of.
struct RoleContext {
  Control& control;
  const Workload& workload;
  unsigned role;
  std::uint64_t window_ns;
  int core;  // the core of this role's working thread, -1: anywhere

  RoleReport& report() const { return control.reports[role]; }
};

}  // namespace sluice::bench
