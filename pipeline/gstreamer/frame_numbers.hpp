// Frame numbers that only go up, whatever the source's own counter does.
#pragma once

#include <cstdint>
#include <optional>

namespace sluice::gst {

/// Call it for every frame that arrives, also for one that is dropped afterwards: what we lose
/// ourselves is no gap of the source.
class FrameNumbers {
 public:
  /// `counted`: the source's own counter, where it has one. Otherwise frames are just counted.
  std::uint64_t next(std::optional<std::uint64_t> counted) noexcept;
  /// The source was opened again: its counter may begin anywhere, and what was lost meanwhile is
  /// not known.
  void source_restarted() noexcept { expected_.reset(); }
  /// Frames the source counted, but which never arrived.
  [[nodiscard]] std::uint64_t gaps() const noexcept { return gaps_; }

 private:
  std::uint64_t given_ = 0;                // numbers go on from here
  std::optional<std::uint64_t> expected_;  // of the source's counter
  std::uint64_t gaps_ = 0;
};

}  // namespace sluice::gst
