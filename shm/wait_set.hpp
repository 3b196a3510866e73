// WaitSet: one thread waits for many readers.
//
// Up to 128 of them, on Linux 5.16 or newer, through futex_waitv; otherwise through an eventfd that
// all readers of the set share and whose duplicates their publishers hold. Which way is chosen at
// run time. Thread-bound, like the readers in it, which must outlive it or be removed first.
#pragma once

#include <cstdint>
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
  /// absolute deadline. An empty set just waits.
  Outcome wait(std::uint64_t deadline_ns) noexcept;

  [[nodiscard]] std::span<Reader* const> readers() const noexcept { return readers_; }

  /// For foreign event loops: becomes readable when a reader may have something. Call arm() before
  /// going to poll; when it is false, do not poll, there is something already. After polling call
  /// disarm(). Needs every reader to have been attached with event().
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  bool arm() noexcept;
  void disarm() noexcept;

 private:
  [[nodiscard]] bool anything() const noexcept;
  void sleep_by_futex(std::uint64_t deadline_ns) noexcept;
  void sleep_by_event(std::uint64_t deadline_ns) noexcept;

  std::vector<Reader*> readers_;
  UniqueFd event_;
  std::uint32_t spin_misses_ = 0;
};

}  // namespace sluice::shm
