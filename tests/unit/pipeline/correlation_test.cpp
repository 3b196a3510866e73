#include "sluice/correlation.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using Pair = std::pair<std::uint64_t, std::uint64_t>;

Pair pair_of(const CorrelationId& id) { return {id.high, id.low}; }

TEST(Correlation, IdsAreUuidsOfVersionSevenWithTheTimeInFront) {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  const auto before = static_cast<std::uint64_t>(t.tv_sec) * 1'000 +
                      static_cast<std::uint64_t>(t.tv_nsec) / 1'000'000;
  const CorrelationId id = new_correlation_id();
  EXPECT_EQ(id.high >> 12 & 15, 7u);
  EXPECT_EQ(id.low >> 62, 2u);
  EXPECT_GE((id.high >> 16) + 20, before);  // late by a tick of the kernel: 10 ms at most
  EXPECT_LT(id.high >> 16, before + 60'000);
}

TEST(Correlation, IdsOfOneThreadSortInTheirOrder) {
  Pair last{};
  for (int i = 0; i < 200'000; ++i) {
    const CorrelationId id = new_correlation_id();
    ASSERT_EQ(id.high >> 12 & 15, 7u);
    ASSERT_EQ(id.low >> 62, 2u);
    ASSERT_LT(last, pair_of(id)) << i;
    last = pair_of(id);
  }
}

TEST(Correlation, ThreadsDoNotRepeatEachOther) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 20'000;
  std::mutex mutex;
  std::vector<Pair> all;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      std::vector<Pair> mine;
      for (std::size_t k = 0; k < kEach; ++k) mine.push_back(pair_of(new_correlation_id()));
      const std::lock_guard lock{mutex};
      all.insert(all.end(), mine.begin(), mine.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all.size(), kThreads * kEach);
  EXPECT_EQ(std::adjacent_find(all.begin(), all.end()), all.end());
}

TEST(Correlation, AChildDoesNotRepeatItsParent) {
  (void)new_correlation_id();  // the generator is seeded, and the child inherits it
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const CorrelationId id = new_correlation_id();
    ::_exit(::write(ends[1], &id, sizeof id) == sizeof id ? 0 : 1);
  }
  const CorrelationId ours = new_correlation_id();
  CorrelationId theirs;
  ASSERT_EQ(::read(ends[0], &theirs, sizeof theirs), static_cast<ssize_t>(sizeof theirs));
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  // Without a new seed the tails would lie a single step of 32 bits apart.
  EXPECT_NE(ours.low >> 34, theirs.low >> 34);
}

TEST(Correlation, TextAndBack) {
  const CorrelationId id{0x0193'a5d2'5c1e'7a3b, 0x9f10'2d4c'6e8a'0b1c};
  EXPECT_EQ(to_string(id), "0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c");
  EXPECT_EQ(parse_correlation_id("0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c"), id);
  EXPECT_EQ(parse_correlation_id("0193A5D25C1E7A3B9F102D4C6E8A0B1C"), id);
  const CorrelationId made = new_correlation_id();
  EXPECT_EQ(parse_correlation_id(to_string(made)), made);
}

TEST(Correlation, OtherTextIsNoId) {
  for (const char* text :
       {"", "0", "0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1", "0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1cc",
        "0193a5d25c1e-7a3b-9f10-2d4c6e8a0b1c-", "0193a5d2x5c1e-7a3b-9f10-2d4c6e8a0b1c",
        "g193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c", "0193a5d25c1e7a3b9f102d4c6e8a0b1-",
        "{193a5d25c1e7a3b9f102d4c6e8a0b1}"}) {
    EXPECT_FALSE(parse_correlation_id(text)) << text;
  }
}

}  // namespace
}  // namespace sluice
