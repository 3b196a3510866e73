// A SlotMemory is a GstMemory that owns a Loan. Its life:
//
//   pool ──loan──> SlotMemory in a GstBuffer ──> upstream writes ──> sink: take_slot ──> published
//                         └─ dropped on the way (flush, end, error): free ──> loan given back
//
// Who may write? A published slot is read by other processes at once, and used again as soon as all
// have let go of it. So two things must never happen: that somebody upstream still writes to a slot
// that was published, and that somebody upstream (a decoder, which predicts from earlier frames)
// still reads one when it has been used again. Both are ruled out by one rule: a slot is published
// in place only when the sink holds the *only* reference to the buffer and the buffer the only one
// to the memory. References are how GStreamer's elements say that they need a buffer: a decoder
// holds one for every frame that it predicts from (gst-libav ties it to libav's own buffer), a tee
// for every branch. No reference can be made by somebody who has none, so what the sink sees once
// stays true. A slot which others refer to is copied into a fresh one, and stays a loan,
// unpublished, until the last of them lets go.
//
// The memory cannot be shared in parts (GST_MEMORY_FLAG_NO_SHARE): sub-memories copy, and do not
// hold references that would have to be looked for.
//
// When the pool is dry the buffers get ordinary memory. Waiting, as pools usually do, would hand
// the decision about our frame rate to the slowest holder in another process; failing would end
// most elements' streams. The price is one copy, if there is a slot again by then.
#include "pipeline/gstreamer/slot_memory.hpp"

#include <utility>

namespace sluice::gst {
namespace {

struct SlotMemory : GstMemory {
  std::shared_ptr<FrameSlots> slots;
  Loan loan;
};

// --- allocator

struct SluiceSlotAllocator {
  GstAllocator parent;
};
struct SluiceSlotAllocatorClass {
  GstAllocatorClass parent;
};
G_DEFINE_TYPE(SluiceSlotAllocator, sluice_slot_allocator, GST_TYPE_ALLOCATOR)

gpointer map_slot(GstMemory* memory, gsize, GstMapFlags) {
  const auto* slot = static_cast<SlotMemory*>(memory);
  return slot->loan ? slot->loan.data() + kFrameHeaderBytes : nullptr;
}
void unmap_slot(GstMemory*) {}

void free_slot(GstAllocator*, GstMemory* memory) {
  auto* slot = static_cast<SlotMemory*>(memory);
  if (slot->loan) slot->slots->give_back(std::move(slot->loan));
  delete slot;
}

void sluice_slot_allocator_class_init(SluiceSlotAllocatorClass* type) {
  type->parent.free = free_slot;
}
void sluice_slot_allocator_init(SluiceSlotAllocator* self) {
  self->parent.mem_type = "SluiceSlot";
  self->parent.mem_map = map_slot;
  self->parent.mem_unmap = unmap_slot;
  // Nobody makes such memory but ourselves, copies of it included.
  GST_OBJECT_FLAG_SET(self, GST_ALLOCATOR_FLAG_CUSTOM_ALLOC);
}

GstAllocator* allocator() {
  static auto* const instance = static_cast<GstAllocator*>(
      gst_object_ref_sink(g_object_new(sluice_slot_allocator_get_type(), nullptr)));
  return instance;
}

GstMemory* new_slot_memory(std::shared_ptr<FrameSlots> slots, Loan&& loan, gsize bytes) {
  auto* memory = new SlotMemory{};
  memory->slots = std::move(slots);
  memory->loan = std::move(loan);
  constexpr gsize kAlignMask = 63;
  gst_memory_init(memory, GST_MEMORY_FLAG_NO_SHARE, allocator(), nullptr, bytes, kAlignMask, 0,
                  bytes);
  return memory;
}

void add_layout(GstBuffer* buffer, const StreamFormat& format) {
  if (format.compressed()) return;
  GstVideoInfo info = format.info;
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(&info),
                                 format.width(), format.height(), GST_VIDEO_INFO_N_PLANES(&info),
                                 info.offset, info.stride);
}

// --- pool

struct PoolState {
  std::shared_ptr<FrameSlots> slots;
  StreamFormat format;
};
struct SluiceSlotPool {
  GstBufferPool parent;
  PoolState* state;
};
struct SluiceSlotPoolClass {
  GstBufferPoolClass parent;
};
G_DEFINE_TYPE(SluiceSlotPool, sluice_slot_pool, GST_TYPE_BUFFER_POOL)

SluiceSlotPool* pool_of(gpointer object) { return static_cast<SluiceSlotPool*>(object); }

const gchar** pool_options(GstBufferPool*) {
  static const gchar* options[] = {GST_BUFFER_POOL_OPTION_VIDEO_META, nullptr};
  return options;
}

// Only for the format it was made for: an element that wants another one asks for another pool.
gboolean set_pool_config(GstBufferPool* pool, GstStructure* config) {
  GstCaps* caps = nullptr;
  guint size = 0;
  guint least = 0;
  guint most = 0;
  if (!gst_buffer_pool_config_get_params(config, &caps, &size, &least, &most)) return FALSE;
  const auto wanted = stream_format(caps);
  const StreamFormat& format = pool_of(pool)->state->format;
  if (!wanted || wanted->compressed() || !gst_video_info_is_equal(&wanted->info, &format.info) ||
      size > format.payload_bytes()) {
    return FALSE;
  }
  gst_buffer_pool_config_set_params(config, caps, static_cast<guint>(format.payload_bytes()), least,
                                    most);
  return GST_BUFFER_POOL_CLASS(sluice_slot_pool_parent_class)->set_config(pool, config);
}

// Slots wait in the stream, not here.
gboolean start_pool(GstBufferPool*) { return TRUE; }

GstFlowReturn acquire(GstBufferPool* pool, GstBuffer** out, GstBufferPoolAcquireParams*) {
  if (GST_BUFFER_POOL_IS_FLUSHING(pool)) return GST_FLOW_FLUSHING;
  const PoolState& state = *pool_of(pool)->state;
  const std::uint64_t bytes = state.format.payload_bytes();
  Outcome why = Outcome::ok;
  BufferRef buffer = new_slot_buffer(state.slots, state.format, bytes, why);
  if (!buffer) {
    if (!std::in_range<gsize>(bytes)) return GST_FLOW_ERROR;
    buffer.reset(gst_buffer_new_allocate(nullptr, static_cast<gsize>(bytes), nullptr));
    if (!buffer) return GST_FLOW_ERROR;
    add_layout(buffer.get(), state.format);
  }
  *out = buffer.release();
  return GST_FLOW_OK;
}

// Nothing is kept: the memory goes back to the stream.
void release(GstBufferPool*, GstBuffer* buffer) { gst_buffer_unref(buffer); }

void finalize_pool(GObject* object) {
  delete std::exchange(pool_of(object)->state, nullptr);
  G_OBJECT_CLASS(sluice_slot_pool_parent_class)->finalize(object);
}

void sluice_slot_pool_class_init(SluiceSlotPoolClass* type) {
  G_OBJECT_CLASS(type)->finalize = finalize_pool;
  type->parent.get_options = pool_options;
  type->parent.set_config = set_pool_config;
  type->parent.start = start_pool;
  type->parent.acquire_buffer = acquire;
  type->parent.release_buffer = release;
}
void sluice_slot_pool_init(SluiceSlotPool* self) { self->state = new PoolState{}; }

}  // namespace

