// retire: when a slot may be used again.
//
// Looking means reading the readers' pages: their cursors say what they have passed, their claims
// what they hold. It happens in `loan`, seldom, never in `publish`. Retiring takes entries out of
// the ring; a slot whose message is still claimed is set aside until it is not.
//
// The decision for a batch of slots (Dekker's pattern, once per batch):
//
//   publisher                                   reader (take)              reader (resolve)
//   entry.sequence := s | kRetired              claim bit := 1 (RMW)       claim bit := 1 (RMW)
//   record.word    := s, deciding               entry.sequence == s ?      record.word == s, live ?
//   seq_cst fence
//   claim bits of all readers
//
// If a reader's second read still finds s, its bit was set before the publisher's fence and the
// publisher sees it; if not, the reader lets go. While a word is `deciding` a resolver waits: no new
// hold can begin inside that window, so the bits, though read one after the other, are a consistent
// picture even when a hold is being handed from one reader to another. A slot that is claimed
// becomes `live` again, one that is not becomes `none`, and only then is it free.
//
// An entry that all cursors have left behind need not be marked, which spares fetching its line back
// from the readers: a reader moves its cursor (release) after its claim, so who has read the cursor
// (acquire) sees the claim, and nobody will look at that entry again (sync cursor).
#include "shm/clock.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/publisher.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace sluice::shm {
namespace {

constexpr std::size_t kBatch = 64;  // bounds how long a slot can be `deciding`
constexpr int kCountPasses = 4;     // two new bits spoil two of the moments between them
constexpr std::uint64_t kCountNs = 10'000'000;  // well below a resolver's patience (resolve.cpp)

}  // namespace

void Publisher::collect() noexcept {
  const OwnerInside inside{lock_};
  look();
}

void Publisher::look() noexcept {
  add_relaxed(counters_->looks, 1);
  look_at_readers();
  if (!set_aside_.empty()) look_at_set_aside();
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Lane& lane = lanes_[i];
    const std::uint64_t kept = lane.head + 1 - std::min(lane.history, lane.head);
    retire_until(lane, std::min(lane.passed, kept));
  }
  if (!groups_.empty()) assign();
  update_gauges();
}

void Publisher::look_at_readers() noexcept {
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    lanes_[i].left_behind = lanes_[i].head + 1;
    lanes_[i].passed = lanes_[i].head + 1;
    lanes_[i].passed_reliable = lanes_[i].head + 1;
  }
  for (std::size_t r = 0; r < readers_.size();) {
    ReaderRecord& reader = readers_[r];
    if (!read_page(reader)) continue;  // it is gone or evicted; another one stands here now
    const bool counts = !reader.leaving && reader.member == nullptr;
    for (std::uint32_t i = 0; i < geometry_.lane_count && counts; ++i) {
      Lane& lane = lanes_[i];
      // Who wants only the newest has passed all the others.
      const std::uint64_t passed = reader.mode == DeliveryMode::latest
                                       ? std::max(reader.cursor[i], lane.head)
                                       : reader.cursor[i];
      lane.passed = std::min(lane.passed, passed);
      lane.left_behind = std::min(lane.left_behind, reader.cursor[i]);
      if (reader.mode == DeliveryMode::reliable) {
        lane.passed_reliable = std::min(lane.passed_reliable, reader.cursor[i]);
      }
    }
    ++r;
  }
  keep_for_groups();
}

// Reads one reader's page, which may contain anything. False when the reader was dropped.
bool Publisher::read_page(ReaderRecord& reader) noexcept {
  // sync leave (publisher): claims and cursors written before it
  const auto state =
      static_cast<ReaderState>(reader.page->sleeping.state.load(std::memory_order_acquire));
  if (state == ReaderState::gone) {
    forget(static_cast<std::size_t>(&reader - readers_.data()));
    return false;
  }
  if (state == ReaderState::leaving) reader.leaving = true;
  if (reader.member == nullptr) return read_cursors(reader);
  Group* const group = reader.member->group;
  if (group == nullptr) return true;  // it has left already
  if (reader.leaving) {
    group->leave(*reader.member);
  } else if (!group->read(*reader.member)) {
    evict(reader, EvictionCause::invalid);
    return false;
  }
  return true;
}

