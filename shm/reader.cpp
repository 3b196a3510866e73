// Opening a stream, beginning to read it, waiting, and saying good-bye. Taking is in take.cpp,
// references in resolve.cpp.
#include "shm/reader.hpp"

#include <unistd.h>

#include <algorithm>
#include <new>

#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"

namespace sluice::shm {
namespace {

// The longest sleep: somebody who shares the futex word may have eaten the wake-up.
constexpr std::uint64_t kSliceNs = 100'000'000;
constexpr std::uint32_t kSpinMissesUntilRare = 4;
constexpr std::uint32_t kRareSpin = 64;  // every so often spinning is tried again
constexpr long kInterruptPauseNs = 20'000;

}  // namespace

void ReaderCloser::operator()(Reader* reader) const noexcept {
  if (reader->page_ != nullptr) {
    // sync leave (reader): seq_cst, since a publisher may be going to sleep until we acknowledge
    reader->page_->sleeping.state.store(static_cast<std::uint32_t>(ReaderState::leaving),
                                        std::memory_order_seq_cst);
    if (reader->wake_ != nullptr) reader->wake_publisher();
  }
  SLUICE_KILL_POINT("detach.leaving");
  // Samples may outlive their reader; the last one then deletes it.
  const std::uint64_t add = Reader::kClosed - reader->taken_;
  // sync last (closer): everything the releasing threads did comes before the deletion
  if (reader->released_.fetch_add(add, std::memory_order_acq_rel) + add == Reader::kClosed) {
    delete reader;
  }
}

Result<ReaderPtr> Reader::open(const StreamDescriptors& stream, const SubscriptionOptions& options,
                               std::shared_ptr<Arena> arena) {
  ReaderPtr reader{new Reader};
  auto control = View::open(stream.control.get(), "the control segment of a stream");
  if (!control) return std::move(control).error();
  auto geometry = verify(*control);
  if (!geometry) return std::move(geometry).error();
  reader->control_ = std::move(*control);
  reader->geometry_ = std::move(*geometry);
  const Geometry& g = reader->geometry_;
  if (options.type_hash != 0 && options.type_hash != g.type_hash) {
    return Error{Errc::refused, 0,
                 "stream '" + g.label + "' carries another payload type than was asked for"};
  }
  // Others may have come since the stream was made, and may be added after this.
  const std::uint32_t created = g.pool_count;
  const bool valid = learn_pools(reader->control_.data(), reader->geometry_);
  if (!valid || stream.pools.size() < created || stream.pools.size() > g.pool_count) {
    return Error{Errc::untrusted, 0,
                 "stream '" + g.label + "' says it has " + std::to_string(g.pool_count) +
                     " pools, " + std::to_string(stream.pools.size()) + " were handed over"};
  }
  for (std::uint32_t i = 0; i < stream.pools.size(); ++i) {
    auto pool = open_pool(stream.pools[i].get(), "a pool of a stream", g.pools[i]);
    if (!pool) return std::move(pool).error();
    reader->pools_[i] = std::move(*pool);
  }
  auto cell = arena->allocate(reader_page_bytes(g.slot_limit));
  if (!cell) return std::move(cell).error();

  reader->options_ = options;
  reader->spin_ns_ = options.spin_ns;
  reader->can_spin_ = can_spin();
  reader->arena_ = std::move(arena);
  reader->page_cell_ = *cell;
  reader->page_ = reinterpret_cast<ReaderPage*>(cell->data);
  reader->claims_ = reinterpret_cast<ClaimPair*>(cell->data + kClaimsOffset);
  reader->resolved_ = std::make_unique<std::atomic<std::uint32_t>[]>(g.slot_limit);
  const std::byte* base = reader->control_.data();
  reader->state_ = reinterpret_cast<const StateLine*>(base + kStateOffset);
  reader->heads_ = reinterpret_cast<const HeadLine*>(base + kHeadOffset);
  reader->records_ = reinterpret_cast<const SlotRecord*>(base + g.slots_offset);

  IdentityLine& id = reader->page_->identity;
  const auto put32 = [](Word32& word, std::uint32_t value) {
    // relaxed: nobody has the page yet
    word.store(value, std::memory_order_relaxed);
  };
  const auto put64 = [](Word64& word, std::uint64_t value) {
    // relaxed: nobody has the page yet
    word.store(value, std::memory_order_relaxed);
  };
  put32(id.mode, static_cast<std::uint32_t>(options.mode));
  put32(id.max_held, options.max_held);
  put32(id.pid, static_cast<std::uint32_t>(::getpid()));
  put64(id.stream_id, g.stream_id);
  put64(id.claim_pairs, claim_pairs(g.slot_limit));
  put64(id.attached_ns, now_ns());
  // sync leave (reader): the page is complete
  reader->page_->sleeping.state.store(static_cast<std::uint32_t>(ReaderState::active),
                                      std::memory_order_release);
  return reader;
}

Result<void> Reader::start(std::shared_ptr<const View> wake_arena, std::uint64_t wake_offset,
                           UniqueFd process, UniqueFd room_event) {
  const bool in_group = options_.mode == DeliveryMode::group;
  const std::uint64_t bytes = in_group ? sizeof(GroupWakePage) : sizeof(WakePage);
  if (wake_offset % kCacheLine != 0 || wake_offset > wake_arena->size() ||
      bytes > wake_arena->size() - wake_offset) {
    return Error{Errc::untrusted, 0, "the wake page lies outside its arena"};
  }
  wake_ = reinterpret_cast<const WakePage*>(wake_arena->data() + wake_offset);
  wake_arena_ = std::move(wake_arena);
  process_ = std::move(process);
  if (in_group) {
    assignments_ = std::make_unique<Assignments>();
    assignments_->page = reinterpret_cast<const GroupWakePage*>(wake_);
    if (make_eventfd_safe(room_event)) room_event_ = std::move(room_event);
  }
  // sync admit (reader): where we start was written before
  const std::uint32_t state = wake_->line.state.load(std::memory_order_acquire);
  if (state == static_cast<std::uint32_t>(AdmissionState::none)) {
    return Error{Errc::untrusted, 0, "the publisher has not admitted this subscription"};
  }
  // relaxed: acquired with the state
  reader_id_ = wake_->line.reader_id.load(std::memory_order_relaxed);
  const std::byte* base = control_.data();
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Lane& lane = lanes_[i];
    lane.ring = reinterpret_cast<const Entry*>(base + geometry_.lanes[i].ring_offset);
    lane.mask = geometry_.lanes[i].ring_entries - 1;
    // relaxed: acquired with the state above
    lane.next = wake_->admission.start[i].load(std::memory_order_relaxed) & ~kRetired;
    lane.cursor = lane.next;
    if (options_.mode == DeliveryMode::reliable) {
      lane.acknowledged.resize(geometry_.lanes[i].ring_entries);
    }
    // relaxed: nothing was taken yet
    if (!in_group) page_->cursor[i].store(lane.cursor, std::memory_order_relaxed);
  }
  SLUICE_KILL_POINT("attach.started");
  return {};
}

