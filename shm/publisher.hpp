// Publisher: the writing end of one stream. The rules and their proofs are in shm/protocol.md.
//
// Two sides. The *owner*, one thread at a time, loans, publishes, collects, ends, closes; Loans
// belong to it too. *Visitors*, any thread, attach, detach, reap, tend, share and count readers,
// also while the owner works; not while it closes, and never from within one of its calls. A
// visitor keeps the owner out for some instructions (biased_lock.hpp); what takes long it does
// before or after.
//
// The owner blocks only where OnFull::wait says so, and lets visitors in meanwhile; nothing here
// ever waits for a process that takes best effort. After creation only visitors allocate, lock a
// mutex, map, unmap or close anything.
#pragma once

#include "shm/arena.hpp"
#include "shm/biased_lock.hpp"
#include "shm/geometry.hpp"
#include "shm/group.hpp"
#include "shm/layout.hpp"
#include "shm/memory.hpp"
#include "shm/slots.hpp"
#include "shm/stamp_clock.hpp"
#include "sluice/foreign.hpp"
#include "sluice/loan.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "sluice/stats.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace sluice::shm {

class Publisher;
struct PublisherCloser {
  void operator()(Publisher* publisher) const noexcept;
};
using PublisherPtr = std::unique_ptr<Publisher, PublisherCloser>;

/// Descriptors, read-only, from which a Reader is made.
struct StreamDescriptors {
  UniqueFd control;
  std::vector<UniqueFd> pools;
};

/// What a subscription hands to the publisher that shall admit it.
struct AttachRequest {
  SubscriptionOptions options;
  std::shared_ptr<const View> reader_arena;  ///< Already verified by View::open.
  std::uint64_t page_offset = 0;
  std::shared_ptr<Arena> wake_arena;  ///< The publisher's own, shared with readers of that user.
  UniqueFd event;                     ///< The reader's eventfd, or none.
  UniqueFd process;                   ///< pidfd of the reader, or none; lets reap() see its death.
};

struct Admission {
  std::uint32_t reader_id = 0;
  std::uint64_t wake_offset = 0;  ///< In the wake arena.
};

class Publisher {
 public:
  static Result<PublisherPtr> create(const StreamOptions& options);

  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// A slot for `size` bytes. An empty loan's outcome is one of no_slot, no_loan, full, too_large,
  /// no_memory, ended.
  Loan loan(std::uint64_t size, Priority priority = Priority::critical) noexcept;

  /// Publishes and empties the loan. Wait-free but for one system call for each reader that sleeps.
  /// `mismatch` for a loan of another publisher, `empty` for an empty one.
  Outcome publish(Loan&& loan) noexcept;

  /// Publishes all of them, in order, with one look for sleepers. Stops at the first that cannot
  /// be published and returns its outcome.
  Outcome publish(std::span<Loan> loans) noexcept;

  /// Retires what every reader has passed beyond the history, and so lets go of the samples that
  /// were attached to it. `loan` does this by itself when it is called.
  void collect() noexcept;

  /// Makes room for messages of another size, within StreamOptions::max_slots and kMaxPools;
  /// returns the new pool's index, for share_pool. Readers map it when they first meet it
  /// (Reader::add_pool). Not for the frame path: makes and maps memory, and waits for visitors that
  /// attach.
  Result<std::uint32_t> add_pool(const PoolOptions& options);

  /// See sluice::Publisher, as for the next two; foreign.cpp.
  Result<std::uint32_t> add_foreign_pool(ForeignMemory memory);
  Loan lend(const ForeignPayload& payload, Priority priority) noexcept;
  void revoke_pool(std::uint32_t pool) noexcept;

  /// How far a message has come; looks at every reader. See sluice::Publisher, as for the next
  /// five.
  [[nodiscard]] Reach reached(const Reference& message) noexcept;
  [[nodiscard]] bool is_assigned(const Reference& message) noexcept;
  [[nodiscard]] Outcome handled_by(const Reference& message, const GroupName& group) noexcept;
  /// Sleeps while it waits, and lets visitors in. mismatch: no message of this stream.
  Outcome wait_reached(const Reference& message, ReachLevel level,
                       std::uint64_t deadline_ns) noexcept;
  [[nodiscard]] std::uint32_t backlog(Priority priority) noexcept;
  [[nodiscard]] std::byte* amend(const Reference& message) noexcept;

