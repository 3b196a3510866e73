#include "tests/bench/runner.hpp"

#include "tests/bench/clock.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace sluice::bench {
namespace {

using nlohmann::json;

constexpr std::size_t kLogTailBytes = 2'000;

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { reset(); }
  int get() const { return fd_; }
  void reset() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

/// A process group whose leader is a child of ours. Its end is the end of the whole group.
class ProcessGroup {
 public:
  explicit ProcessGroup(pid_t leader) : leader_(leader) {}
  ProcessGroup(const ProcessGroup&) = delete;
  ProcessGroup& operator=(const ProcessGroup&) = delete;
  ~ProcessGroup() { end(0); }

  /// Gives the leader `patience_ns` to leave, kills what is left, reaps. False when it had to be
  /// killed.
  bool end(std::uint64_t patience_ns) {
    if (leader_ <= 0) return true;
    const std::uint64_t until_ns = now_ns() + patience_ns;
    bool left = false;
    for (;;) {
      siginfo_t info{};
      // WNOWAIT: while the leader is a zombie nobody else can get the number of the group.
      waitid(P_PID, static_cast<id_t>(leader_), &info, WEXITED | WNOHANG | WNOWAIT);
      left = info.si_pid == leader_;
      if (left || now_ns() >= until_ns) break;
      ::poll(nullptr, 0, 2);
    }
    kill(-leader_, SIGKILL);
    while (waitpid(leader_, nullptr, 0) < 0 && errno == EINTR) {
    }
    leader_ = -1;
    return left;
  }

 private:
  pid_t leader_;
};

std::string tail_of(int log_fd) {
  const off_t size = lseek(log_fd, 0, SEEK_END);
  std::string tail(std::min(kLogTailBytes, static_cast<std::size_t>(std::max<off_t>(0, size))),
                   '\0');
  const ssize_t n = pread(log_fd, tail.data(), tail.size(), size - static_cast<off_t>(tail.size()));
  tail.resize(static_cast<std::size_t>(std::max<ssize_t>(0, n)));
  return tail;
}

}  // namespace

Runner::Runner(std::string directory) : directory_(std::move(directory)) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
  if (signal_fd_ < 0) throw_errno("signalfd");
}

Runner::~Runner() { close(signal_fd_); }

pid_t Runner::start(const PeerInfo& peer, const Workload& workload, double seconds, int result_fd,
                    int log_fd) const {
  const std::string program = directory_ + "/bench_peer_" + std::string(peer.family);
  const std::string name(peer.name);
  const std::string id(workload.id);
  const std::string duration = std::to_string(seconds);
  const std::string result = std::to_string(result_fd);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) throw_errno("fork");
  if (pid > 0) {
    setpgid(pid, pid);  // whoever comes first, parent or child
    return pid;
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  fcntl(result_fd, F_SETFD, 0);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  execl(program.c_str(), program.c_str(), "--peer", name.c_str(), "--workload", id.c_str(),
        "--seconds", duration.c_str(), "--result-fd", result.c_str(), nullptr);
  _exit(127);
}

std::string Runner::read_result(int result_fd, std::uint64_t until_ns) const {
  std::string text;
  for (;;) {
    const std::uint64_t now = now_ns();
    if (now >= until_ns) return text;
    std::array<pollfd, 2> wanted{pollfd{.fd = result_fd, .events = POLLIN, .revents = 0},
                                 pollfd{.fd = signal_fd_, .events = POLLIN, .revents = 0}};
    const auto timeout_ms = static_cast<int>((until_ns - now) / 1'000'000U + 1);
    if (::poll(wanted.data(), wanted.size(), timeout_ms) <= 0) continue;
    if (wanted[1].revents != 0) throw Interrupted();
    std::array<char, 4096> part{};
    const ssize_t n = read(result_fd, part.data(), part.size());
    if (n <= 0) return text;
    text.append(part.data(), static_cast<std::size_t>(n));
    if (text.back() == '\n') return text;
  }
}

json Runner::run(const PeerInfo& peer, const Workload& workload, double seconds) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("pipe");
  Descriptor result_in(ends[0]);
  Descriptor result_out(ends[1]);
  const Descriptor log(memfd_create("bench-log", MFD_CLOEXEC));

  ProcessGroup group(start(peer, workload, seconds, result_out.get(), log.get()));
  result_out.reset();
  // The cell bounds its own steps; this bounds the cell.
  const std::uint64_t limit_ns = ns_of_seconds(2 * seconds + 60);
  const std::string text = read_result(result_in.get(), now_ns() + limit_ns);
  const bool left = group.end(text.empty() ? 1'000'000'000 : 10'000'000'000);

  json result = json::parse(text, nullptr, false);
  if (result.is_discarded() || !result.is_object()) {
    result = json{{"ok", false}, {"error", left ? "ended without a result" : "killed: it hung"}};
  } else if (result["ok"].get<bool>() && !left) {
    result["ok"] = false;
    result["error"] = "did not exit after the measurement";
  }
  if (!result["ok"].get<bool>()) result["log"] = tail_of(log.get());
  return result;
}

}  // namespace sluice::bench
