// Who may read: admission, eviction, farewell.
//
// Admission keeps the publisher wait-free: what all readers together may hold was planned for when
// the stream was made, and a subscription that does not fit into the rest is refused with a reason.
// A reader that breaks its word later is evicted: from then on its page is ignored, and it finds
// out by itself at its next take.
//
// Visitors do this while the owner works (publisher.hpp). What a subscription needs, mappings,
// descriptors, a wake page, is its *registration*; visitors make it and give it back, so that the
// owner, who only ever drops a reader from its table, is never held up by a system call for that. A
// registration that the owner has dropped waits for the next visitor.
#include <algorithm>
#include <new>

#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/publisher.hpp"

namespace sluice::shm {
namespace {

const Word32 kNeverAsleep{0};

Error refused(std::string why) { return Error{Errc::refused, 0, std::move(why)}; }

bool has_finished(const ReaderPage& page) {
  // sync leave (publisher): whatever the reader did comes before
  return page.sleeping.state.load(std::memory_order_acquire) ==
         static_cast<std::uint32_t>(ReaderState::gone);
}

bool is_dropped(const std::atomic<bool>& dropped) {
  // relaxed: what is done about it is done under the lock
  return dropped.load(std::memory_order_relaxed);
}
void drop(std::atomic<bool>& dropped) {
  // relaxed: as above
  dropped.store(true, std::memory_order_relaxed);
}

}  // namespace

// What can be said of a request without looking at the other readers.
Result<void> Publisher::check(AttachRequest& request) const {
  const SubscriptionOptions& o = request.options;
  if (o.mode != DeliveryMode::latest && o.mode != DeliveryMode::next &&
      o.mode != DeliveryMode::reliable && o.mode != DeliveryMode::group) {
    return refused("the delivery mode is not one of latest, next, reliable, group");
  }
  if (o.mode == DeliveryMode::reliable && on_full_ == OnFull::drop) {
    return refused("the publisher waits for nobody (OnFull::drop); subscribe with latest, next or group");
  }
  if (o.durable && o.mode != DeliveryMode::group) {
    return refused("only groups can be durable; subscribe with mode group");
  }
  if (o.recorder && wipes())
    return refused("the stream is sensitive and is not recorded");
  if (o.mode == DeliveryMode::group) {
    if (!o.group.valid()) return refused("the name of a group has 1 to 31 bytes");
    if (o.credits == 0 || o.credits > kMaxCredits) {
      return refused("credits = " + std::to_string(o.credits) + " is not in 1 to " +
                     std::to_string(kMaxCredits));
    }
  }
  if (o.type_hash != 0 && o.type_hash != geometry_.type_hash) {
    return refused("the subscription's payload type is not the stream's");
  }
  const std::uint64_t page_size = reader_page_bytes(geometry_.slot_limit);
  const std::uint64_t arena_size = request.reader_arena ? request.reader_arena->size() : 0;
  if (request.page_offset % kCacheLine != 0 || request.page_offset > arena_size ||
      page_size > arena_size - request.page_offset) {
    return refused("the reader page lies outside its arena");
  }
  if (!request.wake_arena) return refused("there is no arena for the wake page");
  if (request.event.valid() && !make_eventfd_safe(request.event)) {
    return refused("the wake-up descriptor is no eventfd");
  }
  return {};
}

// All that takes time comes before the lock: the checks, the wake page, the record.
Result<Admission> Publisher::attach(AttachRequest request) {
  if (auto checked = check(request); !checked) return std::move(checked).error();
  const SubscriptionOptions& o = request.options;
  const std::lock_guard visitors{visitors_};
  unregister([](const Registration& r) { return is_dropped(r.dropped); });
  if (registrations_.size() >= geometry_.max_readers) {
    return refused("the stream already has max_readers = " + std::to_string(geometry_.max_readers) +
                   " subscriptions");
  }
  const bool in_group = o.mode == DeliveryMode::group;
  auto cell = request.wake_arena->allocate(in_group ? sizeof(GroupWakePage) : sizeof(WakePage));
  if (!cell) return std::move(cell).error();

  auto registration = std::make_unique<Registration>();
  registration->id = next_reader_id_++;
  if (next_reader_id_ == 0) ++next_reader_id_;
  const std::byte* page = request.reader_arena->data() + request.page_offset;
  registration->page = reinterpret_cast<const ReaderPage*>(page);
  registration->reader_arena = std::move(request.reader_arena);
  registration->wake_arena = std::move(request.wake_arena);
  registration->wake_cell = *cell;
  registration->event = std::move(request.event);
  registration->process = std::move(request.process);
  ReaderRecord reader;
  reader.id = registration->id;
  reader.mode = o.mode;
  reader.max_held = o.max_held;
  reader.page = registration->page;
  reader.claims = reinterpret_cast<const ClaimPair*>(page + kClaimsOffset);
  reader.wake = reinterpret_cast<WakePage*>(cell->data);
  reader.registration = registration.get();
  std::unique_ptr<Group> group;  // in case there is none of that name yet
  if (in_group) {
    group = make_group(o);
    registration->member = std::make_unique<GroupMember>();
    reader.member = registration->member.get();
    reader.member->page = reader.page;
    reader.member->wake = reinterpret_cast<GroupWakePage*>(cell->data);
    reader.member->credits = o.credits;
    reader.member->event = &registration->event;
  }
  registrations_.push_back(std::move(registration));
  // Those who went leave word there of what they had not handled.
  std::array<std::vector<Departed>, kMaxLanes> departed;
  if (in_group || o.mode == DeliveryMode::reliable) {
    for (std::uint32_t i = 0; i < geometry_.lane_count && lanes_[i].departed.empty(); ++i) {
      departed[i].resize(geometry_.lanes[i].ring_entries);
    }
  }

  std::uint32_t left = 0;
  bool ended = false;
  bool disagreed = false;
  bool admitted = false;
  {
    const std::lock_guard lock{lock_};
    ended = ended_;
    disagreed = in_group && disagrees(o);
    left = max_held_ - held_granted_;
    admitted = !ended && !disagreed && o.max_held != 0 && o.max_held <= left;
    if (admitted) {
      for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
        if (!departed[i].empty()) lanes_[i].departed = std::move(departed[i]);
      }
      admit(reader, o.history, group);
    }
  }
  if (admitted) {
    if (in_group) futex_wake_all(joined_);
    return Admission{reader.id, cell->offset};
  }
  registrations_.back()->wake_arena->free(*cell);
  registrations_.pop_back();
  if (ended) return refused("the stream has ended");
  if (disagreed) {
    return refused("the group '" + std::string(o.group.view()) + "' is " +
                   (o.durable ? "not durable" : "durable") +
                   " here; all its members agree on that");
  }
  return refused("max_held = " + std::to_string(o.max_held) + " does not fit: " +
                 std::to_string(left) + " of the stream's max_held = " + std::to_string(max_held_) +
                 " are left; ask for less or let the publisher " + "plan for more");
}

