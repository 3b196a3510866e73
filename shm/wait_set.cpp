// Every sleep follows the same four steps as a single reader's: announce it in each reader's page,
// look again, sleep on all the words (or the eventfd) at once, take the announcements back. A sleep
// ends after 100 ms at the latest: whoever shares a word or an eventfd with us could have eaten the
// wake-up, and a publisher that died can no longer send one.
//
// An interruption is one more such word, of our own, and a write to the eventfd. The word changes
// first: a sleeper in futex compares it, and one that polls has either seen it when it armed or
// finds the eventfd readable.
#include "shm/wait_set.hpp"

#include "shm/clock.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

namespace sluice::shm {
namespace {

constexpr std::uint64_t kLongSliceNs = 100'000'000;
constexpr std::uint64_t kShortSliceNs = 5'000'000;  // where a publisher has no eventfd of ours
constexpr std::uint64_t kSpinNs = 10'000;
constexpr std::uint32_t kSpinMissesUntilRare = 4;
constexpr std::uint32_t kRareSpin = 64;

}  // namespace

Result<WaitSet> WaitSet::create() {
  WaitSet set;
  set.event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!set.event_.valid()) return system_error("eventfd for a wait set");
  set.interrupted_ = std::make_unique<Word32>(0);
  return set;
}

Result<UniqueFd> WaitSet::event() const {
  UniqueFd copy{::fcntl(event_.get(), F_DUPFD_CLOEXEC, 0)};
  if (!copy.valid()) return system_error("duplicating the eventfd of a wait set");
  return copy;
}

bool WaitSet::anything() const noexcept {
  return std::any_of(readers_.begin(), readers_.end(), [](const Reader* reader) {
    return reader->ready() || reader->over() != Outcome::ok;
  });
}

void WaitSet::interrupt() noexcept {
  // sync interrupt (interrupter): before the set's thread is woken
  interrupted_->store(1, std::memory_order_seq_cst);
  futex_wake_all(*interrupted_);
  (void)::eventfd_write(event_.get(), 1);  // when it is full it is readable
}

bool WaitSet::is_interrupted() const noexcept {
  // sync interrupt (reader): after the sleeps were announced
  return interrupted_->load(std::memory_order_seq_cst) != 0;
}

bool WaitSet::take_interrupt() noexcept {
  // sync interrupt (reader): what the interrupter did comes before
  return is_interrupted() && interrupted_->exchange(0, std::memory_order_acquire) != 0;
}

Outcome WaitSet::wait(std::uint64_t deadline_ns) noexcept {
  if (take_interrupt()) return Outcome::interrupted;
  if (anything()) return Outcome::ok;
  if (can_spin() && (spin_misses_ < kSpinMissesUntilRare || spin_misses_ % kRareSpin == 0)) {
    const std::uint64_t until = std::min(deadline_ns, now_ns() + kSpinNs);
    while (now_ns() < until && !is_interrupted()) {
      if (anything()) {
        spin_misses_ = 0;
        return Outcome::ok;
      }
      cpu_relax();
    }
  }
  ++spin_misses_;
  const bool by_futex = readers_.size() < kFutexWaitvMax && has_futex_waitv();
  const bool blind =
      !by_futex && !std::all_of(readers_.begin(), readers_.end(),
                                [](const Reader* r) { return r->options().pollable; });
  const std::uint64_t slice = blind ? kShortSliceNs : kLongSliceNs;
  for (;;) {
    const std::uint64_t now = now_ns();
    if (now >= deadline_ns) return anything() ? Outcome::ok : Outcome::timeout;
    const std::uint64_t until = std::min(deadline_ns, now + slice);
    if (by_futex) {
      sleep_by_futex(until);
    } else {
      sleep_by_event(until);
    }
    if (take_interrupt()) return Outcome::interrupted;
    // Only after a sleep that nobody ended: asking costs a system call for each publisher.
    if (now_ns() >= until) {
      for (Reader* reader : readers_) reader->publisher_died();
    }
    if (anything()) return Outcome::ok;
  }
}

void WaitSet::sleep_by_futex(std::uint64_t deadline_ns) noexcept {
  std::array<FutexWaiter, kFutexWaitvMax> waiters;
  for (std::size_t i = 0; i < readers_.size(); ++i) {
    waiters[i] = {&readers_[i]->wake_word(), readers_[i]->prepare_sleep(false)};
  }
  waiters[readers_.size()] = {interrupted_.get(), 0};
  if (!anything()) futex_waitv({waiters.data(), readers_.size() + 1}, deadline_ns);
  for (Reader* reader : readers_) reader->finish_sleep();
}

void WaitSet::sleep_by_event(std::uint64_t deadline_ns) noexcept {
  announce_by_event();
  if (!is_interrupted() && !anything()) {
    const std::uint64_t now = now_ns();
    const std::uint64_t ns = deadline_ns > now ? deadline_ns - now : 0;
    pollfd p{event_.get(), POLLIN, 0};
    // Milliseconds, rounded up; a deadline is never undercut.
    (void)::poll(&p, 1, static_cast<int>((ns + 999'999) / 1'000'000));
  }
  disarm();
}

void WaitSet::announce_by_event() noexcept {
  for (Reader* reader : readers_) reader->prepare_sleep(true);
}

bool WaitSet::arm() noexcept {
  announce_by_event();
  return !take_interrupt() && !anything();
}

void WaitSet::disarm() noexcept {
  for (Reader* reader : readers_) reader->finish_sleep();
  eventfd_t value = 0;
  (void)::eventfd_read(event_.get(), &value);
}

}  // namespace sluice::shm
