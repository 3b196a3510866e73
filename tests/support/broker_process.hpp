// A real `sluiced` in a process of its own, on a socket in a folder of its own.
#pragma once

#include "tests/support/emulated.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {

class BrokerProcess {
 public:
  /// `program`: the daemon; `arguments` in addition to its socket.
  explicit BrokerProcess(std::string program, std::vector<std::string> arguments = {})
      : program_(std::move(program)), arguments_(std::move(arguments)) {
    char name[] = "/tmp/sluice-test-XXXXXX";
    folder_ = ::mkdtemp(name);
    // Other users shall come as far as the socket, where the broker decides.
    (void)::chmod(folder_.c_str(), 0755);
    start();
  }
  BrokerProcess(const BrokerProcess&) = delete;
  BrokerProcess& operator=(const BrokerProcess&) = delete;
  ~BrokerProcess() {
    kill(SIGKILL);
    std::filesystem::remove_all(folder_);
  }

  [[nodiscard]] std::string socket() const { return folder_ + "/sluiced.sock"; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Starts it; clients wait for it by themselves.
  void start() {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::vector<std::string> all{program_, "--socket", socket(), "--log-level", "warning"};
    all.insert(all.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> argv;
    for (std::string& argument : all) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    std::perror(argv[0]);
    ::_exit(127);
  }

  /// Sends the signal and waits for the end; the exit code, or minus the signal that ended it.
  int kill(int signal) {
    if (pid_ <= 0) return 0;
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  [[nodiscard]] std::size_t descriptors() const {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd")) {
      ++n;
    }
    return n;
  }

 private:
  std::string program_;
  std::vector<std::string> arguments_;
  std::string folder_;
  pid_t pid_ = 0;
};

/// Whether `done` becomes true within some seconds.
template <class Done>
bool eventually(Done done, std::chrono::milliseconds patience = std::chrono::seconds{10}) {
  const auto until = std::chrono::steady_clock::now() + patient(patience);
  while (!done()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

}  // namespace sluice::test
