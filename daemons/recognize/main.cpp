// sluice-recognize: whose faces they are.
#include "daemons/common/log.hpp"
#include "daemons/common/stage_program.hpp"
#include "pipeline/opencv/enrolment.hpp"
#include "pipeline/opencv/quiet.hpp"
#include "pipeline/opencv/recognize_stage.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-recognize";

// From the file, from pictures, or both.
Result<opencv::Gallery> gather(const std::string& load, const std::string& people, bool colour) {
  opencv::Gallery gallery;
  if (!load.empty()) {
    auto loaded = opencv::Gallery::load(load);
    if (!loaded) return std::move(loaded).error();
    gallery = std::move(*loaded);
    // All crops of a gallery are of one kind.
    colour = gallery.faces.front().crop.channels() == 3;
  }
  if (!people.empty()) {
    // Time does not matter here, being sure does.
    opencv::DetectorOptions surest;
    surest.model = opencv::DetectorModel::haar;
    surest.scale = 1;
    surest.scale_factor = 1.05;
    surest.min_neighbors = 6;
    auto finder = opencv::Detector::create(surest);
    if (!finder) return std::move(finder).error();
    auto enrolled = opencv::enrol(people, **finder, colour);
    if (!enrolled) return std::move(enrolled).error();
    for (const std::string& skipped : enrolled->skipped) {
      daemon::log_warning("skipped: " + skipped);
    }
    for (auto& face : enrolled->gallery.faces) gallery.faces.push_back(std::move(face));
  }
  return gallery;
}

int run(int argc, char** argv) {
  daemon::ProgramOptions common;
  opencv::RecognizeOptions recognize;
  opencv::RecognizerOptions model;
  std::string name = "lbph", people, load, save;
  int threads = 1;

  CLI::App app{
      "sluice-recognize: says whose faces a detector has found and publishes it on "
      "recognize/NAME/identities.",
      kProgram};
  daemon::add_program_options(app, common);
  app.add_option("--name", recognize.name, "Of the recognizer")->required();
  app.add_option("--detector", recognize.detectors,
                 "Whose results: detect/DETECTOR/objects; may be given several times")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1)
      ->required();
  app.add_option("--node", recognize.node, "Name of this process; default: recognize-NAME");
  app.add_option("--people", people,
                 "Who is enrolled: a folder of pictures (name.jpg, name/any.png) or a .toml file");
  app.add_option("--load", load, "Enrolled faces that were saved before");
  app.add_option("--save", save, "Write the enrolled faces to this file");
  app.add_option("--model", name, "lbph (default) or sface")
      ->check(CLI::IsMember(std::vector<std::string>(opencv::kRecognizerModels.begin(),
                                                     opencv::kRecognizerModels.end())));
  app.add_option("--file", model.file, "The ONNX file of sface");
  app.add_option("--threshold", model.threshold,
                 "A face farther from everybody is unknown; default: 0.6, of sface 0.637")
      ->check(CLI::Range(0.0, 1000.0));
  app.add_option("--ratio", model.ratio,
                 "The nearest may be at most so many times as far as the second; default: 0.85, of "
                 "sface 1, no such rule")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--threads", threads, "Of OpenCV; default: 1")->check(CLI::Range(1, 64));
  if (const auto code = daemon::parse(app, argc, argv)) return *code;
  if (people.empty() && load.empty()) {
    return daemon::fail(kProgram, "nobody to be recognized; name --people or --load",
                        daemon::kBadUsage);
  }
  if (name == "sface") model.model = opencv::RecognizerModel::sface;

  daemon::set_up_log(daemon::log_options(common.log));
  daemon::hold_back_stop_signals();
  opencv::quiet(threads);
  auto gallery = gather(load, people, opencv::wants_colour(model.model));
  if (!gallery) return daemon::fail(kProgram, gallery.error().message);
  if (!save.empty()) {
    if (auto saved = gallery->save(save); !saved)
      return daemon::fail(kProgram, saved.error().message);
  }
  auto recognizer = opencv::Recognizer::create(model, *gallery);
  if (!recognizer) return daemon::fail(kProgram, recognizer.error().message);
  daemon::log_info(std::to_string((*recognizer)->people()) + " people enrolled from " +
                   std::to_string(gallery->faces.size()) + " faces");
  return daemon::run_stage(kProgram, opencv::recognize_stage(recognize),
                           opencv::RecognizeHandler{std::move(*recognizer)}, common);
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
