// loan: finding a place in a lane's ring and a slot for the payload.
//
// A place is reserved first, so that publishing can no longer fail: live entries + outstanding
// loans never exceed the lane's depth. Room comes from three sources, tried in this order: what
// every reader has passed (costs nobody anything), what only best-effort readers have not passed
// (they count it as lost), and, where a reliable reader or a group is behind, what OnFull says.
//
// A slot comes from the smallest pool that fits, or the next larger one. Slots are never short when
// the pools have the planned size, since each slot is free, loaned (at most max_loans), live (at
// most the depths) or held (at most max_held); a smaller slot_count makes no_slot possible, and an
// entry of the same or a lower lane is then retired early.
//
// Most loans find room and a slot without looking at readers, and touch nothing that visitors use;
// only where readers matter the lock is entered.
#include "shm/clock.hpp"
#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/publisher.hpp"

#include <algorithm>

namespace sluice::shm {
namespace {

constexpr std::uint64_t kRoomSpinNs = 20'000;
constexpr std::uint64_t kRoomSliceNs = 10'000'000;  // how soon a dead reader is noticed
constexpr std::uint64_t kQuickNs = 5'000;           // between messages: nobody fills 64 KiB in less
constexpr int kPausesPerLook = 16;                  // each look takes the reader's line from it

}  // namespace

Loan Publisher::loan(std::uint64_t size, Priority priority) noexcept {
  if (ended_) return Loan{Outcome::ended};
  std::uint32_t rank = 0;  // of the smallest pool that fits
  while (rank < ranked_ && geometry_.capacity(by_size_[rank]) < size) ++rank;
  if (rank == ranked_) return Loan{Outcome::too_large};
  if (loans_ == max_loans_) return Loan{Outcome::no_loan};

  const auto lane_index = std::min(static_cast<std::uint32_t>(priority), geometry_.lane_count - 1);
  Lane& lane = lanes_[lane_index];
  // Held samples must not stay held for long.
  if (looks_early(by_size_[rank]) || live_references_ != 0 || wipes()) collect();
  SLUICE_KILL_POINT("loan.begin");
  if (const Outcome room = reserve(lane); room != Outcome::ok) return Loan{room};
  Outcome why = Outcome::ok;
  const std::uint32_t slot = find_slot(rank, lane_index, why);
  if (slot == kNoSlot) {
    if (why != Outcome::full) add_relaxed(counters_->no_slot, 1);
    return Loan{why};
  }
  SLUICE_KILL_POINT("loan.slot_taken");
  ++lane.loans;
  ++loans_;
  const std::uint32_t slot_pool = geometry_.pool_of(slot);
  Loan loan;
  loan.publisher_ = this;
  loan.data_ = slots_.address(slot_pool, slot);
  loan.size_ = size;
  loan.capacity_ = geometry_.capacity(slot_pool);
  loan.slot_ = slot;
  loan.lane_ = lane_index;
  loan.outcome_ = Outcome::ok;
  return loan;
}

// A cold large slot costs far more than a look at the readers, so it is worth one before every
// loan. But where messages follow each other so quickly nobody fills such slots, and only the look
// remains.
bool Publisher::looks_early(std::uint32_t pool) const noexcept {
  return geometry_.pools[pool].slot_bytes >= kLargeSlotBytes && last_interval_ns_ >= kQuickNs;
}

Outcome Publisher::reserve(Lane& lane) noexcept {
  if (lane.has_room()) return Outcome::ok;
  const OwnerInside inside{lock_};
  look();
  return make_room(lane);
}

// Needs a recent look.
Outcome Publisher::make_room(Lane& lane) noexcept {
  std::uint64_t deadline = 0;
  while (!lane.has_room()) {
    if (lane.live() == 0) return Outcome::no_loan;  // every place is reserved by a loan
    if (lane.tail < lane.passed_reliable) {
      if (lane.tail >= lane.passed) add_relaxed(counters_->overwritten, 1);
      retire_batch(lane, 1);
      continue;
    }
    if (unblock(lane, deadline) != Outcome::ok) {
      add_relaxed(counters_->full, 1);
      return Outcome::full;
    }
    look();
  }
  return Outcome::ok;
}

// What OnFull says, when somebody does not let the lane's oldest entry go. ok: look again.
Outcome Publisher::unblock(Lane& lane, std::uint64_t& deadline_ns) noexcept {
  switch (on_full_) {
    case OnFull::evict:
      if (ReaderRecord* reader = blocking_reader(lane)) {
        evict(*reader, EvictionCause::too_slow);
      } else if (Group* group = blocking_place(lane)) {
        dissolve(*group);
      }
      return Outcome::ok;
    case OnFull::drop:
      give_up_oldest(lane);
      return Outcome::ok;
    case OnFull::wait:
      if (deadline_ns == 0) {
        deadline_ns = deadline_in(full_timeout_ns_);
        add_relaxed(counters_->full_waits, 1);
      }
      return wait_for(lane, deadline_ns);
    case OnFull::fail:
      break;
  }
  return Outcome::full;
}

Publisher::ReaderRecord* Publisher::blocking_reader(const Lane& lane) noexcept {
  const auto index = static_cast<std::size_t>(&lane - lanes_.data());
  for (ReaderRecord& reader : readers_) {
    if (reader.mode == DeliveryMode::reliable && !reader.leaving &&
        reader.cursor[index] <= lane.tail) {
      return &reader;
    }
  }
  return blocking_member(lane);
}

// Waits a while for the reader that blocks the lane: until it acknowledges, dies, or a slice of
// time has passed. ok: look again. timeout: the deadline has passed, without a wait. Visitors may
// come in meanwhile, also to detach that very reader: what is read then stays mapped, but no
// pointer into readers_ is good any more.
Outcome Publisher::wait_for(Lane& lane, std::uint64_t deadline_ns) noexcept {
  ReaderRecord* reader = blocking_reader(lane);
  if (reader == nullptr && blocking_place(lane) == nullptr) return Outcome::ok;
  // Here too, since what follows believes a foreign page: it could say for ever that there is room.
  if (now_ns() >= deadline_ns) {
    forget_the_dead();
    return Outcome::timeout;
  }
  if (reader == nullptr) {
    nap_outside(kRoomSliceNs, deadline_ns);  // for a member of a durable group
  } else if (const GroupMember* const member = reader->member; member != nullptr) {
    sleep_outside(*reader, reader->page->cursor[0], member->settled, member->settled + 1,
                  deadline_ns);
  } else {
    const auto index = static_cast<std::size_t>(&lane - lanes_.data());
    // A little more than one place, so that the line is not fetched for every single message.
    const std::uint64_t some = std::clamp<std::uint64_t>(lane.depth / 4, 1, 64);
    sleep_outside(*reader, reader->page->cursor[index], lane.tail, lane.tail + some, deadline_ns);
  }
  return Outcome::ok;
}

// Lets visitors in until a word of the reader's page, its cursor, was seen beyond a value, or a
// slice of time has passed.
bool Publisher::sleep_outside(ReaderRecord& reader, const Word64& cursor, std::uint64_t beyond,
                              std::uint64_t wanted, std::uint64_t deadline_ns) noexcept {
  const RoomWait wait{*reader.page,      reader.wake->line.wants_room, cursor, beyond, wanted,
                      next_room_ticket()};
  if (reader.member != nullptr) reader.member->ticket = 0;  // the word is ours until we have slept
  waits_for_ = reader.registration;
  const std::uint32_t depth = lock_.leave_all();
  const bool moved = sleep_for_room(wait, deadline_ns);
  lock_.enter_again(depth);
  waits_for_ = nullptr;
  if (!moved) forget_the_dead();
  return moved;
}

// The same, until somebody has joined a group.
void Publisher::nap_outside(std::uint64_t ns, std::uint64_t deadline_ns) noexcept {
  // relaxed: changed by visitors, under the lock
  const std::uint32_t expected = joined_.load(std::memory_order_relaxed);
  const std::uint32_t depth = lock_.leave_all();
  (void)futex_wait(joined_, expected, std::min(deadline_ns, deadline_in(ns)));
  lock_.enter_again(depth);
  forget_the_dead();
}

// Whether the reader's cursor was seen to move, or the reader to leave. Outside of the lock.
//
// The hand-shake is the reader's sleep turned round: we say that we want room, look again, and
// sleep on a word of the reader's page; the reader moves its cursor, then looks whether we want
// room. All four accesses are seq_cst, so at least one side sees the other.
bool Publisher::sleep_for_room(const RoomWait& wait, std::uint64_t deadline_ns) noexcept {
  const Word32& room = wait.page.sleeping.room;
  const Word32& state = wait.page.sleeping.state;
  const auto active = static_cast<std::uint32_t>(ReaderState::active);

  if (can_spin_) {
    const std::uint64_t until = std::min(deadline_ns, now_ns() + kRoomSpinNs);
    do {
      for (int i = 0; i < kPausesPerLook; ++i) cpu_relax();
      // relaxed: only a hint; the look that follows reads it in order
      if (wait.cursor.load(std::memory_order_relaxed) >= wait.wanted) return true;
    } while (now_ns() < until);
  }

  // sync room (publisher): the word must be read before we look for the last time
  const std::uint32_t expected = room.load(std::memory_order_acquire);
  // sync room (publisher): before the cursor is read again; pairs with the reader's seq_cst pair
  wait.wants_room.store(wait.ticket, std::memory_order_seq_cst);
  SLUICE_KILL_POINT("loan.wants_room");
  // sync room (publisher): at least one of us sees the other
  const bool still_full = wait.cursor.load(std::memory_order_seq_cst) <= wait.beyond &&
                          // sync room (publisher): a reader that leaves wakes us as well
                          state.load(std::memory_order_seq_cst) == active;
  const std::uint64_t now = now_ns();
  if (still_full && now < deadline_ns) {
    futex_wait(room, expected, std::min(deadline_ns, now + kRoomSliceNs));
  }
  // relaxed: a reader that still sees the ticket makes a superfluous wake-up
  wait.wants_room.store(0, std::memory_order_relaxed);
  return !still_full;
}

// Even, for a wait in futex; the bit in it asks for the eventfd.
std::uint32_t Publisher::next_room_ticket() noexcept {
  room_ticket_ += kTicketStep;
  if (room_ticket_ == 0) room_ticket_ += kTicketStep;
  return room_ticket_;
}

// The records first: a slot without one cannot be published.
void Publisher::commit_more(std::uint32_t pool, bool& out_of_memory) noexcept {
  const Slots::Range next = slots_.next_to_commit(pool);
  const std::uint64_t begin = geometry_.slots_offset + sizeof(SlotRecord) * next.first;
  const std::uint64_t end = begin + sizeof(SlotRecord) * next.count;
  if (next.count != 0 && end > records_committed_[pool]) {
    if (!control_.commit(begin, end - begin)) {
      out_of_memory = true;
      return;
    }
    records_committed_[pool] = round_up(end, page_bytes());
  }
  (void)slots_.commit_more(pool, out_of_memory);
}

std::uint32_t Publisher::pop_or_commit(std::uint32_t pool, bool& out_of_memory) noexcept {
  std::uint32_t slot = slots_.pop(pool);
  if (slot != kNoSlot) return slot;
  const bool large = geometry_.pools[pool].slot_bytes >= kLargeSlotBytes;
  if (!looks_early(pool)) look();  // or loan() has just looked
  // Commit more where a look brings little, or every loan of a stream that lags would look again.
  if (slots_.free_count(pool) < (large ? 1 : 8)) commit_more(pool, out_of_memory);
  return slots_.pop(pool);
}

std::uint32_t Publisher::find_slot(std::uint32_t rank, std::uint32_t lane, Outcome& why) noexcept {
  if (const std::uint32_t slot = slots_.pop(by_size_[rank]); slot != kNoSlot) return slot;
  const OwnerInside inside{lock_};
  bool out_of_memory = false;
  std::uint64_t deadline = 0;
  std::size_t looks = 0;
  for (;;) {
    for (std::uint32_t r = rank; r < ranked_; ++r) {
      const std::uint32_t slot = pop_or_commit(by_size_[r], out_of_memory);
      if (slot != kNoSlot) return slot;
    }
    // Every slot that fits is live, loaned or held. Give up what matters least.
    Lane* blocked = nullptr;
    bool retired = false;
    for (std::uint32_t i = geometry_.lane_count; i-- > lane && !retired;) {
      Lane& candidate = lanes_[i];
      if (candidate.live() == 0) continue;
      if (candidate.tail < candidate.passed_reliable) {
        if (candidate.tail >= candidate.passed) add_relaxed(counters_->overwritten, 1);
        retire_batch(candidate, 1);
        retired = true;
      } else {
        blocked = &candidate;
      }
    }
    if (retired) continue;
    // Claims are read one reader after the other, while readers move from slot to slot: one look
    // may find every slot claimed although fewer are held. As many looks as readers, and one, do
    // not.
    if (!set_aside_.empty() && looks <= readers_.size()) {
      ++looks;
      look();
      continue;
    }
    if (evict_over_quota()) {
      look();
      continue;
    }
    if (blocked != nullptr && unblock(*blocked, deadline) == Outcome::ok) {
      look();
      continue;
    }
    if (blocked != nullptr) add_relaxed(counters_->full, 1);
    why = blocked != nullptr ? Outcome::full
          : out_of_memory    ? Outcome::no_memory
                             : Outcome::no_slot;
    return kNoSlot;
  }
}

void Publisher::give_back(Loan& loan) noexcept {
  free_slot(loan.slot_);
  --lanes_[loan.lane_].loans;
  --loans_;
  loan.clear();
  if (closed_ && loans_ == 0) delete this;
}

Outcome Publisher::hold(Loan& loan, Sample&& sample) noexcept {
  if (!sample) return Outcome::empty;
  const std::uint32_t max = geometry_.max_references;
  if (max == 0 || held_count_[loan.slot_] == max) return Outcome::full;
  std::uint8_t& count = held_count_[loan.slot_];
  if (count == 0) ++live_references_;
  held_[std::size_t{loan.slot_} * max + count] = std::move(sample);
  ++count;
  return Outcome::ok;
}

}  // namespace sluice::shm

namespace sluice {

void Loan::give_back() noexcept {
  if (publisher_ != nullptr) publisher_->give_back(*this);
}

Outcome Loan::attach(Sample&& sample) noexcept {
  return publisher_ != nullptr ? publisher_->hold(*this, std::move(sample)) : Outcome::empty;
}

}  // namespace sluice
