#include "shm/futex.hpp"

#include "shm/clock.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

namespace sluice::shm {
namespace {

void set(Word32& word, std::uint32_t value) {
  // relaxed: futex calls look at the word under a lock of the kernel's
  word.store(value, std::memory_order_relaxed);
}

TEST(Deadlines, AddUpWithoutOverflow) {
  EXPECT_EQ(deadline_in(kNever), kNever);
  EXPECT_EQ(deadline_in(kNever - 1), kNever);
  const std::uint64_t before = now_ns();
  EXPECT_GE(deadline_in(1000), before + 1000);
}

TEST(Futexes, DoNotSleepOnAWordThatHasChanged) {
  Word32 word{1};
  EXPECT_EQ(futex_wait(word, 0, kNever), FutexResult::changed);
}

TEST(Futexes, EndASleepAtItsDeadline) {
  const Word32 word{1};
  const std::uint64_t deadline = deadline_in(2'000'000);
  while (futex_wait(word, 1, deadline) != FutexResult::timeout) {
  }
  EXPECT_GE(now_ns(), deadline);
  EXPECT_EQ(futex_wait(word, 1, 1), FutexResult::timeout);  // long past
}

TEST(Futexes, WakeWhoSleepsOnTheWord) {
  Word32 word{0};
  std::atomic<int> woken{0};
  std::array<std::jthread, 3> sleepers;
  for (std::jthread& sleeper : sleepers) {
    sleeper = std::jthread([&] {
      const std::uint64_t deadline = test::soon();
      // relaxed: as in set()
      while (word.load(std::memory_order_relaxed) == 0 && now_ns() < deadline) {
        futex_wait(word, 0, deadline);
      }
      // relaxed: a count
      if (now_ns() < deadline) woken.fetch_add(1, std::memory_order_relaxed);
    });
  }
  set(word, 1);
  futex_wake_all(word);
  for (std::jthread& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(woken.load(std::memory_order_relaxed), 3);  // relaxed: after the joins
}

class FutexWaitv : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_futex_waitv()) GTEST_SKIP() << "this kernel has no futex_waitv";
  }
};

TEST_F(FutexWaitv, NoticesAnyWordThatHasChanged) {
  const Word32 one{1};
  const Word32 two{2};
  const FutexWaiter waiters[] = {{&one, 1}, {&two, 3}};
  EXPECT_EQ(futex_waitv(waiters, kNever), FutexResult::changed);
}

TEST_F(FutexWaitv, EndsAtItsDeadline) {
  const Word32 one{1};
  const Word32 two{2};
  const FutexWaiter waiters[] = {{&one, 1}, {&two, 2}};
  const std::uint64_t deadline = deadline_in(2'000'000);
  while (futex_waitv(waiters, deadline) != FutexResult::timeout) {
  }
  EXPECT_GE(now_ns(), deadline);
}

TEST_F(FutexWaitv, SleepsOn128WordsAndIsWokenByTheLast) {
  std::array<Word32, kFutexWaitvMax> words{};
  std::array<FutexWaiter, kFutexWaitvMax> waiters{};
  for (std::size_t i = 0; i < words.size(); ++i) waiters[i] = {&words[i], 0};
  bool in_time = false;
  std::jthread sleeper([&] {
    const std::uint64_t deadline = test::soon();
    // relaxed: as in set()
    while (words.back().load(std::memory_order_relaxed) == 0 && now_ns() < deadline) {
      futex_waitv(waiters, deadline);
    }
    in_time = now_ns() < deadline;
  });
  set(words.back(), 1);
  futex_wake_all(words.back());
  sleeper.join();
  EXPECT_TRUE(in_time);
}

}  // namespace
}  // namespace sluice::shm
