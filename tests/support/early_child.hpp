// A copy of the test's process, made while the test has no thread yet and set going later. Made
// later it might find a lock of the allocator held for ever, by a thread that it does not have: the
// sanitizers' allocators do not prepare for fork.
#pragma once

#include "shm/fd.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

namespace sluice::test {

class EarlyChild {
 public:
  /// `run()` is called in the child after start(); when it returns, the child ends with 0.
  template <class Run>
  explicit EarlyChild(Run run) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error{"pipe"};
    const shm::UniqueFd from{ends[0]};
    to_ = shm::UniqueFd{ends[1]};
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error{"fork"};
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    to_ = {};  // the end of the parent's end is then seen
    char go = 0;
    if (::read(from.get(), &go, 1) != 1) ::_exit(0);
    run();
    ::_exit(0);
  }
  EarlyChild(EarlyChild&& other) noexcept
      : to_(std::move(other.to_)), pid_(std::exchange(other.pid_, 0)) {}
  EarlyChild& operator=(EarlyChild&&) = delete;
  ~EarlyChild() { (void)end(SIGKILL); }

  [[nodiscard]] pid_t pid() const { return pid_; }
  void start() { (void)!::write(to_.get(), "x", 1); }

  /// What waitpid() says of it.
  int wait() {
    int status = 0;
    if (pid_ > 0) ::waitpid(std::exchange(pid_, 0), &status, 0);
    return status;
  }
  int end(int signal) {
    if (pid_ > 0) ::kill(pid_, signal);
    return wait();
  }

 private:
  shm::UniqueFd to_;
  pid_t pid_ = 0;
};

}  // namespace sluice::test