Ref<GstBufferPool> new_slot_pool(std::shared_ptr<FrameSlots> slots, const StreamFormat& format) {
  auto* pool = pool_of(gst_object_ref_sink(g_object_new(sluice_slot_pool_get_type(), nullptr)));
  pool->state->slots = std::move(slots);
  pool->state->format = format;
  return Ref<GstBufferPool>{&pool->parent};
}

BufferRef new_slot_buffer(const std::shared_ptr<FrameSlots>& slots, const StreamFormat& format,
                          std::uint64_t payload_bytes, Outcome& why) {
  Loan loan = slots->loan(kFrameHeaderBytes + payload_bytes);
  why = loan.outcome();
  if (!loan) return nullptr;
  BufferRef buffer{gst_buffer_new()};
  gst_buffer_append_memory(  // of so many bytes in memory
      buffer.get(), new_slot_memory(slots, std::move(loan), static_cast<gsize>(payload_bytes)));
  add_layout(buffer.get(), format);
  return buffer;
}

bool is_slot(GstBuffer* buffer) noexcept {
  return gst_buffer_n_memory(buffer) == 1 &&
         gst_buffer_peek_memory(buffer, 0)->allocator == allocator();
}

bool owns_slot(GstBuffer* buffer, const FrameSlots& slots) noexcept {
  if (!is_slot(buffer) || GST_MINI_OBJECT_REFCOUNT_VALUE(buffer) != 1) return false;
  const GstMemory* memory = gst_buffer_peek_memory(buffer, 0);
  if (GST_MINI_OBJECT_REFCOUNT_VALUE(memory) != 1) return false;
  const auto* slot = static_cast<const SlotMemory*>(memory);
  return slot->slots.get() == &slots && slot->loan && memory->offset == 0;
}

Loan take_slot(GstBuffer* buffer) noexcept {
  return std::move(static_cast<SlotMemory*>(gst_buffer_peek_memory(buffer, 0))->loan);
}

}  // namespace sluice::gst
