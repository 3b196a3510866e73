// A bounded queue from one thread to one other, neither of which ever waits for the other.
//
//   tail_   next place to be written; by the producer alone
//   head_   next place to be read; by the consumer alone
//
// A place belongs to the producer from head_ + capacity on, and to the consumer below tail_.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::broker {

template <class T>
class EventQueue {
 public:
  explicit EventQueue(std::size_t capacity) : places_(capacity) {}

  /// Producer. False when it is full; then it is counted as lost.
  bool push(T value) {
    // relaxed: our own
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    // sync queue head (producer): the consumer is done with the place
    if (tail - head_.load(std::memory_order_acquire) == places_.size()) {
      // relaxed: a count that stands alone
      lost_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    place(tail) = std::make_unique<T>(std::move(value));
    // sync queue tail (producer): the place is written
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  /// Consumer. Null when it is empty.
  std::unique_ptr<T> pop() {
    // relaxed: our own
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    // sync queue tail (consumer): what was written is seen
    if (head == tail_.load(std::memory_order_acquire)) return nullptr;
    std::unique_ptr<T> value = std::move(place(head));
    // sync queue head (consumer): the place is free
    head_.store(head + 1, std::memory_order_release);
    return value;
  }

  /// How many were lost since the last call.
  std::uint64_t take_lost() noexcept {
    // relaxed: a count that stands alone
    return lost_.exchange(0, std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<T>& place(std::uint64_t number) {
    return places_[static_cast<std::size_t>(number % places_.size())];
  }

  std::vector<std::unique_ptr<T>> places_;
  std::atomic<std::uint64_t> head_{0};
  std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint64_t> lost_{0};
};

}  // namespace sluice::broker
