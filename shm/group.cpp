#include "shm/group.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

namespace sluice::shm {

std::uint64_t GroupMember::burden() const noexcept {
  return std::max<std::uint64_t>(outstanding(), load_backlog(load));
}

Group::Group(const GroupName& name, const std::array<std::uint32_t, kMaxLanes>& ring_entries,
             std::size_t max_members)
    : name_(name), records_(name == kRecorderGroup) {
  for (std::uint32_t i = 0; i < kMaxLanes && ring_entries[i] != 0; ++i) {
    lanes_[i].mask = ring_entries[i] - 1;
    lanes_[i].unsettled.resize(ring_entries[i]);
    lanes_[i].again.resize(ring_entries[i]);
    lanes_[i].handled.resize(ring_entries[i]);
    lanes_[i].deliveries.resize(ring_entries[i]);
    lane_count_ = i + 1;
  }
  members_.reserve(max_members);
}

void Group::start(std::uint32_t lane, std::uint64_t sequence) noexcept {
  Lane& l = lanes_[lane];
  l.first = l.oldest = l.next = l.again_from = sequence;
}

void Group::join(GroupMember& member) noexcept {
  member.group = this;
  member.number = next_number_++;
  members_.push_back(&member);
  empty_since_ns_ = 0;
}

void Group::leave(GroupMember& member) noexcept {
  (void)read(member);
  // sync progress (publisher): after it was told that it is none, or has said so itself; what it
  // takes from then on it lets go again
  const std::uint64_t taken = member.page->progress.taken[0].load(std::memory_order_seq_cst);
  for (std::uint64_t n = member.settled; n != member.assigned; ++n) {
    // relaxed: our own word
    give_again(member.wake->ring[n % kMaxCredits].load(std::memory_order_relaxed), n < taken,
               member);
  }
  member.group = nullptr;
  std::erase(members_, &member);
}

std::size_t Group::takers() const noexcept {
  if (records_) return 0;
  std::size_t count = 0;
  for (const GroupMember* const member : members_) count += member->takes_more() ? 1 : 0;
  return count;
}

bool Group::read(GroupMember& member) noexcept {
  // sync room, cursor, returned (publisher): after our ticket was stored; what the member did with
  // the entries, and what it said of them, comes before
  const std::uint64_t settled = member.page->cursor[0].load(std::memory_order_seq_cst);
  // sync room (publisher): after our ticket was stored
  member.load = member.page->cursor[1].load(std::memory_order_seq_cst);
  if (settled < member.settled || settled > member.assigned) return false;
  for (; member.settled != settled; ++member.settled) {
    const std::size_t place = member.settled % kMaxCredits;
    // relaxed: our own word
    const std::uint64_t word = member.wake->ring[place].load(std::memory_order_relaxed);
    // relaxed: before the cursor above, and not written again before we assign this place again
    const std::uint64_t bits =
        member.page->progress.returned[place / 64].load(std::memory_order_relaxed);
    if ((bits >> (place % 64) & 1) != 0) {
      give_again(word, true, member);
    } else {
      settle(word);
    }
  }
  return true;
}

void Group::settle(std::uint64_t word) noexcept {
  Lane& lane = lanes_[assigned_lane(word)];
  const std::uint64_t sequence = assigned_sequence(word);
  if (sequence < lane.oldest) return;  // given up
  lane.unsettled.clear(sequence & lane.mask);
  lane.handled.set(sequence & lane.mask);
  if (sequence == lane.oldest) advance(lane);
}

// It stays unsettled; another one shall have it.
void Group::give_again(std::uint64_t word, bool was_taken, const GroupMember& by) noexcept {
  Lane& lane = lanes_[assigned_lane(word)];
  const std::uint64_t sequence = assigned_sequence(word);
  if (sequence < lane.oldest) return;  // given up
  lane.again.set(sequence & lane.mask);
  ++lane.again_count;
  lane.again_from = std::min(lane.again_from, sequence);
  const std::uint8_t before = assigned_deliveries(word);
  const bool more = was_taken && before != std::numeric_limits<std::uint8_t>::max();
  lane.delivered(sequence) = {by.number, static_cast<std::uint8_t>(before + (more ? 1 : 0))};
}

// `next` is given to somebody for the first time. Its place may have been another sequence's.
void Group::open(Lane& lane, std::uint64_t sequence) noexcept {
  lane.unsettled.set(sequence & lane.mask);
  lane.handled.clear(sequence & lane.mask);
  lane.delivered(sequence) = {};
}

// `next` is given to nobody.
void Group::skip(Lane& lane, std::uint64_t sequence) noexcept {
  lane.unsettled.clear(sequence & lane.mask);
  lane.handled.clear(sequence & lane.mask);
  lane.lost_through = sequence;
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
    for (; lane.next != from; ++lane.next) skip(lane, lane.next);
    advance(lane);
  }
  return count;
}

