// Prints what is published under all topics that match a filter: first what is retained, then what
// comes.
//
//   subscribe [FILTER] [COUNT]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sluice/message_subscriber.hpp>

int main(int argc, char** argv) {
  const char* filter = argc > 1 ? argv[1] : "room/+/temperature";
  long left = argc > 2 ? std::atol(argv[2]) : 5;

  auto node = sluice::Node::create({.name = "display"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;

  sluice::MessageSubscriptionOptions options;
  options.retained = true;
  auto subscriber = sluice::MessageSubscriber::create(*node, filter, options);
  if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 1;

  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  auto range = subscriber->until(patience);
  for (const sluice::Message& message : range) {
    const std::string_view topic = message.topic();
    const std::string_view text = message.text();
    std::printf("%.*s: %.*s\n", static_cast<int>(topic.size()), topic.data(),
                static_cast<int>(text.size()), text.data());
    if (--left == 0) return 0;
  }
  return std::fprintf(stderr, "no more messages: %s\n", to_string(range.outcome())), 1;
}
