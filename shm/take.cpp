// take: reading an entry, claiming its slot, counting what was missed.
//
// The order of the steps is the proof (see retire.cpp for the other side):
//   1. read the entry's sequence (acquire): it is the one we want;
//   2. read the entry's other words; they may be torn, so nothing is believed yet, but the slot
//      number is checked, since it selects the bit;
//   3. set the claim bit of the slot (read-modify-write, seq_cst);
//   4. read the sequence again (seq_cst): unchanged, so the words of step 2 belonged together and
//      the slot is ours until we clear the bit. Changed: clear the bit, go on with a newer entry.
#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/reader.hpp"

#include <algorithm>
#include <cstring>

namespace sluice::shm {
namespace {

// Who has just taken a message and finds no other waits a moment before it looks again: the
// publisher is perhaps writing the next entry, and would have to fetch the line back.
constexpr unsigned kPausesAfterTake = 2;
constexpr std::uint64_t kSmallBytes = 256;
constexpr unsigned kAttempts = 16;  // to catch up with a publisher that keeps overtaking
// At most one message per millisecond of the stream is measured: every frame of a camera, few of a
// flood. The publisher's stamps tell the time, so that not measuring costs no clock.
constexpr std::uint64_t kMeasureEveryNs = 1'000'000;

std::uint64_t bit_of(std::uint32_t slot) { return std::uint64_t{1} << (slot % 64); }

}  // namespace

Sample Reader::take() noexcept {
  if (held() >= options_.max_held) {
    if (!admitted()) return Sample{finish()};
    add_relaxed(page_->counters.quota, 1);
    return Sample{Outcome::quota};
  }
  Sample sample;
  if (assignments_) {
    // Bounded as below.
    Step step = Step::skipped;
    for (std::size_t i = 0; step == Step::skipped && i < kMaxCredits; ++i) {
      step = take_assigned(sample);
    }
    if (step != Step::taken) sample.outcome_ = finish();
    return sample;
  }
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Step step = Step::skipped;
    // Bounded, since a publisher could overtake us, or feed us invalid entries, for ever.
    std::uint64_t skipped = 0;
    for (unsigned attempt = 0; attempt < kAttempts && skipped <= lanes_[i].mask;) {
      step = take_from(i, sample);
      if (step == Step::taken || step == Step::nothing) break;
      if (step == Step::skipped) {
        ++skipped;
      } else {
        if (!admitted()) break;
        overtaken(i, ++attempt);
      }
    }
    if (step == Step::taken) {
      pauses_ = kPausesAfterTake;
      return sample;
    }
  }
  pause_after_take();
  sample.outcome_ = finish();
  return sample;
}

void Reader::pause_after_take() noexcept {
  if (pauses_ == 0) return;
  --pauses_;
  cpu_relax();
}

bool Reader::idle() noexcept {
  if (assignments_) {
    // relaxed: take() looks again, in order
    const std::uint64_t assigned =
        assignments_->page->assignments.assigned.load(std::memory_order_relaxed);
    if (assigned > assignments_->next) return false;
  }
  for (std::uint32_t i = 0; i < geometry_.lane_count && !assignments_; ++i) {
    const Lane& lane = lanes_[i];
    // relaxed: as above
    const std::uint64_t seen =
        lane.ring[lane.next & lane.mask].sequence.load(std::memory_order_relaxed);
    if ((seen & ~kRetired) >= lane.next) return false;
  }
  if (held() >= options_.max_held || over() != Outcome::ok) return false;
  if (!assignments_) pause_after_take();
  return true;
}

std::size_t Reader::take(std::span<Sample> out) noexcept {
  std::size_t n = 0;
  while (n < out.size()) {
    out[n] = take();
    if (!out[n]) break;
    ++n;
  }
  return n;
}

// Why there is nothing.
Outcome Reader::finish() noexcept {
  const Outcome outcome = over();
  if (outcome == Outcome::evicted && !evicted_counted_) {
    evicted_counted_ = true;
    // relaxed: acquired with the state; who was detached has no end to read
    if (wake_->line.reader_id.load(std::memory_order_relaxed) != reader_id_) return outcome;
    if (assignments_) {
      const std::uint64_t left = waiting();
      assignments_->next += left;
      add_relaxed(page_->counters.lost[static_cast<std::size_t>(LossCause::evicted)], left);
      return outcome;
    }
    for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
      // relaxed: acquired with the state
      const std::uint64_t stop = wake_->admission.stop[i].load(std::memory_order_relaxed);
      if (stop >= lanes_[i].next) pass(i, stop + 1 - lanes_[i].next, LossCause::evicted);
    }
  }
  return outcome == Outcome::ok ? Outcome::empty : outcome;
}

