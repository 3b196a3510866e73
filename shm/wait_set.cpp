// Every sleep follows the same four steps as a single reader's: announce it in each reader's page,
// look again, sleep on all the words (or the eventfd) at once, take the announcements back. A sleep
// ends after 100 ms at the latest: whoever shares a word or an eventfd with us could have eaten the
// wake-up, and a publisher that died can no longer send one.
#include "shm/wait_set.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

#include "shm/clock.hpp"

namespace sluice::shm {
namespace {

constexpr std::uint64_t kSliceNs = 100'000'000;
constexpr std::uint64_t kSpinNs = 10'000;
constexpr std::uint32_t kSpinMissesUntilRare = 4;
constexpr std::uint32_t kRareSpin = 64;

}  // namespace

Result<WaitSet> WaitSet::create() {
  WaitSet set;
  set.event_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!set.event_.valid()) return system_error("eventfd for a wait set");
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

Outcome WaitSet::wait(std::uint64_t deadline_ns) noexcept {
  if (anything()) return Outcome::ok;
  if (can_spin() && (spin_misses_ < kSpinMissesUntilRare || spin_misses_ % kRareSpin == 0)) {
    const std::uint64_t until = std::min(deadline_ns, now_ns() + kSpinNs);
    while (now_ns() < until) {
      if (anything()) {
        spin_misses_ = 0;
        return Outcome::ok;
      }
      cpu_relax();
    }
  }
  ++spin_misses_;
  const bool by_futex = readers_.size() <= kFutexWaitvMax && has_futex_waitv();
  for (;;) {
    const std::uint64_t now = now_ns();
    if (now >= deadline_ns) return anything() ? Outcome::ok : Outcome::timeout;
    const std::uint64_t until = std::min(deadline_ns, now + kSliceNs);
    if (by_futex && !readers_.empty()) {
      sleep_by_futex(until);
    } else {
      sleep_by_event(until);
    }
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
  if (!anything()) futex_waitv({waiters.data(), readers_.size()}, deadline_ns);
  for (Reader* reader : readers_) reader->finish_sleep();
}

void WaitSet::sleep_by_event(std::uint64_t deadline_ns) noexcept {
  if (arm()) {
    const std::uint64_t now = now_ns();
    const std::uint64_t ns = deadline_ns > now ? deadline_ns - now : 0;
    pollfd p{event_.get(), POLLIN, 0};
    // Milliseconds, rounded up; a deadline is never undercut.
    (void)::poll(&p, 1, static_cast<int>((ns + 999'999) / 1'000'000));
  }
  disarm();
}

bool WaitSet::arm() noexcept {
  for (Reader* reader : readers_) reader->prepare_sleep(true);
  return !anything();
}

void WaitSet::disarm() noexcept {
  for (Reader* reader : readers_) reader->finish_sleep();
  eventfd_t value = 0;
  (void)::eventfd_read(event_.get(), &value);
}

}  // namespace sluice::shm