bool Group::give_up_oldest(std::uint32_t index) noexcept {
  Lane& lane = lanes_[index];
  bool nobody_had_it = true;
  if (lane.oldest == lane.next) {
    skip(lane, lane.next++);
  } else if (lane.again.test(lane.oldest & lane.mask)) {
    lane.again.clear(lane.oldest & lane.mask);
    --lane.again_count;
  } else {
    nobody_had_it = false;
  }
  lane.unsettled.clear(lane.oldest & lane.mask);
  lane.lost_through = std::max(lane.lost_through, lane.oldest);
  ++lane.oldest;
  advance(lane);
  return nobody_had_it;
}

void Group::advance(Lane& lane) noexcept {
  while (lane.oldest != lane.next && !lane.unsettled.test(lane.oldest & lane.mask)) ++lane.oldest;
}

// Nothing is retired above `oldest` while the group keeps it, so a place of the ring is never asked
// for two sequences.
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
    lane.lost_through = tail - 1;  // `oldest` was not settled
    lane.next = std::max(lane.next, tail);
    lane.again_from = std::max(lane.again_from, tail);
    advance(lane);
  }
}

bool Group::has_waited(std::uint64_t now_ns, std::uint64_t keep_ns) noexcept {
  if (!durable_ || has_members()) return false;
  if (empty_since_ns_ == 0) empty_since_ns_ = now_ns;
  return now_ns - std::min(now_ns, empty_since_ns_) >= keep_ns;
}

std::uint64_t Group::dissolve(const LaneExtents& extents) noexcept {
  const std::uint64_t count = unsettled(extents);
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    Lane& lane = lanes_[i];
    const std::uint64_t end = extents[i].head + 1;
    for (std::uint64_t s = std::max(lane.next, extents[i].tail); s < end; ++s) {
      lane.handled.clear(s & lane.mask);
    }
    lane.unsettled.reset();
    lane.again.reset();
    lane.again_count = 0;
    if (lane.oldest != end) lane.lost_through = extents[i].head;
    lane.oldest = lane.next = lane.again_from = end;
  }
  durable_ = false;
  dissolved_ = true;
  return count;
}

std::uint64_t Group::unsettled(const LaneExtents& extents) const noexcept {
  std::uint64_t count = 0;
  for (std::uint32_t i = 0; i < lane_count_ && !dissolved_; ++i) {
    const Lane& lane = lanes_[i];
    const std::uint64_t from = std::max(lane.oldest, extents[i].tail);
    for (std::uint64_t s = from; s < lane.next; ++s) {
      if (lane.unsettled.test(s & lane.mask)) ++count;
    }
    count += extents[i].head + 1 - std::min(extents[i].head + 1, std::max(lane.next, from));
  }
  return count;
}

