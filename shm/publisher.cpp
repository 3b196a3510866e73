// Making a stream, handing it out, ending it. The frame path is in loan.cpp, publish.cpp and
// retire.cpp, who may read in admission.cpp.
#include "shm/publisher.hpp"

#include "shm/clock.hpp"
#include "shm/futex.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace sluice::shm {

void PublisherCloser::operator()(Publisher* publisher) const noexcept {
  publisher->end();
  publisher->finish_groups();
  if (publisher->wipes()) publisher->wipe_what_is_over();
  // Who lent it takes it back now, whatever readers still hold.
  for (std::uint32_t i = 0; i < publisher->geometry_.pool_count; ++i) publisher->revoke_pool(i);
  publisher->closed_ = true;
  // Loans may outlive their publisher; the last one then deletes it.
  if (publisher->loans_ == 0) delete publisher;
}

Result<PublisherPtr> Publisher::create(const StreamOptions& options) {
  auto geometry = plan(options);
  if (!geometry) return std::move(geometry).error();
  PublisherPtr publisher{new Publisher(std::move(*geometry))};
  if (auto done = publisher->set_up(options); !done) return std::move(done).error();
  return publisher;
}

Result<void> Publisher::set_up(const StreamOptions& options) {
  // The records of slots are committed with their slots.
  const bool whole = options.commit_at_creation || options.prefault;
  auto control = Segment::create("sluice-control", geometry_.control_bytes, {.commit = whole});
  if (!control) return std::move(control).error();
  control_ = std::move(*control);
  if (!whole && !control_.commit(0, geometry_.slots_offset)) {
    return Error{Errc::system, errno,
                 "committing " + std::to_string(geometry_.slots_offset) +
                     " bytes for the control segment: " + std::strerror(errno)};
  }
  if (whole) records_committed_.fill(geometry_.control_bytes);
  pool_memory_ = {.huge_pages = options.huge_pages,
                  .commit = options.commit_at_creation,
                  .prefault = options.prefault};
  auto slots = Slots::create(geometry_, pool_memory_);
  if (!slots) return std::move(slots).error();
  slots_ = std::move(*slots);
  rank_pools();

  std::byte* base = control_.data();
  write_header(geometry_, base);
  state_ = reinterpret_cast<StateLine*>(base + kStateOffset);
  heads_ = reinterpret_cast<HeadLine*>(base + kHeadOffset);
  counters_ = reinterpret_cast<PublisherCounters*>(base + kPublisherCountersOffset);
  source_ = reinterpret_cast<SourceLine*>(base + kSourceOffset);
  intervals_ = reinterpret_cast<Histogram*>(base + kIntervalsOffset);
  publish_ages_ = reinterpret_cast<Histogram*>(base + kPublishAgesOffset);
  slot_records_ = reinterpret_cast<SlotRecord*>(base + geometry_.slots_offset);
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    const LaneGeometry& lane = geometry_.lanes[i];
    lanes_[i].ring = reinterpret_cast<Entry*>(base + lane.ring_offset);
    lanes_[i].mask = lane.ring_entries - 1;
    lanes_[i].depth = lane.depth;
    lanes_[i].history = lane.history;
    // relaxed: nobody else has the segment yet
    heads_->tail[i].store(1, std::memory_order_relaxed);
  }
  // sync pools (publisher): none is added before others have the segment
  state_->pool_count.store(geometry_.pool_count, std::memory_order_release);
  // relaxed: as above
  state_->state.store(static_cast<std::uint32_t>(StreamState::live), std::memory_order_relaxed);

  readers_.reserve(geometry_.max_readers);
  sleep_words_.reserve(geometry_.max_readers);
  woken_.reserve(geometry_.max_readers);
  groups_.reserve(geometry_.max_readers);
  set_aside_.reserve(geometry_.slot_limit);
  if (geometry_.max_references != 0) {
    held_.resize(std::size_t{geometry_.slot_limit} * geometry_.max_references);
    held_count_.resize(geometry_.slot_limit);
  }
  slots_by_default_ = slots_in_use_at_most(options);
  max_loans_ = options.max_loans;
  max_held_ = options.max_held;
  on_full_ = options.on_full;
  full_timeout_ns_ = options.full_timeout_ns;
  durable_keep_ns_ = options.durable_keep_ns;
  if (options.sensitive) make_sensitive();
  can_spin_ = can_spin();
  next_reader_id_ = static_cast<std::uint32_t>(geometry_.stream_id) | 1;
  return {};
}

Result<StreamDescriptors> Publisher::share() const {
  const std::lock_guard lock{visitors_};
  StreamDescriptors out;
  auto control = control_.share();
  if (!control) return std::move(control).error();
  out.control = std::move(*control);
  for (std::uint32_t i = 0; i < geometry_.pool_count; ++i) {
    auto pool = share_memory(i);
    if (!pool) return std::move(pool).error();
    out.pools.push_back(std::move(*pool));
  }
  return out;
}

Result<UniqueFd> Publisher::share_pool(std::uint32_t index) const {
  const std::lock_guard lock{visitors_};
  if (index >= geometry_.pool_count) {
    return Error{Errc::invalid_argument, 0,
                 "pool " + std::to_string(index) + " of " + std::to_string(geometry_.pool_count) +
                     " was asked for"};
  }
  return share_memory(index);
}

Result<UniqueFd> Publisher::share_memory(std::uint32_t index) const {
  if (!geometry_.pools[index].foreign) return slots_.share(index);
  UniqueFd fd{::fcntl(foreign_[index].fd.get(), F_DUPFD_CLOEXEC, 0)};
  if (!fd.valid()) return system_error("duplicating the descriptor of foreign memory");
  return fd;
}

// What belongs to all slots, claims, records, the samples they hold, has room for slot_limit of
// them since the stream was made.
Result<std::uint32_t> Publisher::add_pool(const PoolOptions& options) {
  if (ended_) return Error{Errc::refused, 0, "the stream has ended"};
  auto pool = plan_pool(geometry_, options, slots_by_default_, pool_memory_.huge_pages);
  if (!pool) return std::move(pool).error();
  const std::uint32_t index = geometry_.pool_count;
  const std::lock_guard lock{visitors_};
  if (auto added = slots_.add(*pool, pool_memory_); !added) return std::move(added).error();
  append_pool(*pool);
  return index;
}

// With visitors kept out.
void Publisher::append_pool(const PoolGeometry& pool) noexcept {
  const std::uint32_t index = geometry_.pool_count++;
  geometry_.pools[index] = pool;
  geometry_.slots += pool.slot_count;
  rank_pools();
  write_pool(pool, index, control_.data());
}

void Publisher::rank_pools() noexcept {
  ranked_ = 0;
  for (std::uint32_t i = 0; i < geometry_.pool_count; ++i) {
    if (!geometry_.pools[i].foreign) by_size_[ranked_++] = i;
  }
  std::sort(by_size_.begin(), by_size_.begin() + ranked_,
            [this](std::uint32_t a, std::uint32_t b) {
              return std::pair{geometry_.pools[a].slot_bytes, a} <
                     std::pair{geometry_.pools[b].slot_bytes, b};
            });
}

void Publisher::end() noexcept {
  if (ended_ || state_ == nullptr) return;
  const OwnerInside inside{lock_};
  ended_ = true;
  // sync ended (publisher): after all entries; seq_cst so that the sleepers' words are read after
  // it
  state_->state.store(static_cast<std::uint32_t>(StreamState::ended), std::memory_order_seq_cst);
  wake_sleepers();
  if (!groups_.empty()) assign();
}

}  // namespace sluice::shm
