// What happens to a frame:
//
//   in a slot of ours, nobody else refers to it   header completed, published: no copy
//   in other memory, or others refer to it        copied into a slot, published, counted as a copy
//   there is no slot                              dropped, counted; the pipeline goes on
//   not of the agreed format                      counted as failed, said once for each change of
//   format
//
// Elements that keep what they hand on (decoders that predict from it) would make every frame a
// copy out of a slot into another one. After kSharedInARow of them the sink asks for a new
// negotiation and offers no slots in it: the element then uses its own memory, which costs the one
// copy, but not two slots.
//
// Sensor time is the buffer's running time plus the pipeline's base time: the pipeline's clock is
// the system's, CLOCK_MONOTONIC. What that is the time of depends on the source; see
// docs/capture.md.
#include "pipeline/gstreamer/slot_sink.hpp"

#include "pipeline/gstreamer/slot_memory.hpp"
#include "shm/clock.hpp"

#include <gst/base/gstbasesink.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace sluice::gst {
namespace {

constexpr std::uint32_t kSharedInARow = 3;
constexpr guint kLeastBuffers = 2;

struct SinkState {
  std::shared_ptr<FrameSlots> slots;
  SlotSinkOptions options;
  std::optional<StreamFormat> format;
  std::uint32_t shared = 0;  // frames in slots in a row which others referred to
  bool offers_slots = true;
  bool said_failed = false;
};
struct SluiceSlotSink {
  GstBaseSink parent;
  SinkState* state;
};
struct SluiceSlotSinkClass {
  GstBaseSinkClass parent;
};
G_DEFINE_TYPE(SluiceSlotSink, sluice_slot_sink, GST_TYPE_BASE_SINK)

SinkState& state_of(gpointer object) { return *static_cast<SluiceSlotSink*>(object)->state; }

// Compressed pictures have no size of their own. Half a byte more than a pixel's luma is beyond
// what cameras send; make_room() helps where it is not.
std::uint64_t slot_bytes(const StreamFormat& format) {
  if (!format.compressed()) return kFrameHeaderBytes + format.payload_bytes();
  const std::uint64_t pixels = std::uint64_t{format.width()} * format.height();
  return kFrameHeaderBytes + std::max<std::uint64_t>(pixels * 3 / 2, 65'536);
}

gboolean set_caps(GstBaseSink* sink, GstCaps* caps) {
  SinkState& state = state_of(sink);
  const Text text{gst_caps_to_string(caps)};
  const auto format = stream_format(caps);
  if (!format) {
    GST_ELEMENT_ERROR(sink, STREAM, FORMAT, ("the format cannot be a frame: %s", text.get()),
                      (nullptr));
    return FALSE;
  }
  if (auto ready = state.slots->prepare(*format, slot_bytes(*format)); !ready) {
    GST_ELEMENT_ERROR(sink, RESOURCE, NO_SPACE_LEFT,
                      ("no memory for frames of %s %u x %u: %s", name_of(format->format),
                       format->width(), format->height(), ready.error().message.c_str()),
                      (nullptr));
    return FALSE;
  }
  state.format = *format;
  state.said_failed = false;
  return TRUE;
}

gboolean propose_allocation(GstBaseSink* sink, GstQuery* query) {
  SinkState& state = state_of(sink);
  GstCaps* caps = nullptr;
  gboolean need_pool = FALSE;
  gst_query_parse_allocation(query, &caps, &need_pool);
  const auto format = stream_format(caps);
  if (!format) return FALSE;
  if (format->compressed()) return TRUE;
  // Foreign memory may have any layout: its copy ends up in ours.
  gst_query_add_allocation_meta(query, GST_VIDEO_META_API_TYPE, nullptr);
  if (!state.offers_slots) return TRUE;
  const auto size = static_cast<guint>(format->payload_bytes());
  Ref<GstBufferPool> pool;
  if (need_pool) {
    pool = new_slot_pool(state.slots, *format);
    GstStructure* config = gst_buffer_pool_get_config(pool.get());
    gst_buffer_pool_config_set_params(config, caps, size, kLeastBuffers, 0);
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
    if (!gst_buffer_pool_set_config(pool.get(), config)) return FALSE;
  }
  gst_query_add_allocation_pool(query, pool.get(), size, kLeastBuffers, 0);
  return TRUE;
}

bool has_our_layout(GstBuffer* buffer, const GstVideoInfo& info) {
  if (gst_buffer_get_size(buffer) < GST_VIDEO_INFO_SIZE(&info)) return false;
  const GstVideoMeta* meta = gst_buffer_get_video_meta(buffer);
  if (meta == nullptr) return true;  // then it is what the caps say
  if (meta->format != GST_VIDEO_INFO_FORMAT(&info) ||
      meta->n_planes != GST_VIDEO_INFO_N_PLANES(&info) ||
      static_cast<gint>(meta->width) != GST_VIDEO_INFO_WIDTH(&info) ||
      static_cast<gint>(meta->height) != GST_VIDEO_INFO_HEIGHT(&info)) {
    return false;
  }
  for (guint i = 0; i < meta->n_planes; ++i) {
    if (meta->offset[i] != info.offset[i] || meta->stride[i] != info.stride[i]) return false;
  }
  return true;
}

bool copy_picture(GstBuffer* from, GstBuffer* to, const GstVideoInfo& info) {
  GstVideoFrame source;
  GstVideoFrame target;
  if (!gst_video_frame_map(&source, &info, from, GST_MAP_READ)) return false;
  const bool mapped = gst_video_frame_map(&target, &info, to, GST_MAP_WRITE);
  const bool copied = mapped && gst_video_frame_copy(&target, &source);
  if (mapped) gst_video_frame_unmap(&target);
  gst_video_frame_unmap(&source);
  return copied;
}

bool copy_bytes(GstBuffer* from, GstBuffer* to) {
  GstMapInfo map;
  if (!gst_buffer_map(to, &map, GST_MAP_WRITE)) return false;
  const bool all = gst_buffer_extract(from, 0, map.data, map.size) == map.size;
  gst_buffer_unmap(to, &map);
  return all;
}

// Of a JPEG picture: whether it begins and is not so short that it cannot be one.
bool looks_like_jpeg(GstBuffer* buffer) {
  guint8 begin[3] = {};
  return gst_buffer_extract(buffer, 0, begin, sizeof begin) == sizeof begin && begin[0] == 0xff &&
         begin[1] == 0xd8 && begin[2] == 0xff;
}

void fail(GstBaseSink* sink, GstBuffer* buffer) {
  SinkState& state = state_of(sink);
  state.slots->count_failed();
  if (std::exchange(state.said_failed, true)) return;
  GST_ELEMENT_WARNING(
      sink, STREAM, FORMAT,
      ("a picture of %" G_GSIZE_FORMAT " bytes is not %s %u x %u; such are left out",
       gst_buffer_get_size(buffer), name_of(state.format->format), state.format->width(),
       state.format->height()),
      (nullptr));
}

std::uint64_t sensor_time(GstBaseSink* sink, GstBuffer* buffer, std::uint64_t now) {
  if (!GST_BUFFER_PTS_IS_VALID(buffer)) return now;
  const GstClockTime running =
      gst_segment_to_running_time(&sink->segment, GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
  if (!GST_CLOCK_TIME_IS_VALID(running)) return now;
  return gst_element_get_base_time(GST_ELEMENT_CAST(sink)) + running;
}

void copy_and_publish(GstBaseSink* sink, GstBuffer* buffer, const FrameTimes& times) {
  SinkState& state = state_of(sink);
  const StreamFormat& format = *state.format;
  const std::uint64_t bytes =
      format.compressed() ? gst_buffer_get_size(buffer) : format.payload_bytes();
  if (format.compressed() && !looks_like_jpeg(buffer)) return fail(sink, buffer);
  Outcome why = Outcome::ok;
  BufferRef copy = new_slot_buffer(state.slots, format, bytes, why);
  if (why == Outcome::too_large && format.compressed() &&
      state.slots->make_room(kFrameHeaderBytes + bytes * 3 / 2)) {
    copy = new_slot_buffer(state.slots, format, bytes, why);
  }
  if (!copy) return state.slots->count_dropped();
  const bool copied = format.compressed() ? copy_bytes(buffer, copy.get())
                                          : copy_picture(buffer, copy.get(), format.info);
  if (!copied) return fail(sink, buffer);
  state.slots->publish(take_slot(copy.get()), header_for(format, bytes), times, true);
}

GstFlowReturn render(GstBaseSink* sink, GstBuffer* buffer) {
  SinkState& state = state_of(sink);
  const std::uint64_t now = shm::now_ns();
  if (!state.format) return GST_FLOW_NOT_NEGOTIATED;
  const bool counts = state.options.source_counts && GST_BUFFER_OFFSET_IS_VALID(buffer);
  FrameTimes times;
  times.number = state.slots->arrived(
      counts ? std::optional<std::uint64_t>{GST_BUFFER_OFFSET(buffer)} : std::nullopt, now);
  times.sensor_ns = sensor_time(sink, buffer, now);
  times.taken_ns = now;
  if (state.options.exposure_us) times.exposure_us = state.options.exposure_us();

  if (owns_slot(buffer, *state.slots) && !state.format->compressed() &&
      has_our_layout(buffer, state.format->info)) {
    state.shared = 0;
    state.slots->publish(take_slot(buffer), header_for(*state.format, 0), times, false);
    return GST_FLOW_OK;
  }
  if (is_slot(buffer) && ++state.shared == kSharedInARow &&
      std::exchange(state.offers_slots, false)) {
    gst_pad_push_event(GST_BASE_SINK_PAD(sink), gst_event_new_reconfigure());
  }
  copy_and_publish(sink, buffer, times);
  return GST_FLOW_OK;
}

void finalize_sink(GObject* object) {
  delete std::exchange(static_cast<SluiceSlotSink*>(static_cast<void*>(object))->state, nullptr);
  G_OBJECT_CLASS(sluice_slot_sink_parent_class)->finalize(object);
}

void sluice_slot_sink_class_init(SluiceSlotSinkClass* type) {
  G_OBJECT_CLASS(type)->finalize = finalize_sink;
  const CapsRef caps = native_caps();
  gst_element_class_add_pad_template(
      GST_ELEMENT_CLASS(type),
      gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps.get()));
  gst_element_class_set_static_metadata(GST_ELEMENT_CLASS(type), "Sluice sink", "Sink/Video",
                                        "Publishes frames in shared memory", "Sluice");
  type->parent.set_caps = set_caps;
  type->parent.propose_allocation = propose_allocation;
  type->parent.render = render;
}
void sluice_slot_sink_init(SluiceSlotSink* self) {
  self->state = new SinkState{};
  // The last buffer would stay referred to, and so would never be published in place.
  gst_base_sink_set_last_sample_enabled(&self->parent, FALSE);
}

}  // namespace

GstElement* new_slot_sink(std::shared_ptr<FrameSlots> slots, SlotSinkOptions options) {
  auto* sink = static_cast<SluiceSlotSink*>(g_object_new(sluice_slot_sink_get_type(), nullptr));
  gst_base_sink_set_sync(&sink->parent, options.paced ? TRUE : FALSE);
  sink->state->slots = std::move(slots);
  sink->state->options = std::move(options);
  return GST_ELEMENT_CAST(sink);
}

}  // namespace sluice::gst
