// Reader: the reading end of one stream, for one subscription. The rules are in shm/protocol.md.
//
// Bound to one thread at a time: take, wait, acknowledge and resolve. Samples may be read and
// released anywhere; mark_publisher_dead and interrupt may be called from anywhere after start().
// take, resolve and release never block (resolve may wait some milliseconds for
// a publisher that was stopped in the middle of a decision), make no system call and allocate
// nothing.
//
// Nothing in the stream is trusted: lanes, slots and sizes are checked against the geometry that
// was verified when the stream was opened.
#pragma once

#include "shm/arena.hpp"
#include "shm/clock.hpp"
#include "shm/geometry.hpp"
#include "shm/layout.hpp"
#include "shm/memory.hpp"
#include "shm/publisher.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "sluice/sample.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace sluice::shm {

class Reader;
struct ReaderCloser {
  void operator()(Reader* reader) const noexcept;
};
using ReaderPtr = std::unique_ptr<Reader, ReaderCloser>;

class Reader {
 public:
  /// Verifies and maps a stream and makes a reader page in `arena`. The publisher must then admit
  /// the page, and start() be called with what it answers.
  static Result<ReaderPtr> open(const StreamDescriptors& stream, const SubscriptionOptions& options,
                                std::shared_ptr<Arena> arena);

  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// Where the publisher finds the page in the arena.
  [[nodiscard]] std::uint64_t page_offset() const noexcept { return page_cell_.offset; }

  /// Begins reading where the publisher said.
  /// @param process  pidfd of the publisher, or none; lets wait() see its death.
  /// @param room_event  eventfd by which a group's member tells an idle publisher that it has a
  ///                    credit again, or none. What is no eventfd is not used.
  Result<void> start(std::shared_ptr<const View> wake_arena, std::uint64_t wake_offset,
                     UniqueFd process = UniqueFd{}, UniqueFd room_event = UniqueFd{});

  /// Before start(): the page was offered, and nobody can say any more whether the publisher has
  /// admitted it. It will say for ever that its reader is gone, and is not used again.
  void forsake_page() noexcept { page_is_forsaken_ = true; }

  /// The next sample, or an empty one: empty, quota, evicted, ended.
  Sample take() noexcept;
  /// Fills `out` from the front; returns how many.
  std::size_t take(std::span<Sample> out) noexcept;

  /// Whether take() would say `empty`. Costs less than finding that out with take().
  bool idle() noexcept;

  /// Reliable subscriptions: the message is dealt with. In any order; the publisher may go on when
  /// all older ones are acknowledged too. Does nothing for samples of other modes.
  void acknowledge(const Sample& sample) noexcept;
  /// The same, and releases the sample first: the slot is then free as soon as the publisher sees
  /// that there is room.
  void acknowledge(Sample&& sample) noexcept;

  /// A group's member: it will not deal with the message; another one gets it. Elsewhere the same
  /// as acknowledge().
  void reject(const Sample& sample) noexcept;
  void reject(Sample&& sample) noexcept;
  /// A group's member: what it says of itself. One store; another one when it may be given messages
  /// again.
  void tell_load(WorkerState state, std::uint32_t backlog) noexcept;

  /// The message that a reference names, if it is still held by somebody or in the ring. An empty
  /// sample's outcome: expired, mismatch, quota, evicted, timeout (the publisher stands still in
  /// the middle of deciding, or the message lies in missing_pool(); try again).
  Sample resolve(const Reference& reference) noexcept;

  /// Waits until take() has something to say: ok, or timeout at the absolute deadline, ended,
  /// evicted, interrupted. Spins as long as that pays, then sleeps.
  Outcome wait(std::uint64_t deadline_ns) noexcept;

  /// Any thread: ends the wait() that is under way, or else the next one. Both see what the caller
  /// did before, so that after mark_publisher_dead() the outcome is `ended` rather than
  /// `interrupted`. (A reader in a WaitSet is interrupted through its set.) May wait itself, for
  /// the other thread to be scheduled, 100 ms at most.
  void interrupt() noexcept;
  /// Any thread: somebody knows that the publisher's process has died. What it published can be
  /// drained; then wait() and over() say `ended`.
  void mark_publisher_dead() noexcept;

  /// Whether take() would find something (a message or a loss) now.
  [[nodiscard]] bool ready() const noexcept;
  /// Whether the subscription is over: evicted, or ended and drained. `ok` when not.
  [[nodiscard]] Outcome over() const noexcept;

