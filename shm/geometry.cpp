// Planning a stream's memory, and checking a plan that came from another process.
//
// The header is copied word by word first, since its writer may be hostile and change it while it
// is being checked; then every offset and size of the copy is checked against the size that the
// seals guarantee. Arithmetic on foreign numbers is bounded before it can overflow.
#include "shm/geometry.hpp"

#include "shm/kill_point.hpp"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

namespace sluice::shm {
namespace {

Error invalid(std::string message) {
  return Error{Errc::invalid_argument, 0, std::move(message)};
}

std::uint64_t random_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    if (::getrandom(&id, sizeof id, 0) != static_cast<ssize_t>(sizeof id)) id = 0;
  }
  return id;
}

Result<void> check_pool(const PoolOptions& pool) {
  if (pool.slot_bytes == 0 || pool.slot_bytes > kMaxSlotBytes) {
    return invalid("PoolOptions::slot_bytes is " + std::to_string(pool.slot_bytes) +
                   "; give 1 to " + std::to_string(kMaxSlotBytes));
  }
  if (pool.slot_count > kMaxSlots) {
    return invalid("PoolOptions::slot_count is " + std::to_string(pool.slot_count) +
                   "; give at most " + std::to_string(kMaxSlots));
  }
  return {};
}

Result<void> check_options(const StreamOptions& o) {
  if (o.lanes.empty() || o.lanes.size() > kMaxLanes) {
    return invalid("StreamOptions::lanes has " + std::to_string(o.lanes.size()) +
                   " lanes; give 1 to " + std::to_string(kMaxLanes));
  }
  for (const LaneOptions& lane : o.lanes) {
    if (lane.depth == 0 || lane.depth > kMaxDepth) {
      return invalid("LaneOptions::depth is " + std::to_string(lane.depth) + "; give 1 to " +
                     std::to_string(kMaxDepth));
    }
    if (lane.history > lane.depth) {
      return invalid("LaneOptions::history is " + std::to_string(lane.history) +
                     ", more than the depth of " + std::to_string(lane.depth));
    }
  }
  if (o.pools.empty() || o.pools.size() > kMaxPools) {
    return invalid("StreamOptions::pools has " + std::to_string(o.pools.size()) +
                   " pools; give 1 to " + std::to_string(kMaxPools));
  }
  for (const PoolOptions& pool : o.pools) {
    if (auto checked = check_pool(pool); !checked) return std::move(checked).error();
  }
  if (o.max_slots > kMaxSlots) {
    return invalid("StreamOptions::max_slots is " + std::to_string(o.max_slots) +
                   "; give at most " + std::to_string(kMaxSlots));
  }
  if (o.max_loans == 0 || o.max_loans > kMaxDepth) {
    return invalid("StreamOptions::max_loans is " + std::to_string(o.max_loans) + "; give 1 to " +
                   std::to_string(kMaxDepth));
  }
  if (o.max_held > kMaxSlots) {
    return invalid("StreamOptions::max_held is " + std::to_string(o.max_held) +
                   "; give at most " + std::to_string(kMaxSlots));
  }
  if (o.max_readers == 0 || o.max_readers > kMaxReaders) {
    return invalid("StreamOptions::max_readers is " + std::to_string(o.max_readers) +
                   "; give 1 to " + std::to_string(kMaxReaders));
  }
  if (o.max_references > kMaxReferences) {
    return invalid("StreamOptions::max_references is " + std::to_string(o.max_references) +
                   "; give at most " + std::to_string(kMaxReferences));
  }
  if (o.label.size() >= sizeof(ControlHeader::label)) {
    return invalid("StreamOptions::label has " + std::to_string(o.label.size()) +
                   " bytes; give at most 63");
  }
  return {};
}

