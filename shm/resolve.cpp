// resolve: from a reference in one message to the message it names, in place.
//
// Whoever published the reference still claims that slot, for as long as its own message exists; we
// hold that message, so the slot cannot go away while we claim it for ourselves. The claim is made
// like a take's, but against the slot's record, since the ring entry may have been used again.
// Where the record says `deciding` the publisher is counting claims this very moment: we wait for
// its word. A stale reference finds another sequence, or none, and has expired.
//
// Several resolved samples of one slot share one claim bit; a count per slot in private memory says
// when the last one ends. kBusy in it is a lock for the few instructions in which bit and count
// change together; it lies in this process alone and dies with it.
#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/reader.hpp"

#include <sched.h>

namespace sluice::shm {
namespace {

constexpr std::uint32_t kBusy = 0xffff'ffff;
constexpr std::uint64_t kPatienceNs = 20'000'000;  // for a publisher stopped while deciding

std::uint64_t mask_of(std::uint32_t slot) { return std::uint64_t{1} << (slot % 64); }

// Locks a slot's count and returns it.
std::uint32_t lock(std::atomic<std::uint32_t>& count) {
  for (;;) {
    // relaxed: only a guess; the exchange below decides
    std::uint32_t value = count.load(std::memory_order_relaxed);
    // sync count (locker): what the last owner did with the bit comes before
    if (value != kBusy && count.compare_exchange_weak(value, kBusy, std::memory_order_acquire,
                                                      // relaxed: tried again
                                                      std::memory_order_relaxed)) {
      return value;
    }
    cpu_relax();
  }
}

void unlock(std::atomic<std::uint32_t>& count, std::uint32_t value) {
  // sync count (unlocker): what we did with the bit comes before
  count.store(value, std::memory_order_release);
}

}  // namespace

Sample Reader::resolve(const Reference& reference) noexcept {
  const auto no = [this](Outcome why) {
    add_relaxed(page_->counters.unresolved, 1);
    return Sample{why};
  };
  if (reference.stream_id != geometry_.stream_id) return no(Outcome::mismatch);
  if (reference.lane >= geometry_.lane_count || reference.sequence == 0 ||
      reference.sequence >= std::uint64_t{1} << 60) {
    return no(Outcome::expired);
  }
  const Place found = find(reference.slot, 0);
  if (found != Place::here) {
    return no(found == Place::elsewhere ? Outcome::timeout : Outcome::expired);
  }
  if (held() >= options_.max_held) return no(Outcome::quota);
  const SlotRecord& record = records_[reference.slot];
  const std::uint64_t live = slot_word(reference.sequence, reference.lane, SlotState::live);
  Outcome why = Outcome::expired;
  if (!hold_resolved(reference.slot, live, why)) return no(why);

  const auto word = [](const Word64& w) {
    // relaxed: written before the record's word, and they stay while we hold the slot
    return w.load(std::memory_order_relaxed);
  };
  MessageInfo info;
  info.sequence = reference.sequence;
  info.publish_ns = word(record.publish_ns);
  info.origin_ns = word(record.origin_ns);
  info.correlation = {word(record.correlation_high), word(record.correlation_low)};
  info.type_hash = word(record.type_hash);
  const std::uint64_t meta = word(record.meta);
  const std::uint64_t size = word(record.bytes);
  info.priority = static_cast<Priority>(reference.lane);
  info.user_flags = static_cast<std::uint8_t>(meta & 0x0f);
  info.ttl_ms = static_cast<std::uint32_t>(meta >> 32);
  Payload payload{address_of(reference.slot), size};
  Sample sample = make_sample(reference.slot, payload, meta, true, info);
  // A page of the publisher's may say anything; and an evicted reader's claims count for nothing.
  if (size > geometry_.capacity(geometry_.pool_of(reference.slot))) return no(Outcome::expired);
  if ((meta & kEntryForeign) != 0) [[unlikely]] {
    const Place there = find_foreign(reference.slot, payload);
    if (there != Place::here) {
      return no(there == Place::elsewhere ? Outcome::timeout : Outcome::expired);
    }
    sample.data_ = payload.data;
    sample.size_ = payload.size;
  }
  if (!admitted()) return no(Outcome::evicted);
  add_relaxed(page_->counters.resolved, 1);
  return sample;
}

bool Reader::hold_resolved(std::uint32_t slot, std::uint64_t live_word, Outcome& why) noexcept {
  const Word64& word = records_[slot].word;
  // sync resolve (reader): payload and record were written before
  const std::uint64_t seen = word.load(std::memory_order_acquire);
  if (seen != live_word && seen != with_state(live_word, SlotState::deciding)) return false;

  std::atomic<std::uint32_t>& count = resolved_[slot];
  const std::uint32_t others = lock(count);
  if (others == 0) {
    // sync resolve (reader): the bit before the record's word is read again
    claims_[slot / 64].resolved.fetch_or(mask_of(slot), std::memory_order_seq_cst);
  }
  SLUICE_KILL_POINT("resolve.claimed");
  why = decided(word, live_word);
  if (why != Outcome::ok && others == 0) {
    // sync release (reader): we read nothing, but an older claim's release order is kept
    claims_[slot / 64].resolved.fetch_and(~mask_of(slot), std::memory_order_release);
  }
  unlock(count, why == Outcome::ok ? others + 1 : others);
  return why == Outcome::ok;
}

// Whether the slot is ours; waits while the publisher decides.
Outcome Reader::decided(const Word64& word, std::uint64_t live_word) noexcept {
  const std::uint64_t deciding = with_state(live_word, SlotState::deciding);
  std::uint64_t give_up = 0;
  for (;;) {
    // sync resolve (reader): still live, so a publisher that decides sees our bit
    const std::uint64_t seen = word.load(std::memory_order_seq_cst);
    if (seen == live_word) return Outcome::ok;
    if (seen != deciding) return Outcome::expired;
    const std::uint64_t now = now_ns();
    if (give_up == 0) give_up = now + kPatienceNs;
    if (now >= give_up) {
      if (!publisher_died()) return Outcome::timeout;
      // A dead publisher never writes again; but it may have decided before it died.
      // sync resolve (reader): after the death, so this is its last word
      const std::uint64_t last = word.load(std::memory_order_seq_cst);
      return last == live_word || last == deciding ? Outcome::ok : Outcome::expired;
    }
    ::sched_yield();
  }
}

void Reader::release_resolved(std::uint32_t slot) noexcept {
  std::atomic<std::uint32_t>& count = resolved_[slot];
  const std::uint32_t holds = lock(count);
  if (holds == 1) {
    // sync release (reader): our last read of the payload comes before
    claims_[slot / 64].resolved.fetch_and(~mask_of(slot), std::memory_order_release);
  }
  unlock(count, holds - 1);
}

}  // namespace sluice::shm