Reader::~Reader() {
  if (page_ == nullptr) return;
  // sync leave (reader): all claims are gone
  page_->sleeping.state.store(static_cast<std::uint32_t>(ReaderState::gone),
                              std::memory_order_release);
  SLUICE_KILL_POINT("detach.gone");
  if (page_is_forsaken_) return;
  if (wake_ == nullptr) {
    arena_->free(page_cell_);
    return;
  }
  // The publisher may look at the page until it has noticed; its own page tells when.
  try {
    const auto process = std::make_shared<UniqueFd>(std::move(process_));
    arena_->free_when(
        page_cell_, [wake_arena = wake_arena_, wake = wake_, id = reader_id_, process] {
          // relaxed: any other value means that the page has changed hands
          return wake->line.reader_id.load(std::memory_order_relaxed) != id || has_died(*process);
        });
  } catch (const std::bad_alloc&) {  // to be given back by nobody: it stays occupied
  }
}

bool Reader::admitted() const noexcept {
  // sync admit, progress (reader): once evicted, the cause and the end are there
  return wake_->line.state.load(std::memory_order_seq_cst) ==
             static_cast<std::uint32_t>(AdmissionState::attached) &&
         // sync progress (reader): another id when the page has changed hands
         wake_->line.reader_id.load(std::memory_order_seq_cst) == reader_id_;
}

