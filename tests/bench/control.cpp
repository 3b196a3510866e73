#include "tests/bench/control.hpp"

#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <climits>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>

namespace sluice::bench {
namespace {

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
           const timespec* timeout) noexcept {
  return syscall(SYS_futex, &word, operation, value, timeout, nullptr, 0);
}

}  // namespace

void sleep_while_equal(std::atomic<std::uint32_t>& word, std::uint32_t value,
                       std::uint64_t timeout_ns) noexcept {
  const timespec timeout{.tv_sec = static_cast<time_t>(timeout_ns / 1'000'000'000U),
                         .tv_nsec = static_cast<long>(timeout_ns % 1'000'000'000U)};
  futex(word, FUTEX_WAIT, value, &timeout);
}

void sleep_while_equal(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  futex(word, FUTEX_WAIT, value, nullptr);
}

void wake_all(std::atomic<std::uint32_t>& word) noexcept {
  futex(word, FUTEX_WAKE, INT_MAX, nullptr);
}

void RoleReport::fail(std::string_view why) noexcept {
  const std::size_t length = std::min(why.size(), error.size() - 1);
  std::copy_n(why.data(), length, error.data());
  error[length] = '\0';
}

Control& Control::create() {
  const int fd = memfd_create("bench-control", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, sizeof(Control)) != 0) {
    throw std::system_error(errno, std::generic_category(), "memory of the control block");
  }
  void* const memory = mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) {
    throw std::system_error(errno, std::generic_category(), "mapping of the control block");
  }
  return *new (memory) Control;
}

// The phases order everything else: all accesses are sequentially consistent, none of them is hot.

void Control::enter(Phase next) noexcept {
  phase.store(next);
  wake_all(phase);
}

Usage Control::usage() const {
  Usage usage{.wall_ns = now_ns(), .machine_ns = machine_busy_ns()};
  for (const pid_t pid : roles) usage.roles_ns += pid > 0 ? cpu_time_ns(pid) : 0;
  for (const pid_t pid : daemons) usage.daemons_ns += pid > 0 ? cpu_time_ns(pid) : 0;
  return usage;
}

void Control::open_window() {
  window_begin = usage();
  enter(kMeasuring);
}

void Control::await(Phase wanted) noexcept {
  for (std::uint32_t now = phase.load(); now < wanted; now = phase.load()) {
    sleep_while_equal(phase, now);
  }
}

void Control::count(std::atomic<std::uint32_t>& counter) noexcept {
  counter.fetch_add(1);
  wake_all(counter);
}

}  // namespace sluice::bench
