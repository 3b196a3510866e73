// Slots: which slots of a stream's pools are free. Private to the publisher; nothing here is
// shared.
//
// The free lists are last-in-first-out, so that a stream which keeps up works in the same two or
// three slots and those stay in the cache. A slot's memory is committed at its first use; slots
// that were never used are handed out only when no used one is free.
#pragma once

#include "shm/geometry.hpp"
#include "shm/memory.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace sluice::shm {

inline constexpr std::uint32_t kNoSlot = 0xffff'ffff;

class Slots {
 public:
  /// Creates the pools' memory.
  static Result<Slots> create(const Geometry& geometry, const SegmentOptions& options);

  /// Creates the memory of a pool that comes later; its index is the number of those before it.
  Result<void> add(const PoolGeometry& pool, const SegmentOptions& options);

  /// A pool without slots, whose memory is another's; it has an index all the same.
  void add_foreign(const PoolGeometry& pool) noexcept { geometry_pools_[pool_count_++] = pool; }

  /// A free, committed slot of `pool`, or kNoSlot.
  std::uint32_t pop(std::uint32_t pool) noexcept {
    std::vector<std::uint32_t>& list = free_[pool];
    if (list.empty()) return kNoSlot;
    const std::uint32_t slot = list.back();
    list.pop_back();
    return slot;
  }
  /// The slot that pop() would give, or kNoSlot.
  [[nodiscard]] std::uint32_t peek(std::uint32_t pool) const noexcept {
    return free_[pool].empty() ? kNoSlot : free_[pool].back();
  }
  void push(std::uint32_t pool, std::uint32_t slot) noexcept { free_[pool].push_back(slot); }

  /// Commits some more slots of `pool` and makes them free. False when all are or memory is short;
  /// `out_of_memory` tells the two apart.
  bool commit_more(std::uint32_t pool, bool& out_of_memory) noexcept;

  /// What commit_more() would commit next: its first slot, numbered through all pools, and how
  /// many.
  struct Range {
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  [[nodiscard]] Range next_to_commit(std::uint32_t pool) const noexcept;

  [[nodiscard]] bool all_committed(std::uint32_t pool) const noexcept {
    return committed_[pool] == geometry_pools_[pool].slot_count;
  }
  [[nodiscard]] std::size_t free_count(std::uint32_t pool) const noexcept {
    return free_[pool].size();
  }
  [[nodiscard]] std::uint32_t committed_count() const noexcept;

  [[nodiscard]] std::byte* address(std::uint32_t pool, std::uint32_t slot) const noexcept {
    const PoolGeometry& p = geometry_pools_[pool];
    return segments_[pool].data() + p.slot_bytes * (slot - p.first_slot);
  }
  [[nodiscard]] Result<UniqueFd> share(std::uint32_t pool) const { return segments_[pool].share(); }

 private:
  std::array<Segment, kMaxPools> segments_;
  std::array<PoolGeometry, kMaxPools> geometry_pools_{};
  std::array<std::vector<std::uint32_t>, kMaxPools> free_;  // capacity reserved at creation
  std::array<std::uint32_t, kMaxPools> committed_{};        // slots, counted from the first
  std::uint32_t pool_count_ = 0;
};

}  // namespace sluice::shm
