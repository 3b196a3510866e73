// The one place between camera and screen where pixels are copied: the frame belongs to the camera
// and is read-only, so what is drawn is drawn on a copy, straight in a slot of our own.
#include "pipeline/opencv/annotate_stage.hpp"

#include "pipeline/opencv/detect_stage.hpp"
#include "pipeline/opencv/drawing.hpp"
#include "pipeline/opencv/file.hpp"
#include "pipeline/opencv/guard.hpp"
#include "sluice/opencv.hpp"
#include "sluice/tracing.hpp"

#include <opencv2/imgcodecs.hpp>
#include <vector>

namespace sluice::opencv {
namespace {

constexpr std::uint32_t kDepth = 2;
constexpr std::uint32_t kHeld = 8;
constexpr std::uint32_t kLoans = 1;
constexpr std::uint32_t kSlots = kDepth + kHeld + kLoans;
constexpr std::uint32_t kSizes = 4;  // of frames, one after the other

}  // namespace

StageOptions annotate_stage(const AnnotateOptions& o) {
  SubscriptionOptions results;
  results.mode = DeliveryMode::next;
  results.max_held = 2;
  results.type_hash = type_hash_of(kIdentitiesType);
  StreamOptions frames;
  frames.lanes = {{.depth = kDepth, .history = 1}};
  frames.pools = {{frame_bytes(PixelFormat::bgr, 1280, 720), kSlots}};
  frames.max_slots = kSizes * kSlots;
  frames.max_loans = kLoans;
  frames.max_held = kHeld;
  frames.on_full = OnFull::drop;
  frames.offered.reliable = false;
  frames.type_hash = type_hash_of(kFrameType);
  frames.type_name = std::string(kFrameType);
  StageOptions stage;
  stage.name = o.node.empty() ? "annotate-" + o.name : o.node;
  stage.inputs = {{"recognize/" + o.recognizer + "/identities", results}};
  stage.outputs = {{"annotate/" + o.name + "/frames", frames}};
  stage.references = {"camera/" + o.camera + "/frames"};
  stage.max_resolved = 2;
  return stage;
}

Loan AnnotateHandler::loan(Job& job, std::uint64_t bytes) {
  // Asked first: a loan that is refused counts as a result without room.
  Publisher* output = output_();
  if (output != nullptr && bytes > largest_) {
    (void)output->add_pool({bytes, kSlots});
    largest_ = bytes;
  }
  return job.loan(bytes);
}

Result<void> AnnotateHandler::operator()(Job& job) {
  auto identities = decode_identities(job.input().bytes());
  if (!identities) return std::move(identities).error();
  // As a frame's header has it, which may be cut off.
  FrameHeader as_there;
  put_text(as_there.camera, options_.camera);
  if (identities->frame.camera != text_of(as_there.camera)) {
    job.skip();
    return {};
  }
  auto frame = frames_.find(job, identities->frame);
  if (!frame) return std::move(frame).error();
  const FrameHeader& from = frame->view.header;
  Loan slot = loan(job, frame_bytes(PixelFormat::bgr, from.width, from.height));
  if (!slot) return {};
  FrameHeader* header = lay_out_frame(slot, PixelFormat::bgr, from.width, from.height);
  if (header == nullptr) {
    return Error{Errc::untrusted, 0, "a frame of this size cannot be BGR"};
  }
  header->number = from.number;
  header->sensor_ns = from.sensor_ns;
  header->sensor_clock = from.sensor_clock;
  header->rotation = from.rotation;
  header->exposure_us = from.exposure_us;
  header->gain_milli = from.gain_milli;
  header->camera = from.camera;
  cv::Mat picture(static_cast<int>(from.height), static_cast<int>(from.width), CV_8UC3,
                  slot.data() + header->planes[0].offset, header->planes[0].stride);
  const auto* pixels = picture.data;
  if (auto copied = to_bgr(frame->view, picture); !copied) return copied;
  if (picture.data != pixels) {
    return Error{Errc::unsupported, 0, "OpenCV did not convert the frame in place"};
  }
  job.note_copy();
  frame->sample.release();
  auto drawn = guarded("drawing", [&] { draw(picture, identities->identities); });
  if (!drawn) return drawn;
  Result<void> saved = save_if_best(picture, *identities);
  if (Publisher* output = output_()) {
    SourceInfo info;
    info.copies = ++copies_;
    info.fourcc = static_cast<std::uint32_t>(PixelFormat::bgr);
    info.width = from.width;
    info.height = from.height;
    output->describe(info);
  }
  (void)job.publish(std::move(slot));
  return saved;
}

Result<void> AnnotateHandler::save_if_best(const cv::Mat& picture, const Identities& identities) {
  if (options_.picture.empty()) return {};
  const std::size_t people = known_people(identities.identities);
  if (saved_ && people <= most_people_) return {};
  std::vector<std::uint8_t> jpeg;
  auto encoded = guarded("the picture", [&] {
    return cv::imencode(".jpg", picture, jpeg, {cv::IMWRITE_JPEG_QUALITY, 90});
  });
  if (!encoded) return std::move(encoded).error();
  auto written = write_file(options_.picture, jpeg);
  if (!written) return written;
  saved_ = true;
  most_people_ = people;
  return {};
}

}  // namespace sluice::opencv
