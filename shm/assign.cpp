// assign: the publisher gives the entries of its stream to the members of groups.
//
// After everything that brings an entry, a credit or a member, or takes one of them away, it reads
// the members' pages, gives out what it can, and wakes just those who got something. When entries
// are left over because nobody has a credit, it asks every member to say when it has one again: it
// shows a ticket, and looks once more (the hand-shake *room* of shm/protocol.md). Who answers makes
// an eventfd readable that a thread of the publisher's process waits for; that thread comes as a
// visitor, while the owner may be idle or sleep.
//
// What belongs to a group is in group.hpp; here is what connects it with the stream.
#include "shm/clock.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/publisher.hpp"

#include <algorithm>
#include <string>

namespace sluice::shm {

bool Publisher::tend() noexcept {
  const std::lock_guard lock{lock_};
  assign();
  return wants_tending();
}

void Publisher::assign() noexcept {
  bool waits = false;
  std::size_t takers = 0;
  for (const std::unique_ptr<Group>& group : groups_) {
    if (group->has_members()) {
      if (serve(*group)) waits = true;
      takers += group->takers();
    } else if (group->durable()) {
      if (ended_ || group->has_waited(now_ns(), durable_keep_ns_)) {
        dissolve(*group);
      } else {
        waits = true;
      }
    }
  }
  // relaxed: a count
  takers_.store(static_cast<std::uint32_t>(takers), std::memory_order_relaxed);
  // relaxed: a flag that stands alone
  group_waits_.store(waits, std::memory_order_relaxed);
}

// Whether it wants to know when somebody settles: entries wait for a credit, or the end for what is
// not settled.
bool Publisher::serve(Group& group) noexcept {
  const LaneExtents lanes = extents();
  refresh(group);
  do {
    while (GroupMember* member = group.assign_next(lanes)) wake_member(*member);
    // Who waits for nobody wants to be seen now: the next credit is for a fresh entry.
    if (on_full_ == OnFull::drop) add_relaxed(counters_->dropped, group.give_up_stale(lanes));
    if (!group.waits(lanes) && (!ended_ || group.drained(lanes))) {
      withdraw_tickets(group);
      if (ended_) finish(group);
      return false;
    }
  } while (ask(group, lanes));
  return group.has_members();
}

// What the members have settled, and who is no member any more.
void Publisher::refresh(Group& group) noexcept {
  for (std::size_t i = 0; i < group.members().size();) {
    GroupMember& member = *group.members()[i];
    // sync room, leave (publisher): as with the cursor; before it the reader settled for the last
    // time
    const std::uint32_t state = member.page->sleeping.state.load(std::memory_order_seq_cst);
    if (state != static_cast<std::uint32_t>(ReaderState::active)) {
      group.leave(member);
    } else if (!group.read(member)) {
      evict(record_of(member), EvictionCause::invalid);
    } else {
      ++i;
    }
  }
}

// Asks to be told. Whether what we want has come before our tickets were seen.
bool Publisher::ask(Group& group, const LaneExtents& lanes) noexcept {
  for (GroupMember* member : group.members()) {
    // The owner sleeps for this one, with a ticket of its own, and looks itself.
    if (waits_for_ != nullptr && waits_for_->member.get() == member) continue;
    member->ticket = next_room_ticket() | kAnswerByEvent;
    // sync room (publisher): before the cursors are read again
    member->wake->wake.line.wants_room.store(member->ticket, std::memory_order_seq_cst);
  }
  refresh(group);
  if (!group.waits(lanes)) return group.drained(lanes);
  return std::any_of(group.members().begin(), group.members().end(),
                     [](const GroupMember* member) { return member->has_credit(); });
}

void Publisher::withdraw_tickets(Group& group) noexcept {
  for (GroupMember* member : group.members()) {
    if (member->ticket == 0) continue;
    member->ticket = 0;
    // relaxed: a member that still sees the ticket makes a superfluous wake-up
    member->wake->wake.line.wants_room.store(0, std::memory_order_relaxed);
  }
}

void Publisher::wake_member(GroupMember& member) noexcept {
  // sync wake (publisher): after the assignment; pairs with the reader's seq_cst store and look
  const std::uint32_t ticket = member.page->sleeping.sleep.load(std::memory_order_seq_cst);
  if (ticket == 0 || ticket == member.woken) return;
  member.woken = ticket;
  wake(member.wake->wake.line, ticket, *member.event);
}

// Nothing more will be assigned.
void Publisher::finish(Group& group) noexcept {
  for (GroupMember* member : group.members()) {
    // sync ended, wake (publisher): after all assignments, before the sleep word is read
    member->wake->assignments.finished.store(1, std::memory_order_seq_cst);
    wake_member(*member);
  }
}

void Publisher::finish_groups() noexcept {
  const OwnerInside inside{lock_};
  for (const std::unique_ptr<Group>& group : groups_) {
    refresh(*group);
    finish(*group);
    add_relaxed(counters_->dropped, group->unsettled(extents()));
  }
}

void Publisher::keep_for_groups() noexcept {
  for (const std::unique_ptr<Group>& group : groups_) keep_for(*group);
}

// A group without members keeps nobody waiting, unless it is durable: what it has not settled stays
// while there is room.
void Publisher::keep_for(const Group& group) noexcept {
  if (group.dissolved()) return;
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Lane& lane = lanes_[i];
    lane.passed = std::min(lane.passed, group.oldest(i));
    if (!group.keeps()) continue;
    // What is given up was perhaps assigned, and its member may be about to claim it: always marked.
    lane.left_behind = on_full_ == OnFull::drop ? 0 : std::min(lane.left_behind, group.oldest(i));
    lane.passed_reliable = std::min(lane.passed_reliable, group.oldest(i));
  }
}