// `g` has the pools before it, and no limit yet but the greatest.
Result<PoolGeometry> lay_out(const Geometry& g, const PoolOptions& pool, std::uint64_t in_use,
                             HugePages huge_pages) {
  const std::uint64_t count = pool.slot_count != 0 ? pool.slot_count : in_use;
  if (g.slots + count > kMaxSlots) {
    return invalid("the pools need " + std::to_string(g.slots + count) + " slots, more than " +
                   std::to_string(kMaxSlots) + "; lower depth, max_held or slot_count");
  }
  const std::uint64_t alignment =
      pool.slot_bytes >= kLargeSlotBytes ? page_bytes() : std::uint64_t{kCacheLine};
  const std::uint64_t unit =
      huge_pages == HugePages::hugetlb ? std::uint64_t{2} << 20 : page_bytes();
  PoolGeometry p;
  p.slot_bytes = round_up(pool.slot_bytes + g.trailer, alignment);
  p.first_slot = g.slots;
  p.slot_count = static_cast<std::uint32_t>(count);
  p.pool_bytes = round_up(p.slot_bytes * count, unit);
  if (p.pool_bytes > SIZE_MAX / 2) {
    return invalid("a pool of " + std::to_string(count) + " slots of " +
                   std::to_string(p.slot_bytes) + " bytes does not fit this process; give " +
                   "PoolOptions::slot_count");
  }
  return p;
}

void append(Geometry& g, const PoolGeometry& pool) noexcept {
  g.pools[g.pool_count++] = pool;
  g.slots += pool.slot_count;
}

Result<void> plan_pools(const StreamOptions& o, Geometry& g) {
  auto pools = o.pools;
  std::sort(pools.begin(), pools.end(),
            [](const auto& a, const auto& b) { return a.slot_bytes < b.slot_bytes; });
  for (const PoolOptions& options : pools) {
    auto pool = lay_out(g, options, slots_in_use_at_most(o), o.huge_pages);
    if (!pool) return std::move(pool).error();
    append(g, *pool);
  }
  g.slot_limit = std::max(g.slots, o.max_slots);
  return {};
}

// Copies memory that its writer may change meanwhile.
void copy_words(const std::byte* from, void* to, std::size_t bytes) {
  const auto* words = reinterpret_cast<const Word64*>(from);
  auto* out = static_cast<std::byte*>(to);
  for (std::size_t i = 0; i < bytes / sizeof(Word64); ++i) {
    // relaxed: the header was complete before its descriptor could be received
    const std::uint64_t word = words[i].load(std::memory_order_relaxed);
    std::memcpy(out + i * sizeof word, &word, sizeof word);
  }
}

// Whether [offset, offset + count * each) lies inside `size` bytes, aligned to cache lines.
bool lies_inside(std::uint64_t offset, std::uint64_t count, std::uint64_t each,
                 std::uint64_t size) {
  return offset % kCacheLine == 0 && offset <= size && count <= (size - offset) / each;
}

bool valid_lane(const LaneRecord& r, std::uint64_t control_bytes) {
  return r.depth >= 1 && r.depth <= kMaxDepth && std::has_single_bit(r.ring_entries) &&
         r.ring_entries >= r.depth && r.ring_entries <= kMaxDepth && r.history <= r.depth &&
         r.ring_offset >= kRingsOffset &&
         lies_inside(r.ring_offset, r.ring_entries, sizeof(Entry), control_bytes);
}

bool valid_pool(const PoolRecord& r, std::uint32_t first_slot, std::uint32_t trailer) {
  if (r.flags == kPoolForeign) {
    return r.first_slot == first_slot && r.slot_count == 0 && r.slot_bytes == 0 &&
           r.pool_bytes != 0 && r.pool_bytes <= SIZE_MAX / 2;
  }
  return r.flags == 0 && r.first_slot == first_slot && r.slot_count >= 1 && r.slot_count <= kMaxSlots &&
         r.slot_bytes % kCacheLine == 0 && r.slot_bytes > trailer &&
         r.slot_bytes <= 2 * kMaxSlotBytes &&
         r.pool_bytes / r.slot_bytes >= r.slot_count && r.pool_bytes <= SIZE_MAX / 2;
}

PoolRecord record_of(const PoolGeometry& pool) {
  return {pool.pool_bytes, pool.slot_bytes, pool.first_slot, pool.slot_count,
          pool.foreign ? kPoolForeign : 0, 0};
}

PoolGeometry geometry_of(const PoolRecord& r) noexcept {
  return {r.pool_bytes, r.slot_bytes, r.first_slot, r.slot_count, r.flags == kPoolForeign};
}

Result<void> check_pool_count(const Geometry& g) {
  if (g.pool_count < kMaxPools) return {};
  return invalid("the stream has " + std::to_string(kMaxPools) + " pools (kMaxPools) already");
}

}  // namespace

std::uint64_t slots_in_use_at_most(const StreamOptions& o) {
  std::uint64_t in_use = std::uint64_t{o.max_loans} + o.max_held;
  for (const LaneOptions& lane : o.lanes) in_use += lane.depth;
  return in_use;
}

