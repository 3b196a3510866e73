// The first look at a foreign stream: arbitrary bytes as a control segment.
//
// Either verify() refuses, or everything that its geometry names lies inside the segments, and a
// reader that is opened on it takes, resolves and waits without leaving them.
#include "shm/geometry.hpp"
#include "shm/reader.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/process/maps.hpp"
#include "tests/support/local_link.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::fuzz {
namespace {

using test::must;
using test::shared_mappings;

constexpr std::uint64_t kMostPoolBytes = std::uint64_t{64} << 20;
constexpr std::array<std::uint64_t, 4> kSizes{4096, 16'384, 65'536, 262'144};

struct World {
  std::vector<shm::Segment> segments;
  std::vector<shm::UniqueFd> fds;
  std::shared_ptr<shm::Arena> reader_arena = must(shm::Arena::create("fuzz-readers"));
  std::shared_ptr<shm::Arena> wake_arena = must(shm::Arena::create("fuzz-wakes"));
  std::shared_ptr<const shm::View> wake_view;
  shm::Cell wake_cell;

  World() {
    for (const std::uint64_t size : kSizes) {
      segments.push_back(must(shm::Segment::create("fuzz-control", size)));
      fds.push_back(must(segments.back().share()));
    }
    const shm::UniqueFd fd = must(wake_arena->share());
    wake_view = std::make_shared<const shm::View>(must(shm::View::open(fd.get(), "wakes")));
    wake_cell = must(wake_arena->allocate(sizeof(shm::WakePage)));
  }
  [[nodiscard]] shm::WakePage& wake() const {
    return *reinterpret_cast<shm::WakePage*>(wake_cell.data);
  }
};

// A header like those that publishers write, of a stream that the input describes.
void write_valid_header(Input& in, std::byte* control, std::uint64_t size) {
  StreamOptions options;
  options.lanes.assign(1 + in.below(kMaxLanes), {1 + in.below(32), 0});
  options.pools.assign(1 + in.below(3), {});
  for (auto& pool : options.pools) pool = {1 + in.below(5000), 1 + in.below(16)};
  options.max_references = in.below(5);
  auto geometry = shm::plan(options);
  if (!geometry) return;
  geometry->control_bytes = size;
  shm::write_header(*geometry, control);
}

// One field becomes something else: most often one of those that bound what is looked at.
void change_header(Input& in, std::byte* control, std::uint64_t size) {
  const std::uint8_t what = in.byte();
  const std::uint8_t of = in.byte();
  std::uint64_t at = in.below(sizeof(shm::ControlHeader) / 4) * 4u;
  // Offset, depth, ring entries; bytes, distance, first, count, flags.
  constexpr std::array<std::uint32_t, 3> kOfLane{0, 8, 12};
  constexpr std::array<std::uint32_t, 5> kOfPool{0, 8, 16, 20, 24};
  if (what % 4 == 1) {
    at = offsetof(shm::ControlHeader, lanes) + of % 4 * sizeof(shm::LaneRecord) +
         kOfLane[of / 4 % kOfLane.size()];
  } else if (what % 4 == 2) {
    at = offsetof(shm::ControlHeader, pools) + of % 4 * sizeof(shm::PoolRecord) +
         kOfPool[of / 4 % kOfPool.size()];
  } else if (what % 4 == 3) {
    at = offsetof(shm::ControlHeader, lane_count) + of % 11 * 4u;
  }
  std::uint64_t value = in.hostile(size);
  if (what / 4 % 4 == 0) value = size - 64 * std::uint64_t{in.byte()};
  if (what / 4 % 4 == 1) value = std::uint64_t{1} << in.byte() % 18;
  const std::size_t bytes = what / 16 % 2 == 0 ? 4 : 8;
  std::memcpy(control + at, &value, std::min<std::size_t>(bytes, shm::kStateOffset - at));
}

void check_geometry(const shm::Geometry& g, std::uint64_t size) {
  require(g.lane_count >= 1 && g.lane_count <= kMaxLanes, "one to four lanes");
  require(g.pool_count >= 1 && g.pool_count <= kMaxPools, "one to eight pools");
  require(g.slot_limit >= 1 && g.slot_limit <= kMaxSlots, "a sane number of slots");
  for (std::uint32_t i = 0; i < g.lane_count; ++i) {
    const shm::LaneGeometry& lane = g.lanes[i];
    require((lane.ring_entries & (lane.ring_entries - 1)) == 0 && lane.ring_entries != 0,
            "a ring is a power of two long");
    require(lane.ring_offset < size &&
                lane.ring_entries <= (size - lane.ring_offset) / sizeof(shm::Entry),
            "a ring lies inside the segment");
  }
  require(
      g.slots_offset < size && g.slot_limit <= (size - g.slots_offset) / sizeof(shm::SlotRecord),
      "the slot records lie inside the segment");
  std::uint64_t slots = 0;
  for (std::uint32_t i = 0; i < g.pool_count; ++i) {
    const shm::PoolGeometry& pool = g.pools[i];
    require(pool.first_slot == slots, "slots are numbered through");
    if (pool.foreign) {
      require(pool.slot_count == 0 && pool.pool_bytes != 0, "foreign memory has no slots");
      continue;
    }
    require(pool.slot_bytes != 0, "slots have a size");
    require(pool.slot_count <= pool.pool_bytes / pool.slot_bytes, "slots lie inside their pool");
    require(g.capacity(i) <= pool.slot_bytes, "a capacity is no larger than its slot");
    slots += pool.slot_count;
  }
  require(slots == g.slots && slots <= g.slot_limit, "each slot has a pool");
}

void read_it(Input& in, World& world, const shm::UniqueFd& control, const shm::Geometry& g) {
  shm::StreamDescriptors stream;
  stream.control.reset(::dup(control.get()));
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < g.pool_count; ++i)
    total += std::min(g.pools[i].pool_bytes, kMostPoolBytes + 1);
  if (total > kMostPoolBytes) return;
  std::vector<shm::Segment> pools;
  for (std::uint32_t i = 0; i < g.pool_count; ++i) {
    auto pool = shm::Segment::create("sluice-pool", g.pools[i].pool_bytes);
    if (!pool) return;
    stream.pools.push_back(must(pool->share()));
    pools.push_back(std::move(*pool));
  }
  SubscriptionOptions options;
  options.mode = static_cast<DeliveryMode>(1 + in.below(3));
  options.spin_ns = 0;
  auto opened = shm::Reader::open(stream, options, world.reader_arena);
  if (!opened) return;
  shm::ReaderPtr reader = std::move(*opened);

  shm::WakePage& wake = world.wake();
  const std::uint32_t mode = in.byte();
  for (std::uint32_t i = 0; i < kMaxLanes; ++i) {
    wake.admission.start[i].store(mode % 2 == 0 ? 1 : in.hostile(1));
    wake.admission.stop[i].store(mode % 2 == 0 ? 8 : in.hostile(1));
  }
  wake.line.reader_id.store(7);
  wake.line.state.store(static_cast<std::uint32_t>(shm::AdmissionState::attached));
  if (reader->start(world.wake_view, world.wake_cell.offset)) {
    const auto maps = shared_mappings("/memfd:sluice-pool");
    std::vector<Sample> held;
    for (int i = 0; i < 32; ++i) {
      (void)reader->ready();
      (void)reader->wait(1);
      Sample sample = in.byte() % 4 != 0
                          ? reader->take()
                          : reader->resolve({g.stream_id, in.below(16), in.below(64), in.below(5)});
      if (!sample) {
        if (sample.outcome() == Outcome::quota) held.clear();
        continue;
      }
      const bool inside = std::any_of(maps.begin(), maps.end(), [&](const test::Mapping& m) {
        return !m.writable && m.contains(sample.data(), sample.size());
      });
      require(inside, "a sample lies inside a pool of its stream");
      (void)sample.reference_at(sample.reference_count());
      reader->acknowledge(sample);
      if (in.byte() % 2 == 0) held.push_back(std::move(sample));
    }
    wake.line.state.store(static_cast<std::uint32_t>(shm::AdmissionState::evicted));
    require(reader->take().outcome() != Outcome::ok, "an evicted reader takes nothing");
  }
  reader.reset();
  wake.line.reader_id.store(0);  // the page is free again
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  using namespace sluice::fuzz;
  static World world;
  Input in{data, size};
  const std::uint32_t which = in.below(kSizes.size());
  shm::Segment& segment = world.segments[which];
  std::byte* control = segment.data();
  std::memset(control, 0, segment.size());
  const std::uint8_t way = in.byte();
  if (way % 4 == 0) {
    in.copy(control, segment.size());
  } else {
    write_valid_header(in, control, segment.size());
    for (std::uint32_t n = way / 4 % 4; n > 0; --n) change_header(in, control, segment.size());
    for (std::uint32_t n = in.byte() % 16; n > 0; --n) {
      const auto words = static_cast<std::uint32_t>(segment.size() / 8);
      const std::uint64_t at = in.below(words) * std::uint64_t{8};
      const std::uint64_t value = in.hostile(2);
      if (at >= shm::kStateOffset) std::memcpy(control + at, &value, sizeof value);
    }
  }
  const auto view = shm::View::open(world.fds[which].get(), "fuzz");
  require(view.has_value(), "the segment is sealed");
  const auto geometry = shm::verify(*view);
  if (!geometry) return 0;
  check_geometry(*geometry, segment.size());
  read_it(in, world, world.fds[which], *geometry);
  return 0;
}
