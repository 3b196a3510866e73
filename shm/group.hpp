// Groups: who of a group gets which entry of the stream. Private to the publisher.
//
// For each group and lane three marks and two bits per place of the ring:
//
//        oldest                    next                 head
//   ------|-------------------------|--------------------|------>  sequences
//         | with a member, settled, |  waits for a       |
//         | or to be given again    |  member's credit   |
//
//   unsettled   not acknowledged; its entry is kept
//   again       of these: whoever had it is gone or rejected it, another one shall have it
//   handled     acknowledged by a member, and not given up
//
// and with them how often the entry was delivered, and to whom last.
//
// Below `oldest` nothing is kept: it is settled, or was given up (OnFull::drop); its place in the
// ring may belong to another sequence, so what a member says about it changes no bit.
//
// A group that is *durable* keeps what it has not settled while it has no members, for some time.
//
// So an entry is with one member at most, the memory is bounded whatever happens, and what must be
// kept of a lane is one number, `oldest`. Members settle in the order of their assignments; the
// assignments themselves lie in their wake pages, where only the publisher writes.
//
// Everything here happens under the publisher's lock, by its owner or a visitor, and never blocks.
// Groups are made by visitors; nothing else allocates.
#pragma once

#include "shm/fd.hpp"
#include "shm/layout.hpp"
#include "sluice/message.hpp"
#include "sluice/options.hpp"

#include <array>
#include <memory>
#include <vector>

namespace sluice::shm {

/// What there is of a lane.
struct LaneExtent {
  std::uint64_t head = 0;  // published last
  std::uint64_t tail = 1;  // oldest that is not retired
};
using LaneExtents = std::array<LaneExtent, kMaxLanes>;

class Group;

/// What has become of an entry in a group.
enum class Fate : std::uint8_t {
  foreign,  ///< The group begins behind it, or it was never published.
  waiting,  ///< Nobody has taken it.
  taken,    ///< A member has, now or before.
  handled,  ///< A member has acknowledged it.
  lost,     ///< Nobody of the group will deal with it any more.
};

/// A subscription that is a member. Belongs to its registration (publisher.hpp).
struct GroupMember {
  Group* group = nullptr;            // none: it has left
  const ReaderPage* page = nullptr;  // foreign: every word of it is input
  GroupWakePage* wake = nullptr;
  const UniqueFd* event = nullptr;
  std::uint32_t credits = 0;
  std::uint64_t assigned = 0;
  std::uint64_t settled = 0;
  std::uint64_t load = 0;    // what it says of itself, as last read: load_word()
  std::uint32_t number = 0;  // in its group; never again
  std::uint32_t woken = 0;   // ticket of the sleep that was ended last
  std::uint32_t ticket = 0;  // that its wants_room shows for us

  [[nodiscard]] std::uint64_t outstanding() const noexcept { return assigned - settled; }
  /// Takes what is new, now or when it has a credit. Of a state that there is not nothing is
  /// concluded.
  [[nodiscard]] bool takes_more() const noexcept {
    const std::uint32_t state = load_state(load);
    return state != static_cast<std::uint32_t>(WorkerState::draining) &&
           state != static_cast<std::uint32_t>(WorkerState::gone);
  }
  /// May be given more.
  [[nodiscard]] bool has_credit() const noexcept { return outstanding() < credits && takes_more(); }
  /// Who has less of this is given the next entry.
  [[nodiscard]] std::uint64_t burden() const noexcept;
};

/// Which assignment names an entry.
struct Assigned {
  GroupMember* member = nullptr;  // none: nobody has it
  std::uint64_t number = 0;
};

class Group {
 public:
  /// @param ring_entries  of each lane; 0 where there is none
  Group(const GroupName& name, const std::array<std::uint32_t, kMaxLanes>& ring_entries,
        std::size_t max_members);

  [[nodiscard]] const GroupName& name() const noexcept { return name_; }
  [[nodiscard]] bool has_members() const noexcept { return !members_.empty(); }
  [[nodiscard]] const std::vector<GroupMember*>& members() const noexcept { return members_; }
  /// Of these, those that take what is new, by what they last said. Of recorders, who do not work
  /// on it: none.
  [[nodiscard]] std::size_t takers() const noexcept;
  /// All entries of the lane below are settled.
  [[nodiscard]] std::uint64_t oldest(std::uint32_t lane) const noexcept {
    return lanes_[lane].oldest;
  }

  [[nodiscard]] bool durable() const noexcept { return durable_; }
  [[nodiscard]] bool dissolved() const noexcept { return dissolved_; }
  /// Whether what it has not settled may not be retired: it has members, or is durable.
  [[nodiscard]] bool keeps() const noexcept { return durable_ || has_members(); }

