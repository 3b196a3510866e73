#include "shm/geometry.hpp"

#include "tests/support/must.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace sluice::shm {
namespace {

using test::must;

StreamOptions ordinary() {
  StreamOptions options;
  options.label = "camera/front";
  options.lanes = {{8, 2}, {3, 0}};
  options.pools = {{1000, 0}, {64, 20}};
  options.max_references = 2;
  options.type_hash = 77;
  return options;
}

TEST(Options, DescribeAStreamOfOneLaneByDefault) {
  const StreamOptions options;
  ASSERT_EQ(options.lanes.size(), 1u);
  EXPECT_EQ(options.lanes[0].depth, 64u);
}

TEST(Plan, SaysWhichOptionCannotBeMet) {
  struct Case {
    std::string word;
    std::function<void(StreamOptions&)> change;
  };
  const std::vector<Case> cases = {
      {"lanes", [](auto& o) { o.lanes.clear(); }},
      {"lanes", [](auto& o) { o.lanes.resize(kMaxLanes + 1); }},
      {"depth", [](auto& o) { o.lanes[1].depth = 0; }},
      {"depth", [](auto& o) { o.lanes[1].depth = kMaxDepth + 1; }},
      {"history", [](auto& o) { o.lanes[0].history = 9; }},
      {"pools", [](auto& o) { o.pools.clear(); }},
      {"pools",
       [](auto& o) {
         o.pools.resize(kMaxPools + 1, {64, 1});
       }},
      {"slot_bytes", [](auto& o) { o.pools[0].slot_bytes = 0; }},
      {"slot_bytes", [](auto& o) { o.pools[0].slot_bytes = kMaxSlotBytes + 1; }},
      {"slot_count", [](auto& o) { o.pools[0].slot_count = kMaxSlots + 1; }},
      {"slots", [](auto& o) { o.pools[0].slot_count = kMaxSlots; }},
      {"max_loans", [](auto& o) { o.max_loans = 0; }},
      {"max_loans", [](auto& o) { o.max_loans = kMaxDepth + 1; }},
      {"max_held", [](auto& o) { o.max_held = kMaxSlots + 1; }},
      {"max_slots", [](auto& o) { o.max_slots = kMaxSlots + 1; }},
      {"max_readers", [](auto& o) { o.max_readers = 0; }},
      {"max_readers", [](auto& o) { o.max_readers = kMaxReaders + 1; }},
      {"max_references", [](auto& o) { o.max_references = kMaxReferences + 1; }},
      {"label", [](auto& o) { o.label.assign(64, 'x'); }},
  };
  ASSERT_TRUE(plan(ordinary()));
  for (const Case& c : cases) {
    StreamOptions options = ordinary();
    c.change(options);
    const auto geometry = plan(options);
    ASSERT_FALSE(geometry) << c.word;
    EXPECT_EQ(geometry.error().code, Errc::invalid_argument);
    EXPECT_NE(geometry.error().message.find(c.word), std::string::npos) << geometry.error().message;
  }
}

TEST(Plan, SortsPoolsBySizeAndNumbersSlotsThrough) {
  const Geometry g = must(plan(ordinary()));
  ASSERT_EQ(g.pool_count, 2u);
  EXPECT_EQ(g.trailer, 64u);
  EXPECT_EQ(g.pools[0].slot_bytes, 128u);
  EXPECT_EQ(g.pools[0].slot_count, 20u);
  EXPECT_EQ(g.pools[0].first_slot, 0u);
  EXPECT_EQ(g.pools[1].slot_bytes, 1088u);
  EXPECT_EQ(g.pools[1].first_slot, 20u);
  // As many as can ever be in use: two depths, the loans, what readers hold.
  EXPECT_EQ(g.pools[1].slot_count, 8u + 3u + 2u + 16u);
  EXPECT_EQ(g.slots, 20u + 29u);
  EXPECT_EQ(g.slot_limit, g.slots);
  EXPECT_EQ(g.pool_of(19), 0u);
  EXPECT_EQ(g.pool_of(20), 1u);
  EXPECT_GE(g.capacity(0), 64u);
  EXPECT_GE(g.capacity(1), 1000u);
}

TEST(Plan, MakesRingsOfAPowerOfTwo) {
  const Geometry g = must(plan(ordinary()));
  EXPECT_EQ(g.lanes[0].ring_entries, 8u);
  EXPECT_EQ(g.lanes[1].ring_entries, 4u);
  EXPECT_EQ(g.lanes[1].depth, 3u);
  EXPECT_EQ(g.lanes[0].ring_offset, kRingsOffset);
  EXPECT_EQ(g.lanes[1].ring_offset, kRingsOffset + 8 * 64);
  EXPECT_EQ(g.slots_offset, kRingsOffset + 12 * 64);
  EXPECT_EQ(g.control_bytes % page_bytes(), 0u);
}

TEST(Plan, PutsLargeSlotsOnPagesOfTheirOwn) {
  StreamOptions options;
  options.pools = {{kLargeSlotBytes + 1, 4}};
  const Geometry g = must(plan(options));
  EXPECT_EQ(g.pools[0].slot_bytes % page_bytes(), 0u);
  options.pools = {{kLargeSlotBytes - 63, 4}};
  EXPECT_EQ(must(plan(options)).pools[0].slot_bytes, kLargeSlotBytes);
}

TEST(Plan, AcceptsTheLargestOfEverything) {
  StreamOptions options;
  options.lanes.assign(kMaxLanes, {kMaxDepth, kMaxDepth});
  options.pools = {{1, 0}};
  options.max_readers = kMaxReaders;
  options.max_references = kMaxReferences;
  EXPECT_TRUE(plan(options));
  options.lanes = {{4, 0}};
  options.pools = {{kMaxSlotBytes, 2}};
  const Geometry g = must(plan(options));
  EXPECT_GE(g.capacity(0), kMaxSlotBytes);
}

TEST(Plan, GivesEveryStreamAnIdOfItsOwn) {
  const auto one = must(plan(ordinary())).stream_id;
  const auto two = must(plan(ordinary())).stream_id;
  EXPECT_NE(one, 0u);
  EXPECT_NE(one, two);
}

class Verify : public testing::Test {
 protected:
  Verify() : plan_(must(plan(ordinary()))) {}

