// Committing slots: one large slot at a time, small ones by the page-full.
#include "shm/slots.hpp"

#include <algorithm>

namespace sluice::shm {

Result<Slots> Slots::create(const Geometry& geometry, const SegmentOptions& options) {
  Slots slots;
  for (std::uint32_t i = 0; i < geometry.pool_count; ++i) {
    if (auto added = slots.add(geometry.pools[i], options); !added) {
      return std::move(added).error();
    }
  }
  return slots;
}

Result<void> Slots::add(const PoolGeometry& pool, const SegmentOptions& options) {
  auto segment = Segment::create("sluice-pool", pool.pool_bytes, options);
  if (!segment) return std::move(segment).error();
  const std::uint32_t i = pool_count_;
  segments_[i] = std::move(*segment);
  geometry_pools_[i] = pool;
  free_[i].reserve(pool.slot_count);
  if (options.commit || options.prefault) {
    committed_[i] = pool.slot_count;
    for (std::uint32_t k = pool.slot_count; k-- > 0;) push(i, pool.first_slot + k);
  }
  ++pool_count_;
  return {};
}

Slots::Range Slots::next_to_commit(std::uint32_t pool) const noexcept {
  const PoolGeometry& p = geometry_pools_[pool];
  const std::uint64_t wanted = std::max<std::uint64_t>(1, 2 * page_bytes() / p.slot_bytes);
  const std::uint32_t left = p.slot_count - committed_[pool];
  return {p.first_slot + committed_[pool],
          static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, left))};
}

bool Slots::commit_more(std::uint32_t pool, bool& out_of_memory) noexcept {
  const PoolGeometry& p = geometry_pools_[pool];
  std::uint32_t& done = committed_[pool];
  const std::uint32_t count = next_to_commit(pool).count;
  if (count == 0) return false;
  if (!segments_[pool].commit(p.slot_bytes * done, p.slot_bytes * count)) {
    out_of_memory = true;
    return false;
  }
  for (std::uint32_t k = count; k-- > 0;) push(pool, p.first_slot + done + k);
  done += count;
  return true;
}

std::uint32_t Slots::committed_count() const noexcept {
  std::uint32_t total = 0;
  for (std::uint32_t i = 0; i < pool_count_; ++i) total += committed_[i];
  return total;
}

}  // namespace sluice::shm