std::unique_ptr<Group> Publisher::make_group(const SubscriptionOptions& options) const {
  std::array<std::uint32_t, kMaxLanes> entries{};
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    entries[i] = geometry_.lanes[i].ring_entries;
  }
  auto group = std::make_unique<Group>(options.group, entries, geometry_.max_readers);
  group->set_durable(options.durable);
  return group;
}

// Members of one group keep its place, or do not.
bool Publisher::disagrees(const SubscriptionOptions& options) const noexcept {
  return std::any_of(groups_.begin(), groups_.end(), [&](const auto& group) {
    return group->name() == options.group && group->keeps() && group->durable() != options.durable;
  });
}

// Nobody will come for what is kept there.
void Publisher::dissolve(Group& group) noexcept {
  add_relaxed(counters_->dropped, group.dissolve(extents()));
}

// The group of that name goes on where it stands. `made` becomes one if there is none, and may be
// given another one in return that nobody is in.
Group& Publisher::join_group(GroupMember& member, std::uint32_t history,
                             std::unique_ptr<Group>& made) noexcept {
  const auto begin = [&](Group& group) {
    for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
      group.start(i, start_of(lanes_[i], history));
    }
  };
  auto at = std::find_if(groups_.begin(), groups_.end(),
                         [&](const auto& group) { return group->name() == made->name(); });
  if (at == groups_.end()) {
    begin(*made);
    if (groups_.size() == geometry_.max_readers) {
      // There are fewer other readers than that, so one has no members; the first is the oldest.
      at = std::find_if(groups_.begin(), groups_.end(),
                        [](const auto& group) { return !group->keeps(); });
      if (at == groups_.end()) {
        at = std::find_if(groups_.begin(), groups_.end(),
                          [](const auto& group) { return !group->has_members(); });
        dissolve(**at);
      }
      note_departure(**at);
      std::rotate(at, at + 1, groups_.end());
      std::swap(groups_.back(), made);
    } else {
      groups_.push_back(std::move(made));
    }
    at = groups_.end() - 1;
  } else if ((*at)->dissolved()) {
    note_departure(**at);
    begin(*made);
    std::swap(*at, made);
  } else if (!(*at)->has_members()) {
    (*at)->set_durable(made->durable());
    (*at)->forget_below(extents());
  }
  (*at)->join(member);
  return **at;
}

Result<void> Publisher::keep_place(const GroupName& name) {
  SubscriptionOptions options;
  options.mode = DeliveryMode::group;
  options.group = name;
  options.durable = true;
  const std::lock_guard visitors{visitors_};
  std::unique_ptr<Group> made = make_group(options);
  const std::lock_guard lock{lock_};
  const auto is_there = [&](const auto& group) { return group->name() == name; };
  if (ended_ || std::any_of(groups_.begin(), groups_.end(), is_there)) return {};
  if (groups_.size() == geometry_.max_readers) {
    return Error{Errc::exhausted, 0,
                 "the stream has max_readers = " + std::to_string(geometry_.max_readers) +
                     " groups; plan for more"};
  }
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Lane& lane = lanes_[i];
    made->start(i, start_of(lane, 0));
    // As in admit(): what the last look said about all is made true for this one too.
    lane.left_behind = std::min(lane.left_behind, made->oldest(i));
    lane.passed = std::min(lane.passed, made->oldest(i));
    lane.passed_reliable = std::min(lane.passed_reliable, made->oldest(i));
  }
  groups_.push_back(std::move(made));
  assign();
  return {};
}

// Others will get what it had; assign() follows in all that calls this.
void Publisher::leave_group(GroupMember& member) noexcept {
  if (member.group != nullptr) member.group->leave(member);
}

// OnFull::drop: the groups that stand in the way of the lane's oldest entry give it up. Who works on it
// goes on; a member that has not taken it yet finds it gone.
void Publisher::give_up_oldest(const Lane& lane) noexcept {
  const auto index = static_cast<std::uint32_t>(&lane - lanes_.data());
  for (const std::unique_ptr<Group>& group : groups_) {
    if (!group->keeps() || group->oldest(index) > lane.tail) continue;
    if (group->give_up_oldest(index)) add_relaxed(counters_->dropped, 1);
  }
}

Publisher::ReaderRecord* Publisher::blocking_member(const Lane& lane) noexcept {
  const auto index = static_cast<std::uint32_t>(&lane - lanes_.data());
  for (const std::unique_ptr<Group>& group : groups_) {
    if (!group->has_members() || group->oldest(index) > lane.tail) continue;
    return &record_of(*group->holder(index, lane.tail));
  }
  return nullptr;
}

// A durable group without members.
Group* Publisher::blocking_place(const Lane& lane) noexcept {
  const auto index = static_cast<std::uint32_t>(&lane - lanes_.data());
  const auto at = std::find_if(groups_.begin(), groups_.end(), [&](const auto& group) {
    return group->durable() && !group->has_members() && group->oldest(index) <= lane.tail;
  });
  return at != groups_.end() ? at->get() : nullptr;
}

Publisher::ReaderRecord& Publisher::record_of(const GroupMember& member) noexcept {
  return *std::find_if(readers_.begin(), readers_.end(),
                       [&](const ReaderRecord& reader) { return reader.member == &member; });
}

LaneExtents Publisher::extents() const noexcept {
  LaneExtents all;
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    all[i] = {lanes_[i].head, lanes_[i].tail};
  }
  return all;
}

}  // namespace sluice::shm
