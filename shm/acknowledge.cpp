// acknowledge: what a reader says when it has dealt with a message, or will not.
//
// A reliable reader moves its cursor over all that is acknowledged without a gap. A member of a
// group counts the assignments that are settled without a gap; of each it says beforehand, by a
// bit, whether it was dealt with or is given back. Both then look whether the publisher waits for
// that (the hand-shake *room* of shm/protocol.md). What a member says of its load travels beside.
#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/reader.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

namespace sluice::shm {

// Nobody could take it either.
void Reader::skip_assignment(LossCause cause) noexcept {
  add_relaxed(page_->counters.lost[static_cast<std::size_t>(cause)], 1);
  tell_returned(assignments_->next % kMaxCredits, false);
  if (assignments_->settled == assignments_->next++) settle_assignments();
}

// The oldest that is open is none any more; nor is perhaps what follows.
void Reader::settle_assignments() noexcept {
  Assignments& mine = *assignments_;
  bool rejected = false;
  for (; mine.settled != mine.next && mine.open[mine.settled % kMaxCredits] == 0; ++mine.settled) {
    if (mine.rejected == 0 || !is_returned(mine.settled % kMaxCredits)) continue;
    --mine.rejected;
    rejected = true;
  }
  SLUICE_KILL_POINT("acknowledge.returned_stored");
  // sync room, cursor, returned (reader): before we look whether the publisher waits
  page_->cursor[0].store(mine.settled, std::memory_order_seq_cst);
  wake_publisher();
  // Nobody waits for what is given back, so the publisher has not asked.
  if (rejected && room_event_.valid()) (void)::eventfd_write(room_event_.get(), 1);
}

void Reader::close_assignment(std::size_t place, std::uint64_t word, bool rejected) noexcept {
  Assignments& mine = *assignments_;
  if (mine.open[place] == 0 || assigned_message(mine.open[place]) != word) return;  // twice
  mine.open[place] = 0;
  add_relaxed(rejected ? page_->counters.rejected : page_->counters.acknowledged, 1);
  tell_returned(place, rejected);
  if (rejected) ++mine.rejected;
  if (place == mine.settled % kMaxCredits) settle_assignments();
}

bool Reader::is_returned(std::size_t place) const noexcept {
  // relaxed: our own word
  return (page_->progress.returned[place / 64].load(std::memory_order_relaxed) >> (place % 64) & 1) !=
         0;
}

// The bit still says what the assignment had become that was in this place before.
void Reader::tell_returned(std::size_t place, bool rejected) noexcept {
  if (is_returned(place) == rejected) return;
  Word64& word = page_->progress.returned[place / 64];
  // relaxed: our own word
  const std::uint64_t old = word.load(std::memory_order_relaxed);
  // relaxed: our own word; before the cursor that says it is valid
  word.store(old ^ (std::uint64_t{1} << (place % 64)), std::memory_order_relaxed);
}

// Everything below `sequence` is dealt with, and whatever follows that already was.
void Reader::settle(std::uint32_t index, std::uint64_t sequence) noexcept {
  Lane& lane = lanes_[index];
  while (sequence < lane.next && lane.acknowledged[lane.place_of(sequence)]) {
    lane.acknowledged[lane.place_of(sequence)] = false;
    ++sequence;
  }
  lane.cursor = sequence;
  // sync room (reader): before we look whether the publisher waits; also cursor (reader)
  page_->cursor[index].store(sequence, std::memory_order_seq_cst);
  SLUICE_KILL_POINT("acknowledge.cursor_moved");
  wake_publisher();
}

void Reader::wake_publisher() noexcept {
  // sync room (reader): at least one of us sees the other
  const std::uint32_t ticket = wake_->line.wants_room.load(std::memory_order_seq_cst);
  if (ticket == 0 || ticket == answered_) return;
  answered_ = ticket;
  // sync room (reader): changes the word that the publisher is about to sleep on
  page_->sleeping.room.store(ticket, std::memory_order_release);
  SLUICE_KILL_POINT("acknowledge.room_stored");
  if ((ticket & kAnswerByEvent) == 0) {
    futex_wake_all(page_->sleeping.room);
  } else if (room_event_.valid()) {
    (void)::eventfd_write(room_event_.get(), 1);  // full means readable
  }
}

bool Reader::may_acknowledge(const Sample& sample) const noexcept {
  return sample.reader_ == this && (!sample.resolved_ || sample.again_) &&
         (options_.mode == DeliveryMode::reliable || assignments_ != nullptr);
}

void Reader::acknowledge(const Sample& sample) noexcept { close(sample, false); }
void Reader::acknowledge(Sample&& sample) noexcept { close(std::move(sample), false); }
void Reader::reject(const Sample& sample) noexcept { close(sample, true); }
void Reader::reject(Sample&& sample) noexcept { close(std::move(sample), true); }

void Reader::close(const Sample& sample, bool rejected) noexcept {
  if (!may_acknowledge(sample)) return;
  close(static_cast<std::uint32_t>(sample.info_.priority), sample.info_.sequence,
        sample.assignment_, rejected);
}

void Reader::close(Sample&& sample, bool rejected) noexcept {
  const bool may = may_acknowledge(sample);
  const auto index = static_cast<std::uint32_t>(sample.info_.priority);
  const std::uint64_t sequence = sample.info_.sequence;
  const std::size_t place = sample.assignment_;
  sample.release();
  if (may) close(index, sequence, place, rejected);
}

void Reader::close(std::uint32_t index, std::uint64_t sequence, std::size_t place,
                   bool rejected) noexcept {
  if (assignments_) return close_assignment(place, assignment_word(index, 0, sequence), rejected);
  Lane& lane = lanes_[index];
  if (sequence < lane.cursor) return;  // twice
  if (sequence == lane.cursor) {
    add_relaxed(page_->counters.acknowledged, 1);
    settle(index, sequence + 1);
  } else if (!lane.acknowledged[lane.place_of(sequence)]) {
    add_relaxed(page_->counters.acknowledged, 1);
    lane.acknowledged[lane.place_of(sequence)] = true;
  }
}

void Reader::tell_load(WorkerState state, std::uint32_t backlog) noexcept {
  if (options_.mode != DeliveryMode::group) return;
  const std::uint64_t load = load_word(static_cast<std::uint32_t>(state), backlog);
  // relaxed: our own word
  const std::uint64_t before = page_->cursor[1].load(std::memory_order_relaxed);
  if (load == before) return;
  // sync room (reader): before we look whether the publisher waits
  page_->cursor[1].store(load, std::memory_order_seq_cst);
  SLUICE_KILL_POINT("tell_load.stored");
  // Only who may be given something now is worth waking somebody for.
  if (wake_ != nullptr && load_state(load) < static_cast<std::uint32_t>(WorkerState::draining) &&
      load_state(before) >= static_cast<std::uint32_t>(WorkerState::draining)) {
    wake_publisher();
  }
}

std::uint64_t Reader::unsettled() const noexcept {
  if (assignments_) {
    // relaxed: a count
    const std::uint64_t assigned =
        assignments_->page->assignments.assigned.load(std::memory_order_relaxed);
    return assigned - std::min(assigned, assignments_->settled);
  }
  if (options_.mode != DeliveryMode::reliable) return waiting();
  std::uint64_t total = 0;
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    // sync head (reader): a count
    const std::uint64_t head = heads_->head[i].load(std::memory_order_acquire);
    total += head + 1 - std::min(head + 1, lanes_[i].cursor);
  }
  return total;
}

}  // namespace sluice::shm