Result<PoolGeometry> plan_pool(const Geometry& g, const PoolOptions& options,
                               std::uint64_t default_count, HugePages huge_pages) {
  if (auto checked = check_pool(options); !checked) return std::move(checked).error();
  if (auto room = check_pool_count(g); !room) return std::move(room).error();
  auto pool = lay_out(g, options, default_count, huge_pages);
  if (!pool) return pool;
  const std::uint32_t needed = g.slots + pool->slot_count;
  if (needed > g.slot_limit) {
    return invalid("no room for " + std::to_string(pool->slot_count) + " more slots: of " +
                   std::to_string(g.slot_limit) + ", " + std::to_string(g.slots) +
                   " are there already; create the stream with StreamOptions::max_slots = " +
                   std::to_string(needed) + ", or give PoolOptions::slot_count");
  }
  return pool;
}

Result<PoolGeometry> plan_foreign_pool(const Geometry& g, std::uint64_t bytes) {
  if (auto room = check_pool_count(g); !room) return std::move(room).error();
  if (bytes == 0 || bytes > SIZE_MAX / 2) {
    return invalid("foreign memory of " + std::to_string(bytes) + " bytes does not fit this process");
  }
  return PoolGeometry{bytes, 0, g.slots, 0, true};
}

std::uint64_t largest_payload(const Geometry& g) noexcept {
  std::uint64_t largest = 0;
  for (std::uint32_t i = 0; i < g.pool_count; ++i) {
    if (!g.pools[i].foreign) largest = std::max(largest, g.capacity(i));
  }
  return largest;
}

Result<Geometry> plan(const StreamOptions& options) {
  if (auto checked = check_options(options); !checked) return std::move(checked).error();
  Geometry g;
  g.stream_id = random_id();
  g.type_hash = options.type_hash;
  g.max_readers = options.max_readers;
  g.max_references = options.max_references;
  g.trailer = trailer_bytes(options.max_references);
  g.stamped = options.stamp_publish_time;
  g.sensitive = options.sensitive;
  g.label = options.label;
  if (auto planned = plan_pools(options, g); !planned) return std::move(planned).error();

  std::uint64_t offset = kRingsOffset;
  g.lane_count = static_cast<std::uint32_t>(options.lanes.size());
  for (std::uint32_t i = 0; i < g.lane_count; ++i) {
    LaneGeometry& lane = g.lanes[i];
    lane.ring_offset = offset;
    lane.depth = options.lanes[i].depth;
    lane.ring_entries = std::bit_ceil(lane.depth);
    lane.history = options.lanes[i].history;
    offset += std::uint64_t{lane.ring_entries} * sizeof(Entry);
  }
  g.slots_offset = offset;
  offset += std::uint64_t{g.slot_limit} * sizeof(SlotRecord);
  g.control_bytes = round_up(offset, page_bytes());
  return g;
}

void write_header(const Geometry& g, std::byte* control) {
  ControlHeader h{};
  h.magic = kMagic;
  h.layout_version = kLayoutVersion;
  h.header_bytes = sizeof(ControlHeader);
  h.stream_id = g.stream_id;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  h.created_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
                 static_cast<std::uint64_t>(now.tv_nsec);
  h.control_bytes = g.control_bytes;
  h.type_hash = g.type_hash;
  h.lane_count = g.lane_count;
  h.pool_count = g.pool_count;
  h.slot_limit = g.slot_limit;
  h.max_readers = g.max_readers;
  h.slots_offset = g.slots_offset;
  h.publisher_pid = static_cast<std::uint32_t>(::getpid());
  h.max_references = g.max_references;
  h.flags = (g.stamped ? kStreamStamped : 0) | (g.sensitive ? kStreamSensitive : 0);
  h.trailer_bytes = g.trailer;
  for (std::uint32_t i = 0; i < g.lane_count; ++i) {
    const LaneGeometry& lane = g.lanes[i];
    h.lanes[i] = {lane.ring_offset, lane.depth, lane.ring_entries, lane.history, 0, 0};
  }
  for (std::uint32_t i = 0; i < g.pool_count; ++i) {
    h.pools[i] = record_of(g.pools[i]);
  }
  std::memcpy(h.label, g.label.data(), std::min(g.label.size(), sizeof h.label - 1));
  std::memcpy(control, &h, sizeof h);
}