  /// The pool of a message or reference that was met and is not mapped yet. take() says `empty` for
  /// that message's lane, and resolve() `timeout`, until add_pool() or forgo_pool().
  [[nodiscard]] std::optional<std::uint32_t> missing_pool() const noexcept { return missing_pool_; }
  /// Maps a pool that the publisher has added since the stream was opened, after verifying it; in
  /// any order. Again the same pool: nothing happens.
  Result<void> add_pool(std::uint32_t index, UniqueFd pool);
  /// The pool will not come (whoever had it to hand over has died): its messages count as lost,
  /// invalid.
  void forgo_pool(std::uint32_t index) noexcept;

  // For WaitSet: announces a sleep; then ready() must be asked again before sleeping.
  std::uint32_t prepare_sleep(bool by_event) noexcept;
  void finish_sleep() noexcept;
  [[nodiscard]] const Word32& wake_word() const noexcept { return wake_->line.wake; }
  /// Whether the publisher's process has died; asks the kernel. From then on over() knows.
  bool publisher_died() noexcept;

  [[nodiscard]] const Geometry& geometry() const noexcept { return geometry_; }
  [[nodiscard]] const SubscriptionOptions& options() const noexcept { return options_; }
  [[nodiscard]] const ReaderCounters& counters() const noexcept { return page_->counters; }
  [[nodiscard]] const ReaderPage& page() const noexcept { return *page_; }
  /// Entries published (a group's member: assigned) and not yet passed, over all lanes.
  [[nodiscard]] std::uint64_t waiting() const noexcept;
  /// These, and what was taken and is not acknowledged in modes that acknowledge.
  [[nodiscard]] std::uint64_t unsettled() const noexcept;
  /// Samples held now.
  [[nodiscard]] std::uint64_t held() const noexcept;

 private:
  friend class sluice::Sample;
  friend struct ReaderCloser;

  struct Lane {
    const Entry* ring = nullptr;
    std::uint64_t mask = 0;
    std::uint64_t next = 1;            // sequence to take next
    std::uint64_t cursor = 1;          // as in the page: all below are passed
    std::uint64_t waits_for_pool = 0;  // `next`, if it lies in a pool that is not mapped yet
    std::vector<bool> acknowledged;    // reliable only: by place in the ring, ahead of the cursor
    [[nodiscard]] std::size_t place_of(std::uint64_t sequence) const noexcept {
      return static_cast<std::size_t>(sequence & mask);
    }
  };
  enum class Step : std::uint8_t {
    taken,
    nothing,
    skipped,  // an entry that is not for us was counted; look at the next
    gone,     // the entry was retired before we had it
  };
  // What a claim of an entry came to.
  enum class Claim : std::uint8_t { ours, gone, elsewhere, expired, invalid };
  struct Payload {
    const std::byte* data = nullptr;
    std::uint64_t size = 0;
  };
  struct Claimed {
    MessageInfo info;
    std::uint32_t slot = 0;
    Payload payload;
    std::uint64_t meta = 0;
  };
  // A group's member: what the publisher assigned to it.
  struct Assignments {
    const GroupWakePage* page = nullptr;
    std::uint64_t next = 0;       // to take
    std::uint64_t settled = 0;    // all below are acknowledged or rejected, or will never be
    std::uint32_t rejected = 0;   // of those above
    bool waits_for_pool = false;  // `next` lies in a pool that is not mapped yet
    std::array<std::uint64_t, kMaxCredits> open{};  // by place: taken and not acknowledged; else 0
  };
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 62;

  Reader() = default;
  ~Reader();

  // take.cpp
  Step take_from(std::uint32_t index, Sample& out) noexcept;
  // Used twice, and on the path of every message: a call would cost more than its bytes.
  [[gnu::always_inline]] Claim claim(std::uint32_t index, const Entry& entry, std::uint64_t seen,
                                     Claimed& out) noexcept;
  void hand_out(const Claimed& claimed, Sample& out) noexcept;
  void pause_after_take() noexcept;
  Step take_assigned(Sample& out) noexcept;
  bool take_again(std::uint32_t index, const Entry& entry, std::uint64_t sequence,
                  Sample& out) noexcept;
  void tell_taken(std::uint32_t index, std::uint64_t next) noexcept;
  void pass(std::uint32_t index, std::uint64_t count, LossCause cause) noexcept;
  void overtaken(std::uint32_t index, unsigned attempt) noexcept;
  void move_cursor(std::uint32_t index, std::uint64_t cursor) noexcept;

  // acknowledge.cpp
  void close(const Sample& sample, bool rejected) noexcept;
  void close(Sample&& sample, bool rejected) noexcept;
  void close(std::uint32_t index, std::uint64_t sequence, std::size_t place,
             bool rejected) noexcept;
  void close_assignment(std::size_t place, std::uint64_t word, bool rejected) noexcept;
  void skip_assignment(LossCause cause) noexcept;
  void settle_assignments() noexcept;
  void tell_returned(std::size_t place, bool rejected) noexcept;
  [[nodiscard]] bool is_returned(std::size_t place) const noexcept;
  [[nodiscard]] bool may_acknowledge(const Sample& sample) const noexcept;
  void settle(std::uint32_t index, std::uint64_t sequence) noexcept;
  void wake_publisher() noexcept;