  /// Before the first member: where the group starts.
  void start(std::uint32_t lane, std::uint64_t sequence) noexcept;
  /// While it has no members.
  void set_durable(bool durable) noexcept { durable_ = durable; }
  /// Whether it is durable and has had no members for that long, as seen by these calls.
  bool has_waited(std::uint64_t now_ns, std::uint64_t keep_ns) noexcept;
  /// Of a group without members: its place is forgotten; how many entries go. Who comes later begins
  /// anew, in another Group.
  std::uint64_t dissolve(const LaneExtents& extents) noexcept;
  /// Nothing of the lane above was given up.
  [[nodiscard]] std::uint64_t lost_through(std::uint32_t lane) const noexcept {
    return lanes_[lane].lost_through;
  }
  /// Entries that are not settled.
  [[nodiscard]] std::uint64_t unsettled(const LaneExtents& extents) const noexcept;
  void join(GroupMember& member) noexcept;
  /// Notes what it settled at last; the rest waits for another member.
  void leave(GroupMember& member) noexcept;
  /// Notes what has been settled or rejected, and the member's load. False when the page says what
  /// no member writes.
  bool read(GroupMember& member) noexcept;
  /// The oldest entry of the lane goes, whoever has it, and nobody is given it again. Whether nobody had
  /// it: who has may still settle it.
  bool give_up_oldest(std::uint32_t lane) noexcept;
  /// Of what waits for a credit only the newest entries stay, one for each member; how many go.
  std::uint64_t give_up_stale(const LaneExtents& extents) noexcept;
  /// Entries that were retired while nobody was here.
  void forget_below(const LaneExtents& extents) noexcept;

  /// Gives the next entry to the member with a credit that is ready and has the fewest; one that is
  /// given again to another member than before, if there is one. Who got it, or nobody.
  GroupMember* assign_next(const LaneExtents& extents) noexcept;
  /// Whether some entry waits for a credit.
  [[nodiscard]] bool waits(const LaneExtents& extents) const noexcept;
  /// Whether all that was published is settled.
  [[nodiscard]] bool drained(const LaneExtents& extents) const noexcept;
  /// Whom to wait for until entry `sequence` of the lane can be retired.
  [[nodiscard]] GroupMember* holder(std::uint32_t lane, std::uint64_t sequence) const noexcept;
  /// Who was given the entry and has not settled it.
  [[nodiscard]] Assigned find(std::uint32_t lane, std::uint64_t sequence) const noexcept;
  /// What has become of an entry.
  [[nodiscard]] Fate fate(std::uint32_t lane, std::uint64_t sequence,
                          const LaneExtent& extent) const noexcept;

 private:
  class Bits {
   public:
    void resize(std::uint32_t count) { words_.resize((std::size_t{count} + 63) / 64); }
    void reset() noexcept { words_.assign(words_.size(), 0); }
    void set(std::uint64_t i) noexcept { word(i) |= std::uint64_t{1} << (i % 64); }
    void clear(std::uint64_t i) noexcept { word(i) &= ~(std::uint64_t{1} << (i % 64)); }
    [[nodiscard]] bool test(std::uint64_t i) const noexcept {
      return (words_[static_cast<std::size_t>(i / 64)] >> (i % 64) & 1) != 0;
    }

   private:
    std::uint64_t& word(std::uint64_t i) noexcept {
      return words_[static_cast<std::size_t>(i / 64)];
    }
    std::vector<std::uint64_t> words_;
  };
  // How often an entry was taken, and the number of the member who was given it last.
  struct Deliveries {
    std::uint32_t last = 0;
    std::uint8_t count = 0;
  };
  struct Lane {
    std::uint64_t mask = 0;
    std::uint64_t first = 1;  // where the group starts
    std::uint64_t oldest = 1;
    std::uint64_t next = 1;
    std::uint64_t again_from = 1;  // no bit in `again` stands below
    std::uint64_t again_count = 0;
    std::uint64_t lost_through = 0;  // nothing above was given up
    Bits unsettled;
    Bits again;
    Bits handled;
    std::vector<Deliveries> deliveries;  // by place, as the bits

    [[nodiscard]] Deliveries& delivered(std::uint64_t sequence) noexcept {
      return deliveries[static_cast<std::size_t>(sequence & mask)];
    }
  };
  void settle(std::uint64_t word) noexcept;
  void give_again(std::uint64_t word, bool was_taken, const GroupMember& by) noexcept;
  static void open(Lane& lane, std::uint64_t sequence) noexcept;
  static void skip(Lane& lane, std::uint64_t sequence) noexcept;
  static void advance(Lane& lane) noexcept;
  GroupMember* pick(std::uint32_t but) noexcept;
  [[nodiscard]] static std::uint64_t next_again(Lane& lane) noexcept;
  [[nodiscard]] bool was_taken(std::uint32_t lane, std::uint64_t sequence) const noexcept;

  GroupName name_;
  std::array<Lane, kMaxLanes> lanes_{};
  std::uint32_t lane_count_ = 0;
  std::vector<GroupMember*> members_;  // capacity for all
  std::size_t turn_ = 0;               // who is asked first
  std::uint32_t next_number_ = 1;
  std::uint64_t empty_since_ns_ = 0;  // 0: not seen yet
  bool records_ = false;
  bool durable_ = false;
  bool dissolved_ = false;
};

}  // namespace sluice::shm
