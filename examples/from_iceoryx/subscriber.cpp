// iceoryx's example icehello, the subscriber, ported: docs/from-iceoryx.md shows the difference.
//
//   subscriber [COUNT]
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <sluice/typed.hpp>

// iceoryx's topic_data.hpp. Both ends know the type by its name, size and alignment.
struct RadarObject {
  double x = 0.0;
  double y = 0.0;
  double z = 0.0;
};

int main(int argc, char** argv) {
  long left = argc > 1 ? std::atol(argv[1]) : 3;
  auto node = sluice::Node::create({.name = "radar-display"});
  if (!node) return std::cerr << node.error().message << '\n', 1;

  auto subscriber = sluice::SubscriberOf<RadarObject>::create(*node, "Radar/FrontLeft/Object");
  if (!subscriber) return std::cerr << subscriber.error().message << '\n', 1;

  while (left > 0) {
    if (subscriber->wait_for(std::chrono::seconds{10}) == sluice::Outcome::timeout) {
      return std::cerr << "nothing for ten seconds\n", 1;
    }
    while (const auto sample = subscriber->take()) {
      std::cout << "got value: " << sample->x << '\n';
      --left;
    }
  }
  return 0;
}
