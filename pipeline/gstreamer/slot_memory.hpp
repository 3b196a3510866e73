// Slots as GStreamer's memory: what upstream writes lies where subscribers will read it.
#pragma once

#include "pipeline/gstreamer/formats.hpp"
#include "pipeline/gstreamer/frame_slots.hpp"
#include "pipeline/gstreamer/handles.hpp"

#include <memory>

namespace sluice::gst {

/// Buffers for one format, whose planes lie in slots behind room for the frame's header. When no
/// slot is to be had, a buffer with ordinary memory: nothing upstream waits or fails because
/// subscribers hold too much, and whether there is a slot by the time the frame is complete is the
/// sink's matter. Buffers may outlive pool, pipeline and stream.
Ref<GstBufferPool> new_slot_pool(std::shared_ptr<FrameSlots> slots, const StreamFormat& format);

/// One buffer for `payload_bytes`, with a slot; null when there is none, and then `why`.
BufferRef new_slot_buffer(const std::shared_ptr<FrameSlots>& slots, const StreamFormat& format,
                          std::uint64_t payload_bytes, Outcome& why);

/// Whether there is a slot in the buffer, whoever refers to it.
bool is_slot(GstBuffer* buffer) noexcept;

/// Whether the buffer's memory is a slot of `slots` and whoever calls holds the only reference to
/// the buffer and to its memory.
bool owns_slot(GstBuffer* buffer, const FrameSlots& slots) noexcept;

/// The loan of a buffer for which owns_slot() is true; the buffer has no memory that could be
/// mapped from then on.
Loan take_slot(GstBuffer* buffer) noexcept;

}  // namespace sluice::gst
