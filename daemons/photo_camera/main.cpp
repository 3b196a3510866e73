// sluice-photo-camera: an IP camera made of photographs, for machines without one.
//
// GStreamer's RTSP server asks a factory for the elements of a stream when the first client comes,
// and ends them when the last one has gone: photographs ! size ! encoder ! payloader, shared by all
// clients.
#include "daemons/common/program.hpp"
#include "pipeline/gstreamer/handles.hpp"
#include "pipeline/gstreamer/photo_source.hpp"
#include "pipeline/gstreamer/photos.hpp"
#include "pipeline/gstreamer/source_url.hpp"

#include <CLI/CLI.hpp>

#include <glib-unix.h>
#include <gst/rtsp-server/rtsp-server.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-photo-camera";

struct CameraOptions {
  std::string source;
  std::string address = "127.0.0.1";
  std::uint32_t port = 8554;
  std::string path = "/camera";
  std::string codec = "h264";
  std::uint32_t width = 1280;
  std::uint32_t height = 720;
  std::uint32_t rate_hz = 30;
  std::uint32_t kbit_per_second = 4'000;
};

struct Camera {
  CameraOptions options;
  gst::PhotoSourceOptions photos;
};

int fail(const std::string& sentence, int code) {
  return daemon::fail(kProgram, sentence, code);
}

// --- the factory

struct PhotoFactory {
  GstRTSPMediaFactory parent;
  const Camera* camera;
};
struct PhotoFactoryClass {
  GstRTSPMediaFactoryClass parent;
};
G_DEFINE_TYPE(PhotoFactory, sluice_photo_factory, GST_TYPE_RTSP_MEDIA_FACTORY)

std::vector<GstElement*> make_elements(const Camera& camera) {
  const CameraOptions& o = camera.options;
  const bool h264 = o.codec == "h264";
  GstElement* size = gst_element_factory_make("capsfilter", nullptr);
  GstElement* encoder = gst_element_factory_make(h264 ? "x264enc" : "jpegenc", nullptr);
  GstElement* payloader = gst_element_factory_make(h264 ? "rtph264pay" : "rtpjpegpay", "pay0");
  std::vector<GstElement*> row{gst::new_photo_source(camera.photos), size, encoder, payloader};
  if (std::find(row.begin(), row.end(), nullptr) != row.end()) {
    for (GstElement* element : row) {
      if (element != nullptr) gst_object_unref(gst_object_ref_sink(element));
    }
    return {};
  }
  const gst::CapsRef caps{gst_caps_new_simple(
      "video/x-raw", "format", G_TYPE_STRING, "I420", "width", G_TYPE_INT,
      static_cast<gint>(o.width), "height", G_TYPE_INT, static_cast<gint>(o.height), "framerate",
      GST_TYPE_FRACTION, static_cast<gint>(o.rate_hz), 1, nullptr)};
  g_object_set(size, "caps", caps.get(), nullptr);
  if (h264) {
    gst_util_set_object_arg(G_OBJECT(encoder), "tune", "zerolatency");
    gst_util_set_object_arg(G_OBJECT(encoder), "speed-preset", "ultrafast");
    // A client that comes late sees a picture within a second.
    g_object_set(encoder, "key-int-max", o.rate_hz, "bitrate", o.kbit_per_second, nullptr);
    g_object_set(payloader, "config-interval", -1, nullptr);
  }
  return row;
}

GstElement* create_element(GstRTSPMediaFactory* factory, const GstRTSPUrl*) {
  const Camera& camera = *static_cast<PhotoFactory*>(static_cast<void*>(factory))->camera;
  GstElement* bin = gst_bin_new("photo-camera");
  GstElement* last = nullptr;
  for (GstElement* element : make_elements(camera)) {
    gst_bin_add(GST_BIN(bin), element);
    if (last != nullptr) gst_element_link(last, element);
    last = element;
  }
  return bin;
}

void sluice_photo_factory_class_init(PhotoFactoryClass* type) {
  type->parent.create_element = create_element;
}
void sluice_photo_factory_init(PhotoFactory*) {}

// --- the server

gboolean quit(gpointer loop) {
  g_main_loop_quit(static_cast<GMainLoop*>(loop));
  return G_SOURCE_CONTINUE;
}

using Loop = std::unique_ptr<GMainLoop, gst::Release<g_main_loop_unref>>;