// One attempt at one lane. Nothing is counted before admitted() was asked again: an entry that was
// seen while still admitted is older than the eviction, so what finish() counts begins behind it.
Reader::Step Reader::take_from(std::uint32_t index, Sample& out) noexcept {
  Lane& lane = lanes_[index];
  const Entry* entry = &lane.ring[lane.next & lane.mask];
  // sync publish (reader): entry and payload were written before
  std::uint64_t seen = entry->sequence.load(std::memory_order_acquire);
  if ((seen & ~kRetired) < lane.next) return Step::nothing;
  if (options_.mode == DeliveryMode::latest) {
    // sync head (reader): the newest is at least being published
    const std::uint64_t head = heads_->head[index].load(std::memory_order_acquire);
    if (head > lane.next) {
      if (!admitted()) return Step::gone;
      pass(index, head - lane.next, LossCause::policy);
      entry = &lane.ring[head & lane.mask];
      // sync publish (reader): entry and payload were written before
      seen = entry->sequence.load(std::memory_order_acquire);
      if ((seen & ~kRetired) < lane.next) return Step::nothing;  // its last step is outstanding
    }
  }
  if (seen != lane.next) return Step::gone;
  Claimed claimed;
  switch (claim(index, *entry, seen, claimed)) {
    case Claim::gone:
      return Step::gone;
    case Claim::elsewhere:
      lane.waits_for_pool = seen;
      return Step::nothing;
    case Claim::expired:
      pass(index, 1, LossCause::expired);
      return Step::skipped;
    case Claim::invalid:
      pass(index, 1, LossCause::invalid);
      return Step::skipped;
    case Claim::ours:
      break;
  }
  ++lane.next;
  if (options_.mode != DeliveryMode::reliable) {
    move_cursor(index, lane.next);
  } else {
    tell_taken(index, lane.next);
  }
  SLUICE_KILL_POINT("take.cursor_moved");
  hand_out(claimed, out);
  return Step::taken;
}

// Claims the slot of an entry whose sequence was `seen`, and reads the entry.
inline Reader::Claim Reader::claim(std::uint32_t index, const Entry& entry, std::uint64_t seen,
                                   Claimed& out) noexcept {
  const auto word = [](const Word64& w) {
    // relaxed: between two reads of the sequence; the fence below orders them
    return w.load(std::memory_order_relaxed);
  };
  MessageInfo& info = out.info;
  info.sequence = seen;
  info.publish_ns = word(entry.publish_ns);
  info.origin_ns = word(entry.origin_ns);
  info.correlation = {word(entry.correlation_high), word(entry.correlation_low)};
  info.type_hash = word(entry.type_hash);
  const std::uint64_t place = word(entry.place);
  const std::uint64_t meta = word(entry.meta);
  const auto slot = static_cast<std::uint32_t>(place);
  const std::uint64_t size = place >> 32;
  Place found = find(slot, size);
  const bool valid = found == Place::here;
  SLUICE_KILL_POINT("take.before_claim");
  if (valid) {
    // The payload is on its way while we claim it; a locked instruction would make its first read
    // wait. A message is read whole, a frame from its beginning.
    const std::byte* const payload = address_of(slot);
    out.payload = {payload, size};
    __builtin_prefetch(payload);
    for (std::uint64_t at = kCacheLine; at < size && size <= kSmallBytes; at += kCacheLine) {
      __builtin_prefetch(payload + at);
    }
    // sync claim (reader): the bit before the sequence is read again
    claims_[slot / 64].taken.fetch_or(bit_of(slot), std::memory_order_seq_cst);
  }
  SLUICE_KILL_POINT("take.claimed");
  // sync publish (reader): a torn entry shows as a changed sequence
  std::atomic_thread_fence(std::memory_order_acquire);
  // sync claim (reader): unchanged, so a publisher that retires it sees our bit
  const bool unchanged = entry.sequence.load(std::memory_order_seq_cst) == seen;
  const bool ours = unchanged && admitted();
  const bool expired = ours && info.publish_ns != 0 && (meta >> 32) != 0 &&
                       now_ns() > info.publish_ns + (meta >> 32) * 1'000'000u;
  if ((meta & kEntryForeign) != 0 && valid && ours) [[unlikely]]
    found = find_foreign(slot, out.payload);
  if (found != Place::here || !ours || expired) {
    if (valid) {
      // sync release (reader): we read nothing, but an older claim's release order is kept
      claims_[slot / 64].taken.fetch_and(~bit_of(slot), std::memory_order_release);
    }
    if (!ours) return Claim::gone;
    if (found == Place::elsewhere && !expired) return Claim::elsewhere;
    return found == Place::nowhere ? Claim::invalid : Claim::expired;
  }
  SLUICE_KILL_POINT("take.verified");
  info.priority = static_cast<Priority>(index);
  info.user_flags = static_cast<std::uint8_t>(meta & 0x0f);
  info.ttl_ms = static_cast<std::uint32_t>(meta >> 32);
  out.slot = slot;
  out.meta = meta;
  return Claim::ours;
}

