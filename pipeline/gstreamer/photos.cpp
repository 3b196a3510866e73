// filesrc ! decodebin ! videoconvertscale ! fakesink-like appsink, one picture long. Sides are
// rounded down to even numbers, for chroma at half size; the column or row that is left out would
// never be missed.
#include "pipeline/gstreamer/photos.hpp"

#include <gst/app/gstappsink.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace sluice::gst {
namespace {

constexpr GstClockTime kPatience = 20 * GST_SECOND;
constexpr GstClockTime kLook = 20 * GST_MSECOND;
constexpr int kSmallest = 16;
constexpr int kLargest = 16'384;

bool is_picture_name(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr const char* kKnown[] = {".jpg", ".jpeg", ".png", ".bmp", ".webp",
                                    ".tif", ".tiff", ".pnm", ".ppm", ".pgm"};
  return std::find(std::begin(kKnown), std::end(kKnown), extension) != std::end(kKnown);
}

Error unusable(const std::string& path, const std::string& why) {
  return Error{Errc::untrusted, 0, "the picture " + path + ": " + why};
}

// The first error that the pipeline has posted, or nothing.
std::string posted_error(GstElement* pipeline) {
  const Ref<GstBus> bus{gst_element_get_bus(pipeline)};
  const MessageRef message{gst_bus_pop_filtered(bus.get(), GST_MESSAGE_ERROR)};
  if (!message) return {};
  GError* error = nullptr;
  gst_message_parse_error(message.get(), &error, nullptr);
  const ErrorRef owned{error};
  return owned->message;
}

void link_to(GstElement*, GstPad* pad, gpointer target) {
  const Ref<GstPad> sink{gst_element_get_static_pad(static_cast<GstElement*>(target), "sink")};
  if (!gst_pad_is_linked(sink.get())) gst_pad_link(pad, sink.get());
}

SampleRef decode(const std::string& path, const GstVideoInfo& like, std::string& why) {
  const Ref<GstElement> pipeline{GST_ELEMENT(gst_object_ref_sink(gst_pipeline_new(nullptr)))};
  GstElement* source = gst_element_factory_make("filesrc", nullptr);
  GstElement* decoder = gst_element_factory_make("decodebin", nullptr);
  GstElement* convert = gst_element_factory_make("videoconvertscale", nullptr);
  GstElement* sink = gst_element_factory_make("appsink", nullptr);
  for (GstElement* element : {source, decoder, convert, sink}) {
    if (element == nullptr) {
      why =
          "GStreamer lacks filesrc, decodebin, videoconvertscale or appsink; install "
          "gstreamer1.0-plugins-base";
      return nullptr;
    }
    gst_bin_add(GST_BIN(pipeline.get()), element);
  }
  g_object_set(source, "location", path.c_str(), nullptr);
  const CapsRef caps{gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING,
                                         gst_video_format_to_string(GST_VIDEO_INFO_FORMAT(&like)),
                                         nullptr)};
  const Text colours{gst_video_colorimetry_to_string(&like.colorimetry)};
  if (colours && GST_VIDEO_INFO_IS_YUV(&like)) {
    gst_caps_set_simple(caps.get(), "colorimetry", G_TYPE_STRING, colours.get(), nullptr);
  }
  g_object_set(sink, "caps", caps.get(), "sync", FALSE, "max-buffers", 1u, nullptr);
  gst_element_link(source, decoder);
  gst_element_link(convert, sink);
  g_signal_connect(decoder, "pad-added", G_CALLBACK(link_to), convert);
  gst_element_set_state(pipeline.get(), GST_STATE_PLAYING);
  // An error does not end the wait for a picture: it is looked for in between.
  SampleRef sample;
  for (GstClockTime waited = 0; !sample && why.empty() && waited < kPatience; waited += kLook) {
    sample.reset(gst_app_sink_try_pull_sample(GST_APP_SINK(sink), kLook));
    if (sample) break;
    why = posted_error(pipeline.get());
    if (why.empty() && gst_app_sink_is_eos(GST_APP_SINK(sink))) why = "there is no picture in it";
  }
  if (!sample && why.empty()) why = "no picture came out of it in time";
  gst_element_set_state(pipeline.get(), GST_STATE_NULL);
  return sample;
}

}  // namespace

Result<std::vector<std::string>> list_photos(const std::string& path) {
  std::error_code failed;
  const auto status = std::filesystem::status(path, failed);
  if (failed || !std::filesystem::exists(status)) {
    return Error{Errc::system, failed.value(), "there is no file or folder " + path};
  }
  if (!std::filesystem::is_directory(status)) return std::vector<std::string>{path};
  std::vector<std::string> found;
  for (std::filesystem::directory_iterator entry{path, failed}, end; !failed && entry != end;
       entry.increment(failed)) {
    if (is_picture_name(entry->path()) && entry->is_regular_file(failed)) {
      found.push_back(entry->path().string());
    }
  }
  if (failed)
    return Error{Errc::system, failed.value(), "cannot read " + path + ": " + failed.message()};
  if (found.empty()) {
    return Error{Errc::invalid_argument, 0,
                 "the folder " + path + " holds no pictures (.jpg, .png, …); name one that does"};
  }
  std::sort(found.begin(), found.end());
  return found;
}

Result<Photo> load_photo(const std::string& path, const GstVideoInfo& like) {
  std::string why;
  const SampleRef sample = decode(path, like, why);
  if (!sample) return unusable(path, why);
  Photo photo;
  if (!gst_video_info_from_caps(&photo.info, gst_sample_get_caps(sample.get()))) {
    return unusable(path, "its size is not known");
  }
  const int width = GST_VIDEO_INFO_WIDTH(&photo.info);
  const int height = GST_VIDEO_INFO_HEIGHT(&photo.info);
  if (std::min(width, height) < kSmallest || std::max(width, height) > kLargest) {
    return unusable(path, "it is " + std::to_string(width) + " x " + std::to_string(height) +
                              " pixels; use 16 to 16384 on each side");
  }
  // What differs only in name would make every frame a conversion.
  photo.info.fps_n = like.fps_n;
  photo.info.fps_d = like.fps_d;
  photo.info.par_n = like.par_n;
  photo.info.par_d = like.par_d;
  photo.info.colorimetry = like.colorimetry;
  photo.info.chroma_site = like.chroma_site;
  photo.buffer.reset(gst_buffer_ref(gst_sample_get_buffer(sample.get())));
  return photo;
}

}  // namespace sluice::gst
