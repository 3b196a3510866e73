// Small things that Linux offers to who measures: cores, sleeping, processor time, a place of one's
// own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice::bench {

/// Binds the calling thread, and whatever threads it starts later, to one core; -1 leaves it alone.
void pin_this_thread(int core);

/// Sleeps until CLOCK_MONOTONIC shows `due_ns`.
void sleep_until_ns(std::uint64_t due_ns);

/// Cores that this process may use, at most one of each set of hyper-threads.
std::vector<int> physical_cores();

/// User and system time of all threads of a process so far, in ns; 0 when the process is gone.
std::uint64_t cpu_time_ns(pid_t pid);

/// Time that all processors of the machine spent with work (or were stolen by the hypervisor) since
/// it started, in ns; the kernel counts it in steps of 10 ms.
std::uint64_t machine_busy_ns();

/// A child that is to die with its parent. Call first thing after fork().
void die_with_parent(pid_t parent);

/// The exit status of a child if it ends before the time is over. Interrupted by signals only to
/// look again.
std::optional<int> wait_for_exit(pid_t pid, std::uint64_t timeout_ns);

/// "exit code 1", "signal 11 (Segmentation fault)".
std::string describe_exit(int status);

/// SIGTERM, a second of patience, SIGKILL. Reaps the child.
void stop_child(pid_t pid);

/// Gives the calling process a mount namespace of its own in which /tmp and /dev/shm are empty.
/// Returns why that was not possible, or nothing. Must be called while the process has one thread.
std::optional<std::string> isolate_mounts();

}  // namespace sluice::bench
