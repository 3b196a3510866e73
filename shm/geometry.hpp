// Geometry: the private, validated description of a stream's memory.
//
// A publisher plans one from its options; a reader copies one out of a foreign control segment and
// validates it before anything in that segment is used. From then on nobody looks at the shared
// header again, but for the records of pools that come later. A value type.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "shm/layout.hpp"
#include "shm/memory.hpp"
#include "shm/private_export.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"

namespace sluice::shm {

struct LaneGeometry {
  std::uint64_t ring_offset = 0;
  std::uint32_t depth = 0;
  std::uint32_t ring_entries = 0;
  std::uint32_t history = 0;
};

struct PoolGeometry {
  std::uint64_t pool_bytes = 0;
  std::uint64_t slot_bytes = 0;
  std::uint32_t first_slot = 0;
  std::uint32_t slot_count = 0;
  bool foreign = false;  // no slots; see kPoolForeign
};

struct Geometry {
  std::uint64_t stream_id = 0;
  std::uint64_t control_bytes = 0;
  std::uint64_t type_hash = 0;
  std::uint64_t slots_offset = 0;
  std::uint32_t lane_count = 0;
  std::uint32_t pool_count = 0;
  std::uint32_t slots = 0;       // in these pools
  std::uint32_t slot_limit = 0;  // with all pools that may yet come
  std::uint32_t max_readers = 0;
  std::uint32_t max_references = 0;
  std::uint32_t trailer = 0;
  bool stamped = false;
  bool sensitive = false;
  std::array<LaneGeometry, kMaxLanes> lanes{};
  std::array<PoolGeometry, kMaxPools> pools{};
  std::string label;

  /// Payload bytes that a slot of this pool can carry. Not of a foreign one, which has none.
  [[nodiscard]] std::uint64_t capacity(std::uint32_t pool) const noexcept {
    return pools[pool].slot_bytes - trailer;
  }
  /// The pool that `slot` lies in; `slot` must be below `slots`.
  [[nodiscard]] std::uint32_t pool_of(std::uint32_t slot) const noexcept {
    std::uint32_t pool = 0;
    while (pool + 1 < pool_count && slot >= pools[pool + 1].first_slot) ++pool;
    return pool;
  }
};

/// From this size on slots start on a page of their own and readers are looked at on every loan.
inline constexpr std::uint64_t kLargeSlotBytes = std::uint64_t{64} * 1024;

/// Slots that can be in use at once: what a pool gets whose slot_count is 0.
std::uint64_t slots_in_use_at_most(const StreamOptions& options);

/// Lays a pool out that comes after those of `geometry`. Errors name the option that is in the way.
/// @param default_count  what a slot_count of 0 stands for
Result<PoolGeometry> plan_pool(const Geometry& geometry, const PoolOptions& options,
                               std::uint64_t default_count, HugePages huge_pages);

/// Lays a stream out. Errors name the option that cannot be met.
Result<Geometry> plan(const StreamOptions& options);

/// The same for one of another system's memory.
Result<PoolGeometry> plan_foreign_pool(const Geometry& geometry, std::uint64_t bytes);

/// The largest payload that there is a slot for.
std::uint64_t largest_payload(const Geometry& geometry) noexcept;

/// Writes the header of a new control segment.
void write_header(const Geometry& geometry, std::byte* control);

/// Announces a pool that came later: its record, then the number of pools.
void write_pool(const PoolGeometry& pool, std::uint32_t index, std::byte* control);

/// Reads and validates the header of a control segment that somebody else wrote. Knows the pools
/// that the stream was created with.
SLUICE_PRIVATE_EXPORT Result<Geometry> verify(const View& control);

/// Adds the pools that were announced since, as far as their records are valid. True when there are
/// no others. Allocates nothing.
SLUICE_PRIVATE_EXPORT bool learn_pools(const std::byte* control, Geometry& geometry) noexcept;

}  // namespace sluice::shm
