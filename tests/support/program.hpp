// A program under test in a process of its own, which ends with the test.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

class Program {
 public:
  Program(std::string path, std::vector<std::string> arguments) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::vector<char*> argv{path.data()};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    std::perror(argv[0]);
    ::_exit(127);
  }
  Program(Program&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Program& operator=(Program&&) = delete;
  ~Program() {
    if (pid_ > 0) kill(SIGKILL);
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Waits for the end; the exit code, or minus the signal that ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int kill(int signal) {
    ::kill(pid_, signal);
    return wait();
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace sluice::test
