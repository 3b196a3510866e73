// After set-up nothing on the frame path allocates, takes a mutex, or makes a system call. A
// program of its own, since it counts every allocation and every mutex of the process.
#include "tests/support/counting.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstddef>
#include <mutex>

namespace sluice::shm {
namespace {

using namespace test;

struct Case {
  const char* name;
  std::uint64_t bytes;
  DeliveryMode mode;
};

class FramePath : public testing::TestWithParam<Case> {};

// A stream, one reader as the case says and one that is slow.
struct Stage {
  explicit Stage(const Case& c) : bytes(c.bytes), link(options_of(c)) {
    reader = link.attach({.mode = c.mode});
    slow = link.attach({.mode = DeliveryMode::next});
  }
  static StreamOptions options_of(const Case& c) {
    StreamOptions options = small_stream(4);
    options.pools = {{c.bytes, 0}};
    options.max_references = 2;
    options.on_full = OnFull::fail;
    options.commit_at_creation = true;
    return options;
  }
  void play();

  std::uint64_t bytes;
  LocalLink link;
  ReaderPtr reader;
  ReaderPtr slow;
};

// Everything that is done with frames, except waiting.
void Stage::play() {
  std::array<Sample, 4> samples;
  std::array<Loan, 2> loans;
  for (std::uint64_t i = 0; i < 500; ++i) {
    for (Loan& loan : loans) {
      loan = link.publisher().loan(bytes);
      ASSERT_TRUE(loan);
      write_number(loan.data(), 64, i);
    }
    if (Sample held = slow->take()) loans[0].attach(std::move(held));
    ASSERT_EQ(link.publisher().publish(loans), Outcome::ok);
    if (i % 100 == 50) {
      for (int k = 0; k < 20; ++k) publish_number(link.publisher(), i, 64);
    }
    while (const std::size_t n = reader->take(samples)) {
      for (std::size_t k = n; k-- > 0;) {
        const Sample again = reader->resolve(samples[k].reference());
        reader->acknowledge(samples[k]);
        samples[k].release();
      }
    }
    (void)reader->wait(0);
    link.publisher().collect();
  }
}

TEST_P(FramePath, AllocatesNothingAndTakesNoMutex) {
  Stage stage{GetParam()};
  const std::uint64_t allocated = allocations;
  const std::uint64_t locked = mutexes;
  stage.play();
  EXPECT_EQ(allocations - allocated, 0u);
  EXPECT_EQ(mutexes - locked, 0u);
}

// From here on every system call but the one that ends the process is its end. (Not the strict mode
// of seccomp, which also takes the processor's clock away.)
void forbid_system_calls() {
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
  const sock_fprog program{4, code};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    ::syscall(SYS_exit, 77);
  }
}

// Runs `body` in a child; 0 when it came through.
template <typename Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::syscall(SYS_exit, testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST_P(FramePath, MakesNoSystemCall) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer makes some";
  const int possible = in_child([] {
    forbid_system_calls();
    (void)now_ns();
  });
  if (possible != 0)
    GTEST_SKIP() << "telling the time is a system call here, or there is no seccomp";
  EXPECT_EQ(in_child([] {
              auto stage = std::make_unique<Stage>(GetParam());
              forbid_system_calls();
              stage->play();
              (void)stage.release();  // its end unmaps
            }),
            0);
}

INSTANTIATE_TEST_SUITE_P(Streams, FramePath,
                         testing::Values(Case{"SmallNext", 64, DeliveryMode::next},
                                         Case{"SmallLatest", 64, DeliveryMode::latest},
                                         Case{"SmallReliable", 64, DeliveryMode::reliable},
                                         Case{"LargeNext", kLargeSlotBytes, DeliveryMode::next},
                                         Case{"LargeReliable", kLargeSlotBytes,
                                              DeliveryMode::reliable}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Allocations, AreCounted) {
  const std::uint64_t before = allocations;
  delete new int{1};
  const std::vector<int> vector(3);
  EXPECT_GE(allocations - before, 1u);
}

TEST(Mutexes, AreCounted) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer counts them for itself";
  const std::uint64_t before = mutexes;
  std::mutex mutex;
  { const std::lock_guard lock{mutex}; }
  EXPECT_EQ(mutexes - before, 1u);
}

TEST(SystemCalls, AreNotSurvived) {
  if (kSanitized) GTEST_SKIP() << "the sanitizer makes some";
  EXPECT_NE(in_child([] {
              forbid_system_calls();
              (void)::getppid();
            }),
            0);
}

}  // namespace
}  // namespace sluice::shm
