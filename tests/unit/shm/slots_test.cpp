#include "shm/slots.hpp"

#include "tests/support/must.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

namespace sluice::shm {
namespace {

using test::must;

Geometry geometry_of(std::vector<PoolOptions> pools) {
  StreamOptions options;
  options.pools = std::move(pools);
  return must(plan(options));
}

std::uint64_t committed_bytes(const Slots& slots, std::uint32_t pool) {
  const UniqueFd fd = must(slots.share(pool));
  struct stat status {};
  EXPECT_EQ(::fstat(fd.get(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

TEST(Slots, AreHandedOutLastInFirstOut) {
  Slots slots = must(Slots::create(geometry_of({{64, 4}}), {.commit = true}));
  const std::uint32_t a = slots.pop(0);
  const std::uint32_t b = slots.pop(0);
  EXPECT_EQ(a, 0u);
  EXPECT_EQ(b, 1u);
  slots.push(0, a);
  slots.push(0, b);
  EXPECT_EQ(slots.pop(0), b);
  EXPECT_EQ(slots.pop(0), a);
}

TEST(Slots, RunOut) {
  Slots slots = must(Slots::create(geometry_of({{64, 2}}), {.commit = true}));
  bool out_of_memory = false;
  EXPECT_NE(slots.pop(0), kNoSlot);
  EXPECT_NE(slots.pop(0), kNoSlot);
  EXPECT_EQ(slots.pop(0), kNoSlot);
  EXPECT_FALSE(slots.commit_more(0, out_of_memory));
  EXPECT_FALSE(out_of_memory);
  EXPECT_TRUE(slots.all_committed(0));
}

TEST(Slots, AreCommittedAtTheirFirstUse) {
  const Geometry g = geometry_of({{1 << 20, 8}});
  Slots slots = must(Slots::create(g, {}));
  bool out_of_memory = false;
  EXPECT_EQ(committed_bytes(slots, 0), 0u);
  EXPECT_EQ(slots.pop(0), kNoSlot);
  for (std::uint32_t n = 1; n <= 3; ++n) {
    ASSERT_TRUE(slots.commit_more(0, out_of_memory));
    EXPECT_EQ(slots.pop(0), n - 1);
    EXPECT_EQ(committed_bytes(slots, 0), n * g.pools[0].slot_bytes);
    EXPECT_EQ(slots.committed_count(), n);
  }
}

TEST(Slots, ThatAreSmallAreCommittedByThePageFull) {
  Slots slots = must(Slots::create(geometry_of({{64, 4000}}), {}));
  bool out_of_memory = false;
  ASSERT_TRUE(slots.commit_more(0, out_of_memory));
  EXPECT_EQ(slots.free_count(0), 2 * page_bytes() / 64);
  EXPECT_EQ(committed_bytes(slots, 0), 2 * page_bytes());
}

TEST(Slots, AreAllCommittedAtCreationWhenAsked) {
  const Geometry g = geometry_of({{64, 100}, {1 << 16, 3}});
  for (const SegmentOptions options :
       {SegmentOptions{.commit = true}, SegmentOptions{.prefault = true}}) {
    const Slots slots = must(Slots::create(g, options));
    for (std::uint32_t pool = 0; pool < 2; ++pool) {
      EXPECT_EQ(committed_bytes(slots, pool), g.pools[pool].pool_bytes);
      EXPECT_TRUE(slots.all_committed(pool));
      EXPECT_EQ(slots.free_count(pool), g.pools[pool].slot_count);
    }
    EXPECT_EQ(slots.committed_count(), 103u);
  }
}

TEST(Slots, LieSideBySideInTheirPool) {
  const Geometry g = geometry_of({{64, 4}, {1000, 4}});
  const Slots slots = must(Slots::create(g, {.commit = true}));
  EXPECT_EQ(slots.address(0, 3) - slots.address(0, 0), 3 * 64);
  EXPECT_EQ(slots.address(1, 5) - slots.address(1, 4), 1024);
  EXPECT_NE(slots.address(0, 0), slots.address(1, 4));
}

}  // namespace
}  // namespace sluice::shm