  /// From now on payloads are wiped, as with StreamOptions::sensitive; from any thread.
  void make_sensitive() noexcept {
    // relaxed: a flag that stands alone
    sensitive_.store(true, std::memory_order_relaxed);
  }

  /// For monitors.
  void describe(const SourceInfo& source) noexcept;

  /// Ends the stream: readers drain what was published, then see `ended`.
  void end() noexcept;

  /// Sequence of what was published last in the lane; 0: nothing yet.
  [[nodiscard]] std::uint64_t last_sequence(std::uint32_t lane) const noexcept {
    return lanes_[lane].head;
  }

  // The visitors' side.

  /// Admits a subscription; `refused` with a sentence when it does not fit.
  Result<Admission> attach(AttachRequest request);
  /// Forgets a subscription whose process has gone or said good-bye; its claims end here.
  void detach(std::uint32_t reader_id) noexcept;
  /// What is published from now on is kept for a durable group of that name, as if its only member
  /// had just left; nothing changes where there is one. Error: max_readers groups are there.
  Result<void> keep_place(const GroupName& name);
  /// Detaches every subscription whose process has died or has finished; returns how many. Keeps
  /// the owner out only when there is one.
  std::size_t reap() noexcept;
  /// Gives entries that wait for a group's credit to members that have one again. The owner does it
  /// in each of its calls; this is for when it is idle. Whether some still wait, or the end waits
  /// for what is not acknowledged.
  bool tend() noexcept;
  /// The same, as of the last time that somebody looked.
  [[nodiscard]] bool wants_tending() const noexcept {
    // relaxed: a flag that stands alone
    return group_waits_.load(std::memory_order_relaxed);
  }
  /// All pools that there are.
  [[nodiscard]] Result<StreamDescriptors> share() const;
  [[nodiscard]] Result<UniqueFd> share_pool(std::uint32_t index) const;
  /// Subscriptions that are attached and not evicted.
  [[nodiscard]] std::size_t reader_count() const noexcept {
    // sync reader-count (whoever asks): what was noted before the last of them was attached
    return state_->reader_count.load(std::memory_order_acquire);
  }

  /// Of these, reliable ones and members of groups.
  [[nodiscard]] std::size_t acknowledging_count() const noexcept {
    // relaxed: a count
    return acknowledging_.load(std::memory_order_relaxed);
  }

  /// Members of groups that take what is new, as of the last time that somebody looked.
  [[nodiscard]] std::size_t taker_count() const noexcept {
    // relaxed: a count
    return takers_.load(std::memory_order_relaxed);
  }

