// The end of every capture pipeline: frames into the stream.
#pragma once

#include "pipeline/gstreamer/frame_slots.hpp"
#include "pipeline/gstreamer/handles.hpp"

#include <functional>
#include <memory>

namespace sluice::gst {

struct SlotSinkOptions {
  bool paced = false;  ///< Wait for each frame's time: for what comes faster than it plays.
  /// The buffer's offset is the source's own frame counter.
  bool source_counts = false;
  /// Exposure of the frame that has just arrived, in microseconds; 0: unknown.
  std::function<std::uint32_t()> exposure_us{};
};

/// A GstBaseSink that takes native_caps() and offers upstream a pool of slots. A frame that lies in
/// one is published in place; any other is copied, which is counted.
GstElement* new_slot_sink(std::shared_ptr<FrameSlots> slots, SlotSinkOptions options);

}  // namespace sluice::gst
