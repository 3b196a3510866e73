// Frame n shows the window that photo_path.hpp gives for n, scaled by GStreamer's converter
// straight into the buffer that downstream's pool has lent: in capture a slot of the stream.
//
// Pictures are kept in the format of the frames, so that a frame costs one scaling of its planes
// and no conversion. The converter is set up for one window, and kept for as long as the window
// does not move. At most kKeptBytes of pictures are kept; the others are decoded again each time,
// in the time of the first frame that shows them.
#include "pipeline/gstreamer/photo_source.hpp"

#include "pipeline/gstreamer/handles.hpp"
#include "pipeline/gstreamer/photo_path.hpp"
#include "pipeline/gstreamer/photos.hpp"

#include <gst/base/gstpushsrc.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

namespace sluice::gst {
namespace {

constexpr std::uint64_t kKeptBytes = std::uint64_t{256} << 20;

using Converter = std::unique_ptr<GstVideoConverter, Release<gst_video_converter_free>>;

struct PhotoState {
  PhotoSourceOptions options;
  GstVideoInfo info{};
  std::map<std::size_t, Photo> kept;
  std::uint64_t kept_bytes = 0;
  std::uint64_t number = 0;
  GstClockTime begin = 0;  // running time of frame 0
  Converter converter;
  std::size_t converter_picture = 0;
  PhotoWindow converter_window;
};
struct SluicePhotoSource {
  GstPushSrc parent;
  PhotoState* state;
};
struct SluicePhotoSourceClass {
  GstPushSrcClass parent;
};
G_DEFINE_TYPE(SluicePhotoSource, sluice_photo_source, GST_TYPE_PUSH_SRC)

PhotoState& state_of(gpointer object) { return *static_cast<SluicePhotoSource*>(object)->state; }

double rate_of(const GstVideoInfo& info) {
  return static_cast<double>(info.fps_n) / static_cast<double>(info.fps_d);
}

// Null when the file is no picture; it is then taken off the list.
const Photo* photo_at(PhotoState& state, std::size_t index) {
  if (const auto found = state.kept.find(index); found != state.kept.end()) return &found->second;
  auto loaded = load_photo(state.options.files[index], state.info);
  if (!loaded) {
    if (state.options.on_unusable) state.options.on_unusable(loaded.error().message);
    state.options.files.erase(state.options.files.begin() + static_cast<std::ptrdiff_t>(index));
    // What follows has moved up.
    state.kept.clear();
    state.kept_bytes = 0;
    state.converter.reset();
    return nullptr;
  }
  const std::uint64_t bytes = GST_VIDEO_INFO_SIZE(&loaded->info);
  if (state.kept_bytes + bytes > kKeptBytes) {
    state.kept.clear();
    state.kept_bytes = 0;
  }
  state.kept_bytes += bytes;
  state.converter.reset();  // of a picture that may be gone
  return &state.kept.insert_or_assign(index, std::move(*loaded)).first->second;
}

// Decodes what can be kept before the first frame is due, and finds out which files are pictures.
bool load_all(PhotoState& state) {
  for (std::size_t i = 0;
       i < state.options.files.size() && state.kept_bytes < kKeptBytes * 3 / 4;) {
    if (photo_at(state, i) != nullptr) {
      ++i;
    } else {
      i = 0;
    }
  }
  return !state.options.files.empty();
}

gboolean set_caps(GstBaseSrc* source, GstCaps* caps) {
  PhotoState& state = state_of(source);
  GstVideoInfo info;
  if (!gst_video_info_from_caps(&info, caps) || info.fps_n <= 0 || info.fps_d <= 0) return FALSE;
  state.kept.clear();  // they were of another format, or another rate
  state.kept_bytes = 0;
  state.info = info;
  state.converter.reset();
  gst_base_src_set_blocksize(source, static_cast<guint>(GST_VIDEO_INFO_SIZE(&info)));
  if (load_all(state)) return TRUE;
  GST_ELEMENT_ERROR(source, RESOURCE, READ, ("none of the files is a picture that can be used"),
                    (nullptr));
  return FALSE;
}

GstCaps* fixate(GstBaseSrc* source, GstCaps* caps) {
  caps = gst_caps_make_writable(caps);
  GstStructure* structure = gst_caps_get_structure(caps, 0);
  gst_structure_fixate_field_nearest_int(structure, "width", 1280);
  gst_structure_fixate_field_nearest_int(structure, "height", 720);
  gst_structure_fixate_field_nearest_fraction(structure, "framerate", 30, 1);
  return GST_BASE_SRC_CLASS(sluice_photo_source_parent_class)->fixate(source, caps);
}

gboolean start(GstBaseSrc* source) {
  state_of(source).number = 0;
  return TRUE;
}

gboolean is_seekable(GstBaseSrc*) { return FALSE; }

// Lets the base class wait for the frame's time, when live.
void get_times(GstBaseSrc* source, GstBuffer* buffer, GstClockTime* begin, GstClockTime* end) {
  if (!gst_base_src_is_live(source) || !GST_BUFFER_PTS_IS_VALID(buffer)) return;
  *begin = GST_BUFFER_PTS(buffer);
  *end = *begin + GST_BUFFER_DURATION(buffer);
}

GstVideoConverter* converter_for(PhotoState& state, const Photo& photo, std::size_t picture,
                                 const PhotoWindow& window) {
  if (state.converter && state.converter_picture == picture && state.converter_window == window) {
    return state.converter.get();
  }
  const auto as_int = [](std::uint32_t value) { return static_cast<gint>(value); };
  GstStructure* config =
      gst_structure_new("photo", GST_VIDEO_CONVERTER_OPT_SRC_X, G_TYPE_INT, as_int(window.x),
                        GST_VIDEO_CONVERTER_OPT_SRC_Y, G_TYPE_INT, as_int(window.y),
                        GST_VIDEO_CONVERTER_OPT_SRC_WIDTH, G_TYPE_INT, as_int(window.width),
                        GST_VIDEO_CONVERTER_OPT_SRC_HEIGHT, G_TYPE_INT, as_int(window.height),
                        GST_VIDEO_CONVERTER_OPT_RESAMPLER_METHOD, GST_TYPE_VIDEO_RESAMPLER_METHOD,
                        GST_VIDEO_RESAMPLER_METHOD_LINEAR, nullptr);
  state.converter.reset(gst_video_converter_new(&photo.info, &state.info, config));
  state.converter_picture = picture;
  state.converter_window = window;
  return state.converter.get();
}

bool draw(PhotoState& state, GstBuffer* buffer) {
  const Photo* photo = nullptr;
  PhotoMoment moment;
  std::size_t picture = 0;
  while (photo == nullptr && !state.options.files.empty()) {
    moment = photo_moment(state.options.motion, state.number, rate_of(state.info),
                          state.options.files.size());
    picture = static_cast<std::size_t>(moment.picture);  // of so many files
    photo = photo_at(state, picture);
  }
  if (photo == nullptr) return false;
  const auto side = [](gint value) { return static_cast<std::uint32_t>(value); };
  const PhotoWindow window =
      photo_window(state.options.motion, moment.progress, side(photo->info.width),
                   side(photo->info.height), side(state.info.width), side(state.info.height));
  GstVideoConverter* converter = converter_for(state, *photo, picture, window);
  if (converter == nullptr) return false;
  GstVideoFrame from;
  GstVideoFrame to;
  GstVideoInfo photo_info = photo->info;
  if (!gst_video_frame_map(&from, &photo_info, photo->buffer.get(), GST_MAP_READ)) return false;
  const bool mapped = gst_video_frame_map(&to, &state.info, buffer, GST_MAP_WRITE);
  if (mapped) {
    gst_video_converter_frame(converter, &from, &to);
    gst_video_frame_unmap(&to);
  }
  gst_video_frame_unmap(&from);
  return mapped;
}

// Of a live source: decoding took time, and frames that were due meanwhile are not made up for.
GstClockTime running_time(GstPushSrc* source) {
  const Ref<GstClock> clock{gst_element_get_clock(GST_ELEMENT_CAST(source))};
  if (!gst_base_src_is_live(GST_BASE_SRC_CAST(source)) || !clock) return 0;
  const GstClockTime now = gst_clock_get_time(clock.get());
  const GstClockTime base = gst_element_get_base_time(GST_ELEMENT_CAST(source));
  return now > base ? now - base : 0;
}

GstFlowReturn fill(GstPushSrc* source, GstBuffer* buffer) {
  PhotoState& state = state_of(source);
  if (!draw(state, buffer)) {
    GST_ELEMENT_ERROR(source, RESOURCE, READ, ("none of the files is a picture that can be used"),
                      (nullptr));
    return GST_FLOW_ERROR;
  }
  const auto second_over_rate = [&](std::uint64_t frames) {
    return gst_util_uint64_scale(frames * GST_SECOND, static_cast<guint64>(state.info.fps_d),
                                 static_cast<guint64>(state.info.fps_n));
  };
  if (state.number == 0) state.begin = running_time(source);
  GST_BUFFER_PTS(buffer) = state.begin + second_over_rate(state.number);
  GST_BUFFER_DTS(buffer) = GST_CLOCK_TIME_NONE;
  GST_BUFFER_DURATION(buffer) =
      state.begin + second_over_rate(state.number + 1) - GST_BUFFER_PTS(buffer);
  GST_BUFFER_OFFSET(buffer) = state.number;
  GST_BUFFER_OFFSET_END(buffer) = state.number + 1;
  ++state.number;
  return GST_FLOW_OK;
}

void finalize_source(GObject* object) {
  delete std::exchange(static_cast<SluicePhotoSource*>(static_cast<void*>(object))->state, nullptr);
  G_OBJECT_CLASS(sluice_photo_source_parent_class)->finalize(object);
}

void sluice_photo_source_class_init(SluicePhotoSourceClass* type) {
  G_OBJECT_CLASS(type)->finalize = finalize_source;
  auto* element = GST_ELEMENT_CLASS(type);
  const CapsRef caps{
      gst_caps_from_string("video/x-raw, format = (string) { NV12, I420, YUY2, BGR, RGB, GRAY8 }, "
                           "width = (int) [ 2, 32768, 2 ], height = (int) [ 2, 32768, 2 ], "
                           "framerate = (fraction) [ 1/1, 1000/1 ]")};
  gst_element_class_add_pad_template(
      element, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps.get()));
  gst_element_class_set_static_metadata(element, "Sluice photographs", "Source/Video",
                                        "Pans and zooms over photographs", "Sluice");
  auto* base = GST_BASE_SRC_CLASS(type);
  base->set_caps = set_caps;
  base->fixate = fixate;
  base->start = start;
  base->is_seekable = is_seekable;
  base->get_times = get_times;
  GST_PUSH_SRC_CLASS(type)->fill = fill;
}
void sluice_photo_source_init(SluicePhotoSource* self) {
  self->state = new PhotoState{};
  gst_base_src_set_format(GST_BASE_SRC(self), GST_FORMAT_TIME);
}

}  // namespace

GstElement* new_photo_source(PhotoSourceOptions options) {
  auto* source =
      static_cast<SluicePhotoSource*>(g_object_new(sluice_photo_source_get_type(), nullptr));
  gst_base_src_set_live(GST_BASE_SRC(source), options.live ? TRUE : FALSE);
  source->state->options = std::move(options);
  return GST_ELEMENT_CAST(source);
}

}  // namespace sluice::gst
