// systemd, where it started us; nothing where it did not.
#pragma once

#include "daemons/sluiced/event_loop.hpp"
#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <cstdint>
#include <optional>

namespace sluice::broker {

/// The socket that a socket unit opened for us, if any. Errors: it passed more than one.
Result<std::optional<shm::UniqueFd>> inherited_socket();

void notify_ready();
void notify_reloading();
void notify_stopping();

/// Says that the loop runs, twice as often as the service manager wants to hear it. Thread-bound.
class Watchdog {
 public:
  explicit Watchdog(EventLoop& loop);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

 private:
  void tick();

  EventLoop& loop_;
  std::uint64_t period_ns_ = 0;
  EventLoop::Token timer_ = 0;
};

}  // namespace sluice::broker