bool Reader::ready() const noexcept {
  if (assignments_) return has_assignment() && !assignments_->waits_for_pool;
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    const Lane& lane = lanes_[i];
    const Entry& entry = lane.ring[lane.next & lane.mask];
    // sync wake (reader): after the sleep word was stored; pairs with the publisher's seq_cst pair
    const std::uint64_t seen = entry.sequence.load(std::memory_order_seq_cst);
    if ((seen & ~kRetired) < lane.next) continue;
    if (seen != lane.waits_for_pool) [[likely]]
      return true;
    // Nothing to take until the pool comes; but who wants the newest does not wait for an older
    // one.
    if (options_.mode != DeliveryMode::latest) continue;
    const Entry& newer = lane.ring[(lane.next + 1) & lane.mask];
    // sync wake (reader): as above
    const std::uint64_t after = newer.sequence.load(std::memory_order_seq_cst);
    if ((after & ~kRetired) > lane.next) return true;
  }
  return false;
}

bool Reader::has_assignment() const noexcept {
  // sync wake, assign, ended (reader): after the sleep word was stored, or the end was seen
  return assignments_->page->assignments.assigned.load(std::memory_order_seq_cst) >
         assignments_->next;
}

bool Reader::has_next(const Lane& lane) const noexcept {
  const Entry& entry = lane.ring[lane.next & lane.mask];
  // sync ended (reader): after the end was seen
  return (entry.sequence.load(std::memory_order_seq_cst) & ~kRetired) >= lane.next;
}

Outcome Reader::over() const noexcept {
  if (!admitted()) return Outcome::evicted;
  if (!has_ended() &&
      // sync ended (reader): the death, and so all that was published before it
      !publisher_dead_.load(std::memory_order_acquire)) {
    return Outcome::ok;
  }
  if (assignments_) return has_assignment() ? Outcome::ok : Outcome::ended;
  const auto first = lanes_.begin();
  return std::any_of(first, first + geometry_.lane_count,
                     [this](const Lane& lane) { return has_next(lane); })
             ? Outcome::ok
             : Outcome::ended;
}

// A group's member may still be given what others had when the stream ends.
bool Reader::has_ended() const noexcept {
  if (assignments_) {
    // sync ended (reader): after it is seen, all assignments are seen
    return assignments_->page->assignments.finished.load(std::memory_order_seq_cst) != 0;
  }
  // sync ended (reader): after it is seen, all entries are seen
  return state_->state.load(std::memory_order_seq_cst) ==
         static_cast<std::uint32_t>(StreamState::ended);
}

bool Reader::publisher_died() noexcept {
  // sync ended (reader): as in over()
  if (publisher_dead_.load(std::memory_order_acquire)) return true;
  if (!has_died(process_)) return false;
  mark_publisher_dead();
  return true;
}

void Reader::mark_publisher_dead() noexcept {
  // sync ended (witness): after the death was seen
  publisher_dead_.store(true, std::memory_order_release);
}