inline void Reader::hand_out(const Claimed& claimed, Sample& out) noexcept {
  add_relaxed(page_->counters.taken, 1);
  add_relaxed(page_->counters.bytes, claimed.payload.size);
  out = make_sample(claimed.slot, claimed.payload, claimed.meta, false, claimed.info);
}

// A group's member: the entry that was assigned next. It stays until it is settled, unless the
// publisher waits for nobody; otherwise one that is gone was never there, or we are no longer a
// member.
Reader::Step Reader::take_assigned(Sample& out) noexcept {
  Assignments& mine = *assignments_;
  // sync assign (reader): the entry and the assignment were written before
  const std::uint64_t assigned = mine.page->assignments.assigned.load(std::memory_order_acquire);
  if (assigned <= mine.next) return Step::nothing;
  // Who assigns reads this line of ours; it comes back together with the word below.
  prefetch_for_writing(&page_->progress);
  const std::size_t place = mine.next % kMaxCredits;
  // relaxed: acquired with the count, and not written again before it is settled
  const std::uint64_t word = mine.page->ring[place].load(std::memory_order_relaxed);
  const std::uint32_t index = assigned_lane(word);
  const std::uint64_t sequence = assigned_sequence(word);
  Claimed claimed;
  Claim outcome = Claim::gone;
  LossCause cause = LossCause::invalid;
  bool held_still = false;  // we had this message before, and a sample of it lives
  if (index < geometry_.lane_count) {
    __builtin_prefetch(&lanes_[index].ring[sequence & lanes_[index].mask]);
  }
  // sync progress (reader): before we ask whether we are still a member
  page_->progress.taken[0].store(mine.next + 1, std::memory_order_seq_cst);
  if (index < geometry_.lane_count && sequence != 0 && mine.next - mine.settled < kMaxCredits) {
    const Lane& lane = lanes_[index];
    const Entry& entry = lane.ring[sequence & lane.mask];
    // sync publish (reader): entry and payload were written before
    if (entry.sequence.load(std::memory_order_acquire) == sequence) {
      held_still = (word & ~assigned_message(word)) != 0 && take_again(index, entry, sequence, out);
      if (held_still) {
        outcome = out                                 ? Claim::ours
                  : out.outcome() == Outcome::timeout ? Claim::elsewhere
                                                      : Claim::gone;
      } else {
        outcome = claim(index, entry, sequence, claimed);
      }
    }
    // relaxed: only tells which counter it is: retired, or its place used again
    if (entry.sequence.load(std::memory_order_relaxed) > sequence) cause = LossCause::full;
  }
  if (outcome == Claim::elsewhere) {
    // relaxed: not taken after all; who has read otherwise says so of it, as of one that we died
    // over
    page_->progress.taken[0].store(mine.next, std::memory_order_relaxed);
    mine.waits_for_pool = !held_still;
    return Step::nothing;
  }
  if (outcome != Claim::ours) {
    if (!admitted()) return Step::nothing;
    skip_assignment(outcome == Claim::expired ? LossCause::expired
                    : outcome == Claim::gone  ? cause
                                              : LossCause::invalid);
    return Step::skipped;
  }
  ++mine.next;
  mine.open[place] = word;
  SLUICE_KILL_POINT("take.assigned");
  if (held_still) {
    add_relaxed(page_->counters.taken, 1);
    add_relaxed(page_->counters.bytes, out.size_);
  } else {
    hand_out(claimed, out);
  }
  out.info_.deliveries_before = assigned_deliveries(word);
  out.info_.redelivered = out.info_.deliveries_before != 0;
  out.assignment_ = static_cast<std::uint8_t>(place);
  out.again_ = held_still;
  return Step::taken;
}

