// reach: what has become of a message.
//
// A message is for the reliable readers that began at or before it, and for each such group once.
// Each of them has taken it or not, and handled it (acknowledged it without a gap before it) or
// not, or will never do so: it was evicted, has left, or gave the message up. Of who is still here
// its page tells. Who goes leaves word for every entry that is in the ring then (Departed); when
// the entry is retired only one number per lane is left, `lost_through`, above which all that left
// had handled everything.
//
// Nothing follows from any of this for what is retired or given to whom.
#include "shm/clock.hpp"
#include "shm/histogram.hpp"
#include "shm/publisher.hpp"

#include <algorithm>

namespace sluice::shm {
namespace {

constexpr std::uint64_t kShortNapNs = 50'000;
constexpr std::uint64_t kLongNapNs = 1'000'000;

}  // namespace

void Publisher::Survey::add(bool taken, bool handled, bool over) noexcept {
  taken = taken || handled;
  ++reach.subscriptions;
  if (taken) ++reach.delivered;
  if (handled) ++reach.handled;
  never_taken = never_taken || (over && !taken);
  never_handled = never_handled || (over && !handled);
}

// Reads every page, and gives out what has become possible; retires nothing.
void Publisher::look_only() noexcept {
  look_at_readers();
  if (!groups_.empty()) assign();
}

bool Publisher::knows(const Reference& message) const noexcept {
  return message.stream_id == geometry_.stream_id && message.lane < geometry_.lane_count &&
         message.sequence != 0 && message.sequence <= lanes_[message.lane].head;
}

Reach Publisher::reached(const Reference& message) noexcept {
  if (!knows(message)) return {};
  const OwnerInside inside{lock_};
  look_only();
  return survey(message).reach;
}

Outcome Publisher::handled_by(const Reference& message, const GroupName& name) noexcept {
  if (!knows(message)) return Outcome::mismatch;
  const OwnerInside inside{lock_};
  look_only();
  const auto at = std::find_if(groups_.begin(), groups_.end(),
                               [&](const auto& group) { return group->name() == name; });
  if (at == groups_.end()) return Outcome::no_subscriber;
  const Group& group = **at;
  switch (group.fate(message.lane, message.sequence, extents()[message.lane])) {
    case Fate::handled:
      return Outcome::ok;
    case Fate::lost:
      return Outcome::evicted;
    case Fate::foreign:
      return Outcome::no_subscriber;
    case Fate::waiting:
    case Fate::taken:
      break;
  }
  return group.keeps() ? Outcome::empty : Outcome::no_subscriber;
}

bool Publisher::is_assigned(const Reference& message) noexcept {
  if (!knows(message)) return false;
  const OwnerInside inside{lock_};
  look_only();
  return std::any_of(groups_.begin(), groups_.end(), [&](const auto& group) {
    return group->name() != kRecorderGroup &&
           group->find(message.lane, message.sequence).member != nullptr;
  });
}

// Needs a recent look.
Publisher::Survey Publisher::survey(const Reference& message) noexcept {
  const std::uint32_t index = message.lane;
  const std::uint64_t sequence = message.sequence;
  const LaneExtents lanes = extents();
  Survey all;
  if (sequence < lanes_[index].tail) {
    all.reach.retired = true;
    all.never_handled = sequence <= lanes_[index].lost_through;
    for (const std::unique_ptr<Group>& group : groups_) {
      if (group->fate(index, sequence, lanes[index]) == Fate::lost) all.never_handled = true;
    }
    all.never_taken = all.never_handled;
    return all;
  }
  if (!lanes_[index].departed.empty()) {
    const Departed& left = departed(lanes_[index], sequence);
    all.reach.subscriptions = left.readers;
    all.reach.delivered = left.taken;
    all.reach.handled = left.handled;
    all.never_taken = left.taken < left.readers;
    all.never_handled = left.handled < left.readers;
  }
  for (const ReaderRecord& reader : readers_) {
    if (reader.mode != DeliveryMode::reliable) continue;
    // relaxed: our own word
    if (reader.wake->admission.start[index].load(std::memory_order_relaxed) > sequence) continue;
    // sync progress (publisher): only said, nothing follows from it
    const std::uint64_t taken = reader.page->progress.taken[index].load(std::memory_order_acquire);
    all.add(taken > sequence, reader.cursor[index] > sequence, reader.leaving);
  }
  for (const std::unique_ptr<Group>& group : groups_) {
    const Fate fate = group->fate(index, sequence, lanes[index]);
    if (fate == Fate::foreign) continue;
    all.add(fate == Fate::taken, fate == Fate::handled, fate == Fate::lost || !group->keeps());
  }
  return all;
}

// The look comes first, so that the deadline may have passed already.
Outcome Publisher::wait_reached(const Reference& message, ReachLevel level,
                                std::uint64_t deadline_ns) noexcept {
  if (!knows(message)) return Outcome::mismatch;
  const OwnerInside inside{lock_};
  const bool handled = level == ReachLevel::handled;
  std::uint64_t pause = kShortNapNs;
  for (;;) {
    look_only();
    const Survey now = survey(message);
    const Reach& reach = now.reach;
    if (handled ? now.never_handled : now.never_taken) return Outcome::evicted;
    if (reach.retired) return Outcome::ok;
    if (reach.subscriptions == 0) return Outcome::no_subscriber;
    if ((handled ? reach.handled : reach.delivered) == reach.subscriptions) return Outcome::ok;
    if (now_ns() >= deadline_ns) return Outcome::timeout;
    if (handled) {
      sleep_until_handled(message, deadline_ns);
    } else {
      nap_outside(pause, deadline_ns);
      pause = std::min(2 * pause, kLongNapNs);
    }
  }
}

// Of one that has not handled it, a slice of time at most.
void Publisher::sleep_until_handled(const Reference& message, std::uint64_t deadline_ns) noexcept {
  const std::uint32_t index = message.lane;
  const std::uint64_t sequence = message.sequence;
  for (ReaderRecord& reader : readers_) {
    if (reader.mode != DeliveryMode::reliable || reader.leaving ||
        reader.cursor[index] > sequence ||
        // relaxed: our own word
        reader.wake->admission.start[index].load(std::memory_order_relaxed) > sequence) {
      continue;
    }
    sleep_outside(reader, reader.page->cursor[index], sequence, sequence + 1, deadline_ns);
    return;
  }
  const LaneExtents lanes = extents();
  for (const std::unique_ptr<Group>& group : groups_) {
    const Fate fate = group->fate(index, sequence, lanes[index]);
    if (fate != Fate::waiting && fate != Fate::taken) continue;
    Assigned with = group->find(index, sequence);
    if (with.member == nullptr) {  // for a credit, of whoever has most
      with.member = group->holder(index, sequence);
      if (with.member == nullptr) continue;
      with.number = with.member->settled;
    }
    sleep_outside(record_of(*with.member), with.member->page->cursor[0], with.number,
                  with.number + 1, deadline_ns);
    return;
  }
  nap_outside(kLongNapNs, deadline_ns);  // for a member of a durable group
}

std::uint32_t Publisher::backlog(Priority priority) noexcept {
  const auto index = std::min(static_cast<std::uint32_t>(priority), geometry_.lane_count - 1);
  const OwnerInside inside{lock_};
  look_only();
  const Lane& lane = lanes_[index];
  const std::uint64_t kept = lane.head + 1 - std::min(lane.head + 1, lane.passed_reliable);
  return static_cast<std::uint32_t>(std::min(kept, lane.depth));
}

// Our own words tell: a slot keeps its message until it is decided that nobody holds it.
std::byte* Publisher::amend(const Reference& message) noexcept {
  if (!knows(message) || message.slot >= geometry_.slots) return nullptr;
  // relaxed: our own word
  if (record_of(message.slot).word.load(std::memory_order_relaxed) !=
      slot_word(message.sequence, message.lane, SlotState::live)) {
    return nullptr;
  }
  if (!lent_.empty() && lent_[message.slot].pool != kMaxPools) return nullptr;  // not ours
  return slots_.address(geometry_.pool_of(message.slot), message.slot);
}

Publisher::Departed& Publisher::departed(Lane& lane, std::uint64_t sequence) noexcept {
  Departed& left = lane.departed[static_cast<std::size_t>(sequence & lane.mask)];
  if (left.sequence != sequence) left = {sequence};
  return left;
}

// A reliable reader goes.
void Publisher::note_departure(const ReaderRecord& reader) noexcept {
  if (reader.mode != DeliveryMode::reliable) return;
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Lane& lane = lanes_[i];
    // relaxed: our own word
    const std::uint64_t start = reader.wake->admission.start[i].load(std::memory_order_relaxed);
    // sync cursor (publisher): what it acknowledged at last
    const std::uint64_t cursor = reader.page->cursor[i].load(std::memory_order_acquire);
    // sync progress (publisher): only said, nothing follows from it
    const std::uint64_t taken = reader.page->progress.taken[i].load(std::memory_order_acquire);
    const bool lies = cursor > lane.head + 1;
    const std::uint64_t handled = lies ? 0 : std::max(reader.cursor[i], cursor);
    for (std::uint64_t s = std::max(start, lane.tail); s <= lane.head; ++s) {
      Departed& left = departed(lane, s);
      ++left.readers;
      if (s < taken || s < handled) ++left.taken;
      if (s < handled) ++left.handled;
    }
    if (handled <= lane.head) lane.lost_through = lane.head;
  }
}

// A group that nobody is in gives its place to another one.
void Publisher::note_departure(const Group& group) noexcept {
  const LaneExtents lanes = extents();
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    lanes_[i].lost_through = std::max(lanes_[i].lost_through, group.lost_through(i));
    for (std::uint64_t s = lanes_[i].tail; s <= lanes_[i].head; ++s) {
      const Fate fate = group.fate(i, s, lanes[i]);
      if (fate == Fate::foreign) continue;
      Departed& left = departed(lanes_[i], s);
      ++left.readers;
      if (fate == Fate::taken || fate == Fate::handled) ++left.taken;
      if (fate == Fate::handled) {
        ++left.handled;
      } else {
        lanes_[i].lost_through = std::max(lanes_[i].lost_through, s);
      }
    }
  }
}

}  // namespace sluice::shm
