// sluice snap: one frame of a camera as a picture file.
#include "sluice/topic.hpp"
#include "sluice/tracing.hpp"
#include "tools/sluice/listener.hpp"
#include "tools/sluice/picture.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <memory>

namespace sluice::tools {
namespace {

struct SnapOptions {
  Reach reach;
  std::string topic;
  std::string path;
  int quality = 90;
  double timeout_s = 5;
  bool json = false;
};

int run_snap(const SnapOptions& options) {
  if (const auto checked = check_filter(options.topic); !checked) {
    return misused("snap", checked.error().message);
  }
  const auto kind = picture_kind(options.path);
  if (!kind) return misused("snap", kind.error().message);
  catch_interrupts();
  SubscriptionOptions subscription;
  subscription.mode = DeliveryMode::latest;
  subscription.max_held = 1;
  auto listener = Listener::create(options.reach, "snap", options.topic, subscription);
  if (!listener) return failed("snap", listener.error().message);
  Sample sample = listener->next(std::chrono::steady_clock::now() +
                                 std::chrono::nanoseconds{std::llround(options.timeout_s * 1e9)});
  if (!sample) return failed("snap", listener->why_nothing());
  const auto frame = view_frame(sample);
  if (!frame) {
    return failed("snap", joined({clean(listener->topic_of(sample)), ": ", frame.error().message}));
  }
  const std::uint64_t captured = sample.info().origin_ns;
  const std::uint64_t now = monotonic_ns();
  const auto picture = encode_picture(*frame, *kind, options.quality);
  const FrameHeader header = frame->header;
  const bool intact = sample.intact();
  sample.release();
  if (!picture) return failed("snap", picture.error().message);
  if (!intact) {
    return failed("snap", "the frame was overwritten while it was read: the machine is too busy");
  }
  if (const auto written = write_file(options.path, *picture); !written) {
    return failed("snap", written.error().message);
  }
  const std::string format = format_text(static_cast<std::uint32_t>(header.format));
  const std::string camera = clean(text_of(header.camera));
  const std::uint64_t age = now - std::min(captured, now);
  if (options.json) {
    print(dumped({{"path", options.path},
                  {"bytes", picture->size()},
                  {"camera", camera},
                  {"number", header.number},
                  {"format", format},
                  {"width", header.width},
                  {"height", header.height},
                  {"age_ms", captured != 0 ? nlohmann::json(static_cast<double>(age) / 1e6)
                                           : nlohmann::json()}}) +
          "\n");
    return 0;
  }
  print(joined({clean(options.path), ": frame ", std::to_string(header.number), " of ", camera,
                ", ", format, " ", std::to_string(header.width), "x", std::to_string(header.height),
                captured != 0 ? ", " + duration_text(age) + " after capture" : "", ", ",
                bytes_text(picture->size()), "\n"}));
  return 0;
}

}  // namespace

void add_snap(CLI::App& app, Run& run) {
  auto options = std::make_shared<SnapOptions>();
  CLI::App* verb = app.add_subcommand("snap", "Save one frame as a picture");
  verb->group(kMessages);
  verb->add_option("TOPIC", options->topic, "Of a camera, or of what publishes frames")->required();
  verb->add_option("FILE", options->path, "Ends with .jpg, .ppm, or .raw (the planes' pixels)")
      ->required();
  verb->add_option("--quality", options->quality, "Of the JPEG (default: 90)")
      ->type_name("PERCENT")
      ->check(CLI::Range(1, 100));
  verb->add_option("--timeout", options->timeout_s, "Wait so long for a frame (default: 5)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_flag("--json", options->json, "One JSON object about the frame");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0; 1 when no frame came, or it is none, or without a broker.\n\n"
      "Examples:\n"
      "  sluice snap camera/front/frames now.jpg\n"
      "  sluice snap annotate/front/frames boxes.ppm");
  verb->callback([options, &run] { run = [options] { return run_snap(*options); }; });
}

}  // namespace sluice::tools
