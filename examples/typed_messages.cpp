// Messages of one C++ type: written and read in place, and checked when two ends meet.
#include <chrono>
#include <cstdio>
#include <sluice/typed.hpp>
#include <thread>

namespace {

struct Temperature {
  std::uint32_t sensor;
  float celsius;
};

}  // namespace

int main() {
  auto node = sluice::Node::create({.name = "typed_messages"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;
  auto publisher = sluice::PublisherOf<Temperature>::create(*node, "home/kitchen/temperature");
  if (!publisher) return std::fprintf(stderr, "%s\n", publisher.error().message.c_str()), 1;
  auto subscriber = sluice::SubscriberOf<Temperature>::create(*node, "home/+/temperature");
  if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 1;

  // A subscription begins where it is attached, which takes a moment.
  while (publisher->untyped().subscriber_count() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  for (std::uint32_t i = 0; i < 5; ++i) {
    if (const auto outcome = publisher->publish({.sensor = i, .celsius = 20.5f + float(i)});
        outcome != sluice::Outcome::ok) {
      return std::fprintf(stderr, "publish: %s\n", to_string(outcome)), 1;
    }
  }
  for (int i = 0; i < 5; ++i) {
    if (subscriber->wait_for(std::chrono::seconds{5}) != sluice::Outcome::ok) return 1;
    const auto sample = subscriber->take();
    if (!sample) return std::fprintf(stderr, "take: %s\n", to_string(sample.outcome())), 1;
    std::printf("sensor %u: %.1f degrees\n", sample->sensor, static_cast<double>(sample->celsius));
  }
  return 0;
}
