// A stage of one's own: it measures how bright each frame of a camera is, and attaches the frame to
// what it publishes. A camera that makes its frames up and a listener stand in for the neighbours.
//
//   own_stage        twenty frames, then ends
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sluice/correlation.hpp>
#include <sluice/frame.hpp>
#include <sluice/results.hpp>
#include <sluice/stage.hpp>
#include <thread>

namespace {

struct Brightness {
  double mean;
};

// The stage itself: a function of one frame.
sluice::Result<void> measure(sluice::Job& job) {
  auto frame = sluice::view_frame(job.input());
  if (!frame) return std::move(frame).error();  // this frame is lost and counted, the stage goes on
  const sluice::PlaneLayout& luma = frame->header.planes[0];
  double sum = 0;
  for (std::uint32_t y = 0; y < luma.rows; ++y) {
    const std::byte* row = frame->plane(0) + std::size_t{luma.stride} * y;
    for (std::uint32_t x = 0; x < frame->header.width; ++x) sum += std::to_integer<int>(row[x]);
  }
  const Brightness result{sum / (double{1} * frame->header.width * frame->header.height)};
  job.publish(std::as_bytes(std::span{&result, 1}), job.take_input());
  return {};
}

int show_frames(sluice::Node& node) {
  sluice::StreamOptions stream;
  stream.pools = {{sluice::frame_bytes(sluice::PixelFormat::grey, 320, 240)}};
  stream.lanes = {{.depth = 4}};
  stream.on_full = sluice::OnFull::drop;
  stream.type_name = sluice::kFrameType;
  stream.type_hash = sluice::type_hash_of(sluice::kFrameType);
  auto camera = node.advertise("camera/front/frames", stream);
  auto results = node.subscribe("measure/front/brightness");
  if (!camera || !results) return 1;
  while (camera->subscriber_count() == 0 || results->stream_count() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  for (std::uint64_t i = 0; i < 20; ++i) {
    sluice::Loan loan = camera->loan(stream.pools[0].slot_bytes);
    auto* header = sluice::lay_out_frame(loan, sluice::PixelFormat::grey, 320, 240);
    if (header == nullptr) return 1;
    header->number = i;
    std::memset(loan.data() + header->planes[0].offset, static_cast<int>(10 * i),
                std::size_t{320} * 240);
    loan.headers.correlation = sluice::new_correlation_id();
    camera->publish(std::move(loan));

    if (results->wait_for(std::chrono::seconds{10}) != sluice::Outcome::ok) return 1;
    const sluice::Sample sample = results->take();
    if (!sample || sample.size() != sizeof(Brightness)) return 1;
    Brightness brightness{};
    std::memcpy(&brightness, sample.data(), sizeof brightness);
    std::printf("%s  frame %llu: %.1f\n", sluice::to_string(sample.info().correlation).c_str(),
                static_cast<unsigned long long>(i), brightness.mean);
    if (brightness.mean != 10.0 * static_cast<double>(i)) return 1;
  }
  return 0;
}

}  // namespace

int main() {
  sluice::StageOptions options;
  options.name = "measure-front";
  options.inputs = {
      {"camera/front/frames", {.mode = sluice::DeliveryMode::latest, .max_held = 12}}};
  options.outputs = {{"measure/front/brightness", {}}};
  options.outputs[0].stream.lanes = {{.depth = 8}};
  options.outputs[0].stream.pools = {{sizeof(Brightness)}};
  options.outputs[0].stream.max_references = 1;  // each result holds its frame
  options.log = [](sluice::LogLevel, std::string_view text) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  auto stage = sluice::Stage::create(std::move(options), measure);
  if (!stage) return std::fprintf(stderr, "%s\n", stage.error().message.c_str()), 1;
  auto node = sluice::Node::create({.name = "own_stage"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;

  // As a process of its own a stage needs only run(); a signal handler may call stop().
  std::thread runner{[&] {
    if (auto ended = stage->run(); !ended)
      std::fprintf(stderr, "%s\n", ended.error().message.c_str());
  }};
  const int failures = show_frames(*node);
  stage->stop();
  runner.join();
  const sluice::Health health = stage->health();
  std::printf("%llu handled, %llu failed, half of them within %llu us\n",
              static_cast<unsigned long long>(health.handled),
              static_cast<unsigned long long>(health.failed),
              static_cast<unsigned long long>(health.handling_p50_ns / 1000));
  return failures;
}
