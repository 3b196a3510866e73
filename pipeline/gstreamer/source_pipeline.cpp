// The pipelines, with what stands between source and sink:
//
//   test       videotestsrc ! size and format
//   images     photographs ! size and format
//   v4l2       v4l2src ! size, raw or JPEG ! decodebin ! videoconvertscale ! size and format
//   libcamera  libcamerasrc ! size ! videoconvertscale ! size and format
//   file, rtsp uridecodebin ! videoconvertscale ! size and format
//
// videoconvertscale is out of the way (it passes buffers and the question for a pool through) where
// the source's own format will do; where not, it writes what it converts into slots. With --format
// MJPEG nothing is decoded: v4l2, rtsp and files bring JPEG, test and images are made into it.
#include "pipeline/gstreamer/source_pipeline.hpp"

#include "pipeline/gstreamer/photo_source.hpp"
#include "pipeline/gstreamer/photos.hpp"
#include "pipeline/gstreamer/slot_sink.hpp"

#include <linux/videodev2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

namespace sluice::gst {
namespace {

constexpr std::uint32_t kDefaultWidth = 1280;
constexpr std::uint32_t kDefaultHeight = 720;
constexpr std::uint32_t kDefaultRate = 30;

Error missing(const char* element, const char* package) {
  return Error{Errc::unsupported, 0,
               std::string("GStreamer has no element ") + element + "; install " + package};
}

Error bad_source(const SourceUrl& source, const std::string& why) {
  return Error{Errc::invalid_argument, 0, "the source '" + source.text + "': " + why};
}

// Called in a streaming thread, for every stream that comes out of a decoder: the first with
// pictures is linked, others (a second picture, sound) are left alone.
void link_pad(GstElement* decoder, GstPad* pad, gpointer target) {
  const Ref<GstPad> sink{gst_element_get_static_pad(static_cast<GstElement*>(target), "sink")};
  if (gst_pad_is_linked(sink.get())) return;
  const CapsRef caps{gst_pad_query_caps(pad, nullptr)};
  if (gst_caps_is_empty(caps.get()) || gst_caps_is_any(caps.get())) return;
  const char* name = gst_structure_get_name(gst_caps_get_structure(caps.get(), 0));
  if (!g_str_has_prefix(name, "video/") && !g_str_has_prefix(name, "image/")) return;
  if (gst_pad_link(pad, sink.get()) == GST_PAD_LINK_OK) return;
  GST_ELEMENT_ERROR(decoder, STREAM, WRONG_TYPE,
                    ("it brings %s, which cannot become the format and size that were asked for; "
                     "choose another --format, or leave out --width and --height",
                     name),
                    (nullptr));
}

// The pipeline while it is made: elements are added and linked in a row.
class Row {
 public:
  Row() : pipeline_(GST_ELEMENT(gst_object_ref_sink(gst_pipeline_new("capture")))) {}

  // Takes the element; null: makes the named one.
  GstElement* add(GstElement* element, const char* name, const char* package) {
    if (element == nullptr) element = gst_element_factory_make(name, nullptr);
    if (element == nullptr) {
      if (!error_) error_ = missing(name, package);
      return nullptr;
    }
    gst_bin_add(GST_BIN(pipeline_.get()), element);
    if (std::exchange(pads_come_later_, false)) {
      g_signal_connect(last_, "pad-added", G_CALLBACK(link_pad), element);
    } else if (last_ != nullptr) {
      gst_element_link(last_, element);
    }
    last_ = element;
    return element;
  }
  GstElement* add(const char* name, const char* package) { return add(nullptr, name, package); }
  void add_caps(const GstCaps* caps) {
    if (auto* filter = add("capsfilter", "libgstreamer1.0-0")) {
      g_object_set(filter, "caps", caps, nullptr);
    }
  }

  // The last element's pads come later; the first of them goes to what is added next.
  void link_later() { pads_come_later_ = true; }

  Result<Ref<GstElement>> finish() {
    if (error_) return *error_;
    return std::move(pipeline_);
  }

