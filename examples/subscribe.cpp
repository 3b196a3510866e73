// Prints what is published under all topics that match a filter, as publishers come and go.
//
//   subscribe [FILTER] [COUNT]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sluice/node.hpp>

int main(int argc, char** argv) {
  const char* filter = argc > 1 ? argv[1] : "greetings/#";
  long left = argc > 2 ? std::atol(argv[2]) : 10;

  auto node = sluice::Node::create({.name = "subscribe"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;
  auto subscriber = node->subscribe(filter, {.mode = sluice::DeliveryMode::next, .history = 1});
  if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 1;

  while (left > 0) {
    if (subscriber->wait_for(std::chrono::seconds{10}) == sluice::Outcome::timeout) {
      return std::fputs("nothing for ten seconds\n", stderr), 1;
    }
    while (const sluice::Sample sample = subscriber->take()) {
      const std::string_view topic = subscriber->topic(sample);
      std::printf("%.*s: %s\n", static_cast<int>(topic.size()), topic.data(),
                  reinterpret_cast<const char*>(sample.data()));
      if (--left == 0) break;
    }
  }
  return 0;
}
