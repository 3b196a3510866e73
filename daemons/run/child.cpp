// Starting a process.
//
// Between fork and exec the child makes system calls only, since this process has other threads;
// all that it needs is prepared before. What fails there comes back through a pipe that exec
// closes.
//
// Each child leads a process group: a Ctrl-C at the terminal reaches the supervisor alone, which
// stops the others in their order, and what a child has started itself can be ended with it.
#include "daemons/run/child.hpp"

#include "shm/memory.hpp"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::run {
namespace {

constexpr std::size_t kMaxLine = 4'096;

struct Ends {
  shm::UniqueFd read;
  shm::UniqueFd write;
};

Result<Ends> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return shm::system_error("a pipe for a process's output");
  return Ends{shm::UniqueFd{ends[0]}, shm::UniqueFd{ends[1]}};
}

// What went wrong in the child, by the step; fits into one write.
struct Failure {
  enum Step : int { folder, processors, priority, program } step;
  int code;
};

// In the child: never returns.
struct Plan {
  const char* program;
  char* const* argv;
  char* const* envp;
  const char* folder;  // or null
  const int* nice;     // or null
  const cpu_set_t* cpus;
  pid_t parent;
  int null;
  int out;
  int err;
  int failure;
};

[[noreturn]] void give_up(const Plan& plan, Failure::Step step) {
  const Failure failure{step, errno};
  (void)!::write(plan.failure, &failure, sizeof failure);
  ::_exit(127);
}

[[noreturn]] void become(const Plan& plan) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != plan.parent) ::_exit(127);  // it died before it could take us along
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD}) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::dup2(plan.null, STDIN_FILENO);
  ::dup2(plan.out, STDOUT_FILENO);
  ::dup2(plan.err, STDERR_FILENO);
  if (plan.folder != nullptr && ::chdir(plan.folder) != 0) give_up(plan, Failure::folder);
  if (plan.cpus != nullptr && ::sched_setaffinity(0, sizeof(cpu_set_t), plan.cpus) != 0) {
    give_up(plan, Failure::processors);
  }
  if (plan.nice != nullptr && ::setpriority(PRIO_PROCESS, 0, *plan.nice) != 0) {
    give_up(plan, Failure::priority);
  }
  ::execve(plan.program, plan.argv, plan.envp);
  give_up(plan, Failure::program);
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  all.reserve(words.size() + 1);
  for (const std::string& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

// The process's own variables instead of those that all have.
std::vector<std::string> environment_of(const Process& process,
                                        const std::vector<std::string>& of_all) {
  std::vector<std::string> variables;
  for (const auto& [name, value] : process.environment) {
    variables.emplace_back(name).append("=").append(value);
  }
  for (const std::string& variable : of_all) {
    const std::string_view name = std::string_view(variable).substr(0, variable.find('='));
    if (std::none_of(process.environment.begin(), process.environment.end(),
                     [&](const auto& own) { return own.first == name; })) {
      variables.push_back(variable);
    }
  }
  return variables;
}

Error error_of(const Failure& failure, const Process& process) {
  const std::string why = std::strerror(failure.code);
  switch (failure.step) {
    case Failure::folder:
      return {Errc::system, failure.code,
              "cannot work in " + process.working_directory + ": " + why +
                  "; correct working_directory"};
    case Failure::processors:
      return {Errc::system, failure.code,
              "cannot run on the processors of cpus: " + why + "; name some that there are"};
    case Failure::priority:
      return {Errc::system, failure.code,
              "cannot set nice to " + std::to_string(process.nice.value_or(0)) + ": " + why +
                  "; below 0 only root may"};
    case Failure::program:
      break;
  }
  return {Errc::system, failure.code, "cannot run " + process.command.front() + ": " + why};
}

// One line of the child's, as a terminal may see it.
std::string readable(std::string_view line) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) {
      text += "\\x";
      text += kHex[byte >> 4];
      text += kHex[byte & 15];
    } else {
      text += c;
    }
  }
  return text;
}

std::uint64_t ns_of(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_usec) * 1'000;
}

}  // namespace

