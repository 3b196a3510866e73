// The command runs in a process group of its own, so that all it starts can be ended with it. One
// loop feeds it, listens to it and looks at the clock; it ends when the shell has ended, not when
// its pipes are closed, since what the shell left behind may hold those for ever. The shell is
// reaped last: until then its number names the group, and nobody else.
#include "tools/sluice/command.hpp"

#include "shm/fd.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

extern char** environ;

namespace sluice::tools {
namespace {

using std::chrono::steady_clock;
constexpr std::chrono::milliseconds kGrace{500};  // between SIGTERM and SIGKILL
constexpr std::size_t kMaxLastLine = 1'024;

struct Pipe {
  shm::UniqueFd read;
  shm::UniqueFd write;
  bool open() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
    read = shm::UniqueFd{ends[0]};
    write = shm::UniqueFd{ends[1]};
    return true;
  }
};

void set_nonblocking(const shm::UniqueFd& fd) {
  (void)::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

std::vector<std::string> environment_of(const CommandCall& call) {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    all.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  for (const auto& [name, value] : call.environment) all[name] = value;
  std::vector<std::string> lines;
  lines.reserve(all.size());
  for (const auto& [name, value] : all)
    lines.push_back(std::string{name}.append("=").append(value));
  return lines;
}

class RunningCommand {
 public:
  explicit RunningCommand(const CommandCall& call) : call_(call), rest_(call.input) {}
  CommandEnd run();

 private:
  int start();
  void step();
  void feed();
  void hear_output();
  void hear_errors();
  void keep_errors(std::string_view piece);
  void end(CommandEnd::How how);
  void look_at_clock();
  [[nodiscard]] bool has_ended() const;
  void reap();

  const CommandCall& call_;
  std::span<const std::byte> rest_;
  pid_t pid_ = -1;
  Pipe in_;
  Pipe out_;
  Pipe err_;
  std::string line_;  // of standard error, not whole yet
  bool ending_ = false;
  Deadline kill_at_ = Deadline::max();
  CommandEnd end_;
};

// posix_spawn, since threads of ours may hold any lock while a fork copies them.
int RunningCommand::start() {
  if (!in_.open() || !out_.open() || !err_.open()) return errno;
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  (void)::posix_spawn_file_actions_init(&files);
  (void)::posix_spawnattr_init(&attributes);
  (void)::posix_spawn_file_actions_adddup2(&files, in_.read.get(), STDIN_FILENO);
  (void)::posix_spawn_file_actions_adddup2(&files, out_.write.get(), STDOUT_FILENO);
  (void)::posix_spawn_file_actions_adddup2(&files, err_.write.get(), STDERR_FILENO);
  sigset_t defaults;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM}) ::sigaddset(&defaults, signal);
  (void)::posix_spawnattr_setsigdefault(&attributes, &defaults);
  (void)::posix_spawnattr_setsigmask(&attributes, &none);
  (void)::posix_spawnattr_setpgroup(&attributes, 0);
  (void)::posix_spawnattr_setflags(
      &attributes,
      static_cast<short>(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP));

  std::vector<std::string> lines = environment_of(call_);
  std::vector<char*> environment;
  environment.reserve(lines.size() + 1);
  for (std::string& line : lines) environment.push_back(line.data());
  environment.push_back(nullptr);
  std::string shell = "sh";
  std::string dash_c = "-c";
  std::string command = call_.command;
  std::array<char*, 4> words{shell.data(), dash_c.data(), command.data(), nullptr};
  const int error =
      ::posix_spawn(&pid_, "/bin/sh", &files, &attributes, words.data(), environment.data());
  (void)::posix_spawnattr_destroy(&attributes);
  (void)::posix_spawn_file_actions_destroy(&files);
  in_.read.reset();
  out_.write.reset();
  err_.write.reset();
  set_nonblocking(in_.write);
  set_nonblocking(out_.read);
  set_nonblocking(err_.read);
  return error;
}

