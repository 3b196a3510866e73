// A detector publishes what it found about a frame and attaches the frame: whoever takes the result
// can look at the pixels, without a copy and without asking whether they are still there.
//
// All three stages are in one process here for brevity; they are as well three processes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <sluice/node.hpp>
#include <thread>

namespace {

struct Found {
  std::uint32_t x, y;
};

template <class Publisher>
void wait_for_subscriber(Publisher& publisher, std::size_t count) {
  while (publisher.subscriber_count() < count) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

}  // namespace

int main() {
  auto node = sluice::Node::create({.name = "chained_frames"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;

  sluice::StreamOptions frames;
  frames.pools = {{64 * 1024}};
  auto camera = node->advertise("camera/front/frames", frames);
  sluice::StreamOptions results;
  results.pools = {{sizeof(Found)}};
  results.max_references = 1;  // each result can hold one frame
  auto objects = node->advertise("detect/front/objects", results);
  if (!camera || !objects) return std::fputs("cannot advertise\n", stderr), 1;

  auto detector = node->subscribe("camera/front/frames");
  auto recognizer = node->subscribe("detect/front/objects");
  // Attached to the frames as well, so that it can resolve references to them; it takes none
  // itself.
  auto pixels = node->subscribe("camera/front/frames", {.mode = sluice::DeliveryMode::latest});
  if (!detector || !recognizer || !pixels) return std::fputs("cannot subscribe\n", stderr), 1;
  wait_for_subscriber(*camera, 2);
  wait_for_subscriber(*objects, 1);

  for (int i = 0; i < 10; ++i) {
    // camera
    sluice::Loan frame = camera->loan(64 * 1024);
    if (!frame) return std::fprintf(stderr, "loan: %s\n", to_string(frame.outcome())), 1;
    std::ranges::fill(frame.bytes(), static_cast<std::byte>('a' + i));
    camera->publish(std::move(frame));

    // detector: what it found, and where
    if (detector->wait_for(std::chrono::seconds{5}) != sluice::Outcome::ok) return 1;
    sluice::Sample seen = detector->take();
    sluice::Loan result = objects->loan(sizeof(Found));
    if (!seen || !result) return 1;
    const Found found{3, 4};
    std::memcpy(result.data(), &found, sizeof found);
    result.attach(std::move(seen));
    objects->publish(std::move(result));

    // recognizer: the result, and through it the pixels
    if (recognizer->wait_for(std::chrono::seconds{5}) != sluice::Outcome::ok) return 1;
    const sluice::Sample event = recognizer->take();
    const sluice::Sample original = pixels->resolve(event.reference_at(0));
    if (!original) return std::fprintf(stderr, "resolve: %s\n", to_string(original.outcome())), 1;
    std::printf("frame %llu: %c\n", static_cast<unsigned long long>(original.info().sequence),
                static_cast<char>(original.data()[0]));
  }
  return 0;
}
