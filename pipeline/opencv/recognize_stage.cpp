// Frames are not subscribed to but resolved: of a camera's thirty a second only those are touched
// that have a result, and they are the ones the detector saw.
#include "pipeline/opencv/recognize_stage.hpp"

#include "pipeline/opencv/detect_stage.hpp"

namespace sluice::opencv {

StageOptions recognize_stage(const RecognizeOptions& o) {
  SubscriptionOptions results;
  results.mode = DeliveryMode::next;
  results.max_held = 2;
  results.type_hash = type_hash_of(kDetectionsType);
  StageOptions stage;
  stage.name = o.node.empty() ? "recognize-" + o.name : o.node;
  for (const std::string& detector : o.detectors) {
    stage.inputs.push_back({"detect/" + detector + "/objects", results});
  }
  stage.outputs = {{"recognize/" + o.name + "/identities", result_stream(kIdentitiesType)}};
  stage.references = {"camera/+/frames"};
  stage.max_resolved = kFramesHeld;
  return stage;
}

Result<void> RecognizeHandler::operator()(Job& job) {
  auto detections = decode_detections(job.input().bytes());
  if (!detections) return std::move(detections).error();
  auto frame = frames_.find(job, detections->frame);
  if (!frame) return std::move(frame).error();
  auto identities = recognizer_->recognize(frame->view, detections->detections);
  if (!identities) return std::move(identities).error();
  if (recognizer_->converted()) job.note_copy();
  const auto bytes = encode(
      Identities{std::move(detections->frame), recognizer_->model(), std::move(*identities)});
  if (!bytes) return bytes.error();
  (void)job.publish(*bytes, std::move(frame->sample));
  return {};
}

}  // namespace sluice::opencv
