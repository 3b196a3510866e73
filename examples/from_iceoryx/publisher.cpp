// iceoryx's example icehello, the publisher, ported: docs/from-iceoryx.md shows the difference.
//
//   publisher [COUNT]
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <sluice/typed.hpp>
#include <thread>

// iceoryx's topic_data.hpp. Both ends know the type by its name, size and alignment.
struct RadarObject {
  double x = 0.0;
  double y = 0.0;
  double z = 0.0;
};

int main(int argc, char** argv) {
  const long count = argc > 1 ? std::atol(argv[1]) : 20;
  auto node = sluice::Node::create({.name = "radar"});
  if (!node) return std::cerr << node.error().message << '\n', 1;

  auto publisher = sluice::PublisherOf<RadarObject>::create(*node, "Radar/FrontLeft/Object");
  if (!publisher) return std::cerr << publisher.error().message << '\n', 1;

  for (double ct = 1.0; ct <= static_cast<double>(count); ++ct) {
    auto sample = publisher->loan();
    if (sample) {
      sample->x = ct;
      sample->y = ct;
      sample->z = ct;
      publisher->publish(std::move(sample));
    } else {
      std::cerr << "Unable to loan sample: " << to_string(sample.outcome()) << '\n';
    }
    std::cout << "sent value: " << ct << '\n';
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  return 0;
}
