// Exclusion between an owner who pays nothing and visitors who pay for both, with the kernel's
// barrier and with fences.
#include "shm/biased_lock.hpp"

#include "shm/clock.hpp"

#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

namespace sluice::shm {
namespace {

using namespace std::chrono_literals;

class BiasedLocks : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !has_membarrier()) GTEST_SKIP() << "this kernel has no membarrier";
  }
};
INSTANTIATE_TEST_SUITE_P(Ways, BiasedLocks, testing::Bool(), [](const auto& param_info) {
  return std::string(param_info.param ? "Membarrier" : "Fences");
});

// Counts in plain memory: two inside at once lose counts sooner or later.
TEST_P(BiasedLocks, ExcludeOwnerAndVisitors) {
  BiasedLock lock{GetParam()};
  std::uint64_t count = 0;
  std::uint64_t by_visitors = 0;
  std::atomic<bool> done{false};
  std::vector<std::jthread> visitors;
  for (int i = 0; i < 2; ++i) {
    visitors.emplace_back([&] {
      while (!done) {
        const std::lock_guard inside{lock};
        ++by_visitors;
        for (int k = 0; k < 20; ++k) {
          const std::uint64_t before = count;
          std::atomic_signal_fence(std::memory_order_seq_cst);
          count = before + 1;
        }
      }
    });
  }
  std::uint64_t by_owner = 0;
  const std::uint64_t end = deadline_in(200'000'000);
  while (now_ns() < end) {
    for (int i = 0; i < 100; ++i) {
      const OwnerInside inside{lock};
      const std::uint64_t before = count;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      count = before + 1;
      ++by_owner;
    }
  }
  done = true;
  visitors.clear();
  EXPECT_GT(by_visitors, 0u);
  EXPECT_EQ(count, by_owner + 20 * by_visitors);
}

TEST_P(BiasedLocks, LetVisitorsInWhenTheOwnerHasLeftAsOftenAsItEntered) {
  BiasedLock lock{GetParam()};
  std::atomic<bool> inside{false};
  lock.enter();
  lock.enter();
  std::jthread visitor([&] {
    const std::lock_guard guard{lock};
    inside = true;
  });
  lock.leave();
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(inside);
  lock.leave();
  visitor.join();
  EXPECT_TRUE(inside);
}

TEST_P(BiasedLocks, KeepTheOwnerOutWhileAVisitorIsInside) {
  BiasedLock lock{GetParam()};
  std::atomic<bool> entered{false};
  lock.lock();
  std::jthread owner([&] {
    const OwnerInside guard{lock};
    entered = true;
  });
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(entered);
  lock.unlock();
  owner.join();
  EXPECT_TRUE(entered);
}

TEST_P(BiasedLocks, LetVisitorsInWhileAnOwnerDeepInsideSleeps) {
  BiasedLock lock{GetParam()};
  std::atomic<int> visits{0};
  const auto visit = [&] {
    const std::lock_guard guard{lock};
    ++visits;
  };
  lock.enter();
  lock.enter();
  const std::uint32_t depth = lock.leave_all();
  std::jthread{visit}.join();
  EXPECT_EQ(visits, 1);
  lock.enter_again(depth);
  std::jthread second{visit};
  lock.leave();
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(visits, 1) << "one leave is outstanding";
  lock.leave();
  second.join();
  EXPECT_EQ(visits, 2);
}

TEST_P(BiasedLocks, AreTheOwnThreadsToVisitWhenItIsOutside) {
  BiasedLock lock{GetParam()};
  for (int i = 0; i < 3; ++i) {
    { const OwnerInside inside{lock}; }
    const std::lock_guard inside{lock};
  }
}

// Runs `body` in a child and returns its exit code.
template <typename Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int exclude_a_visitor(BiasedLock& lock) {
  std::uint64_t count = 0;
  std::thread visitor([&] {
    for (int i = 0; i < 20; ++i) {
      const std::lock_guard inside{lock};
      ++count;
    }
  });
  for (int i = 0; i < 100'000; ++i) {
    const OwnerInside inside{lock};
    ++count;
  }
  visitor.join();
  return count == 100'020 ? 0 : 1;
}

TEST_P(BiasedLocks, WorkInAForkedChild) {
  const bool way = GetParam();
  EXPECT_EQ(in_child([way] {
              BiasedLock lock{way};
              return exclude_a_visitor(lock);
            }),
            0);
}

// A process may lock itself in after the decision was made.
TEST_P(BiasedLocks, WorkWhenMembarrierIsForbiddenLater) {
  const bool way = GetParam();
  EXPECT_EQ(in_child([way] {
              BiasedLock lock{way};
              sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
                                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                                    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
              const sock_fprog program{4, code};
              if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
                  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
                return 77;
              }
              return exclude_a_visitor(lock);
            }) % 77,
            0);
}

}  // namespace
}  // namespace sluice::shm
