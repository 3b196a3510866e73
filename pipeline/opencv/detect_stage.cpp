// A frame is looked at in its slot, and goes on attached to the result: who takes the result finds
// the pixels as they were, however far the camera is by then.
#include "pipeline/opencv/detect_stage.hpp"

#include <string_view>

namespace sluice::opencv {

StreamOptions result_stream(std::string_view type_name) {
  StreamOptions stream = results_stream(type_name, kMaxObjects);
  stream.lanes = {{.depth = kResultDepth}};
  stream.max_held = kResultHeld;
  stream.max_loans = 1;
  return stream;
}

StageOptions detect_stage(const DetectOptions& o) {
  SubscriptionOptions frames;
  frames.mode = o.mode;
  frames.max_held = kFramesHeld;
  frames.type_hash = type_hash_of(kFrameType);
  if (!o.group.empty()) {
    frames.mode = DeliveryMode::group;
    frames.group = GroupName{std::string_view{o.group}};
    frames.credits = o.credits;
  }
  StageOptions stage;
  stage.name = o.node.empty() ? "detect-" + o.name : o.node;
  stage.inputs = {{"camera/" + o.camera + "/frames", frames}};
  stage.outputs = {{"detect/" + o.name + "/objects", result_stream(kDetectionsType)}};
  return stage;
}

bool DetectHandler::due(std::uint64_t number) {
  if (every_ <= 1) return true;
  if (by_number_) return number % every_ == 0;
  // A number below the last one: the camera has started again.
  if (!first_ && number >= last_ && number - last_ < every_) return false;
  first_ = false;
  last_ = number;
  return true;
}

Result<void> DetectHandler::operator()(Job& job) {
  const auto view = view_frame(job.input());
  if (!view) return view.error();
  if (!due(view->header.number)) {
    job.skip();
    return {};
  }
  auto found = detector_->detect(*view);
  if (!found) return std::move(found).error();
  if (detector_->converted()) job.note_copy();
  if (found->size() > kMaxObjects) found->resize(kMaxObjects);
  const Detections detections{frame_of(job.input(), *view), detector_->model(), std::move(*found)};
  const auto bytes = encode(detections);
  if (!bytes) return bytes.error();
  // What could not be published is counted there.
  (void)job.publish(*bytes, job.take_input());
  return {};
}

}  // namespace sluice::opencv
