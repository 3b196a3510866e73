// A program in a process of its own, which dies with the test.
#pragma once

#include "tests/support/emulated.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {

class Child {
 public:
  /// `output`: a file that standard output and error are appended to; empty: the test's own.
  explicit Child(std::vector<std::string> command, const std::string& output = {}) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!output.empty()) {
      const int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
      ::dup2(fd, STDOUT_FILENO);
      ::dup2(fd, STDERR_FILENO);
    }
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    std::perror(argv[0]);
    ::_exit(127);
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Child& operator=(Child&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }
  ~Child() { end(SIGKILL); }

  [[nodiscard]] pid_t pid() const { return pid_; }
  void send(int signal) const { ::kill(pid_, signal); }

  /// Its exit code, or minus the signal that ended it; kNotYet when it lives on.
  static constexpr int kNotYet = 1000;
  int wait(std::chrono::milliseconds patience) {
    const auto until = std::chrono::steady_clock::now() + patient(patience);
    for (;;) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
      }
      if (std::chrono::steady_clock::now() > until) return kNotYet;
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
  }
  /// Sends the signal; one that does not end within ten seconds is killed.
  int end(int signal) {
    if (pid_ <= 0) return 0;
    send(signal);
    int code = wait(std::chrono::seconds{10});
    if (code == kNotYet) {
      send(SIGKILL);
      (void)wait(std::chrono::seconds{10});
    }
    return code;
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace sluice::test
