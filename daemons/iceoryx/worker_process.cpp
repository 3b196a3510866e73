#include "daemons/iceoryx/worker_process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::iceoryx {
namespace {

constexpr int kLinkFd = 3;
constexpr int kConfigFd = 4;

Error failed(const char* what, int code) {
  return {Errc::system, code, std::string(what) + ": " + std::strerror(code)};
}

Result<shm::UniqueFd> file_of(const std::string& text) {
  shm::UniqueFd file{::memfd_create("sluice-iceoryx-config", MFD_CLOEXEC)};
  if (!file.valid()) return failed("memfd_create", errno);
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(file.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno != EINTR) return failed("writing the worker's configuration", errno);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return file;
}

// Neither of the two may be where the other one goes to.
Result<shm::UniqueFd> out_of_the_way(const shm::UniqueFd& fd) {
  shm::UniqueFd moved{::fcntl(fd.get(), F_DUPFD_CLOEXEC, kConfigFd + 1)};
  if (!moved.valid()) return failed("fcntl", errno);
  return moved;
}

}  // namespace

Result<WorkerProcess> WorkerProcess::start(const std::string& config_text,
                                           const std::vector<std::string>& options) {
  auto link = Link::pair();
  if (!link) return std::move(link).error();
  auto config = file_of(config_text);
  if (!config) return std::move(config).error();
  auto theirs = out_of_the_way(link->second);
  if (!theirs) return std::move(theirs).error();
  auto text = out_of_the_way(*config);
  if (!text) return std::move(text).error();

  std::vector<std::string> words{"sluice-iceoryx", "--worker", std::to_string(kLinkFd), "--config",
                                 "/proc/self/fd/" + std::to_string(kConfigFd)};
  words.insert(words.end(), options.begin(), options.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs->get(), kLinkFd);
  ::posix_spawn_file_actions_adddup2(&actions, text->get(), kConfigFd);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int code =
      ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return failed("cannot start the worker", code);
  return WorkerProcess{pid, std::move(link->first)};
}

WorkerProcess::WorkerProcess(WorkerProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), link_(std::move(other.link_)) {}

WorkerProcess::~WorkerProcess() {
  if (pid_ == 0) return;
  kill();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void WorkerProcess::kill() const noexcept {
  if (pid_ != 0) ::kill(pid_, SIGKILL);
}

std::optional<int> WorkerProcess::ended() noexcept {
  int status = 0;
  if (pid_ == 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void WorkerProcess::let_go() noexcept {
  constexpr int kLooks = 200;
  link_.close();
  for (int i = 0; i < kLooks && pid_ != 0 && !ended(); ++i) {
    const timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace sluice::iceoryx
