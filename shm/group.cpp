#include "shm/group.hpp"

#include <algorithm>

namespace sluice::shm {

Group::Group(const GroupName& name, const std::array<std::uint32_t, kMaxLanes>& ring_entries,
             std::size_t max_members)
    : name_(name) {
  for (std::uint32_t i = 0; i < kMaxLanes && ring_entries[i] != 0; ++i) {
    lanes_[i].mask = ring_entries[i] - 1;
    lanes_[i].unsettled.resize(ring_entries[i]);
    lanes_[i].again.resize(ring_entries[i]);
    lane_count_ = i + 1;
  }
  members_.reserve(max_members);
}

void Group::start(std::uint32_t lane, std::uint64_t sequence) noexcept {
  lanes_[lane].oldest = lanes_[lane].next = lanes_[lane].again_from = sequence;
}

void Group::join(GroupMember& member) noexcept {
  member.group = this;
  members_.push_back(&member);
}

void Group::leave(GroupMember& member) noexcept {
  (void)read(member);
  for (std::uint64_t n = member.settled; n != member.assigned; ++n) {
    // relaxed: our own word
    const std::uint64_t word = member.wake->ring[n % kMaxCredits].load(std::memory_order_relaxed);
    Lane& lane = lanes_[assigned_lane(word)];
    const std::uint64_t sequence = assigned_sequence(word);
    if (sequence < lane.oldest) continue;  // given up
    lane.again.set(sequence & lane.mask);
    ++lane.again_count;
    lane.again_from = std::min(lane.again_from, sequence);
  }
  member.group = nullptr;
  std::erase(members_, &member);
}

bool Group::read(GroupMember& member) noexcept {
  // sync room, cursor (publisher): after our ticket was stored; what the member did with the
  // entries comes before
  const std::uint64_t settled = member.page->cursor[0].load(std::memory_order_seq_cst);
  if (settled < member.settled || settled > member.assigned) return false;
  for (; member.settled != settled; ++member.settled) {
    // relaxed: our own word
    settle(member.wake->ring[member.settled % kMaxCredits].load(std::memory_order_relaxed));
  }
  return true;
}

void Group::settle(std::uint64_t word) noexcept {
  Lane& lane = lanes_[assigned_lane(word)];
  const std::uint64_t sequence = assigned_sequence(word);
  if (sequence < lane.oldest) return;  // given up
  lane.unsettled.clear(sequence & lane.mask);
  if (sequence == lane.oldest) advance(lane);
}

// Nobody was given these, so nobody looks at them, and they have no bits.
std::uint64_t Group::give_up_stale(const LaneExtents& extents) noexcept {
  std::uint64_t count = 0;
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    Lane& lane = lanes_[i];
    const std::uint64_t end = extents[i].head + 1;
    const std::uint64_t from = end - std::min<std::uint64_t>(end, members_.size());
    if (lane.next >= from) continue;
    count += from - lane.next;
    // Places between are cleared, in case they lie below what somebody works on.
    for (; lane.next != from; ++lane.next) lane.unsettled.clear(lane.next & lane.mask);
    advance(lane);
  }
  return count;
}

bool Group::give_up_oldest(std::uint32_t index) noexcept {
  Lane& lane = lanes_[index];
  bool nobody_had_it = true;
  if (lane.oldest == lane.next) {
    ++lane.next;
  } else if (lane.again.test(lane.oldest & lane.mask)) {
    lane.again.clear(lane.oldest & lane.mask);
    --lane.again_count;
  } else {
    nobody_had_it = false;
  }
  lane.unsettled.clear(lane.oldest & lane.mask);
  ++lane.oldest;
  advance(lane);
  return nobody_had_it;
}

void Group::advance(Lane& lane) noexcept {
  while (lane.oldest != lane.next && !lane.unsettled.test(lane.oldest & lane.mask)) ++lane.oldest;
}

// Nothing is retired above `oldest` while the group has members, so a place of the ring is never
// asked for two sequences.
void Group::forget_below(const LaneExtents& extents) noexcept {
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    Lane& lane = lanes_[i];
    const std::uint64_t tail = extents[i].tail;
    if (lane.oldest >= tail) continue;
    for (std::uint64_t s = lane.oldest; s != std::min(lane.next, tail); ++s) {
      lane.unsettled.clear(s & lane.mask);
      if (!lane.again.test(s & lane.mask)) continue;
      lane.again.clear(s & lane.mask);
      --lane.again_count;
    }
    lane.oldest = tail;
    lane.next = std::max(lane.next, tail);
    lane.again_from = std::max(lane.again_from, tail);
    advance(lane);
  }
}

// In turn, so that those who have equally many get equally many.
GroupMember* Group::pick() noexcept {
  GroupMember* best = nullptr;
  std::size_t at = 0;
  for (std::size_t k = 0; k < members_.size(); ++k) {
    const std::size_t i = (turn_ + k) % members_.size();
    GroupMember& member = *members_[i];
    if (!member.has_credit()) continue;
    if (best != nullptr && best->outstanding() <= member.outstanding()) continue;
    best = &member;
    at = i;
  }
  if (best != nullptr) turn_ = at + 1;
  return best;
}

std::uint64_t Group::take_again(Lane& lane) noexcept {
  // What is below may have been retired, and its place belong to another sequence.
  lane.again_from = std::max(lane.again_from, lane.oldest);
  while (!lane.again.test(lane.again_from & lane.mask)) ++lane.again_from;
  lane.again.clear(lane.again_from & lane.mask);
  --lane.again_count;
  return lane.again_from++;
}

// The highest lane first; within it the oldest, and what is given again is older than what is new.
GroupMember* Group::assign_next(const LaneExtents& extents) noexcept {
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    Lane& lane = lanes_[i];
    const bool again = lane.again_count != 0;
    if (!again && lane.next > extents[i].head) continue;
    GroupMember* member = pick();
    if (member == nullptr) return nullptr;
    const std::uint64_t sequence = again ? take_again(lane) : lane.next++;
    lane.unsettled.set(sequence & lane.mask);
    // relaxed: before the count below
    member->wake->ring[member->assigned % kMaxCredits].store(assignment_word(i, again, sequence),
                                                             std::memory_order_relaxed);
    ++member->assigned;
    // sync assign, wake (publisher): the entry and the word above before it, the sleep word after
    // it
    member->wake->assignments.assigned.store(member->assigned, std::memory_order_seq_cst);
    return member;
  }
  return nullptr;
}

bool Group::waits(const LaneExtents& extents) const noexcept {
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    if (lanes_[i].again_count != 0 || lanes_[i].next <= extents[i].head) return true;
  }
  return false;
}

bool Group::drained(const LaneExtents& extents) const noexcept {
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    if (lanes_[i].oldest <= extents[i].head) return false;
  }
  return true;
}

// Who was given the entry; while it waits for a credit, who has most.
GroupMember* Group::holder(std::uint32_t lane, std::uint64_t sequence) const noexcept {
  GroupMember* most = nullptr;
  for (GroupMember* member : members_) {
    if (most == nullptr || most->outstanding() < member->outstanding()) most = member;
    for (std::uint64_t n = member->settled; n != member->assigned; ++n) {
      // relaxed: our own word
      const std::uint64_t word =
          member->wake->ring[n % kMaxCredits].load(std::memory_order_relaxed) & ~kRedelivered;
      if (word == assignment_word(lane, false, sequence)) return member;
    }
  }
  return most;
}

}  // namespace sluice::shm