void RunningCommand::feed() {
  while (!rest_.empty()) {
    const ssize_t n = ::write(in_.write.get(), rest_.data(), rest_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) break;  // it does not want to know
    rest_ = rest_.subspan(static_cast<std::size_t>(n));
  }
  in_.write.reset();
}

// Calls `hear` for what is there; closes the descriptor at its end.
template <class Hear>
void read_from(shm::UniqueFd& fd, Hear hear) {
  std::array<char, 16'384> piece{};
  for (;;) {
    const ssize_t n = ::read(fd.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      fd.reset();
      return;
    }
    if (!hear(std::string_view{piece.data(), static_cast<std::size_t>(n)})) return;
  }
}

void RunningCommand::hear_output() {
  read_from(out_.read, [this](std::string_view piece) {
    const std::size_t room = call_.max_output - end_.output.size();
    end_.output.append(piece.substr(0, room));
    if (piece.size() <= room) return true;
    end(CommandEnd::How::too_much);
    out_.read.reset();
    return false;
  });
}

void RunningCommand::keep_errors(std::string_view piece) {
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    const std::string_view part = piece.substr(0, end);
    line_.append(part.substr(0, kMaxLastLine - std::min(kMaxLastLine, line_.size())));
    if (end == std::string_view::npos) return;
    if (line_.find_first_not_of(" \t\r") != std::string::npos) end_.last_line = line_;
    line_.clear();
    piece.remove_prefix(end + 1);
  }
}

void RunningCommand::hear_errors() {
  std::size_t heard = 0;
  read_from(err_.read, [&](std::string_view piece) {
    keep_errors(piece);
    heard += piece.size();
    return heard < kMaxCommandOutput;  // there is a clock to look at
  });
}

void RunningCommand::end(CommandEnd::How how) {
  if (ending_) return;
  ending_ = true;
  end_.how = how;
  kill_at_ = steady_clock::now() + kGrace;
  (void)::kill(-pid_, SIGTERM);
}

void RunningCommand::look_at_clock() {
  if (!ending_ && call_.cancelled && call_.cancelled()) end(CommandEnd::How::cancelled);
  const auto now = steady_clock::now();
  if (!ending_ && now >= call_.deadline) end(CommandEnd::How::too_late);
  if (now >= kill_at_) (void)::kill(-pid_, SIGKILL);
}

bool RunningCommand::has_ended() const {
  siginfo_t info{};
  const int done = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  return done == 0 ? info.si_pid == pid_ : errno != EINTR;
}

void RunningCommand::step() {
  std::array<pollfd, 3> wanted{};
  std::size_t count = 0;
  if (in_.write.valid()) wanted[count++] = {in_.write.get(), POLLOUT, 0};
  if (out_.read.valid()) wanted[count++] = {out_.read.get(), POLLIN, 0};
  if (err_.read.valid()) wanted[count++] = {err_.read.get(), POLLIN, 0};
  // Its pipes are closed an instant before it has ended.
  const bool last = !out_.read.valid() && !err_.read.valid();
  (void)::poll(wanted.data(), static_cast<nfds_t>(count), last ? 1 : 20);
  if (in_.write.valid()) feed();
  if (out_.read.valid()) hear_output();
  if (err_.read.valid()) hear_errors();
  look_at_clock();
}

void RunningCommand::reap() {
  (void)::kill(-pid_, SIGKILL);  // what it left behind
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  end_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

CommandEnd RunningCommand::run() {
  if (const int error = start(); error != 0) {
    end_.how = CommandEnd::How::not_started;
    end_.last_line = std::string{"the command could not be started: "} + std::strerror(error);
    return std::move(end_);
  }
  while (!has_ended()) step();
  if (out_.read.valid()) hear_output();
  if (err_.read.valid()) hear_errors();
  keep_errors("\n");
  reap();
  return std::move(end_);
}

}  // namespace

CommandEnd run_command(const CommandCall& call) { return RunningCommand{call}.run(); }

}  // namespace sluice::tools
