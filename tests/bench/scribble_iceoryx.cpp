// What happens to iceoryx 2.0.3 when one process writes at random into all that it has mapped
// writable: the counterpart of tests/process/scribble_test.cpp, with the same scribbler. A
// demonstration, run by hand; nothing depends on it.
//
//   tools/bench.sh --list >/dev/null    # builds it
//   unshare -m sh -c 'mount -t tmpfs none /dev/shm; mount -t tmpfs none /tmp;
//                     exec build/bench/bin/scribble_iceoryx'
//
// One RouDi, one publisher, one subscriber that behaves, one that scribbles for a while. Printed is
// who is still alive, how far the good subscriber came, and whether a newcomer can join afterwards.
// Run it where no other iceoryx is: its names are global.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <sys/mman.h>
#include <thread>

#include "iceoryx_posh/popo/untyped_publisher.hpp"
#include "iceoryx_posh/popo/untyped_subscriber.hpp"
#include "iceoryx_posh/runtime/posh_runtime.hpp"
#include "tests/process/maps.hpp"
#include "tests/process/scribble.hpp"

namespace {

using namespace std::chrono_literals;
using namespace sluice;

// What the processes tell the parent; in memory that none of the mapping names below matches.
struct Progress {
  std::atomic<std::uint64_t> published{0};
  std::atomic<std::uint64_t> taken{0};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> newcomer{0};
  std::atomic<std::uint64_t> writes{0};
};

iox::capro::ServiceDescription service() { return {"scribble", "demo", "numbers"}; }

pid_t start(const std::function<void()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    ::_exit(0);
  }
  return pid;
}

void publish_numbers(Progress& progress) {
  iox::runtime::PoshRuntime::initRuntime("scribble-publisher");
  iox::popo::UntypedPublisher publisher{service()};
  for (std::uint64_t i = 1;; ++i) {
    auto loan = publisher.loan(64);
    if (!loan.has_error()) {
      std::uint64_t both[2] = {i, ~i};
      std::memcpy(loan.value(), both, sizeof both);
      publisher.publish(loan.value());
      progress.published = i;
    }
    std::this_thread::sleep_for(1ms);
  }
}

void take_numbers(const char* name, std::atomic<std::uint64_t>& taken,
                  std::atomic<std::uint64_t>& wrong) {
  iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name));
  iox::popo::UntypedSubscriber subscriber{service()};
  for (;;) {
    auto sample = subscriber.take();
    if (sample.has_error()) {
      std::this_thread::sleep_for(1ms);
      continue;
    }
    std::uint64_t both[2];
    std::memcpy(both, sample.value(), sizeof both);
    if (both[0] == ~both[1]) {
      ++taken;
    } else {
      ++wrong;
    }
    subscriber.release(sample.value());
  }
}

void scribble_all(Progress& progress, std::chrono::nanoseconds duration) {
  iox::runtime::PoshRuntime::initRuntime("scribble-scribbler");
  iox::popo::UntypedSubscriber subscriber{service()};
  std::this_thread::sleep_for(200ms);
  std::vector<test::Mapping> writable;
  for (const test::Mapping& mapping : test::shared_mappings("/dev/shm/")) {
    if (mapping.writable) writable.push_back(mapping);
  }
  std::size_t bytes = 0;
  for (const test::Mapping& mapping : writable) bytes += mapping.size();
  std::printf("the scribbler can write %zu mappings, %zu bytes\n", writable.size(), bytes);
  std::fflush(stdout);
  const std::uint64_t until =
      test::monotonic_ns() + static_cast<std::uint64_t>(duration.count());
  progress.writes = test::scribble(writable, 1, until, [] {});
}

const char* state_of(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, WNOHANG) == 0) return "running";
  static std::string text;
  text = WIFSIGNALED(status) ? std::string("killed by ") + ::strsignal(WTERMSIG(status))
                             : "ended with code " + std::to_string(WEXITSTATUS(status));
  return text.c_str();
}

}  // namespace

int main() {
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  auto& progress = *new (memory) Progress;
  const pid_t roudi = start([] {
    (void)!std::freopen("/dev/null", "w", stdout);
    ::execlp("iox-roudi", "iox-roudi", nullptr);
    ::_exit(127);
  });
  std::this_thread::sleep_for(3s);
  const pid_t publisher = start([&] { publish_numbers(progress); });
  const pid_t good =
      start([&] { take_numbers("scribble-good", progress.taken, progress.wrong); });
  std::this_thread::sleep_for(2s);
  std::printf("before: %llu published, %llu taken by the good subscriber\n",
              static_cast<unsigned long long>(progress.published),
              static_cast<unsigned long long>(progress.taken));
  std::fflush(stdout);

  const pid_t scribbler = start([&] { scribble_all(progress, 2s); });
  ::waitpid(scribbler, nullptr, 0);
  const std::uint64_t published = progress.published;
  const std::uint64_t taken = progress.taken;
  const pid_t newcomer =
      start([&] { take_numbers("scribble-newcomer", progress.newcomer, progress.wrong); });
  std::this_thread::sleep_for(4s);

  std::printf("after %llu random writes by another subscriber, and 4 s:\n",
              static_cast<unsigned long long>(progress.writes));
  std::printf("  RouDi       %s\n", state_of(roudi));
  std::printf("  publisher   %s, published %llu more\n", state_of(publisher),
              static_cast<unsigned long long>(progress.published - published));
  std::printf("  subscriber  %s, took %llu more, %llu wrong payloads\n", state_of(good),
              static_cast<unsigned long long>(progress.taken - taken),
              static_cast<unsigned long long>(progress.wrong));
  std::printf("  newcomer    %s, took %llu\n", state_of(newcomer),
              static_cast<unsigned long long>(progress.newcomer));
  for (const pid_t pid : {newcomer, good, publisher, roudi}) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  return 0;
}
