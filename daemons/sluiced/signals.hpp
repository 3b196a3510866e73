// Signals, in the loop's own time.
#pragma once

#include "daemons/sluiced/event_loop.hpp"
#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <functional>

namespace sluice::broker {

/// Blocks SIGTERM, SIGINT and SIGHUP and calls one of the two functions instead. One per process.
class Signals {
 public:
  static Result<Signals> create();
  Result<void> start(EventLoop& loop, std::function<void()> on_end,
                     std::function<void()> on_reload);

 private:
  shm::UniqueFd fd_;
};

}  // namespace sluice::broker
