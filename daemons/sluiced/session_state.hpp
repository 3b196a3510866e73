// How far a client has come, and what is to be done about what happens: a state machine without
// sockets, messages and clocks, so that its tests reach every corner.
//
//              welcomed()             ended()
//   hello -----------------> open --------------> over
//     |  2 s, or anything but Hello                ^
//     +--------------------------------------------+
//
//   Beside that, while it is not over: reading --too fast--> paused --50 ms, or hung up--> reading
#pragma once

#include "shm/clock.hpp"

#include <cstdint>

namespace sluice::broker {

class SessionState {
 public:
  static constexpr std::uint64_t kHelloNs = 2'000'000'000;
  static constexpr std::uint64_t kPauseNs = 50'000'000;

  enum class Stage : std::uint8_t { hello, open, over };

  /// What follows from what happened. What is refused is answered, and not done.
  enum class Then : std::uint8_t { nothing, greet, serve, refuse, close_silent, read_on };

  /// It is listened to from now on, and Hello must come.
  void started(std::uint64_t now_ns) noexcept;
  /// A message has come: `in_pace`, or faster than this client may send. What needs no answer
  /// cannot be refused, and is done all the same; what comes next is read later.
  Then received(bool in_pace, bool wants_answer, std::uint64_t now_ns) noexcept;
  /// Hello was one, and the node may come in. Who is over stays so.
  void welcomed() noexcept;
  /// The other side has closed: there is nothing to hold back any more.
  void hung_up() noexcept { paused_until_ns_ = shm::kNever; }
  /// True the first time.
  bool ended() noexcept;

  /// When time_passed() has something to say; kNever: it has not.
  [[nodiscard]] std::uint64_t due_ns() const noexcept;
  Then time_passed(std::uint64_t now_ns) noexcept;

  [[nodiscard]] Stage stage() const noexcept { return stage_; }
  [[nodiscard]] bool reads() const noexcept;

 private:
  Stage stage_ = Stage::hello;
  std::uint64_t hello_until_ns_ = shm::kNever;
  std::uint64_t paused_until_ns_ = shm::kNever;  // kNever: it is not paused
};

}  // namespace sluice::broker
