// A program in a process of its own, and what it says.
#pragma once

#include "tests/support/emulated.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {

/// Killed when the object ends, if it still runs. Move-only.
class TalkingProgram {
 public:
  /// `says`: a path for standard output, with ".err" at its end for standard error.
  TalkingProgram(std::vector<std::string> command, std::string says) : says_(std::move(says)) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    redirect(says_, STDOUT_FILENO);
    redirect(says_ + ".err", STDERR_FILENO);
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    std::perror(argv[0]);
    ::_exit(127);
  }
  TalkingProgram(TalkingProgram&& other) noexcept
      : says_(std::move(other.says_)), pid_(std::exchange(other.pid_, 0)) {}
  TalkingProgram& operator=(TalkingProgram&&) = delete;
  ~TalkingProgram() { (void)end(SIGKILL); }

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::string out() const { return contents(says_); }
  [[nodiscard]] std::string err() const { return contents(says_ + ".err"); }

  /// Stops it, and waits until it has stopped: a signal alone may come after its next work.
  void freeze() const {
    ::kill(pid_, SIGSTOP);
    siginfo_t stopped;
    ::waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED);
  }
  void thaw() const { ::kill(pid_, SIGCONT); }

  /// Sends the signal and waits for the end: the exit code, or minus the signal that ended it.
  int end(int signal = SIGTERM) {
    if (pid_ <= 0) return 0;
    ::kill(pid_, signal);
    return wait();
  }
  /// Waits for the end by itself; kills it when that takes too long.
  int wait(std::chrono::seconds patience = std::chrono::seconds{30}) {
    const auto until = std::chrono::steady_clock::now() + patient(patience);
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > until) ::kill(pid_, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds{2});
    }
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  static void redirect(const std::string& path, int fd) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(file, fd);
    ::close(file);
  }
  static std::string contents(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  std::string says_;
  pid_t pid_ = 0;
};

}  // namespace sluice::test