bool Publisher::read_cursors(ReaderRecord& reader) noexcept {
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    // sync cursor (publisher): what the reader did with the entries below comes before
    const std::uint64_t cursor = reader.page->cursor[i].load(std::memory_order_acquire);
    if (cursor > lanes_[i].head + 1) {
      evict(reader, EvictionCause::invalid);
      return false;
    }
    reader.cursor[i] = std::max(reader.cursor[i], cursor);  // it never goes back
  }
  return true;
}

void Publisher::retire_until(Lane& lane, std::uint64_t limit) noexcept {
  while (lane.tail < limit) {
    retire_batch(lane, std::min<std::size_t>(kBatch, static_cast<std::size_t>(limit - lane.tail)));
  }
}

// Retires the `count` oldest entries of the lane, at most kBatch.
void Publisher::retire_batch(Lane& lane, std::size_t count) noexcept {
  std::array<std::uint32_t, kBatch> slots;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t sequence = lane.tail + i;
    Entry& entry = lane.ring[sequence & lane.mask];
    // relaxed: our own word
    slots[i] = static_cast<std::uint32_t>(entry.place.load(std::memory_order_relaxed));
    if (sequence >= lane.left_behind) {
      // relaxed: ordered before the claims by the fence below; sync claim
      entry.sequence.store(sequence | kRetired, std::memory_order_relaxed);
      SLUICE_KILL_POINT("retire.entry_retired");
    }
    Word64& word = record_of(slots[i]).word;
    // relaxed: as above; sync resolve
    word.store(with_state(word.load(std::memory_order_relaxed), SlotState::deciding),
               std::memory_order_relaxed);  // relaxed: as above
  }
  lane.tail += count;
  // sync claim, resolve (publisher): all marks above before all claim bits below
  std::atomic_thread_fence(std::memory_order_seq_cst);
  SLUICE_KILL_POINT("retire.deciding");
  const std::uint64_t claimed = claimed_among({slots.data(), count});
  for (std::size_t i = 0; i < count; ++i) {
    Word64& word = record_of(slots[i]).word;
    // relaxed: our own word
    const std::uint64_t value = word.load(std::memory_order_relaxed);
    if ((claimed >> i & 1) != 0) {
      // sync resolve (publisher): decided, the payload stays
      word.store(with_state(value, SlotState::live), std::memory_order_release);
      set_aside_.push_back(slots[i]);
    } else {
      // relaxed: nobody holds it, and the next payload follows only after an acquired claim word
      word.store(with_state(value, SlotState::none), std::memory_order_relaxed);
      free_slot(slots[i]);
    }
    SLUICE_KILL_POINT("retire.decided");
  }
  const auto index = static_cast<std::size_t>(&lane - lanes_.data());
  // sync tail (publisher): where a reader that was overtaken goes on
  heads_->tail[index].store(lane.tail, std::memory_order_release);
}

// Slots that were claimed when they were retired. Plain looks first: marking one as `deciding` makes
// resolvers wait, so it is done only for those that seem free.
void Publisher::look_at_set_aside() noexcept {
  for (std::size_t begin = 0; begin < set_aside_.size();) {
    const std::size_t count = std::min(kBatch, set_aside_.size() - begin);
    const std::span<std::uint32_t> batch{set_aside_.data() + begin, count};
    const std::uint64_t all = count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    const std::uint64_t seems_free = ~claimed_among(batch) & all;
    std::uint64_t claimed = all;
    if (seems_free != 0) {
      for (std::size_t i = 0; i < count; ++i) {
        if ((seems_free >> i & 1) == 0) continue;
        Word64& word = record_of(batch[i]).word;
        // relaxed: ordered before the claims by the fence below; sync resolve
        word.store(with_state(word.load(std::memory_order_relaxed), SlotState::deciding),
                   std::memory_order_relaxed);  // relaxed: as above
      }
      // sync resolve (publisher): all marks above before all claim bits below
      std::atomic_thread_fence(std::memory_order_seq_cst);
      SLUICE_KILL_POINT("set_aside.deciding");
      claimed = claimed_among(batch) | ~seems_free;
    }
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t slot = batch[i];
      Word64& word = record_of(slot).word;
      // relaxed: our own word
      const std::uint64_t value = word.load(std::memory_order_relaxed);
      if ((claimed >> i & 1) != 0) {
        // sync resolve (publisher): decided, the payload stays
        word.store(with_state(value, SlotState::live), std::memory_order_release);
        batch[kept++] = slot;
      } else {
        // relaxed: as in retire_batch
        word.store(with_state(value, SlotState::none), std::memory_order_relaxed);
        free_slot(slot);
      }
    }
    const auto first = set_aside_.begin() + static_cast<std::ptrdiff_t>(begin);
    set_aside_.erase(first + static_cast<std::ptrdiff_t>(kept),
                     first + static_cast<std::ptrdiff_t>(count));
    begin += kept;
  }
}