std::string Exit::text() const {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    return "signal " + std::to_string(number) + " (" + ::strsignal(number) + ")";
  }
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

Result<Child> Child::start(const Process& process, const std::vector<std::string>& environment,
                           OnLine on_line) {
  auto out = make_pipe();
  if (!out) return std::move(out).error();
  auto err = make_pipe();
  if (!err) return std::move(err).error();
  auto failure = make_pipe();
  if (!failure) return std::move(failure).error();
  const shm::UniqueFd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  if (!null.valid()) return shm::system_error("/dev/null");
  for (const int fd : {out->read.get(), err->read.get()}) {
    (void)::fcntl(fd, F_SETFL, O_NONBLOCK);
  }
  const std::vector<char*> argv = pointers(process.command);
  const std::vector<std::string> variables = environment_of(process, environment);
  const std::vector<char*> envp = pointers(variables);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  for (const unsigned cpu : process.cpus) CPU_SET(cpu, &cpus);
  const Plan plan{process.command.front().c_str(),
                  argv.data(),
                  envp.data(),
                  process.working_directory.empty() ? nullptr : process.working_directory.c_str(),
                  process.nice ? &*process.nice : nullptr,
                  process.cpus.empty() ? nullptr : &cpus,
                  ::getpid(),
                  null.get(),
                  out->write.get(),
                  err->write.get(),
                  failure->write.get()};
  const pid_t pid = ::fork();
  if (pid < 0) return shm::system_error("starting a process");
  if (pid == 0) become(plan);
  ::setpgid(pid, pid);  // whichever of both comes first
  Child child;
  child.pid_ = pid;
  child.out_.fd = std::move(out->read);
  child.err_.fd = std::move(err->read);
  child.on_line_ = std::move(on_line);
  failure->write.reset();
  Failure told{};
  ssize_t n = 0;
  do {
    n = ::read(failure->read.get(), &told, sizeof told);
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof told)) return error_of(told, process);
  return child;
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      out_(std::move(other.out_)),
      err_(std::move(other.err_)),
      last_words_(std::move(other.last_words_)),
      on_line_(std::move(other.on_line_)) {}

Child::~Child() {
  if (pid_ <= 0) return;
  signal(SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

void Child::signal(int number) const noexcept {
  if (pid_ > 0) (void)::kill(-pid_, number);
}

bool Child::reap(Exit& exit) {
  siginfo_t info{};
  // Looked at first, so that the group still has its number when the rest of it is killed.
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid != pid_) {
    return false;
  }
  signal(SIGKILL);
  rusage used{};
  while (::wait4(pid_, &exit.status, 0, &used) < 0 && errno == EINTR) {
  }
  exit.processor_ns = ns_of(used.ru_utime) + ns_of(used.ru_stime);
  pid_ = -1;
  read_lines();
  finish_line(out_, false);
  finish_line(err_, true);
  return true;
}

void Child::read_lines() {
  read_from(out_, false);
  read_from(err_, true);
}

void Child::read_from(Pipe& pipe, bool words) {
  std::array<char, 4'096> chunk;
  // Not for ever: who writes faster than we read shall not keep us from the others.
  for (int turn = 0; turn < 16 && pipe.fd.valid(); ++turn) {
    const ssize_t n = ::read(pipe.fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) pipe.fd.reset();  // closed; the process may live on
    if (n <= 0) return;
    for (const char c : std::string_view(chunk.data(), static_cast<std::size_t>(n))) {
      if (c == '\n') {
        finish_line(pipe, words);
        pipe.cut = false;
      } else if (pipe.line.size() < kMaxLine) {
        pipe.line += c;
      } else if (!pipe.cut) {
        pipe.line += "…";
        pipe.cut = true;
      }
    }
  }
}

void Child::finish_line(Pipe& pipe, bool words) {
  if (pipe.line.empty()) return;
  const std::string line = readable(pipe.line);
  pipe.line.clear();
  if (words) last_words_ = line;
  if (on_line_) on_line_(line);
}

}  // namespace sluice::run