// In turn, so that those who have equally many get equally many. `but`: the member of that number
// only when there is no other one.
GroupMember* Group::pick(std::uint32_t but) noexcept {
  if (members_.size() == 1) return members_.front()->has_credit() ? members_.front() : nullptr;
  const auto rank = [but](const GroupMember& member) {
    const bool busy = load_state(member.load) == static_cast<std::uint32_t>(WorkerState::busy);
    return std::tuple{member.number == but, busy, member.burden()};
  };
  GroupMember* best = nullptr;
  std::size_t at = 0;
  for (std::size_t k = 0; k < members_.size(); ++k) {
    const std::size_t i = (turn_ + k) % members_.size();
    GroupMember& member = *members_[i];
    if (!member.has_credit()) continue;
    if (best != nullptr && rank(*best) <= rank(member)) continue;
    best = &member;
    at = i;
  }
  if (best != nullptr) turn_ = at + 1;
  return best;
}

// The oldest that is to be given again; there is one.
std::uint64_t Group::next_again(Lane& lane) noexcept {
  // What is below may have been retired, and its place belong to another sequence.
  lane.again_from = std::max(lane.again_from, lane.oldest);
  while (!lane.again.test(lane.again_from & lane.mask)) ++lane.again_from;
  return lane.again_from;
}

// The highest lane first; within it the oldest, and what is given again is older than what is new.
GroupMember* Group::assign_next(const LaneExtents& extents) noexcept {
  for (std::uint32_t i = 0; i < lane_count_; ++i) {
    Lane& lane = lanes_[i];
    const bool again = lane.again_count != 0;
    if (!again && lane.next > extents[i].head) continue;
    const std::uint64_t sequence = again ? next_again(lane) : lane.next;
    GroupMember* member = pick(again ? lane.delivered(sequence).last : 0);
    if (member == nullptr) return nullptr;
    if (again) {
      lane.again.clear(sequence & lane.mask);
      --lane.again_count;
    } else {
      open(lane, lane.next++);
    }
    const std::uint64_t word = assignment_word(i, lane.delivered(sequence).count, sequence);
    // relaxed: before the count below
    member->wake->ring[member->assigned % kMaxCredits].store(word, std::memory_order_relaxed);
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
  if (GroupMember* const member = find(lane, sequence).member) return member;
  const auto most = std::max_element(members_.begin(), members_.end(),
                                     [](const GroupMember* a, const GroupMember* b) {
                                       return a->outstanding() < b->outstanding();
                                     });
  return most != members_.end() ? *most : nullptr;
}

Assigned Group::find(std::uint32_t lane, std::uint64_t sequence) const noexcept {
  const std::uint64_t wanted = assignment_word(lane, 0, sequence);
  for (GroupMember* member : members_) {
    for (std::uint64_t n = member->settled; n != member->assigned; ++n) {
      // relaxed: our own word
      const std::uint64_t word =
          member->wake->ring[n % kMaxCredits].load(std::memory_order_relaxed);
      if (assigned_message(word) == wanted) return {member, n};
    }
  }
  return {};
}

Fate Group::fate(std::uint32_t index, std::uint64_t sequence,
                 const LaneExtent& extent) const noexcept {
  const Lane& lane = lanes_[index];
  if (sequence < lane.first || sequence > extent.head) return Fate::foreign;
  if (dissolved_ && sequence >= lane.next) return Fate::foreign;
  if (sequence < extent.tail) {  // its place may be another one's
    const bool settled = sequence < lane.oldest && sequence > lane.lost_through;
    return settled ? Fate::handled : Fate::lost;
  }
  if (sequence >= lane.next) return Fate::waiting;
  if (lane.handled.test(sequence & lane.mask)) return Fate::handled;
  if (!lane.unsettled.test(sequence & lane.mask)) return Fate::lost;  // given up
  return was_taken(index, sequence) ? Fate::taken : Fate::waiting;
}

// Of an entry that is not settled.
bool Group::was_taken(std::uint32_t index, std::uint64_t sequence) const noexcept {
  const Lane& lane = lanes_[index];
  if (lane.deliveries[static_cast<std::size_t>(sequence & lane.mask)].count != 0) return true;
  const Assigned with = find(index, sequence);
  // sync progress (publisher): only said, nothing follows from it
  return with.member != nullptr &&
         with.member->page->progress.taken[0].load(std::memory_order_seq_cst) > with.number;
}

}  // namespace sluice::shm