// Bit i of the result: some attached reader claims slots[i] (at most 64).
std::uint64_t Publisher::claimed_among(std::span<const std::uint32_t> slots) noexcept {
  // Neighbouring slots share a pair of words; each pair is read once per reader.
  std::array<std::uint32_t, kBatch> pairs;
  std::array<std::uint64_t, kBatch> held{};
  std::array<std::uint8_t, kBatch> pair_of{};
  std::size_t pair_count = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const std::uint32_t pair = slots[i] / 64;
    std::size_t k = 0;
    while (k < pair_count && pairs[k] != pair) ++k;
    if (k == pair_count) pairs[pair_count++] = pair;
    pair_of[i] = static_cast<std::uint8_t>(k);
  }
  for (ReaderRecord& reader : readers_) {
    for (std::size_t k = 0; k < pair_count; ++k) {
      const ClaimPair& claims = reader.claims[pairs[k]];
      // sync release (publisher): the reader's last read of a payload before our next write to it
      const std::uint64_t taken = claims.taken.load(std::memory_order_acquire);
      // sync release (publisher): as above
      const std::uint64_t resolved = claims.resolved.load(std::memory_order_acquire);
      if ((taken | resolved) == 0) continue;
      held[k] |= taken | resolved;
      // An honest reader never shows more at one moment; one that changes its claims between two
      // looks must not get away with it.
      const int most = std::max(std::popcount(taken), std::popcount(resolved));
      if (static_cast<std::uint32_t>(most) > reader.max_held) reader.over_quota = true;
    }
  }
  std::uint64_t claimed = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    claimed |= (held[pair_of[i]] >> (slots[i] % 64) & 1) << i;
  }
  return claimed;
}

// The slot's message is gone; what it held is let go.
void Publisher::free_slot(std::uint32_t slot) noexcept {
  if (geometry_.max_references != 0 && held_count_[slot] != 0) {
    const std::size_t first = std::size_t{slot} * geometry_.max_references;
    for (std::size_t i = 0; i < held_count_[slot]; ++i) held_[first + i].release();
    held_count_[slot] = 0;
    --live_references_;
  }
  if (!lent_.empty()) take_back(slot);
  if (wipes()) [[unlikely]]
    wipe(slot);
  slots_.push(geometry_.pool_of(slot), slot);
}

// All of it: its writer may have written more than was published.
void Publisher::wipe(std::uint32_t slot) noexcept {
  const std::uint32_t pool = geometry_.pool_of(slot);
  ::explicit_bzero(slots_.address(pool, slot),
                   static_cast<std::size_t>(geometry_.pools[pool].slot_bytes));
}

// At the end: what nobody will read any more. Readers may go on draining the rest; the memory goes
// with the last of them.
void Publisher::wipe_what_is_over() noexcept {
  const OwnerInside inside{lock_};
  std::erase_if(groups_, [](const auto& group) { return !group->has_members(); });
  look_at_readers();
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i)
    retire_until(lanes_[i], lanes_[i].passed);
  if (!set_aside_.empty()) look_at_set_aside();
}

