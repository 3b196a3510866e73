// Whether this process was stopped, or the machine suspended, for so long that RouDi has given it
// up.
//
// RouDi takes a process for dead that has sent no sign of life for 1.5 s (iceoryx sends one every
// 0.3 s, in a thread of its own), takes its ports away and gives their memory to others. The
// process is not told, and must not touch them any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace sluice::iceoryx {

/// Has a thread of its own, so that a thread that is busy is not taken for a stop. It ends the
/// process with kWorkerOrphaned when it finds one.
class Pulse {
 public:
  Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;
  ~Pulse();

  /// For who runs before that thread does. Thread-safe.
  [[nodiscard]] bool has_stopped() const noexcept;

 private:
  std::atomic<std::int64_t> last_ns_;
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace sluice::iceoryx
