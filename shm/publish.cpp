// publish: one descriptor, and a wake-up for each reader that sleeps.
#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/publisher.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

namespace sluice::shm {
namespace {

constexpr std::uint64_t kPeriodicNs = 100'000;
constexpr std::uint64_t kBytesAhead = 256;  // of the next slot, where it is small
constexpr std::uint64_t kEntriesAhead = 4;  // no reader that keeps up looks at that one yet

void write_trailer(std::byte* at, std::span<const Sample> samples) {
  const std::uint32_t head[2] = {static_cast<std::uint32_t>(samples.size()), 0};
  std::memcpy(at, head, sizeof head);
  at += sizeof head;
  for (const Sample& sample : samples) {
    const Reference reference = sample.reference();
    std::memcpy(at, &reference, sizeof reference);
    at += sizeof reference;
  }
}

}  // namespace

Outcome Publisher::publish(Loan&& loan) noexcept {
  if (!loan) return Outcome::empty;
  if (loan.publisher_ != this) return Outcome::mismatch;
  if (ended_) return Outcome::ended;
  const OwnerInside inside{lock_};
  const std::uint32_t pool = geometry_.pool_of(loan.slot_);
  const std::uint32_t index = loan.lane_;
  prefetch_members();
  write_entry(loan, geometry_.stamped ? stamps_.now() : 0, true);
  SLUICE_KILL_POINT("publish.before_wake");
  wake_sleepers();
  if (!groups_.empty()) [[unlikely]]
    assign();
  // Off the critical path: the readers' copies of the lines that come next are taken back now.
  const Lane& lane = lanes_[index];
  if (lane.mask > 2 * kEntriesAhead) {
    prefetch_for_writing(&lane.ring[(lane.head + kEntriesAhead) & lane.mask]);
  }
  const std::uint32_t next = slots_.peek(pool);
  if (next == kNoSlot) return Outcome::ok;
  std::byte* const slot = slots_.address(pool, next);
  const std::uint64_t bytes = geometry_.pools[pool].slot_bytes;
  const std::uint64_t ahead = bytes < kLargeSlotBytes ? std::min(bytes, kBytesAhead) : 1;
  for (std::uint64_t at = 0; at < ahead; at += kCacheLine) prefetch_for_writing(slot + at);
  return Outcome::ok;
}

// What assign() will read of them is on its way while the entry is written.
void Publisher::prefetch_members() const noexcept {
  for (const std::unique_ptr<Group>& group : groups_) {
    for (const GroupMember* const member : group->members()) {
      __builtin_prefetch(&member->page->cursor);
      __builtin_prefetch(&member->page->progress);
    }
  }
}

Outcome Publisher::publish(std::span<Loan> loans) noexcept {
  const OwnerInside inside{lock_};
  const std::uint64_t now = geometry_.stamped ? stamps_.now() : 0;
  Outcome outcome = Outcome::ok;
  for (Loan& loan : loans) {
    outcome = !loan                     ? Outcome::empty
              : loan.publisher_ != this ? Outcome::mismatch
              : ended_                  ? Outcome::ended
                                        : Outcome::ok;
    if (outcome != Outcome::ok) break;
    write_entry(loan, now, false);
  }
  // sync wake (publisher): all entries before any sleep word is read
  std::atomic_thread_fence(std::memory_order_seq_cst);
  wake_sleepers();
  if (!groups_.empty()) assign();
  return outcome;
}

// Fills the lane's next entry. `last` orders the entry before the sleep words; a batch does that
// once, with a fence.
void Publisher::write_entry(Loan& loan, std::uint64_t now, bool last) noexcept {
  Lane& lane = lanes_[loan.lane_];
  SlotRecord& record = record_of(loan.slot_);
  const std::uint64_t sequence = lane.head + 1;
  Entry& entry = lane.ring[sequence & lane.mask];

  // What the slot itself begins with.
  const std::uint64_t own =
      (loan.contents_ & kEntryForeign) != 0 ? sizeof(ForeignPlace) : loan.size_;
  std::uint64_t flags = (loan.headers.user_flags & 0x0fu) | loan.contents_;
  if (geometry_.max_references != 0 && held_count_[loan.slot_] != 0) {
    flags |= kEntryHasReferences;
    const std::size_t first = std::size_t{loan.slot_} * geometry_.max_references;
    write_trailer(slots_.address(geometry_.pool_of(loan.slot_), loan.slot_) +
                      contents_end(loan, own),
                  {&held_[first], held_count_[loan.slot_]});
  }
  const std::uint64_t meta = flags | std::uint64_t{loan.lane_} << 8 |
                             std::uint64_t{kEveryone} << 16 |
                             std::uint64_t{loan.headers.ttl_ms} << 32;
  const std::uint64_t origin = loan.headers.origin_ns != 0 ? loan.headers.origin_ns : now;
  const std::uint64_t type =
      loan.headers.type_hash != 0 ? loan.headers.type_hash : geometry_.type_hash;
  SLUICE_KILL_POINT("publish.begin");

  // sync publish (publisher): whoever sees one of the new words below also sees the entry retired
  std::atomic_thread_fence(std::memory_order_release);
  const auto put = [](Word64& word, std::uint64_t value) {
    // relaxed: between the fence above and the release stores below
    word.store(value, std::memory_order_relaxed);
  };
  put(entry.publish_ns, now);
  put(entry.origin_ns, origin);
  put(entry.correlation_high, loan.headers.correlation.high);
  put(entry.correlation_low, loan.headers.correlation.low);
  put(entry.type_hash, type);
  put(entry.place, std::uint64_t{loan.slot_} | own << 32);
  put(entry.meta, meta);
  put(record.bytes, own);
  put(record.publish_ns, now);
  put(record.origin_ns, origin);
  put(record.correlation_high, loan.headers.correlation.high);
  put(record.correlation_low, loan.headers.correlation.low);
  put(record.type_hash, type);
  put(record.meta, meta);
  SLUICE_KILL_POINT("publish.entry_written");
  // sync resolve (publisher): payload and record before the word that names them
  record.word.store(slot_word(sequence, loan.lane_, SlotState::live), std::memory_order_release);
  lane.head = sequence;
  if (last) {
    // sync publish, wake (publisher): payload and entry before it, the sleep words after it
    entry.sequence.store(sequence, std::memory_order_seq_cst);
  } else {
    // sync publish (publisher): payload and entry before it
    entry.sequence.store(sequence, std::memory_order_release);
  }
  SLUICE_KILL_POINT("publish.published");
  // sync head (publisher): an entry that head covers is published
  heads_->head[loan.lane_].store(sequence, std::memory_order_release);

  add_relaxed(counters_->published, 1);
  add_relaxed(counters_->bytes, loan.size_);
  if (now != 0) {
    if (last_publish_ns_ != 0) record_interval(now);
    last_publish_ns_ = now;
    if (origin < now) shm::record(*publish_ages_, now - origin);
  }
  --lane.loans;
  --loans_;
  loan.clear();
}

void Publisher::record_interval(std::uint64_t now) noexcept {
  const std::uint64_t interval = now - last_publish_ns_;
  record(*intervals_, interval);
  // Of what is periodic. A flood has no time for it, and nobody looks.
  if (interval >= kPeriodicNs && last_interval_ns_ != kNever) {
    const auto change =
        static_cast<std::int64_t>(interval) - static_cast<std::int64_t>(last_interval_ns_);
    jitter_ns_ += ((change < 0 ? -change : change) - jitter_ns_) / 16;
    // relaxed: a gauge
    counters_->jitter_ns.store(static_cast<std::uint64_t>(jitter_ns_), std::memory_order_relaxed);
  }
  last_interval_ns_ = interval;
  // relaxed: a counter
  counters_->last_publish_ns.store(now, std::memory_order_relaxed);
}

void Publisher::describe(const SourceInfo& source) noexcept {
  const auto put = [](Word64& word, std::uint64_t value) {
    // relaxed: for monitors, each word by itself
    word.store(value, std::memory_order_relaxed);
  };
  put(source_->expected_interval_ns, source.expected_interval_ns);
  put(source_->gaps, source.gaps);
  put(source_->reconnects, source.reconnects);
  put(source_->copies, source.copies);
  put(source_->dropped, source.dropped);
  put(source_->fourcc, source.fourcc);
  put(source_->size, std::uint64_t{source.height} << 32 | source.width);
}

void Publisher::wake_sleepers() noexcept {
  const std::size_t count = sleep_words_.size();
  std::size_t i = 0;
  // Four at a time while all are awake: one branch, and loads that do not wait for each other.
  for (; i + 4 <= count; i += 4) {
    const Word32* const* w = &sleep_words_[i];
    const auto ticket = [w](std::size_t k) {
      // sync wake (publisher): after the entry; pairs with the reader's seq_cst store and look
      return w[k]->load(std::memory_order_seq_cst);
    };
    if ((ticket(0) | ticket(1) | ticket(2) | ticket(3)) != 0) [[unlikely]] {
      for (std::size_t k = i; k < i + 4; ++k) wake_if_asleep(k);
    }
  }
  for (; i < count; ++i) wake_if_asleep(i);
}

void Publisher::wake_if_asleep(std::size_t index) noexcept {
  // sync wake (publisher): as above; it may be later, not earlier
  const std::uint32_t ticket = sleep_words_[index]->load(std::memory_order_seq_cst);
  if (ticket != 0 && ticket != woken_[index]) wake_reader(index, ticket);
}

// One wake-up per sleep: a reader that was woken and has not run yet still shows its ticket.
void Publisher::wake_reader(std::size_t index, std::uint32_t ticket) noexcept {
  woken_[index] = ticket;
  wake(readers_[index].wake->line, ticket, readers_[index].registration->event);
}

void Publisher::wake(WakeLine& line, std::uint32_t ticket, const UniqueFd& event) noexcept {
  // sync wake (publisher): changes the futex word, so that a reader about to sleep does not
  line.wake.store(ticket, std::memory_order_release);
  SLUICE_KILL_POINT("publish.wake_stored");
  add_relaxed(counters_->wakes, 1);
  if ((ticket & kWakeByEvent) != 0 && event.valid()) {
    // Full (EAGAIN) means readable, which is what is wanted.
    (void)::eventfd_write(event.get(), 1);
  } else {
    futex_wake_all(line.wake);
  }
}

}  // namespace sluice::shm
