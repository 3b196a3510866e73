// Publishes what a thermometer says, a message every 100 ms; who comes later gets the last one.
//
//   publish [TOPIC] [COUNT]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sluice/message_publisher.hpp>
#include <string>
#include <thread>

int main(int argc, char** argv) {
  const char* topic = argc > 1 ? argv[1] : "room/kitchen/temperature";
  const long count = argc > 2 ? std::atol(argv[2]) : 20;

  auto node = sluice::Node::create({.name = "thermometer"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;

  sluice::MessagePublisherOptions options;
  options.retained = true;  // the topic has a value
  options.codec = sluice::Codec::text;
  auto publisher = sluice::MessagePublisher::create(*node, topic, options);
  if (!publisher) return std::fprintf(stderr, "%s\n", publisher.error().message.c_str()), 1;

  for (long i = 0; i < count; ++i) {
    const std::string text = std::to_string(20 + i % 5) + " °C";
    // ok, or why not; nobody being there is no failure unless need_subscriber says so.
    const sluice::Outcome outcome = publisher->publish(text, {.ttl_ns = 60'000'000'000});
    if (outcome != sluice::Outcome::ok) {
      return std::fprintf(stderr, "not published: %s\n", to_string(outcome)), 1;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  return 0;  // the value ends with its publisher
}