  // A sealed segment with the planned header, changed as told; `bytes` other than planned if given.
  Result<Geometry> verdict(const std::function<void(ControlHeader&)>& change,
                           std::uint64_t bytes = 0) {
    const Segment segment =
        must(Segment::create("header", bytes != 0 ? bytes : plan_.control_bytes));
    write_header(plan_, segment.data());
    change(*reinterpret_cast<ControlHeader*>(segment.data()));
    const UniqueFd fd = must(segment.share());
    return verify(must(View::open(fd.get(), "header")));
  }

  Geometry plan_;
};

TEST_F(Verify, AcceptsWhatWasPlanned) {
  const Geometry g = must(verdict([](auto&) {}));
  EXPECT_EQ(g.stream_id, plan_.stream_id);
  EXPECT_EQ(g.control_bytes, plan_.control_bytes);
  EXPECT_EQ(g.type_hash, 77u);
  EXPECT_EQ(g.slots_offset, plan_.slots_offset);
  EXPECT_EQ(g.lane_count, 2u);
  EXPECT_EQ(g.pool_count, 2u);
  EXPECT_EQ(g.slot_limit, plan_.slot_limit);
  EXPECT_EQ(g.max_readers, plan_.max_readers);
  EXPECT_EQ(g.max_references, 2u);
  EXPECT_EQ(g.trailer, plan_.trailer);
  EXPECT_TRUE(g.stamped);
  EXPECT_EQ(g.label, "camera/front");
  for (std::uint32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(g.lanes[i].ring_offset, plan_.lanes[i].ring_offset);
    EXPECT_EQ(g.lanes[i].depth, plan_.lanes[i].depth);
    EXPECT_EQ(g.lanes[i].ring_entries, plan_.lanes[i].ring_entries);
    EXPECT_EQ(g.lanes[i].history, plan_.lanes[i].history);
    EXPECT_EQ(g.pools[i].pool_bytes, plan_.pools[i].pool_bytes);
    EXPECT_EQ(g.pools[i].slot_bytes, plan_.pools[i].slot_bytes);
    EXPECT_EQ(g.pools[i].first_slot, plan_.pools[i].first_slot);
    EXPECT_EQ(g.pools[i].slot_count, plan_.pools[i].slot_count);
  }
}

TEST_F(Verify, RefusesAHeaderThatContradictsItself) {
  using H = ControlHeader;
  const std::vector<std::pair<const char*, std::function<void(H&)>>> corruptions = {
      {"magic", [](H& h) { h.magic ^= 1; }},
      {"layout_version", [](H& h) { ++h.layout_version; }},
      {"layout_version 0", [](H& h) { h.layout_version = 0; }},
      {"header_bytes", [](H& h) { h.header_bytes += 64; }},
      {"stream_id", [](H& h) { h.stream_id = 0; }},
      {"control_bytes more", [](H& h) { h.control_bytes += 64; }},
      {"control_bytes less", [](H& h) { h.control_bytes -= 64; }},
      {"lane_count 0", [](H& h) { h.lane_count = 0; }},
      {"lane_count 5", [](H& h) { h.lane_count = kMaxLanes + 1; }},
      {"a lane that is not there", [](H& h) { h.lane_count = 3; }},
      {"pool_count 0", [](H& h) { h.pool_count = 0; }},
      {"pool_count 9", [](H& h) { h.pool_count = kMaxPools + 1; }},
      {"a pool that is not there", [](H& h) { h.pool_count = 3; }},
      {"slot_limit 0", [](H& h) { h.slot_limit = 0; }},
      {"slot_limit more than there is room for",
       [](H& h) { h.slot_limit += static_cast<std::uint32_t>(page_bytes() / sizeof(SlotRecord)); }},
      {"slot_limit less", [](H& h) { --h.slot_limit; }},
      {"slot_limit huge", [](H& h) { h.slot_limit = 0xffff'ffff; }},
      {"max_readers", [](H& h) { h.max_readers = kMaxReaders + 1; }},
      {"max_references", [](H& h) { h.max_references = kMaxReferences + 1; }},
      {"references without room", [](H& h) { h.max_references = 3; }},
      {"trailer_bytes", [](H& h) { h.trailer_bytes += 8; }},
      {"trailer_bytes 0", [](H& h) { h.trailer_bytes = 0; }},
      {"slots_offset unaligned", [](H& h) { h.slots_offset += 8; }},
      {"slots_offset outside", [](H& h) { h.slots_offset = h.control_bytes; }},
      {"slots_offset overflow", [](H& h) { h.slots_offset = ~std::uint64_t{63}; }},
      {"ring_offset in the header", [](H& h) { h.lanes[0].ring_offset = kRingsOffset - 64; }},
      {"ring_offset unaligned", [](H& h) { h.lanes[1].ring_offset += 4; }},
      {"ring_offset outside", [](H& h) { h.lanes[1].ring_offset = h.control_bytes - 64; }},
      {"ring_offset overflow", [](H& h) { h.lanes[1].ring_offset = ~std::uint64_t{63}; }},
      {"depth 0", [](H& h) { h.lanes[0].depth = 0; }},
      {"depth over the ring", [](H& h) { h.lanes[0].depth = 9; }},
      {"depth huge", [](H& h) { h.lanes[0].depth = 0x8000'0000; }},
      {"ring_entries 0", [](H& h) { h.lanes[0].ring_entries = 0; }},
      {"ring_entries no power", [](H& h) { h.lanes[0].ring_entries = 12; }},
      {"ring_entries outside", [](H& h) { h.lanes[0].ring_entries = kMaxDepth; }},
      {"ring_entries huge", [](H& h) { h.lanes[0].ring_entries = 0x8000'0000; }},
      {"history", [](H& h) { h.lanes[0].history = 9; }},
      {"first_slot", [](H& h) { h.pools[0].first_slot = 1; }},
      {"first_slot overlaps", [](H& h) { h.pools[1].first_slot = 19; }},
      {"first_slot gap", [](H& h) { h.pools[1].first_slot = 21; }},
      {"slot_count 0", [](H& h) { h.pools[0].slot_count = 0; }},
      {"slot_count more", [](H& h) { ++h.pools[1].slot_count; }},
      {"slot_count wraps", [](H& h) { h.pools[0].slot_count = 0xffff'fff0; }},
      {"slot_bytes 0", [](H& h) { h.pools[0].slot_bytes = 0; }},
      {"slot_bytes below the trailer", [](H& h) { h.pools[0].slot_bytes = 64; }},
      {"slot_bytes unaligned", [](H& h) { h.pools[0].slot_bytes = 130; }},
      {"slot_bytes more than there are", [](H& h) { h.pools[0].slot_bytes = 1 << 20; }},
      {"slot_bytes huge", [](H& h) { h.pools[0].slot_bytes = ~std::uint64_t{63}; }},
      {"pool_bytes 0", [](H& h) { h.pools[0].pool_bytes = 0; }},
      {"pool_bytes less", [](H& h) { h.pools[0].pool_bytes = 20 * 128 - 1; }},
      {"pool_bytes huge", [](H& h) { h.pools[0].pool_bytes = ~std::uint64_t{0}; }},
  };
  for (const auto& [name, change] : corruptions) {
    const auto geometry = verdict(change);
    ASSERT_FALSE(geometry) << name;
    EXPECT_EQ(geometry.error().code, Errc::untrusted) << name;
    EXPECT_FALSE(geometry.error().message.empty());
  }
}

TEST_F(Verify, RefusesASegmentThatIsTooSmallForAHeader) {
  if (page_bytes() > kRingsOffset) {
    // The smallest segment has a page, so cut the claim down instead.
    EXPECT_FALSE(verdict([](ControlHeader& h) { h.control_bytes = 64; }));
  }
  EXPECT_FALSE(verdict([](auto&) {}, plan_.control_bytes + page_bytes()));
}

TEST_F(Verify, CutsALabelThatDoesNotEnd) {
  const Geometry g = must(verdict([](ControlHeader& h) { std::memset(h.label, 'x', 64); }));
  EXPECT_EQ(g.label, std::string(64, 'x'));
}

// Whatever one flipped bit makes of the header: it is refused, or all that it says lies inside.
TEST_F(Verify, NeverAcceptsAGeometryThatPointsOutside) {
  const Segment segment = must(Segment::create("flips", plan_.control_bytes));
  const UniqueFd fd = must(segment.share());
  const View view = must(View::open(fd.get(), "flips"));
  unsigned refused = 0;
  for (std::size_t bit = 0; bit < sizeof(ControlHeader) * 8; ++bit) {
    write_header(plan_, segment.data());
    segment.data()[bit / 8] ^= std::byte{1} << static_cast<int>(bit % 8);
    const auto result = verify(view);
    if (!result) {
      ++refused;
      continue;
    }
    const Geometry& g = *result;
    ASSERT_LE(g.slots_offset + g.slot_limit * sizeof(SlotRecord), view.size()) << bit;
    for (std::uint32_t i = 0; i < g.lane_count; ++i) {
      ASSERT_LE(g.lanes[i].ring_offset + g.lanes[i].ring_entries * sizeof(Entry), view.size());
      ASSERT_GE(g.lanes[i].ring_offset, kRingsOffset);
    }
    std::uint32_t slots = 0;
    for (std::uint32_t i = 0; i < g.pool_count; ++i) {
      ASSERT_EQ(g.pools[i].first_slot, slots);
      ASSERT_LE(g.pools[i].slot_bytes * g.pools[i].slot_count, g.pools[i].pool_bytes);
      ASSERT_GT(g.pools[i].slot_bytes, g.trailer);
      slots += g.pools[i].slot_count;
    }
    ASSERT_EQ(slots, g.slots);
    ASSERT_LE(slots, g.slot_limit);
  }
  EXPECT_GT(refused, 900u);
}

}  // namespace
}  // namespace sluice::shm