// An entry that comes again after we rejected it, while a sample of it from then lives: that one
// owns the claim's bit. A second hold is counted, like that of a reference. False when no such
// sample lives.
bool Reader::take_again(std::uint32_t index, const Entry& entry, std::uint64_t sequence,
                        Sample& out) noexcept {
  // relaxed: acquired with the sequence; only whether the bit stands depends on it
  const auto slot = static_cast<std::uint32_t>(entry.place.load(std::memory_order_relaxed));
  if (slot >= geometry_.slot_limit ||
      // relaxed: our own word; others may clear the bit, nobody but us sets it
      (claims_[slot / 64].taken.load(std::memory_order_relaxed) & bit_of(slot)) == 0) {
    return false;
  }
  out = resolve({geometry_.stream_id, sequence, slot, index});
  return true;
}

// A slot that is not simply here: its pool may be new, or not have come yet.
Reader::Place Reader::look_for(std::uint32_t slot, std::uint64_t size) noexcept {
  if (slot >= geometry_.slots)
    (void)learn_pools(control_.data(), geometry_);  // what is valid counts
  if (slot >= geometry_.slots) return Place::nowhere;
  const std::uint32_t pool = geometry_.pool_of(slot);
  if (size > geometry_.capacity(pool) || (forgone_pools_ >> pool & 1) != 0) return Place::nowhere;
  missing_pool_ = pool;
  return Place::elsewhere;
}

Sample Reader::make_sample(std::uint32_t slot, const Payload& payload, std::uint64_t meta,
                           bool resolved, const MessageInfo& info) noexcept {
  Sample sample;
  sample.reader_ = this;
  sample.outcome_ = Outcome::ok;
  sample.slot_ = slot;
  sample.size_ = payload.size;
  sample.data_ = payload.data;
  sample.resolved_ = resolved;
  sample.contents_ = static_cast<std::uint8_t>(meta & kEntryContents);
  if (sample.contents_ != 0) {
    find_contents(sample, (meta & kEntryForeign) != 0 ? sizeof(ForeignPlace) : payload.size);
  }
  sample.info_ = info;
  if (geometry_.stamped && !resolved && info.publish_ns - measured_ns_ >= kMeasureEveryNs) {
    measured_ns_ = info.publish_ns;
    const std::uint64_t now = now_ns();
    sample.timed_from_ns_ = now;
    if (now >= info.publish_ns) record(page_->age, now - info.publish_ns);
    // relaxed: for monitors
    page_->counters.last_take_ns.store(now, std::memory_order_relaxed);
  }
  ++taken_;
  return sample;
}

// `count` entries from `next` on are not coming.
void Reader::pass(std::uint32_t index, std::uint64_t count, LossCause cause) noexcept {
  Lane& lane = lanes_[index];
  add_relaxed(page_->counters.lost[static_cast<std::size_t>(cause)], count);
  const std::uint64_t first = lane.next;
  lane.next += count;
  if (options_.mode == DeliveryMode::reliable) tell_taken(index, lane.next);
  if (options_.mode != DeliveryMode::reliable) {
    move_cursor(index, lane.next);
  } else if (lane.cursor == first) {
    settle(index, lane.next);
  } else {
    for (std::uint64_t s = first; s < lane.next && s - first <= lane.mask; ++s) {
      lane.acknowledged[lane.place_of(s)] = true;
    }
  }
}

