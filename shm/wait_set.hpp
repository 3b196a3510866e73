// WaitSet: one thread waits for many readers.
//
// Up to 127 of them, on Linux 5.16 or newer, through futex_waitv; otherwise through an eventfd that
// all readers of the set share and whose duplicates their publishers hold. Which way is chosen at
// run time. Thread-bound, like the readers in it, which must outlive it or be removed first; only
// interrupt() may be called from anywhere. Another thread that has a reader for the set leaves it
// where the set's thread looks, interrupts, and the set's thread adds it. Not to be moved from then
// on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "shm/fd.hpp"
#include "shm/futex.hpp"
#include "shm/reader.hpp"
#include "sluice/result.hpp"

namespace sluice::shm {

class WaitSet {
 public:
  /// Fails only when the process has no descriptor left.
  static Result<WaitSet> create();

  /// A duplicate of the set's eventfd, for AttachRequest::event of a reader that will join.
  [[nodiscard]] Result<UniqueFd> event() const;

  void add(Reader& reader) { readers_.push_back(&reader); }
  void remove(const Reader& reader) { std::erase(readers_, &reader); }

  /// Waits until at least one reader is ready or over (see Reader::over): ok. timeout at the
  /// absolute deadline. interrupted: by interrupt(), whatever the readers have. An empty set just
  /// waits.
  Outcome wait(std::uint64_t deadline_ns) noexcept;

  /// Any thread: ends the wait that is under way, or else the next one; makes fd() readable and
  /// arm() say no, once.
  void interrupt() noexcept;

  [[nodiscard]] std::span<Reader* const> readers() const noexcept { return readers_; }

  /// For foreign event loops: becomes readable when a reader may have something. Call arm() before
  /// going to poll; when it is false, do not poll, there is something already. After polling call
  /// disarm(). Needs every reader to have been attached with event().
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  bool arm() noexcept;
  void disarm() noexcept;

 private:
  [[nodiscard]] bool anything() const noexcept;
  [[nodiscard]] bool is_interrupted() const noexcept;
  bool take_interrupt() noexcept;
  void announce_by_event() noexcept;
  void sleep_by_futex(std::uint64_t deadline_ns) noexcept;
  void sleep_by_event(std::uint64_t deadline_ns) noexcept;

  std::vector<Reader*> readers_;
  UniqueFd event_;
  std::unique_ptr<Word32> interrupted_;  // a futex word beside the readers'; 1: not noticed yet
  std::uint32_t spin_misses_ = 0;
};

}  // namespace sluice::shm