// Under the lock. Nothing is published or retired between the choice of the start and the moment
// from which the reader is asked; what the last look said about all readers is made true for this
// one too.
void Publisher::admit(const ReaderRecord& record, std::uint32_t history,
                      std::unique_ptr<Group>& group) noexcept {
  readers_.push_back(record);
  ReaderRecord& reader = readers_.back();
  const Group* const joined =
      reader.member != nullptr ? &join_group(*reader.member, history, group) : nullptr;
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    Lane& lane = lanes_[i];
    reader.cursor[i] = joined != nullptr ? joined->oldest(i) : start_of(lane, history);
    lane.left_behind = std::min(lane.left_behind, reader.cursor[i]);
    lane.passed = std::min(lane.passed, reader.cursor[i]);
    if (reader.mode == DeliveryMode::reliable || joined != nullptr) {
      lane.passed_reliable = std::min(lane.passed_reliable, reader.cursor[i]);
    }
    // relaxed: before the state below
    reader.wake->admission.start[i].store(reader.cursor[i], std::memory_order_relaxed);
  }
  // relaxed: before the state below
  reader.wake->line.reader_id.store(reader.id, std::memory_order_relaxed);
  SLUICE_KILL_POINT("attach.before_state");
  // sync admit (publisher): where it starts comes before
  reader.wake->line.state.store(static_cast<std::uint32_t>(AdmissionState::attached),
                                std::memory_order_release);
  held_granted_ += reader.max_held;
  // Who is given entries one by one is also woken one by one.
  sleep_words_.push_back(joined != nullptr ? &kNeverAsleep : &reader.page->sleeping.sleep);
  woken_.push_back(0);
  publish_reader_count();
  if (joined == nullptr) return;
  // relaxed: the owner that waits for it reads it under the lock
  joined_.store(joined_.load(std::memory_order_relaxed) + 1,
                std::memory_order_relaxed);  // relaxed: as above
  assign();
}

std::uint64_t Publisher::start_of(const Lane& lane, std::uint32_t history) const noexcept {
  const std::uint64_t wanted = std::min<std::uint64_t>(history, lane.head);
  return std::max(lane.tail, lane.head + 1 - wanted);
}

void Publisher::detach(std::uint32_t reader_id) noexcept {
  const std::lock_guard visitors{visitors_};
  unregister(
      [reader_id](const Registration& r) { return r.id == reader_id || is_dropped(r.dropped); });
}

std::size_t Publisher::reap() noexcept {
  const std::lock_guard visitors{visitors_};
  return unregister([](const Registration& r) {
    return is_dropped(r.dropped) || has_died(r.process) || has_finished(*r.page);
  });
}