  /// Its pools change in add_pool.
  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] const std::byte* control() const noexcept { return control_.data(); }
  [[nodiscard]] const PublisherCounters& counters() const noexcept { return *counters_; }
  [[nodiscard]] const Histogram& intervals() const noexcept { return *intervals_; }

 private:
  friend class sluice::Loan;
  friend struct PublisherCloser;

  // What a subscription's pointers lead into, from attach() until it was evicted or forgotten *and*
  // a visitor has come by: only visitors make and destroy these.
  struct Registration {
    std::uint32_t id = 0;
    std::shared_ptr<const View> reader_arena;
    const ReaderPage* page = nullptr;
    std::shared_ptr<Arena> wake_arena;
    Cell wake_cell;
    UniqueFd event;
    UniqueFd process;
    std::unique_ptr<GroupMember> member;  // DeliveryMode::group only
    std::atomic<bool> dropped{false};     // attached no more, and nobody needs the wake page
  };

  // What the owner sleeps for: that this word of a reader's page goes beyond a value.
  struct RoomWait {
    const ReaderPage& page;
    Word32& wants_room;
    const Word64& cursor;
    std::uint64_t beyond;
    std::uint64_t wanted;  // worth spinning for
    std::uint32_t ticket;
  };

  // What is known of an attached subscription. Its page is foreign memory: every word of it is
  // input.
  struct ReaderRecord {
    std::uint32_t id = 0;
    DeliveryMode mode = DeliveryMode::next;
    std::uint32_t max_held = 0;
    const ReaderPage* page = nullptr;
    const ClaimPair* claims = nullptr;
    WakePage* wake = nullptr;
    Registration* registration = nullptr;
    GroupMember* member = nullptr;                  // it has a place in a group instead of cursors
    std::array<std::uint64_t, kMaxLanes> cursor{};  // last valid ones
    bool leaving = false;
    bool over_quota = false;  // was seen with more claims than it may have
  };

  // What reliable readers, and groups, that are no more had made of the entry in a place of a ring.
  struct Departed {
    std::uint64_t sequence = 0;
    std::uint16_t readers = 0;
    std::uint16_t taken = 0;
    std::uint16_t handled = 0;
  };

  // What all subscriptions that a message is for make of it together.
  struct Survey {
    Reach reach;
    bool never_taken = false;    // by somebody
    bool never_handled = false;  // the same
    void add(bool taken, bool handled, bool over) noexcept;
  };

  // 64 slots, while claims on them are counted.
  struct CountedClaims {
    std::uint64_t set_aside = 0;
    std::uint64_t taken = 0;       // of one reader: seen every time
    std::uint64_t resolved = 0;    // the same
    std::uint64_t in_the_way = 0;  // of any reader
  };

  struct Lane {
    Entry* ring = nullptr;
    std::uint64_t mask = 0;
    std::uint64_t depth = 0;
    std::uint64_t history = 0;
    std::uint64_t head = 0;             // sequence published last
    std::uint64_t tail = 1;             // oldest sequence that is not retired
    std::uint64_t loans = 0;            // outstanding; each has a place reserved
    std::uint64_t left_behind = 0;      // all cursors are at least here; from the last look
    std::uint64_t passed = 0;           // nobody wants what is below (latest: all but the newest)
    std::uint64_t passed_reliable = 0;  // the same, of reliable readers and groups only
    std::uint64_t lost_through = 0;     // nobody left without having handled what is above
    std::vector<Departed> departed;     // by place; there from the first who acknowledges on
    [[nodiscard]] std::uint64_t live() const noexcept { return head + 1 - tail; }
    [[nodiscard]] bool has_room() const noexcept { return live() + loans < depth; }
  };

  explicit Publisher(Geometry geometry)
      : geometry_(std::move(geometry)),
        counted_(static_cast<std::size_t>(claim_pairs(geometry_.slot_limit))) {}
  ~Publisher();  // admission.cpp

  Result<void> set_up(const StreamOptions& options);
  [[nodiscard]] Result<UniqueFd> share_memory(std::uint32_t index) const;
  void rank_pools() noexcept;
  void append_pool(const PoolGeometry& pool) noexcept;

  // loan.cpp: finding a place in the ring and a slot
  Outcome reserve(Lane& lane) noexcept;
  std::uint32_t find_slot(std::uint32_t rank, std::uint32_t lane, Outcome& why) noexcept;
  std::uint32_t pop_or_commit(std::uint32_t pool, bool& out_of_memory) noexcept;
  void commit_more(std::uint32_t pool, bool& out_of_memory) noexcept;
  Outcome make_room(Lane& lane) noexcept;
  Outcome unblock(Lane& lane, std::uint64_t& deadline_ns) noexcept;
  Outcome wait_for(Lane& lane, std::uint64_t deadline_ns) noexcept;
  bool sleep_outside(ReaderRecord& reader, const Word64& cursor, std::uint64_t beyond,
                     std::uint64_t wanted, std::uint64_t deadline_ns) noexcept;
  void nap_outside(std::uint64_t ns, std::uint64_t deadline_ns) noexcept;
  bool sleep_for_room(const RoomWait& wait, std::uint64_t deadline_ns) noexcept;
  std::uint32_t next_room_ticket() noexcept;
  [[nodiscard]] bool looks_early(std::uint32_t pool) const noexcept;
  ReaderRecord* blocking_reader(const Lane& lane) noexcept;
  void give_back(Loan& loan) noexcept;
  Outcome hold(Loan& loan, Sample&& sample) noexcept;

  // foreign.cpp
  bool set_user_header(Loan& loan, std::span<const std::byte> header) noexcept;
  [[nodiscard]] std::uint64_t contents_end(const Loan& loan, std::uint64_t own) const noexcept;
  void take_back(std::uint32_t slot) noexcept;
  void take_all_back(std::uint32_t pool) noexcept;

  // publish.cpp
  void prefetch_members() const noexcept;
  void write_entry(Loan& loan, std::uint64_t now, bool last) noexcept;
  void record_interval(std::uint64_t now) noexcept;
  void wake_sleepers() noexcept;
  void wake_if_asleep(std::size_t index) noexcept;
  void wake_reader(std::size_t index, std::uint32_t ticket) noexcept;
  void wake(WakeLine& line, std::uint32_t ticket, const UniqueFd& event) noexcept;

  // assign.cpp: groups
  void assign() noexcept;
  bool serve(Group& group) noexcept;
  void refresh(Group& group) noexcept;
  bool ask(Group& group, const LaneExtents& lanes) noexcept;
  void withdraw_tickets(Group& group) noexcept;
  void wake_member(GroupMember& member) noexcept;
  void finish(Group& group) noexcept;
  void finish_groups() noexcept;
  void keep_for_groups() noexcept;
  void keep_for(const Group& group) noexcept;
  Group& join_group(GroupMember& member, std::uint32_t history,
                    std::unique_ptr<Group>& made) noexcept;
  [[nodiscard]] std::unique_ptr<Group> make_group(const SubscriptionOptions& options) const;
  [[nodiscard]] bool disagrees(const SubscriptionOptions& options) const noexcept;
  void dissolve(Group& group) noexcept;
  [[nodiscard]] Group* blocking_place(const Lane& lane) noexcept;
  void leave_group(GroupMember& member) noexcept;
  void give_up_oldest(const Lane& lane) noexcept;
  ReaderRecord* blocking_member(const Lane& lane) noexcept;
  ReaderRecord& record_of(const GroupMember& member) noexcept;
  [[nodiscard]] LaneExtents extents() const noexcept;

  // reach.cpp: what has become of a message
  void look_only() noexcept;
  [[nodiscard]] bool knows(const Reference& message) const noexcept;
  [[nodiscard]] Survey survey(const Reference& message) noexcept;
  void sleep_until_handled(const Reference& message, std::uint64_t deadline_ns) noexcept;
  void note_departure(const ReaderRecord& reader) noexcept;
  void note_departure(const Group& group) noexcept;
  Departed& departed(Lane& lane, std::uint64_t sequence) noexcept;

  // retire.cpp: looking at readers, retiring entries, deciding about slots
  void look() noexcept;
  void look_at_readers() noexcept;
  bool read_page(ReaderRecord& reader) noexcept;
  bool read_cursors(ReaderRecord& reader) noexcept;
  void retire_until(Lane& lane, std::uint64_t limit) noexcept;
  void retire_batch(Lane& lane, std::size_t count) noexcept;
  void look_at_set_aside() noexcept;
  std::uint64_t claimed_among(std::span<const std::uint32_t> slots) noexcept;
  void free_slot(std::uint32_t slot) noexcept;
  [[nodiscard]] bool wipes() const noexcept {
    // relaxed: a flag that stands alone
    return sensitive_.load(std::memory_order_relaxed);
  }
  void wipe(std::uint32_t slot) noexcept;
  void wipe_what_is_over() noexcept;
  bool evict_over_quota() noexcept;
  void mark_set_aside() noexcept;
  std::uint64_t lasting_claims(const ReaderRecord& reader) noexcept;
  bool decide_set_aside() noexcept;

  // admission.cpp
  void evict(ReaderRecord& reader, EvictionCause cause) noexcept;
  void forget(std::size_t index) noexcept;
  void forget_the_dead() noexcept;
  [[nodiscard]] Result<void> check(AttachRequest& request) const;
  void admit(const ReaderRecord& reader, std::uint32_t history,
             std::unique_ptr<Group>& group) noexcept;
  [[nodiscard]] std::uint64_t start_of(const Lane& lane, std::uint32_t history) const noexcept;
  bool dismiss(Registration& registration) noexcept;
  template <typename Gone>
  std::size_t unregister(Gone gone);
  void remove_active(std::size_t index) noexcept;
  void publish_reader_count() noexcept;

  [[nodiscard]] SlotRecord& record_of(std::uint32_t slot) noexcept { return slot_records_[slot]; }
  void update_gauges() noexcept;

  // Memory of another system, and what lies there of the message in a slot.
  struct ForeignPool {
    UniqueFd fd;
    std::function<void(std::uint64_t token)> released;
    bool revoked = false;
  };
  struct Lent {
    std::uint64_t token = 0;
    std::uint32_t pool = kMaxPools;  // nothing is lent
  };

  Geometry geometry_;
  std::array<std::uint32_t, kMaxPools> by_size_{};  // pools with slots, smallest slots first
  std::uint32_t ranked_ = 0;                        // how many these are
  Segment control_;
  Slots slots_;
  std::array<std::uint64_t, kMaxPools> records_committed_{};  // of each pool: up to that offset
  StateLine* state_ = nullptr;
  HeadLine* heads_ = nullptr;
  PublisherCounters* counters_ = nullptr;
  SourceLine* source_ = nullptr;
  Histogram* intervals_ = nullptr;
  Histogram* publish_ages_ = nullptr;
  SlotRecord* slot_records_ = nullptr;

  std::array<Lane, kMaxLanes> lanes_{};
  // Protects what both sides use: from here to the visitors' mutex, and ended_ and the lanes' heads
  // and tails, which only the owner writes.
  mutable BiasedLock lock_;
  std::vector<ReaderRecord> readers_;           // attached; dense; capacity for all
  std::vector<const Word32*> sleep_words_;      // of readers_[i], apart so that publish is quick
  std::vector<std::uint32_t> woken_;            // ticket that readers_[i] was last woken for
  std::vector<std::unique_ptr<Group>> groups_;  // capacity for as many as readers
  std::atomic<bool> group_waits_{false};        // what tend() returns
  std::uint32_t room_ticket_ = 0;
  Word32 joined_{0};  // counts members that joined a group, for an owner that waits for one
  std::atomic<std::uint32_t> acknowledging_{0};
  std::atomic<std::uint32_t> takers_{0};
  std::uint32_t held_granted_ = 0;
  const Registration* waits_for_ = nullptr;  // the owner sleeps on its page

  // Taken before lock_; protects the two below and, against add_pool, what tells of pools.
  mutable std::mutex visitors_;
  std::vector<std::unique_ptr<Registration>> registrations_;  // attached or evicted
  std::uint32_t next_reader_id_ = 1;  // begins at random: wake pages pass between streams

  std::vector<std::uint32_t> set_aside_;  // retired slots that somebody still claims
  std::vector<CountedClaims> counted_;    // all slots; used while slots are short
  std::vector<Sample> held_;              // max_references per slot
  std::vector<std::uint8_t> held_count_;  // per slot
  std::vector<Lent> lent_;                // per slot, from the first foreign pool on
  std::array<ForeignPool, kMaxPools> foreign_;
  StampClock stamps_;
  std::uint64_t last_publish_ns_ = 0;
  std::uint64_t last_interval_ns_ = kNever;  // between the last two messages
  std::int64_t jitter_ns_ = 0;
  std::uint64_t full_timeout_ns_ = 0;
  std::uint64_t durable_keep_ns_ = 0;
  SegmentOptions pool_memory_;
  std::uint64_t slots_by_default_ = 0;
  std::uint32_t max_loans_ = 0;
  std::uint32_t loans_ = 0;
  std::uint32_t max_held_ = 0;
  std::uint32_t live_references_ = 0;  // slots that hold samples, or what was lent
  OnFull on_full_ = OnFull::wait;
  std::atomic<bool> sensitive_{false};
  bool can_spin_ = true;
  bool ended_ = false;
  bool closed_ = false;
};

}  // namespace sluice::shm
