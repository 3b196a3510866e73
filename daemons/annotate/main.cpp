// sluice-annotate: boxes and names on a copy of the frames, for people.
#include "daemons/common/stage_program.hpp"
#include "pipeline/opencv/annotate_stage.hpp"
#include "pipeline/opencv/quiet.hpp"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

namespace {

using namespace sluice;

constexpr const char* kProgram = "sluice-annotate";

int run(int argc, char** argv) {
  daemon::ProgramOptions common;
  opencv::AnnotateOptions annotate;
  int threads = 1;

  CLI::App app{
      "sluice-annotate: draws boxes and names on a copy of a camera's frames and publishes "
      "it on annotate/NAME/frames.",
      kProgram};
  daemon::add_program_options(app, common);
  app.add_option("--name", annotate.name, "Of the annotator")->required();
  app.add_option("--camera", annotate.camera, "Whose frames")->required();
  app.add_option("--recognizer", annotate.recognizer,
                 "Whose results: recognize/RECOGNIZER/identities")
      ->required();
  app.add_option("--node", annotate.node, "Name of this process; default: annotate-NAME");
  app.add_option("--picture", annotate.picture,
                 "A JPEG file, replaced by each frame with more known people than before");
  app.add_option("--threads", threads, "Of OpenCV; default: 1")->check(CLI::Range(1, 64));
  if (const auto code = daemon::parse(app, argc, argv)) return *code;

  daemon::set_up_log(daemon::log_options(common.log));
  daemon::hold_back_stop_signals();
  opencv::quiet(threads);
  // The handler needs the output of a stage that needs the handler.
  const auto output = std::make_shared<Publisher*>(nullptr);
  return daemon::run_stage(kProgram, opencv::annotate_stage(annotate),
                           opencv::AnnotateHandler{annotate, [output] { return *output; }}, common,
                           [output](Stage& stage) { *output = &stage.output(); });
}

}  // namespace

int main(int argc, char** argv) {
  return sluice::daemon::run_program(kProgram, run, argc, argv);
}
