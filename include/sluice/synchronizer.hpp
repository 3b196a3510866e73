// Joining streams: what belongs to the same frame, or to the same moment.
#pragma once

#include "sluice/export.hpp"
#include "sluice/sample.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace sluice {

struct SynchronizerOptions {
  std::size_t inputs = 2;  ///< Streams to be joined, 2 to 16.
  /// 0: messages with equal correlation ids belong together. Otherwise those whose origin times
  /// differ by no more than this; of several the nearest, and each message in one set at most.
  std::uint64_t tolerance_ns = 0;
  /// Messages waiting for their partners, of each input; the oldest is given up for a new one.
  /// Subscriptions need as many in max_held, and one more.
  std::size_t capacity = 4;
  /// A message that waits for longer is given up (checked by add() and expire()); 0: never.
  std::uint64_t patience_ns = 0;
};

struct SynchronizerStats {
  std::uint64_t joined = 0;  ///< Sets.
  std::uint64_t given_up =
      0;  ///< Messages whose partners did not come in time or for which there was no place.
};

/// Holds messages until one of each input belongs together. Thread-compatible; does not block.
class SLUICE_EXPORT Synchronizer {
 public:
  /// @throws nothing; options out of range are brought into it.
  explicit Synchronizer(SynchronizerOptions options);
  Synchronizer(Synchronizer&&) noexcept;
  Synchronizer& operator=(Synchronizer&&) noexcept;
  ~Synchronizer();

  /// Takes the message of input `index`. A set, one message of each input in their order, when it
  /// was the last that was missing.
  std::optional<std::vector<Sample>> add(std::size_t index, Sample sample);
  /// Gives up what has waited for too long at `now_ns`, CLOCK_MONOTONIC.
  void expire(std::uint64_t now_ns);
  [[nodiscard]] SynchronizerStats stats() const noexcept;
  [[nodiscard]] std::size_t waiting() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
