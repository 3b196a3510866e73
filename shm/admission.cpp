// Who may read: admission, eviction, farewell.
//
// Admission keeps the publisher wait-free: what all readers together may hold was planned for when
// the stream was made, and a subscription that does not fit into the rest is refused with a reason.
// A reader that breaks its word later is evicted: from then on its page is ignored, and it finds
// out by itself at its next take.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "shm/kill_point.hpp"
#include "shm/publisher.hpp"

namespace sluice::shm {
namespace {

Error refused(std::string why) { return Error{Errc::refused, 0, std::move(why)}; }

// Only a real eventfd is ever written to; anything else could make us block or do harm.
bool is_eventfd(int fd) {
  std::array<char, 64> target{};
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t n = ::readlink(path.c_str(), target.data(), target.size() - 1);
  return n > 0 && std::strcmp(target.data(), "anon_inode:[eventfd]") == 0;
}

bool has_finished(const ReaderPage& page) {
  // sync leave (publisher): whatever the reader did comes before
  return page.sleeping.state.load(std::memory_order_acquire) ==
         static_cast<std::uint32_t>(ReaderState::gone);
}

}  // namespace

Result<Admission> Publisher::attach(AttachRequest request) {
  const SubscriptionOptions& o = request.options;
  if (ended_) return refused("the stream has ended");
  if (o.mode != DeliveryMode::latest && o.mode != DeliveryMode::next &&
      o.mode != DeliveryMode::reliable) {
    return refused("the delivery mode is not one of latest, next, reliable");
  }
  if (o.type_hash != 0 && o.type_hash != geometry_.type_hash) {
    return refused("the subscription's payload type is not the stream's");
  }
  if (readers_.size() + evicted_.size() >= geometry_.max_readers) {
    return refused("the stream already has max_readers = " +
                   std::to_string(geometry_.max_readers) + " subscriptions");
  }
  if (o.max_held == 0 || held_granted_ + std::uint64_t{o.max_held} > max_held_) {
    return refused("max_held = " + std::to_string(o.max_held) + " does not fit: " +
                   std::to_string(max_held_ - held_granted_) + " of the stream's max_held = " +
                   std::to_string(max_held_) + " are left; ask for less or let the publisher " +
                   "plan for more");
  }
  const std::uint64_t page_size = reader_page_bytes(geometry_.slot_limit);
  const std::uint64_t arena_size = request.reader_arena ? request.reader_arena->size() : 0;
  if (request.page_offset % kCacheLine != 0 || request.page_offset > arena_size ||
      page_size > arena_size - request.page_offset) {
    return refused("the reader page lies outside its arena");
  }
  if (!request.wake_arena) return refused("there is no arena for the wake page");
  if (request.event.valid()) {
    if (!is_eventfd(request.event.get())) return refused("the wake-up descriptor is no eventfd");
    (void)::fcntl(request.event.get(), F_SETFL, O_NONBLOCK);
  }
  auto cell = request.wake_arena->allocate(sizeof(WakePage));
  if (!cell) return std::move(cell).error();

  ReaderRecord reader;
  reader.id = next_reader_id_++;
  if (next_reader_id_ == 0) ++next_reader_id_;
  reader.mode = o.mode;
  reader.max_held = o.max_held;
  const std::byte* page = request.reader_arena->data() + request.page_offset;
  reader.page = reinterpret_cast<const ReaderPage*>(page);
  reader.claims = reinterpret_cast<const ClaimPair*>(page + kClaimsOffset);
  reader.wake_cell = *cell;
  reader.wake = reinterpret_cast<WakePage*>(cell->data);
  reader.reader_arena = std::move(request.reader_arena);
  reader.wake_arena = std::move(request.wake_arena);
  reader.event = std::move(request.event);
  reader.process = std::move(request.process);
  for (std::uint32_t i = 0; i < geometry_.lane_count; ++i) {
    const Lane& lane = lanes_[i];
    const std::uint64_t wanted = std::min<std::uint64_t>(o.history, lane.head);
    reader.cursor[i] = std::max(lane.tail, lane.head + 1 - wanted);
    // relaxed: before the state below
    reader.wake->admission.start[i].store(reader.cursor[i], std::memory_order_relaxed);
  }
  // relaxed: before the state below
  reader.wake->line.reader_id.store(reader.id, std::memory_order_relaxed);
  SLUICE_KILL_POINT("attach.before_state");
  // sync admit (publisher): where it starts comes before
  reader.wake->line.state.store(static_cast<std::uint32_t>(AdmissionState::attached),
                                std::memory_order_release);
  held_granted_ += o.max_held;
  const Admission admission{reader.id, cell->offset};
  sleep_words_.push_back(&reader.page->sleeping.sleep);
  woken_.push_back(0);
  readers_.push_back(std::move(reader));
  publish_reader_count();
  return admission;
}

void Publisher::detach(std::uint32_t reader_id) noexcept {
  const auto has_id = [&](const ReaderRecord& r) { return r.id == reader_id; };
  if (auto at = std::find_if(readers_.begin(), readers_.end(), has_id); at != readers_.end()) {
    forget(static_cast<std::size_t>(at - readers_.begin()));
  } else if (auto old = std::find_if(evicted_.begin(), evicted_.end(), has_id);
             old != evicted_.end()) {
    old->wake_arena->free(old->wake_cell);
    evicted_.erase(old);
  }
}

std::size_t Publisher::reap() noexcept {
  std::size_t reaped = 0;
  for (std::size_t i = 0; i < readers_.size();) {
    if (has_died(readers_[i].process) || has_finished(*readers_[i].page)) {
      forget(i);
      ++reaped;
    } else {
      ++i;
    }
  }
  for (std::size_t i = 0; i < evicted_.size();) {
    if (has_died(evicted_[i].process) || has_finished(*evicted_[i].page)) {
      evicted_[i].wake_arena->free(evicted_[i].wake_cell);
      evicted_.erase(evicted_.begin() + static_cast<std::ptrdiff_t>(i));
      ++reaped;
    } else {
      ++i;
    }
  }
  return reaped;
}

// Readers go on draining, so a wake page is given back only when its reader has finished.
Publisher::~Publisher() {
  for (std::vector<ReaderRecord>* records : {&readers_, &evicted_}) {
    for (ReaderRecord& reader : *records) {
      const auto process = std::make_shared<UniqueFd>(std::move(reader.process));
      reader.wake_arena->free_when(
          reader.wake_cell, [arena = reader.reader_arena, page = reader.page, process] {
            return has_finished(*page) || has_died(*process);
          });
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
  const std::uint32_t ticket = sleep_words_[index]->load(std::memory_order_seq_cst);
  if (ticket != 0) wake_reader(index, ticket);
  add_relaxed(counters_->evicted, 1);
  held_granted_ -= reader.max_held;
  evicted_.push_back(std::move(reader));
  remove_active(index);
}

void Publisher::forget(std::size_t index) noexcept {
  ReaderRecord& reader = readers_[index];
  held_granted_ -= reader.max_held;
  reader.wake_arena->free(reader.wake_cell);
  remove_active(index);
}

void Publisher::remove_active(std::size_t index) noexcept {
  const std::size_t last = readers_.size() - 1;
  if (index != last) {
    readers_[index] = std::move(readers_[last]);
    sleep_words_[index] = sleep_words_[last];
    woken_[index] = woken_[last];
  }
  readers_.pop_back();
  sleep_words_.pop_back();
  woken_.pop_back();
  publish_reader_count();
}

void Publisher::publish_reader_count() noexcept {
  // relaxed: for monitors
  state_->reader_count.store(static_cast<std::uint32_t>(readers_.size()),
                             std::memory_order_relaxed);
}

}  // namespace sluice::shm