// The wake word is not ours to change, so a wake-up that comes before the sleep would be lost. But
// the reader announces its sleeps, in its own page: who announces before we ask looks at
// interrupted_ before it sleeps; and who has announced is woken again until it moves. (Sleeping in
// futex_waitv on a word of ours as well would need no second wake-up, but costs every sleep more,
// and Linux 5.16.)
void Reader::interrupt() noexcept {
  const Word32& announced = page_->sleeping.sleep;
  // sync interrupt (interrupter): before the announcement is looked for
  interrupted_.store(true, std::memory_order_seq_cst);
  // sync interrupt (interrupter): at least one of us sees the other
  const std::uint32_t ticket = announced.load(std::memory_order_seq_cst);
  // Who sleeps on an eventfd is in a set, whose own interrupt wakes it; it may be slow to say so.
  if (ticket == 0 || (ticket & kWakeByEvent) != 0) return;
  const std::uint64_t give_up = deadline_in(kSliceNs);  // it looks by itself then
  for (;;) {
    futex_wake_all(wake_->line.wake);
    // relaxed: another ticket, or none, says that the sleep is over
    if (announced.load(std::memory_order_relaxed) != ticket || now_ns() >= give_up) return;
    const timespec pause{0, kInterruptPauseNs};
    (void)::clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
}

Outcome Reader::why_interrupted() const noexcept {
  if (ready()) return Outcome::ok;
  const Outcome outcome = over();
  return outcome != Outcome::ok ? outcome : Outcome::interrupted;
}

bool Reader::take_interrupt() noexcept {
  // relaxed: the exchange below decides
  return interrupted_.load(std::memory_order_relaxed) &&
         // sync interrupt (reader): what the interrupter did comes before
         interrupted_.exchange(false, std::memory_order_acquire);
}

std::uint32_t Reader::prepare_sleep(bool by_event) noexcept {
  // sync wake (reader): the futex word must be read before we look for the last time
  const std::uint32_t expected = wake_->line.wake.load(std::memory_order_acquire);
  ticket_ += kTicketStep;
  if (ticket_ == 0) ticket_ += kTicketStep;
  // sync wake, interrupt (reader): before the entries, and the interruption, are looked at again
  page_->sleeping.sleep.store(ticket_ | (by_event ? kWakeByEvent : 0), std::memory_order_seq_cst);
  SLUICE_KILL_POINT("wait.sleep_stored");
  return expected;
}

void Reader::finish_sleep() noexcept {
  // relaxed: a publisher that still sees the ticket makes a superfluous wake-up
  page_->sleeping.sleep.store(0, std::memory_order_relaxed);
}

Outcome Reader::wait(std::uint64_t deadline_ns) noexcept {
  if (take_interrupt()) return why_interrupted();
  if (ready()) return Outcome::ok;
  if (can_spin_ && spin_ns_ != 0 &&
      (spin_misses_ < kSpinMissesUntilRare || spin_misses_ % kRareSpin == 0)) {
    const std::uint64_t until = std::min(deadline_ns, now_ns() + spin_ns_);
    do {
      for (int i = 0; i < 8; ++i) {
        if (ready()) {
          spin_misses_ = 0;
          return Outcome::ok;
        }
        cpu_relax();
      }
    } while (now_ns() < until);
  }
  ++spin_misses_;
  add_relaxed(page_->counters.sleeps, 1);
  for (;;) {
    const std::uint32_t expected = prepare_sleep(false);
    const Outcome outcome = sleep(expected, deadline_ns);
    finish_sleep();
    if (take_interrupt()) return why_interrupted();
    if (ready()) return Outcome::ok;
    if (outcome != Outcome::ok) return outcome;
  }
}

// Sleeps unless there is something to do. `ok`: look again.
Outcome Reader::sleep(std::uint32_t expected, std::uint64_t deadline_ns) noexcept {
  if (ready()) return Outcome::ok;
  if (const Outcome outcome = over(); outcome != Outcome::ok) return outcome;
  // sync interrupt (reader): after the announcement; at least one of us sees the other
  if (interrupted_.load(std::memory_order_seq_cst)) return Outcome::ok;
  const std::uint64_t now = now_ns();
  if (now >= deadline_ns) return Outcome::timeout;
  const std::uint64_t until = std::min(deadline_ns, now + kSliceNs);
  const FutexResult result = futex_wait(wake_->line.wake, expected, until);
  if (result == FutexResult::timeout && publisher_died()) return over();
  return Outcome::ok;
}

Result<void> Reader::add_pool(std::uint32_t index, UniqueFd pool) {
  const std::string what = "pool " + std::to_string(index) + " of stream '" + geometry_.label + "'";
  if (!learn_pools(control_.data(), geometry_) || index >= geometry_.pool_count) {
    return Error{Errc::untrusted, 0,
                 what + " was not accepted: the stream describes " +
                     std::to_string(geometry_.pool_count) + " valid pools"};
  }
  if (pools_[index].valid()) return {};
  auto view = open_pool(pool.get(), what.c_str(), geometry_.pools[index]);
  if (!view) return std::move(view).error();
  pools_[index] = std::move(*view);
  pools_changed();
  return {};
}

void Reader::forgo_pool(std::uint32_t index) noexcept {
  if (index < kMaxPools) forgone_pools_ |= 1u << index;
  pools_changed();
}

void Reader::pools_changed() noexcept {
  missing_pool_.reset();  // whoever still waits for another one says so again
  for (Lane& lane : lanes_) lane.waits_for_pool = 0;
  if (assignments_) assignments_->waits_for_pool = false;
}

std::uint64_t Reader::waiting() const noexcept {
  std::uint64_t total = 0;
  if (assignments_) {
    // relaxed: a count for people
    total = assignments_->page->assignments.assigned.load(std::memory_order_relaxed);
    return total - std::min(total, assignments_->next);
  }
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    // sync head (reader): a count for people
    const std::uint64_t head = heads_->head[i].load(std::memory_order_acquire);
    if (head >= lanes_[i].next) total += head + 1 - lanes_[i].next;
  }
  return total;
}

std::uint64_t Reader::held() const noexcept {
  // sync last (owner): a release that is counted has cleared its claim, also one of another thread,
  // so no more than max_held claims are ever to be seen
  return taken_ - released_.load(std::memory_order_acquire);
}

}  // namespace sluice::shm
