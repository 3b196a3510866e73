#include "tests/bench/process.hpp"

#include "tests/bench/clock.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

namespace sluice::bench {
namespace {

/// The first number in files like ".../thread_siblings_list" ("3,7" or "2-3"); `otherwise` without
/// it.
int first_number_in(const std::string& path, int otherwise) {
  std::ifstream file(path);
  int number = otherwise;
  file >> number;
  return file ? number : otherwise;
}

}  // namespace

void pin_this_thread(int core) {
  if (core < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(core), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    throw std::system_error(errno, std::generic_category(), "binding to a core");
  }
}

void sleep_until_ns(std::uint64_t due_ns) {
  const timespec due{.tv_sec = static_cast<time_t>(due_ns / 1'000'000'000U),
                     .tv_nsec = static_cast<long>(due_ns % 1'000'000'000U)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nullptr) == EINTR) {
  }
}

std::vector<int> physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  std::vector<int> cores;
  std::vector<int> seen_first_siblings;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(static_cast<std::size_t>(core), &allowed)) continue;
    const int sibling = first_number_in(
        "/sys/devices/system/cpu/cpu" + std::to_string(core) + "/topology/thread_siblings_list",
        core);
    bool seen = false;
    for (const int other : seen_first_siblings) seen = seen || other == sibling;
    if (seen) continue;
    seen_first_siblings.push_back(sibling);
    cores.push_back(core);
  }
  return cores;
}

std::uint64_t cpu_time_ns(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(time.tv_nsec);
}

std::uint64_t machine_busy_ns() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  std::uint64_t user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0,
                steal = 0;
  stat >> cpu >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  const std::uint64_t ticks = user + nice + system + irq + softirq + steal;
  return ticks * (1'000'000'000U / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)));
}

void die_with_parent(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it was already gone
}

std::optional<int> wait_for_exit(pid_t pid, std::uint64_t timeout_ns) {
  const std::uint64_t until_ns = now_ns() + timeout_ns;
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    if (ended == pid) return status;
    if (ended < 0 && errno != EINTR) return 0;  // not ours, or reaped before
    if (now_ns() >= until_ns) return std::nullopt;
    sleep_until_ns(now_ns() + 2'000'000);
  }
}

std::string describe_exit(int status) {
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    return "signal " + std::to_string(signal) + " (" + strsignal(signal) + ")";
  }
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

void stop_child(pid_t pid) {
  if (pid <= 0) return;
  kill(pid, SIGTERM);
  if (wait_for_exit(pid, 1'000'000'000)) return;
  kill(pid, SIGKILL);
  wait_for_exit(pid, 5'000'000'000);
}

std::optional<std::string> isolate_mounts() {
  const auto failed = [](const char* step) {
    return std::string(step) + ": " + std::strerror(errno);
  };
  if (unshare(CLONE_NEWNS) != 0) return failed("no mount namespace");
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return failed("mounts cannot be made private");
  }
  for (const char* place : {"/dev/shm", "/tmp"}) {
    if (mount("bench", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=75%") != 0) {
      return failed(place);
    }
  }
  return std::nullopt;
}

}  // namespace sluice::bench