 private:
  Ref<GstElement> pipeline_;
  std::optional<Error> error_;
  GstElement* last_ = nullptr;
  bool pads_come_later_ = false;
};

// Called for every element that decoders are made of. What is damaged, or begins in the middle,
// would be a picture of something that was not there: it is left out.
void leave_out_damage(GstBin*, GstBin*, GstElement* element, gpointer) {
  const auto set = [&](const char* property, gboolean value) {
    const GParamSpec* known = g_object_class_find_property(G_OBJECT_GET_CLASS(element), property);
    if (known != nullptr && known->value_type == G_TYPE_BOOLEAN) {
      g_object_set(element, property, value, nullptr);
    }
  };
  set("output-corrupt", FALSE);           // libav's decoders
  set("discard-corrupted-frames", TRUE);  // all others
  set("wait-for-keyframe", TRUE);         // rtph264depay, rtph265depay
}

void set_up_rtsp(GstElement*, GstElement* source, gpointer data) {
  const auto& options = *static_cast<const PipelineOptions*>(data);
  if (g_object_class_find_property(G_OBJECT_GET_CLASS(source), "protocols") == nullptr) return;
  const char* protocols = options.transport == RtspTransport::tcp   ? "tcp"
                          : options.transport == RtspTransport::udp ? "udp-mcast+udp"
                                                                    : "tcp+udp-mcast+udp";
  gst_util_set_object_arg(G_OBJECT(source), "protocols", protocols);
  g_object_set(source, "latency", options.latency_ms, "drop-on-latency", TRUE, nullptr);
}

template <class T>
void delete_data(gpointer data, GClosure*) {
  delete static_cast<T*>(data);
}

// Sizes that no frame of the format can have: the pipeline would only say "not negotiated".
Result<void> check_size(const PipelineOptions& o) {
  const PixelFormat format = o.format.value_or(PixelFormat::nv12);
  const bool halves_width =
      format == PixelFormat::nv12 || format == PixelFormat::i420 || format == PixelFormat::yuyv;
  const bool halves_height = halves_width && format != PixelFormat::yuyv;
  if ((halves_width && o.width % 2 != 0) || (halves_height && o.height % 2 != 0)) {
    return Error{Errc::invalid_argument, 0,
                 "frames of " + std::string(name_of(format)) + " have even sides, not " +
                     std::to_string(o.width) + " x " + std::to_string(o.height) +
                     "; give another size, or --format BGR, RGB or GREY"};
  }
  return {};
}

CapsRef wanted(const PipelineOptions& o) { return caps_for(o.format, o.width, o.height, 0); }

void add_conversion(Row& row, const PipelineOptions& o) {
  if (o.format != PixelFormat::mjpeg) row.add("videoconvertscale", "gstreamer1.0-plugins-base");
  row.add_caps(wanted(o).get());
}

// The size and format of sources that can make any.
void add_made_format(Row& row, const PipelineOptions& o) {
  const bool jpeg = o.format == PixelFormat::mjpeg;
  row.add_caps(caps_for(jpeg ? PixelFormat::i420 : o.format.value_or(PixelFormat::nv12),
                        o.width != 0 ? o.width : kDefaultWidth,
                        o.height != 0 ? o.height : kDefaultHeight,
                        o.rate_hz != 0 ? o.rate_hz : kDefaultRate)
                   .get());
  if (jpeg) row.add("jpegenc", "gstreamer1.0-plugins-good");
}

Result<void> add_test(Row& row, const PipelineOptions& o) {
  GstElement* source = row.add("videotestsrc", "gstreamer1.0-plugins-base");
  if (source == nullptr) return {};
  if (!o.source.location.empty()) {
    auto* type =
        G_PARAM_SPEC_ENUM(g_object_class_find_property(G_OBJECT_GET_CLASS(source), "pattern"))
            ->enum_class;
    const GEnumValue* pattern = g_enum_get_value_by_nick(type, o.source.location.c_str());
    if (pattern == nullptr) {
      return bad_source(o.source,
                        "there is no pattern '" + o.source.location +
                            "'; give smpte, ball, snow, black, white, gradient or another "
                            "of videotestsrc's");
    }
    g_object_set(source, "pattern", pattern->value, nullptr);
  }
  g_object_set(source, "is-live", o.pace ? TRUE : FALSE, nullptr);
  add_made_format(row, o);
  return {};
}

Result<void> add_images(Row& row, const PipelineOptions& o) {
  auto files = list_photos(o.source.location);
  if (!files) return bad_source(o.source, files.error().message);
  row.add(new_photo_source({std::move(*files), o.source.motion, o.pace, o.on_warning}), "", "");
  add_made_format(row, o);
  return {};
}

// Exposure as the driver has it now, in units of 100 microseconds. A camera that does not say is
// asked once only.
std::function<std::uint32_t()> exposure_of(GstElement* source) {
  return [source, asks = true]() mutable -> std::uint32_t {
    gint fd = -1;
    if (asks) g_object_get(source, "device-fd", &fd, nullptr);
    v4l2_control control{V4L2_CID_EXPOSURE_ABSOLUTE, 0};
    if (fd < 0 || ::ioctl(fd, VIDIOC_G_CTRL, &control) != 0 || control.value < 0) {
      asks = false;
      return 0;
    }
    return static_cast<std::uint32_t>(control.value) * 100;
  };
}

Result<void> add_v4l2(Row& row, const PipelineOptions& o, SlotSinkOptions& sink) {
  GstElement* source = row.add("v4l2src", "gstreamer1.0-plugins-good");
  if (source == nullptr) return {};
  g_object_set(source, "device", o.source.location.c_str(), nullptr);
  gst_util_set_object_arg(G_OBJECT(source), "io-mode", o.source.io.c_str());
  sink.exposure_us = exposure_of(source);
  CapsRef caps = caps_for(PixelFormat::mjpeg, o.width, o.height, o.rate_hz);
  if (o.format != PixelFormat::mjpeg) {
    CapsRef any = caps_for(std::nullopt, o.width, o.height, o.rate_hz);
    gst_caps_append(any.get(), caps.release());
    caps = std::move(any);
  }
  row.add_caps(caps.get());
  if (o.format != PixelFormat::mjpeg) {
    row.add("decodebin", "gstreamer1.0-plugins-base");
    row.link_later();
  }
  add_conversion(row, o);
  return {};
}

Result<void> add_libcamera(Row& row, const PipelineOptions& o) {
  GstElement* source = row.add("libcamerasrc", "gstreamer1.0-libcamera");
  if (source == nullptr) return {};
  if (!o.source.location.empty()) {
    g_object_set(source, "camera-name", o.source.location.c_str(), nullptr);
  }
  const auto format = o.format == PixelFormat::mjpeg ? o.format : std::nullopt;
  row.add_caps(caps_for(format, o.width, o.height, o.rate_hz).get());
  add_conversion(row, o);
  return {};
}

// Files and rtsp.
Result<void> add_decoder(Row& row, const PipelineOptions& o, const std::string& uri) {
  GstElement* decoder = row.add("uridecodebin", "gstreamer1.0-plugins-base");
  if (decoder == nullptr) return {};
  // Raw pictures in any memory; sound stays undecoded.
  CapsRef caps{gst_caps_from_string("video/x-raw(ANY)")};
  if (o.format == PixelFormat::mjpeg) {
    gst_caps_append(caps.get(), gst_caps_new_empty_simple("image/jpeg"));
  }
  g_object_set(decoder, "uri", uri.c_str(), "caps", caps.get(), "expose-all-streams", FALSE,
               nullptr);
  g_signal_connect_data(decoder, "source-setup", G_CALLBACK(set_up_rtsp), new PipelineOptions(o),
                        delete_data<PipelineOptions>, GConnectFlags{});
  row.link_later();
  add_conversion(row, o);
  return {};
}

Result<void> add_file(Row& row, const PipelineOptions& o) {
  struct stat status {};
  if (::stat(o.source.location.c_str(), &status) != 0) {
    return bad_source(o.source, std::string(std::strerror(errno)) + "; check the path");
  }
  if (!S_ISREG(status.st_mode)) {
    return bad_source(o.source,
                      S_ISDIR(status.st_mode)
                          ? "it is a folder; a folder of pictures is images://" + o.source.location
                          : "it is no ordinary file; a camera is v4l2://" + o.source.location);
  }
  if (status.st_size == 0) return bad_source(o.source, "the file is empty");
  ErrorRef error;
  GError* raw = nullptr;
  const Text uri{gst_filename_to_uri(o.source.location.c_str(), &raw)};
  error.reset(raw);
  if (!uri) return bad_source(o.source, error ? error->message : "it has no URI");
  return add_decoder(row, o, uri.get());
}

}  // namespace

Result<Ref<GstElement>> build_pipeline(const PipelineOptions& o,
                                       const std::shared_ptr<FrameSlots>& slots) {
  if (auto possible = check_size(o); !possible) return std::move(possible).error();
  Row row;
  Result<void> added;
  SlotSinkOptions sink;
  switch (o.source.kind) {
    case SourceKind::test:
      added = add_test(row, o);
      break;
    case SourceKind::images:
      added = add_images(row, o);
      break;
    case SourceKind::v4l2:
      added = add_v4l2(row, o, sink);
      break;
    case SourceKind::libcamera:
      added = add_libcamera(row, o);
      break;
    case SourceKind::file:
      added = add_file(row, o);
      break;
    case SourceKind::rtsp:
      added = add_decoder(row, o, o.source.location);
      break;
  }
  if (!added) return std::move(added).error();
  sink.paced = o.source.kind == SourceKind::file && o.pace;
  sink.source_counts = o.source.kind == SourceKind::v4l2 || o.source.kind == SourceKind::test ||
                       o.source.kind == SourceKind::images;
  row.add(new_slot_sink(slots, std::move(sink)), "", "");
  auto pipeline = row.finish();
  if (!pipeline) return pipeline;
  g_signal_connect(pipeline->get(), "deep-element-added", G_CALLBACK(leave_out_damage), nullptr);
  // Whatever clock the elements would offer: sensor times are CLOCK_MONOTONIC.
  const Ref<GstClock> clock{gst_system_clock_obtain()};
  gst_pipeline_use_clock(GST_PIPELINE(pipeline->get()), clock.get());
  return pipeline;
}

}  // namespace sluice::gst