void write_pool(const PoolGeometry& pool, std::uint32_t index, std::byte* control) {
  const PoolRecord record = record_of(pool);
  auto* words =
      reinterpret_cast<Word64*>(control + offsetof(ControlHeader, pools) + index * sizeof record);
  for (std::size_t i = 0; i < sizeof record / sizeof(Word64); ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, reinterpret_cast<const std::byte*>(&record) + i * sizeof word, sizeof word);
    // relaxed: before the count below
    words[i].store(word, std::memory_order_relaxed);
  }
  SLUICE_KILL_POINT("add_pool.record_written");
  auto* state = reinterpret_cast<StateLine*>(control + kStateOffset);
  // sync pools (publisher): the record comes before
  state->pool_count.store(index + 1, std::memory_order_release);
}

bool learn_pools(const std::byte* control, Geometry& g) noexcept {
  const auto* state = reinterpret_cast<const StateLine*>(control + kStateOffset);
  // sync pools (reader): the records of all of them were written before
  const std::uint32_t count = state->pool_count.load(std::memory_order_acquire);
  if (count > kMaxPools) return false;
  while (g.pool_count < count) {
    PoolRecord r;
    copy_words(control + offsetof(ControlHeader, pools) + g.pool_count * sizeof r, &r, sizeof r);
    if (!valid_pool(r, g.slots, g.trailer) || r.slot_count > g.slot_limit - g.slots) return false;
    append(g, geometry_of(r));
  }
  return true;
}

Result<Geometry> verify(const View& control) {
  const auto refuse = [](const std::string& why) {
    return Error{Errc::untrusted, 0, "a stream's control segment was not accepted: " + why};
  };
  if (control.size() < kRingsOffset) return refuse("it is too small for a header");
  ControlHeader h;
  copy_words(control.data(), &h, sizeof h);
  if (h.magic != kMagic) return refuse("it does not start with SLUICE01");
  if (h.layout_version != kLayoutVersion) {
    return refuse("it has layout version " + std::to_string(h.layout_version) +
                  ", this program knows " + std::to_string(kLayoutVersion) +
                  "; build both against the same major version");
  }
  if (h.header_bytes != sizeof h || h.control_bytes != control.size()) {
    return refuse("its header contradicts its size");
  }
  if (h.stream_id == 0 || h.lane_count < 1 || h.lane_count > kMaxLanes || h.pool_count < 1 ||
      h.pool_count > kMaxPools || h.slot_limit < 1 || h.slot_limit > kMaxSlots ||
      h.max_readers > kMaxReaders || h.max_references > kMaxReferences ||
      h.trailer_bytes != trailer_bytes(h.max_references)) {
    return refuse("a count in its header is out of range");
  }
  if (!lies_inside(h.slots_offset, h.slot_limit, sizeof(SlotRecord), h.control_bytes)) {
    return refuse("its slot records lie outside");
  }

  Geometry g;
  for (std::uint32_t i = 0; i < h.lane_count; ++i) {
    const LaneRecord& r = h.lanes[i];
    if (!valid_lane(r, h.control_bytes)) {
      return refuse("lane " + std::to_string(i) + " lies outside or is malformed");
    }
    g.lanes[i] = {r.ring_offset, r.depth, r.ring_entries, r.history};
  }
  for (std::uint32_t i = 0; i < h.pool_count; ++i) {
    const PoolRecord& r = h.pools[i];
    if (!valid_pool(r, g.slots, h.trailer_bytes)) {
      return refuse("pool " + std::to_string(i) + " is malformed");
    }
    append(g, geometry_of(r));
    if (g.slots > h.slot_limit) return refuse("its pools have more slots than its limit");
  }
  g.stream_id = h.stream_id;
  g.control_bytes = h.control_bytes;
  g.type_hash = h.type_hash;
  g.slots_offset = h.slots_offset;
  g.lane_count = h.lane_count;
  g.slot_limit = h.slot_limit;
  g.max_readers = h.max_readers;
  g.max_references = h.max_references;
  g.trailer = h.trailer_bytes;
  g.stamped = (h.flags & kStreamStamped) != 0;
  g.sensitive = (h.flags & kStreamSensitive) != 0;
  g.label.assign(h.label, ::strnlen(h.label, sizeof h.label));
  return g;
}

}  // namespace sluice::shm