// Ends the registrations that `gone` says; returns how many of them were in use. The lock is taken
// only when there are any, and neither to find them out nor to give back what they had.
template <typename Gone>
std::size_t Publisher::unregister(Gone gone) {
  const auto first = std::partition(registrations_.begin(), registrations_.end(),
                                    [&](const auto& r) { return !gone(*r); });
  if (first == registrations_.end()) return 0;
  std::size_t dismissed = 0;
  auto last = registrations_.end();
  {
    const std::lock_guard lock{lock_};
    for (auto at = first; at != last;) {
      if (dismiss(**at)) ++dismissed;
      // The owner sleeps on it: the next visitor gives it back.
      if (at->get() == waits_for_) {
        std::iter_swap(at, --last);
      } else {
        ++at;
      }
    }
    if (!groups_.empty()) assign();
  }
  SLUICE_KILL_POINT("reap.dismissed");
  for (auto at = first; at != last; ++at) (*at)->wake_arena->free((*at)->wake_cell);
  registrations_.erase(first, last);
  return dismissed;
}

// Under the lock. Whether it was still in use.
bool Publisher::dismiss(Registration& registration) noexcept {
  if (is_dropped(registration.dropped)) return false;
  const auto at = std::find_if(readers_.begin(), readers_.end(), [&](const ReaderRecord& r) {
    return r.registration == &registration;
  });
  if (at != readers_.end()) {
    forget(static_cast<std::size_t>(at - readers_.begin()));
  } else {
    drop(registration.dropped);  // was evicted
  }
  return true;
}

// Readers go on draining, so a wake page is given back only when its reader has finished.
Publisher::~Publisher() {
  for (const std::unique_ptr<Registration>& r : registrations_) {
    if (is_dropped(r->dropped)) {
      r->wake_arena->free(r->wake_cell);
      continue;
    }
    try {
      const auto process = std::make_shared<UniqueFd>(std::move(r->process));
      r->wake_arena->free_when(r->wake_cell, [arena = r->reader_arena, page = r->page, process] {
        return has_finished(*page) || has_died(*process);
      });
    } catch (const std::bad_alloc&) {  // to be given back by nobody: it stays occupied
    }
  }
}

void Publisher::evict(ReaderRecord& reader, EvictionCause cause) noexcept {
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    // relaxed: before the state below
    reader.wake->admission.stop[i].store(lanes_[i].head, std::memory_order_relaxed);
  }
  // relaxed: before the state below
  reader.wake->line.cause.store(static_cast<std::uint32_t>(cause), std::memory_order_relaxed);
  SLUICE_KILL_POINT("evict.before_state");
  // sync admit (publisher): cause and end before it; payload is overwritten only after it
  reader.wake->line.state.store(static_cast<std::uint32_t>(AdmissionState::evicted),
                                std::memory_order_seq_cst);
  // sync admit (publisher): the slots it claimed are written only after the state
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const auto index = static_cast<std::size_t>(&reader - readers_.data());
  // sync wake (publisher): after the state; a reader that sleeps shall learn it
  const std::uint32_t ticket = reader.page->sleeping.sleep.load(std::memory_order_seq_cst);
  if (ticket != 0) wake_reader(index, ticket);
  add_relaxed(counters_->evicted, 1);
  held_granted_ -= reader.max_held;
  if (reader.member != nullptr) leave_group(*reader.member);
  note_departure(reader);
  remove_active(index);
}

// Its claims end here. By the owner, or by a visitor under the lock.
void Publisher::forget(std::size_t index) noexcept {
  ReaderRecord& reader = readers_[index];
  held_granted_ -= reader.max_held;
  note_departure(reader);
  // sync admit, progress (publisher): what it had claimed is written only after the fence that
  // precedes every decision about a slot; what it takes after we have read how far it came it lets
  // go again
  reader.wake->line.reader_id.store(0, std::memory_order_seq_cst);
  if (reader.member != nullptr) leave_group(*reader.member);
  drop(reader.registration->dropped);
  remove_active(index);
}

// Who died cannot wake us: the owner asks the kernel before it waits on.
void Publisher::forget_the_dead() noexcept {
  for (std::size_t i = 0; i < readers_.size();) {
    if (has_died(readers_[i].registration->process) || has_finished(*readers_[i].page)) {
      forget(i);
    } else {
      ++i;
    }
  }
  if (!groups_.empty()) assign();
}

void Publisher::remove_active(std::size_t index) noexcept {
  const std::size_t last = readers_.size() - 1;
  if (index != last) {
    readers_[index] = readers_[last];
    sleep_words_[index] = sleep_words_[last];
    woken_[index] = woken_[last];
  }
  readers_.pop_back();
  sleep_words_.pop_back();
  woken_.pop_back();
  publish_reader_count();
}

void Publisher::publish_reader_count() noexcept {
  // sync reader-count (attacher): what was noted before a reader was attached
  state_->reader_count.store(static_cast<std::uint32_t>(readers_.size()),
                             std::memory_order_release);
  const auto acknowledging =
      std::count_if(readers_.begin(), readers_.end(), [](const auto& reader) {
        return reader.mode == DeliveryMode::reliable || reader.member != nullptr;
      });
  // relaxed: as above
  acknowledging_.store(static_cast<std::uint32_t>(acknowledging), std::memory_order_relaxed);
}

}  // namespace sluice::shm
