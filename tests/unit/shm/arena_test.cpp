#include "shm/arena.hpp"

#include "shm/layout.hpp"
#include "tests/support/must.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace sluice::shm {
namespace {

using test::must;

std::uint64_t committed(const Arena& arena) {
  const UniqueFd fd = must(arena.share());
  struct stat status {};
  EXPECT_EQ(::fstat(fd.get(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

TEST(Arenas, CutZeroedCellsThatDoNotOverlap) {
  const auto arena = must(Arena::create("cells"));
  std::vector<Cell> cells;
  for (std::uint64_t bytes : {1, 64, 65, 4000, 128}) {
    const Cell cell = must(arena->allocate(bytes));
    EXPECT_EQ(cell.offset % kCacheLine, 0u);
    EXPECT_GE(cell.bytes, bytes);
    for (std::uint64_t i = 0; i < cell.bytes; ++i) ASSERT_EQ(cell.data[i], std::byte{0});
    std::memset(cell.data, 0xff, cell.bytes);
    for (const Cell& other : cells) {
      EXPECT_TRUE(cell.offset >= other.offset + other.bytes ||
                  other.offset >= cell.offset + cell.bytes);
    }
    cells.push_back(cell);
  }
  EXPECT_EQ(arena->used(), 64u + 64 + 128 + 4032 + 128);
}

TEST(Arenas, ShowTheirCellsToWhoeverMapsThem) {
  const auto arena = must(Arena::create("shown"));
  const Cell cell = must(arena->allocate(64));
  cell.data[3] = std::byte{4};
  const UniqueFd fd = must(arena->share());
  const View view = must(View::open(fd.get(), "an arena", arena->size()));
  EXPECT_EQ(view.data()[cell.offset + 3], std::byte{4});
}

TEST(Arenas, HandAFreedCellOutAgainZeroed) {
  const auto arena = must(Arena::create("again"));
  const Cell one = must(arena->allocate(200));
  std::memset(one.data, 0xff, one.bytes);
  arena->free(one);
  EXPECT_EQ(arena->used(), 0u);
  const Cell two = must(arena->allocate(130));  // of another size, so not that one
  EXPECT_NE(two.offset, one.offset);
  const Cell three = must(arena->allocate(200));
  EXPECT_EQ(three.offset, one.offset);
  for (std::uint64_t i = 0; i < three.bytes; ++i) ASSERT_EQ(three.data[i], std::byte{0});
}

TEST(Arenas, KeepALeavingCellUntilNobodyLooksAtIt) {
  const auto arena = must(Arena::create("leaving"));
  const Cell cell = must(arena->allocate(64));
  bool unused = false;
  arena->free_when(cell, [&] { return unused; });
  EXPECT_NE(must(arena->allocate(64)).offset, cell.offset);
  EXPECT_EQ(arena->used(), 128u);
  unused = true;
  EXPECT_EQ(must(arena->allocate(64)).offset, cell.offset);
}

TEST(Arenas, SayWhenTheyAreFull) {
  const auto arena = must(Arena::create("full", page_bytes()));
  EXPECT_FALSE(arena->allocate(page_bytes() + 1));
  std::uint64_t cells = 0;
  for (;; ++cells) {
    const auto cell = arena->allocate(64);
    if (!cell) {
      EXPECT_EQ(cell.error().code, Errc::exhausted);
      break;
    }
  }
  // The first cell starts somewhere in the first half of a small page.
  EXPECT_GE(cells, page_bytes() / 64 - 32);
  EXPECT_LE(cells, page_bytes() / 64);
}

TEST(Arenas, CommitMemoryAsCellsAreCut) {
  const auto arena = must(Arena::create("lazy"));
  EXPECT_EQ(committed(*arena), 0u);
  (void)must(arena->allocate(64));
  EXPECT_EQ(committed(*arena), page_bytes());
  for (int i = 0; i < 10; ++i) (void)must(arena->allocate(page_bytes()));
  EXPECT_LE(committed(*arena), 12 * page_bytes());
  EXPECT_GE(committed(*arena), 10 * page_bytes());
}

TEST(Arenas, ServeSeveralThreads) {
  const auto arena = must(Arena::create("threads"));
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) arena->free(must(arena->allocate(64u << (i % 4))));
    });
  }
  for (std::jthread& thread : threads) thread.join();
  EXPECT_EQ(arena->used(), 0u);
}

}  // namespace
}  // namespace sluice::shm
