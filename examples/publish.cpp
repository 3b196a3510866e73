// Publishes a message ten times a second under a topic, until it is told to stop or has sent
// enough.
//
//   publish [TOPIC] [COUNT]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sluice/node.hpp>
#include <thread>

int main(int argc, char** argv) {
  const char* topic = argc > 1 ? argv[1] : "greetings/example";
  const long count = argc > 2 ? std::atol(argv[2]) : 20;

  auto node = sluice::Node::create({.name = "publish"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;

  sluice::StreamOptions options;
  options.pools = {{256}};                        // slots of 256 bytes
  options.lanes = {{.depth = 16, .history = 1}};  // who comes later gets the last one
  auto publisher = node->advertise(topic, options);
  if (!publisher) return std::fprintf(stderr, "%s\n", publisher.error().message.c_str()), 1;

  for (long i = 1; i <= count; ++i) {
    sluice::Loan loan = publisher->loan(256);
    if (!loan) return std::fprintf(stderr, "loan: %s\n", to_string(loan.outcome())), 1;
    const int n = std::snprintf(reinterpret_cast<char*>(loan.data()), 256, "message %ld", i);
    loan.resize(static_cast<std::uint64_t>(n) + 1);
    publisher->publish(std::move(loan));
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  return 0;  // the publisher's end is the stream's end
}
