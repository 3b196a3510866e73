// sluice-detect: what is in a camera's frames.
#include "daemons/common/log.hpp"
#include "daemons/common/stage_program.hpp"
#include "pipeline/opencv/detect_stage.hpp"
#include "pipeline/opencv/quiet.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-detect";

int run(int argc, char** argv) {
  daemon::ProgramOptions common;
  opencv::DetectOptions detect;
  opencv::DetectorOptions model;
  std::string mode = "latest";
  std::string name = "lbp";
  std::string region;
  int threads = 1;

  CLI::App app{
      "sluice-detect: finds faces or people in a camera's frames and publishes them on "
      "detect/NAME/objects.",
      kProgram};
  daemon::add_program_options(app, common);
  app.add_option("--name", detect.name, "Of the detector")->required();
  app.add_option("--camera", detect.camera, "Whose frames: camera/CAMERA/frames")->required();
  app.add_option("--node", detect.node, "Name of this process; default: detect-NAME");
  auto* group = app.add_option("--group", detect.group,
                               "Be one of several workers with this name, who share the frames");
  app.add_option("--credits", detect.credits,
                 "Frames that a worker has at the same time; default: 1")
      ->needs(group)
      ->check(CLI::Range(1u, kMaxCredits));
  app.add_option("--mode", mode, "latest: skip what came meanwhile; next: all frames in order")
      ->check(CLI::IsMember(std::vector<std::string>{"latest", "next"}))
      ->excludes(group);
  app.add_option("--every", detect.every, "Look at every Nth frame; default: 1")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32));
  app.add_option("--model", name,
                 "lbp (faces, quick; default), haar (faces, surer), hog (people), yunet (faces)")
      ->check(CLI::IsMember(std::vector<std::string>(opencv::kDetectorModels.begin(),
                                                     opencv::kDetectorModels.end())));
  app.add_option("--file", model.file,
                 "The cascade, default: that of Debian's opencv-data; for yunet its ONNX file");
  app.add_option("--scale", model.scale, "Reduce the picture first; default: 0.5")
      ->check(CLI::Range(0.01, 1.0));
  app.add_option("--scale-factor", model.scale_factor,
                 "From one size that is searched to the next; default: 1.1")
      ->check(CLI::Range(1.001, 4.0));
  app.add_option("--min-neighbors", model.min_neighbors, "Hits that must agree; default: 4")
      ->check(CLI::Range(0, 1000));
  app.add_option("--min-size", model.min_size, "Pixels of the frame")->check(CLI::Range(0, 32768));
  app.add_option("--max-size", model.max_size, "Pixels of the frame")->check(CLI::Range(0, 32768));
  app.add_option("--threshold", model.threshold, "hog, yunet: least score")
      ->check(CLI::Range(0.0, 1000.0));
  app.add_option("--roi", region, "Look only there: X,Y,WIDTH,HEIGHT in pixels or fractions")
      ->check([](const std::string& text) {
        const auto parsed = opencv::parse_region(text);
        return parsed ? std::string{} : parsed.error().message;
      });
  app.add_option("--threads", threads, "Of OpenCV; default: 1")->check(CLI::Range(1, 64));
  if (const auto code = daemon::parse(app, argc, argv)) return *code;
  if (mode == "next") detect.mode = DeliveryMode::next;
  if (!region.empty()) model.region = *opencv::parse_region(region);
  for (std::size_t i = 0; i < opencv::kDetectorModels.size(); ++i) {
    if (name == opencv::kDetectorModels[i]) model.model = static_cast<opencv::DetectorModel>(i);
  }

  daemon::set_up_log(daemon::log_options(common.log));
  daemon::hold_back_stop_signals();
  opencv::quiet(threads);
  auto detector = opencv::Detector::create(model);
  if (!detector) return daemon::fail(kProgram, detector.error().message);
  return daemon::run_stage(kProgram, opencv::detect_stage(detect),
                           opencv::DetectHandler{detect, std::move(*detector)}, common);
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
