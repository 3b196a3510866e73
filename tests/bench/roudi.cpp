#include "tests/bench/roudi.hpp"

#include "tests/bench/clock.hpp"
#include "tests/bench/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace sluice::bench {
namespace {

constexpr std::uint64_t kReadyLimitNs = 15'000'000'000;

void write_config(const std::string& path, const RoudiPools& pools) {
  std::ofstream file(path);
  file << "[general]\nversion = 1\n[[segment]]\n";
  for (const auto& [size, count] : pools) {
    file << "[[segment.mempool]]\nsize = " << size << "\ncount = " << count << "\n";
  }
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

}  // namespace

Roudi::Roudi(const std::string& directory, const RoudiPools& pools) {
  const std::string config = directory + "/roudi.toml";
  write_config(config, pools);
  std::array<int, 2> log{};
  if (pipe2(log.data(), O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    die_with_parent(parent);
    dup2(log[1], STDOUT_FILENO);
    dup2(log[1], STDERR_FILENO);
    execlp("iox-roudi", "iox-roudi", "--config-file", config.c_str(), nullptr);
    _exit(127);
  }
  close(log[1]);
  log_fd_ = log[0];
  try {
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    await_ready();
  } catch (...) {
    stop();
    throw;
  }
}

Roudi::~Roudi() { stop(); }

// Reads its log until it says that clients may come. What it logs later fits into the pipe.
void Roudi::await_ready() {
  const std::uint64_t until_ns = now_ns() + kReadyLimitNs;
  std::string log;
  while (log.find("RouDi is ready") == std::string::npos) {
    pollfd readable{.fd = log_fd_, .events = POLLIN, .revents = 0};
    std::array<char, 512> part{};
    ssize_t n = 0;
    if (::poll(&readable, 1, 100) > 0) {
      n = read(log_fd_, part.data(), part.size());
      if (n <= 0) throw std::runtime_error("iox-roudi ended: " + log);
      log.append(part.data(), static_cast<std::size_t>(n));
    }
    if (now_ns() > until_ns) throw std::runtime_error("iox-roudi is not ready: " + log);
  }
}

void Roudi::stop() {
  stop_child(pid_);
  pid_ = -1;
  close(log_fd_);
}

}  // namespace sluice::bench
