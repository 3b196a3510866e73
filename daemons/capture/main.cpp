// sluice-capture: a camera, a film or photographs into a stream.
#include "daemons/capture/capture.hpp"
#include "daemons/common/program.hpp"

#include <CLI/CLI.hpp>

#include <string>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-capture";

int fail(const std::string& sentence, int code) {
  return daemon::fail(kProgram, sentence, code);
}

constexpr const char* kSources = R"(Sources:
  v4l2:///dev/video0[?io=mmap|userptr|dmabuf]   a camera of the kernel's
  libcamera://[id]                              a camera of libcamera's, as on a Raspberry Pi
  rtsp://[user:password@]host[:port]/path       an IP camera
  file:///path                                  a film or a picture, any container
  images:///folder-or-file[?motion=pan|none&seconds=8&scale=1&zoom=1.25]
                                                photographs as a camera sees them that moves over them
  test://[pattern]                              GStreamer's test pictures)";

int run(int argc, char** argv) {
  capture::CaptureOptions options;
  gst::PipelineOptions& pipeline = options.pipeline;
  daemon::LogChoice log;
  std::string source;
  std::string format = "any";
  std::string transport = "tcp";
  bool no_pace = false;
  double stall_seconds = 5;
  std::uint32_t backoff_first_ms = 250;
  constexpr std::uint32_t kLargestSide = 32'768;

  CLI::App app{"sluice-capture: publishes what a camera sees on camera/NAME/frames."};
  app.footer(kSources);
  daemon::prepare(app);
  app.add_option("--name", options.camera, "The camera's name, a level of the topic")->required();
  app.add_option("--source", source, "Where frames come from; see below")->required();
  app.add_option("--width", pipeline.width, "Pixels; default: the source's, or 1280")
      ->check(CLI::Range(1u, kLargestSide));
  app.add_option("--height", pipeline.height, "Pixels; default: the source's, or 720")
      ->check(CLI::Range(1u, kLargestSide));
  app.add_option("--rate", pipeline.rate_hz,
                 "Frames a second; default: the source's, or 30. Files and rtsp have their own")
      ->check(CLI::Range(1u, 1000u));
  app.add_option(
      "--format", format,
      "NV12, I420, YUYV, BGR, RGB, GREY, MJPEG, or any: the source's own where it is one of "
      "these. What differs is converted");
  app.add_flag("--loop", options.loop, "Begin files again at their end");
  app.add_flag("--no-pace", no_pace, "Files, images and test as fast as they can be had");
  app.add_option("--depth", options.depth, "Frames that may wait in the stream; default 4")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("--max-held", options.max_held,
                 "Frames that all subscribers together may hold; default 256")
      ->check(CLI::Range(1u, 1024u));
  app.add_option("--slots", options.slots,
                 "Slots of each size; default 40; 0: as many as can ever be in use at once")
      ->check(CLI::Range(0u, 65'536u));
  app.add_option("--latency-ms", pipeline.latency_ms,
                 "rtsp: how long to wait for packets that are late; default 100")
      ->check(CLI::Range(0u, 60'000u));
  app.add_option("--rtsp-transport", transport, "tcp (default), udp or auto")
      ->check(CLI::IsMember({"tcp", "udp", "auto"}).description(""));
  app.add_option("--stall-seconds", stall_seconds,
                 "A source that brings no frame for so long is lost; default 5")
      ->check(CLI::Range(0.1, 3600.0));
  app.add_option("--retry-ms", backoff_first_ms,
                 "How soon a lost camera is tried again at first, doubling to 10 s; default 250")
      ->check(CLI::Range(10u, 10'000u));
  daemon::add_socket_option(app, options.socket);
  daemon::add_log_options(app, log);
  if (const auto code = daemon::parse(app, argc, argv)) return *code;

  daemon::set_up_log(daemon::log_options(log));
  if (options.camera.empty() || options.camera.size() > 31 ||
      options.camera.find_first_of("/+#$") != std::string::npos) {
    return fail("the camera's name '" + options.camera +
                    "' cannot be a level of a topic; give 1 to 31 bytes without / + # $",
                daemon::kBadUsage);
  }
  auto url = gst::parse_source_url(source);
  if (!url) return fail(url.error().message, daemon::kBadUsage);
  pipeline.source = std::move(*url);
  if (format != "any") {
    pipeline.format = gst::parse_pixel_format(format);
    if (!pipeline.format) {
      return fail("there is no format '" + format +
                      "'; give NV12, I420, YUYV, BGR, RGB, GREY, MJPEG or any",
                  daemon::kBadUsage);
    }
  }
  pipeline.pace = !no_pace;
  pipeline.transport = transport == "tcp"   ? gst::RtspTransport::tcp
                       : transport == "udp" ? gst::RtspTransport::udp
                                            : gst::RtspTransport::automatic;
  pipeline.on_warning = [](const std::string& text) { daemon::log_warning(text); };
  options.stall = std::chrono::milliseconds{static_cast<std::int64_t>(stall_seconds * 1000)};
  options.backoff.first = std::chrono::milliseconds{backoff_first_ms};
  auto done = capture::run_capture(options);
  return done ? 0 : fail(done.error().message, daemon::kFailure);
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
