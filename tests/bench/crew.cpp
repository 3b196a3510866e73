#include "tests/bench/crew.hpp"

#include "tests/bench/clock.hpp"
#include "tests/bench/control.hpp"
#include "tests/bench/process.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>

namespace sluice::bench {
namespace {

constexpr const char* kPart = "--part";
constexpr std::uint64_t kLookNs = 100'000'000;

CrewBoard* map_board(int fd) {
  void* const memory = mmap(nullptr, sizeof(CrewBoard), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "the board");
  return static_cast<CrewBoard*>(memory);
}

}  // namespace

void CrewMember::await(std::uint32_t phase) const {
  for (std::uint32_t now = board.phase.load(); now < phase; now = board.phase.load()) {
    sleep_while_equal(board.phase, now);
  }
}

void CrewMember::finish() const {
  board.done.fetch_add(1);
  wake_all(board.done);
}

bool play_part(int argc, char** argv, const CrewParts& parts, int& exit_code) {
  if (argc < 5 || std::string_view(argv[1]) != kPart) return false;
  exit_code = 1;
  CrewBoard* const board = map_board(std::stoi(argv[3]));
  close(std::stoi(argv[3]));
  const CrewMember member{
      .board = *board, .index = std::stoul(argv[4]), .arguments = {argv + 5, argv + argc}};
  try {
    parts.at(argv[2])(member);
    exit_code = 0;
  } catch (const std::exception& error) {
    std::strncpy(member.record().error.data(), error.what(), member.record().error.size() - 1);
  }
  return true;
}

Crew::Crew() : fd_(memfd_create("bench-control", 0)) {
  if (fd_ < 0 || ftruncate(fd_, sizeof(CrewBoard)) != 0) {
    throw std::system_error(errno, std::generic_category(), "memory of the board");
  }
  board_ = new (map_board(fd_)) CrewBoard;
}

Crew::~Crew() {
  for (const pid_t pid : pids_) {
    if (pid > 0) kill(pid, SIGKILL);
  }
  for (const pid_t pid : pids_) {
    if (pid > 0) wait_for_exit(pid, 5'000'000'000);
  }
  munmap(board_, sizeof(CrewBoard));
  close(fd_);
}

std::vector<pid_t> Crew::pids() const {
  std::vector<pid_t> alive;
  std::ranges::copy_if(pids_, std::back_inserter(alive), [](pid_t pid) { return pid > 0; });
  return alive;
}

pid_t Crew::start(std::size_t index, const std::string& part,
                  const std::vector<std::string>& arguments) {
  std::vector<std::string> all{"bench", kPart, part, std::to_string(fd_), std::to_string(index)};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : all) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  record(index).started_ns.store(now_ns());
  const pid_t pid = fork();
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid > 0) return pid;
  die_with_parent(parent);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

std::size_t Crew::add(const std::string& part, const std::vector<std::string>& arguments) {
  const std::size_t index = pids_.size();
  if (index + 1 >= kMaxCrew) throw std::runtime_error("the crew is too large");
  pids_.push_back(start(index, part, arguments));
  return index;
}

void Crew::check() {
  for (std::size_t i = 0; i < pids_.size(); ++i) {
    const std::optional<int> status = pids_[i] > 0 ? wait_for_exit(pids_[i], 0) : std::nullopt;
    if (!status) continue;
    pids_[i] = 0;
    if (*status != 0) throw_ended(i, *status);
  }
}

void Crew::step(double limit_seconds) {
  const std::uint64_t until_ns = now_ns() + ns_of_seconds(limit_seconds);
  const std::size_t wanted = pids().size();
  board_->done.store(0);
  board_->phase.fetch_add(1);
  wake_all(board_->phase);
  for (std::uint32_t done = board_->done.load(); done < wanted; done = board_->done.load()) {
    check();
    if (now_ns() >= until_ns) {
      throw std::runtime_error("hangs in phase " + std::to_string(board_->phase.load()) + ", " +
                               std::to_string(done) + " of " + std::to_string(wanted) +
                               " have finished");
    }
    sleep_while_equal(board_->done, done, kLookNs);
  }
}

const CrewRecord& Crew::call(const std::string& part, const std::vector<std::string>& arguments,
                             double limit_seconds) {
  constexpr std::size_t kIndex = kMaxCrew - 1;
  for (auto& value : record(kIndex).values) value.store(0);
  const pid_t pid = start(kIndex, part, arguments);
  const std::optional<int> status = wait_for_exit(pid, ns_of_seconds(limit_seconds));
  if (!status) {
    kill(pid, SIGKILL);
    wait_for_exit(pid, 5'000'000'000);
    throw std::runtime_error(part + " hangs");
  }
  if (*status != 0) throw_ended(kIndex, *status);
  return record(kIndex);
}

void Crew::join(double limit_seconds) {
  const std::uint64_t until_ns = now_ns() + ns_of_seconds(limit_seconds);
  for (std::size_t i = 0; i < pids_.size(); ++i) {
    if (pids_[i] == 0) continue;
    const std::uint64_t now = now_ns();
    const std::optional<int> status = wait_for_exit(pids_[i], until_ns - std::min(now, until_ns));
    if (!status) throw std::runtime_error("member " + std::to_string(i) + " does not exit");
    pids_[i] = 0;
    if (*status != 0) throw_ended(i, *status);
  }
}

void Crew::throw_ended(std::size_t index, int status) const {
  const char* const error = record(index).error.data();
  throw std::runtime_error("member " + std::to_string(index) + ": " +
                           (*error != '\0' ? error : describe_exit(status)));
}

}  // namespace sluice::bench
