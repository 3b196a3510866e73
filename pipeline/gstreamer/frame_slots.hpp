// The one stream of a capture process, shared by all threads of GStreamer.
#pragma once

#include "pipeline/gstreamer/formats.hpp"
#include "pipeline/gstreamer/frame_numbers.hpp"
#include "sluice/frame.hpp"
#include "sluice/publisher.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace sluice::gst {

/// What is known of one frame beside its pixels. Times are CLOCK_MONOTONIC.
struct FrameTimes {
  std::uint64_t number = 0;
  std::uint64_t sensor_ns = 0;  ///< Also the message's origin.
  std::uint64_t taken_ns = 0;   ///< When it had come to us.
  std::uint32_t exposure_us = 0;
};

/// A frame that was published just now.
struct PublishedFrame {
  const FrameHeader& header;
  CorrelationId correlation;
  FrameTimes times;
  std::uint64_t output_ns = 0;
  Reference reference;  ///< Of its message.
};

struct CaptureCounts {
  std::uint64_t arrived = 0;
  std::uint64_t published = 0;
  std::uint64_t copies = 0;   ///< Of `published`: not written in place.
  std::uint64_t dropped = 0;  ///< No slot was free, or the stream had no room.
  std::uint64_t failed = 0;   ///< Were no frames of the format that was agreed on.
  std::uint64_t gaps = 0;
  std::uint64_t last_arrival_ns = 0;
};

/// A Publisher is for one thread at a time, and buffers come and go in many: one mutex around it
/// and its loans. Held for a few hundred nanoseconds, except in prepare(). Lives for as long as a
/// buffer of its stream does, and so outlives the pipeline.
class FrameSlots {
 public:
  struct Options {
    std::string camera;  ///< FrameHeader::camera
    /// Makes the stream, with one pool of such slots. Called by the first prepare().
    std::function<Result<Publisher>(std::uint64_t slot_bytes)> advertise;
    /// Called for every frame, in the thread that publishes, one at a time. Must not come back
    /// here.
    std::function<void(const PublishedFrame&)> on_published{};
    std::uint32_t slots_per_pool = 0;        ///< As PoolOptions::slot_count; of pools added later.
    std::uint64_t expected_interval_ns = 0;  ///< Where the source does not say.
  };
  explicit FrameSlots(Options options) : options_(std::move(options)) {}

  /// Before frames of this format: makes the stream, or adds a pool when its slots are too small.
  /// `slot_bytes`: header included.
  Result<void> prepare(const StreamFormat& format, std::uint64_t slot_bytes);
  /// Larger slots for compressed pictures that turn out to be larger than was thought.
  Result<void> make_room(std::uint64_t slot_bytes);

  /// An empty loan says why.
  Loan loan(std::uint64_t slot_bytes) noexcept;
  void give_back(Loan&& loan) noexcept;

  /// A frame arrives: its number, for which the source's own counter is asked where it has one.
  std::uint64_t arrived(std::optional<std::uint64_t> counted, std::uint64_t now_ns) noexcept;
  /// Writes the header into the loan and publishes it. What cannot be published is counted.
  void publish(Loan&& loan, FrameHeader header, const FrameTimes& times, bool copied) noexcept;
  void count_dropped() noexcept;
  void count_failed() noexcept;

  void source_restarted() noexcept;
  /// Counted as soon as the source that was lost brings a frame.
  void source_lost() noexcept;
  [[nodiscard]] std::uint64_t reconnects() const noexcept;

  [[nodiscard]] CaptureCounts counts() const noexcept;
  /// Tells monitors, and lets go of what everybody has passed; once a second.
  void tend() noexcept;
  /// Ends the stream. Buffers that are still about keep their slots until they end.
  void close() noexcept;

 private:
  void describe() noexcept;
  Result<void> grow(std::uint64_t slot_bytes);

  const Options options_;
  mutable std::mutex mutex_;
  std::optional<Publisher> publisher_;
  bool closed_ = false;
  std::uint64_t largest_slot_ = 0;
  SourceInfo source_;
  FrameNumbers numbers_;
  CaptureCounts counts_;
  bool lost_ = false;
};

}  // namespace sluice::gst