// Called when slots are short. Of the slots set aside it frees those that nobody holds, and evicts
// who holds more of them than it was granted; what stays set aside is what was granted. True when
// either happened.
//
// Claim words are read one after the other, and an honest reader may let go of one slot and claim
// the next meanwhile. So its claims are counted while the slots are `deciding`, where it can set at
// most two more bits, and only those count that are there every time (protocol.md, quota).
bool Publisher::evict_over_quota() noexcept {
  const std::uint64_t begin = now_ns();
  mark_set_aside();
  bool changed = false;
  for (std::size_t r = 0; r < readers_.size();) {
    ReaderRecord& reader = readers_[r];
    const bool too_many = lasting_claims(reader) > reader.max_held;
    // A resolver that has waited too long no longer waits, and what was seen proves nothing.
    if (reader.over_quota || (too_many && now_ns() - begin < kCountNs)) {
      evict(reader, EvictionCause::quota);
      changed = true;
      continue;
    }
    for (CountedClaims& pair : counted_) pair.in_the_way |= pair.taken | pair.resolved;
    ++r;
  }
  return decide_set_aside() || changed;
}

void Publisher::mark_set_aside() noexcept {
  std::fill(counted_.begin(), counted_.end(), CountedClaims{});
  for (const std::uint32_t slot : set_aside_) {
    Word64& word = record_of(slot).word;
    // relaxed: ordered before the claims by the fence below; sync resolve
    word.store(with_state(word.load(std::memory_order_relaxed), SlotState::deciding),
               std::memory_order_relaxed);  // relaxed: as above
    counted_[slot / 64].set_aside |= std::uint64_t{1} << (slot % 64);
  }
  // sync claim, resolve (publisher): all marks above before all claim bits below
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

// How many claims on slots set aside the reader shows every time, one time after the other; they
// are left in counted_. Ends early when they are no more than it was granted.
std::uint64_t Publisher::lasting_claims(const ReaderRecord& reader) noexcept {
  for (CountedClaims& pair : counted_) pair.taken = pair.resolved = pair.set_aside;
  std::uint64_t count = 0;
  for (int pass = 0; pass < kCountPasses; ++pass) {
    count = 0;
    for (std::size_t k = 0; k < counted_.size(); ++k) {
      CountedClaims& pair = counted_[k];
      if ((pair.taken | pair.resolved) == 0) continue;
      // sync release (publisher): the reader's last read of a payload before our next write to it
      pair.taken &= reader.claims[k].taken.load(std::memory_order_acquire);
      // sync release (publisher): as above
      pair.resolved &= reader.claims[k].resolved.load(std::memory_order_acquire);
      count += static_cast<unsigned>(std::popcount(pair.taken) + std::popcount(pair.resolved));
    }
    if (count <= reader.max_held) break;
  }
  return count;
}

// As in look_at_set_aside. Who showed no claim once after the marks has none until we have decided.
bool Publisher::decide_set_aside() noexcept {
  const auto free_it = [this](std::uint32_t slot) {
    const bool claimed = (counted_[slot / 64].in_the_way >> (slot % 64) & 1) != 0;
    Word64& word = record_of(slot).word;
    // relaxed: our own word
    const std::uint64_t value = word.load(std::memory_order_relaxed);
    if (claimed) {
      // sync resolve (publisher): decided, the payload stays
      word.store(with_state(value, SlotState::live), std::memory_order_release);
    } else {
      // relaxed: as in retire_batch
      word.store(with_state(value, SlotState::none), std::memory_order_relaxed);
      free_slot(slot);
    }
    return !claimed;
  };
  const auto kept = std::remove_if(set_aside_.begin(), set_aside_.end(), free_it);
  const bool freed = kept != set_aside_.end();
  set_aside_.erase(kept, set_aside_.end());
  return freed;
}

void Publisher::update_gauges() noexcept {
  std::uint64_t free = 0;
  for (std::uint32_t i = 0; i < geometry_.pool_count; ++i) free += slots_.free_count(i);
  const std::uint64_t committed = slots_.committed_count();
  const std::uint64_t in_use = committed - free;
  const auto set = [](Word64& word, std::uint64_t value) {
    // relaxed: a gauge
    word.store(value, std::memory_order_relaxed);
  };
  set(counters_->slots_committed, committed);
  set(counters_->slots_in_use, in_use);
  set(counters_->set_aside, set_aside_.size());
  // relaxed: our own gauge
  if (in_use > counters_->slots_in_use_most.load(std::memory_order_relaxed)) {
    set(counters_->slots_in_use_most, in_use);
  }
}

}  // namespace sluice::shm