// The entry wanted is gone: go to the oldest that is still there. A publisher that overtakes us
// again and again is met further ahead each time.
void Reader::overtaken(std::uint32_t index, unsigned attempt) noexcept {
  Lane& lane = lanes_[index];
  // sync tail (reader): entries before it are retired
  const std::uint64_t tail = heads_->tail[index].load(std::memory_order_acquire);
  // sync head (reader): an upper bound for where there is something
  const std::uint64_t head = heads_->head[index].load(std::memory_order_acquire);
  if (!admitted()) return;  // as in take_from
  const std::uint64_t ahead = (lane.mask + 1) >> attempt;
  std::uint64_t target = std::max(tail, attempt > 1 && head > ahead ? head - ahead : 0);
  // The words are foreign and may lag or lie: at least one entry ahead, at most behind the newest.
  target = std::clamp(target, lane.next + 1, std::max(lane.next + 1, head + 1));
  pass(index, target - lane.next,
       options_.mode == DeliveryMode::latest ? LossCause::policy : LossCause::full);
}

// A line of its own, which nobody but us has, seldom asked for.
void Reader::tell_taken(std::uint32_t index, std::uint64_t next) noexcept {
  // sync progress (reader): only said, nothing follows from it
  page_->progress.taken[index].store(next, std::memory_order_release);
}

void Reader::move_cursor(std::uint32_t index, std::uint64_t cursor) noexcept {
  lanes_[index].cursor = cursor;
  // sync cursor (reader): the claim, or that we do not want it, comes before
  page_->cursor[index].store(cursor, std::memory_order_release);
}

void Reader::release(Sample& sample) noexcept {
  if (sample.timed_from_ns_ != 0) {
    const std::uint64_t now = now_ns();
    // Samples may end in several threads at once.
    record_shared(page_->processing, now - sample.timed_from_ns_);
    if (now >= sample.info_.origin_ns) {
      record_shared(page_->end_to_end, now - sample.info_.origin_ns);
    }
  }
  SLUICE_KILL_POINT("release.begin");
  if (sample.resolved_) {
    release_resolved(sample.slot_);
  } else {
    // sync release (reader): our last read of the payload comes before
    claims_[sample.slot_ / 64].taken.fetch_and(~bit_of(sample.slot_), std::memory_order_release);
  }
  SLUICE_KILL_POINT("release.cleared");
  drop_one();
}

void Reader::drop_one() noexcept {
  // sync last (releaser): our use of the reader comes before its deletion
  if (released_.fetch_add(1, std::memory_order_acq_rel) + 1 == kClosed) delete this;
}

}  // namespace sluice::shm

namespace sluice {

void Sample::release() noexcept {
  if (shm::Reader* reader = std::exchange(reader_, nullptr)) {
    reader->release(*this);
    data_ = nullptr;
    size_ = 0;
    outcome_ = Outcome::empty;
  }
}

bool Sample::intact() const noexcept {
  if (reader_ == nullptr) return false;
  // sync admit (reader): our reads of the payload before the state
  std::atomic_thread_fence(std::memory_order_acquire);
  return reader_->admitted() &&
         ((contents_ & shm::kEntryForeign) == 0 || reader_->foreign_is_intact(*this));
}

Reference Sample::reference() const noexcept {
  if (reader_ == nullptr) return {};
  return {reader_->geometry_.stream_id, info_.sequence, slot_,
          static_cast<std::uint32_t>(info_.priority)};
}

// Null where there are none.
const std::byte* Sample::references() const noexcept {
  if (reader_ == nullptr || (contents_ & shm::kEntryHasReferences) == 0 ||
      reader_->geometry_.max_references == 0) {
    return nullptr;
  }
  if ((contents_ & shm::kEntryHasUserHeader) == 0) return behind_;
  return behind_ + sizeof(shm::UserHeader) + shm::round_up(user_header_bytes_, 8);
}

std::uint32_t Sample::reference_count() const noexcept {
  const std::byte* const at = references();
  if (at == nullptr) return 0;
  std::uint32_t count = 0;
  std::memcpy(&count, at, sizeof count);
  return std::min(count, reader_->geometry_.max_references);
}

Reference Sample::reference_at(std::uint32_t index) const noexcept {
  Reference reference;
  if (index < reference_count()) {
    std::memcpy(&reference, references() + 8 + index * sizeof reference, sizeof reference);
  }
  return reference;
}

}  // namespace sluice
