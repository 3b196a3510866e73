// What the threads of the worker share.
#pragma once

#include "daemons/iceoryx/link.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_set>

namespace sluice::iceoryx {

/// Thread-safe.
class IdSet {
 public:
  void add(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    ids_.insert(id);
  }
  void remove(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    ids_.erase(id);
  }
  [[nodiscard]] bool has(std::uint64_t id) const {
    const std::lock_guard lock(mutex_);
    return ids_.count(id) != 0;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_set<std::uint64_t> ids_;
};

/// WorkerCounts, counted by several threads.
struct Tally {
  std::atomic<std::uint64_t> received{0}, missed{0}, published{0}, lost{0}, own{0}, hops{0},
      calls{0}, failed_calls{0}, pending{0};

  [[nodiscard]] WorkerCounts counts() const {
    return {received, missed, published, lost, own, hops, calls, failed_calls, pending};
  }
};

/// What the gateway itself publishes, so that nothing of it is carried back.
struct Shared {
  IdSet own_ports;    ///< In iceoryx.
  IdSet own_streams;  ///< In Sluice.
  Tally tally;
};

}  // namespace sluice::iceoryx