int serve(const Camera& camera) {
  const CameraOptions& o = camera.options;
  {
    const auto probe = make_elements(camera);
    if (probe.empty()) {
      return fail(
          "GStreamer lacks an encoder or payloader; install gstreamer1.0-plugins-ugly (x264enc) "
          "and gstreamer1.0-plugins-good",
          daemon::kFailure);
    }
    for (GstElement* element : probe) gst_object_unref(gst_object_ref_sink(element));
  }
  const Loop loop{g_main_loop_new(nullptr, FALSE)};
  const gst::Ref<GstRTSPServer> server{gst_rtsp_server_new()};
  gst_rtsp_server_set_address(server.get(), o.address.c_str());
  gst_rtsp_server_set_service(server.get(), std::to_string(o.port).c_str());
  auto* factory =
      static_cast<PhotoFactory*>(g_object_new(sluice_photo_factory_get_type(), nullptr));
  factory->camera = &camera;
  gst_rtsp_media_factory_set_shared(&factory->parent, TRUE);
  gst_rtsp_media_factory_set_latency(&factory->parent, 0);
  const gst::Ref<GstRTSPMountPoints> mounts{gst_rtsp_server_get_mount_points(server.get())};
  gst_rtsp_mount_points_add_factory(mounts.get(), o.path.c_str(), &factory->parent);
  const guint attached = gst_rtsp_server_attach(server.get(), nullptr);
  if (attached == 0) {
    return fail("cannot listen on " + o.address + " port " + std::to_string(o.port) +
                    "; another program may use it: choose another --port",
                daemon::kFailure);
  }
  g_unix_signal_add(SIGTERM, quit, loop.get());
  g_unix_signal_add(SIGINT, quit, loop.get());
  std::printf("rtsp://%s:%d%s\n", o.address.c_str(), gst_rtsp_server_get_bound_port(server.get()),
              o.path.c_str());
  std::fflush(stdout);
  g_main_loop_run(loop.get());

  const auto remove_all = [](GstRTSPServer*, GstRTSPClient*, gpointer) {
    return GST_RTSP_FILTER_REMOVE;
  };
  // Clients are told; a list of none comes back.
  g_list_free_full(gst_rtsp_server_client_filter(server.get(), remove_all, nullptr),
                   g_object_unref);
  g_source_remove(attached);
  return 0;
}

int run(int argc, char** argv) {
  Camera camera;
  CameraOptions& o = camera.options;
  daemon::LogChoice log;
  CLI::App app{
      "sluice-photo-camera: shows photographs as an IP camera that moves over them would. Prints "
      "its URL "
      "when it is ready."};
  daemon::prepare(app);
  app.add_option("--source", o.source,
                 "images:///folder-or-file[?motion=pan|none&seconds=8&scale=1&zoom=1.25]")
      ->required();
  app.add_option("--address", o.address, "Where to listen; default 127.0.0.1");
  app.add_option("--port", o.port, "0: any that is free; default 8554")
      ->check(CLI::Range(0u, 65'535u));
  app.add_option("--path", o.path, "Of the URL; default /camera");
  app.add_option("--codec", o.codec, "h264 (default) or mjpeg")
      ->check(CLI::IsMember({"h264", "mjpeg"}).description(""));
  app.add_option("--width", o.width, "Pixels, even; default 1280")->check(CLI::Range(16u, 8192u));
  app.add_option("--height", o.height, "Pixels, even; default 720")->check(CLI::Range(16u, 8192u));
  app.add_option("--rate", o.rate_hz, "Frames a second; default 30")->check(CLI::Range(1u, 240u));
  app.add_option("--bitrate", o.kbit_per_second, "h264: kbit/s; default 4000")
      ->check(CLI::Range(10u, 100'000u));
  daemon::add_log_options(app, log);
  if (const auto code = daemon::parse(app, argc, argv)) return *code;
  daemon::set_up_log(daemon::log_options(log));
  if (!o.path.starts_with('/') || o.path.size() < 2) {
    return fail("the path '" + o.path + "' does not begin with a slash; give /NAME", daemon::kBadUsage);
  }
  if (o.width % 2 != 0 || o.height % 2 != 0) {
    return fail("width and height must be even for a camera's formats", daemon::kBadUsage);
  }
  auto url = gst::parse_source_url(o.source);
  if (!url) return fail(url.error().message, daemon::kBadUsage);
  if (url->kind != gst::SourceKind::images) {
    return fail("only images:// can be shown; a film or a camera is for sluice-capture itself",
                daemon::kBadUsage);
  }
  auto files = gst::list_photos(url->location);
  if (!files) return fail(files.error().message, daemon::kFailure);
  camera.photos = {std::move(*files), url->motion, true,
                   [](const std::string& text) { daemon::log_warning(text); }};
  GError* raw = nullptr;
  if (!gst_init_check(nullptr, nullptr, &raw)) {
    const gst::ErrorRef error{raw};
    return fail(
        std::string("GStreamer does not start: ") + (error ? error->message : "it gives no reason"),
        daemon::kFailure);
  }
  return serve(camera);
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