  Outcome finish() noexcept;
  enum class Place : std::uint8_t { here, elsewhere, nowhere };
  // Whether a slot can be read. `elsewhere`: it lies in a pool that is not mapped yet.
  Place find(std::uint32_t slot, std::uint64_t size) noexcept {
    if (slot < geometry_.slots) [[likely]] {
      const std::uint32_t pool = geometry_.pool_of(slot);
      if (size <= geometry_.capacity(pool) && pools_[pool].valid()) [[likely]]
        return Place::here;
    }
    return look_for(slot, size);
  }
  Place look_for(std::uint32_t slot, std::uint64_t size) noexcept;
  [[nodiscard]] bool has_next(const Lane& lane) const noexcept;
  [[nodiscard]] bool has_assignment() const noexcept;
  void pools_changed() noexcept;
  Sample make_sample(std::uint32_t slot, const Payload& payload, std::uint64_t meta, bool resolved,
                     const MessageInfo& info) noexcept;

  // foreign.cpp
  Place find_foreign(std::uint32_t slot, Payload& out) noexcept;
  static Result<View> open_pool(int fd, const char* what, const PoolGeometry& pool);
  [[nodiscard]] bool foreign_is_intact(const Sample& sample) const noexcept;
  void find_contents(Sample& sample, std::uint64_t own) noexcept;

  // resolve.cpp
  bool hold_resolved(std::uint32_t slot, std::uint64_t live_word, Outcome& why) noexcept;
  Outcome decided(const Word64& word, std::uint64_t live_word) noexcept;
  void release_resolved(std::uint32_t slot) noexcept;

  void release(Sample& sample) noexcept;
  void drop_one() noexcept;
  [[nodiscard]] bool admitted() const noexcept;
  [[nodiscard]] const std::byte* address_of(std::uint32_t slot) const noexcept {
    const std::uint32_t pool = geometry_.pool_of(slot);
    const PoolGeometry& p = geometry_.pools[pool];
    return pools_[pool].data() + p.slot_bytes * (slot - p.first_slot);
  }
  [[nodiscard]] bool has_ended() const noexcept;
  Outcome sleep(std::uint32_t expected, std::uint64_t deadline_ns) noexcept;
  bool take_interrupt() noexcept;
  [[nodiscard]] Outcome why_interrupted() const noexcept;

  Geometry geometry_;
  SubscriptionOptions options_;
  View control_;
  std::array<View, kMaxPools> pools_;
  std::optional<std::uint32_t> missing_pool_;
  std::uint32_t forgone_pools_ = 0;  // bit i: pool i will not come
  const StateLine* state_ = nullptr;
  const HeadLine* heads_ = nullptr;
  const SlotRecord* records_ = nullptr;

  std::shared_ptr<Arena> arena_;
  Cell page_cell_;
  bool page_is_forsaken_ = false;
  ReaderPage* page_ = nullptr;
  ClaimPair* claims_ = nullptr;
  std::shared_ptr<const View> wake_arena_;
  const WakePage* wake_ = nullptr;
  UniqueFd process_;
  UniqueFd room_event_;
  std::unique_ptr<Assignments> assignments_;  // DeliveryMode::group only

  std::array<Lane, kMaxLanes> lanes_{};
  // One per slot, for samples that were resolved: how many, or kBusy while that changes.
  std::unique_ptr<std::atomic<std::uint32_t>[]> resolved_;
  std::uint64_t taken_ = 0;  // samples made; owner's thread
  // Samples released, by any thread. After closing, kClosed - taken_ is added: whoever brings it to
  // kClosed was the last and deletes the reader.
  std::atomic<std::uint64_t> released_{0};
  std::uint64_t measured_ns_ = 0;  // publish time of the message measured last
  std::uint32_t reader_id_ = 0;
  std::uint32_t ticket_ = 0;
  std::uint32_t answered_ = 0;  // the publisher's wait for room that was answered last
  std::uint64_t spin_ns_ = 0;
  std::uint32_t spin_misses_ = 0;
  bool can_spin_ = true;
  bool evicted_counted_ = false;
  std::atomic<bool> publisher_dead_{false};
  std::atomic<bool> interrupted_{
      false};  // interrupt() was called, and no wait has ended for it yet
  unsigned pauses_ = 0;
};

}  // namespace sluice::shm
