// Waits for descriptors and for time, in one thread.
#pragma once

#include "shm/clock.hpp"
#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

namespace sluice::broker {

/// Calls a function when a descriptor is ready (level-triggered), when a time has come, or as soon
/// as the functions that run now have returned. Thread-bound. Functions may add and remove
/// anything, themselves too; what was removed is not called any more.
class EventLoop {
 public:
  using Token = std::uint64_t;  ///< Of a descriptor or a timer; never 0, never used again.
  using OnReady = std::function<void(std::uint32_t events)>;
  using Action = std::function<void()>;

  using Clock = std::uint64_t (*)() noexcept;  ///< Of CLOCK_MONOTONIC; tests bring their own.

  static Result<EventLoop> create(Clock clock = shm::now_ns);

  [[nodiscard]] std::uint64_t now_ns() const noexcept { return clock_(); }

  /// The descriptor stays the caller's, who must forget the token before closing it.
  Result<Token> watch(int fd, std::uint32_t events, OnReady on_ready);
  void change(Token token, std::uint32_t events) noexcept;
  void forget(Token token) noexcept;

  /// Once, at `deadline_ns` of now_ns() or soon after.
  Token at(std::uint64_t deadline_ns, Action action);
  void cancel(Token timer) noexcept;
  void post(Action action) { posted_.push_back(std::move(action)); }

  /// One wait, `timeout_ms` at most (-1: as long as it takes), and all that is due then.
  Result<void> run_once(int timeout_ms);
  Result<void> run();
  void stop() noexcept { stopped_ = true; }

 private:
  struct Watched {
    int fd;
    OnReady on_ready;
  };
  [[nodiscard]] int wait_ms(int at_most_ms) const noexcept;
  void run_timers();
  void run_posted();

  Clock clock_ = shm::now_ns;
  shm::UniqueFd epoll_;
  // Shared, so that a function that forgets itself lives until it returns.
  std::unordered_map<Token, std::shared_ptr<Watched>> watched_;
  std::map<std::pair<std::uint64_t, Token>, Action> timers_;  // by deadline
  std::unordered_map<Token, std::uint64_t> deadlines_;
  std::deque<Action> posted_;
  Token last_token_ = 0;
  bool stopped_ = false;
};

}  // namespace sluice::broker
