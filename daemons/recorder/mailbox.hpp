// What the store has settled, on its way to the thread that acknowledges it.
#pragma once

#include "daemons/recorder/store.hpp"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace sluice::recorder {

/// Thread-safe.
class Mailbox {
 public:
  /// Called after each delivery, in the store's thread.
  void on_delivery(std::function<void()> wake) {
    const std::lock_guard lock(mutex_);
    wake_ = std::move(wake);
  }
  void deliver(std::span<const Settled> settled) {
    const std::lock_guard lock(mutex_);
    settled_.insert(settled_.end(), settled.begin(), settled.end());
    changed_.notify_all();
    if (wake_) wake_();
  }
  void collect(std::vector<Settled>& out) {
    out.clear();
    const std::lock_guard lock(mutex_);
    out.swap(settled_);
  }
  /// Until something is there.
  void wait(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] { return !settled_.empty(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Settled> settled_;
  std::function<void()> wake_;
};

}  // namespace sluice::recorder
