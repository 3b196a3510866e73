// A program with an event loop of its own: no thread is started, two descriptors are polled.
//
// The node's becomes readable when it has something to do (a broker that speaks, a process that
// died); the wait set's when a message may be there.
#include <poll.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <sluice/node.hpp>

int main() {
  auto node = sluice::Node::create({.name = "own_event_loop", .background_thread = false});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;
  auto subscriber = node->subscribe("clock/ticks", {.pollable = true});
  if (!subscriber) return std::fprintf(stderr, "%s\n", subscriber.error().message.c_str()), 1;
  sluice::StreamOptions options;
  options.pools = {{sizeof(int)}};
  auto publisher = node->advertise("clock/ticks", options);
  if (!publisher) return std::fprintf(stderr, "%s\n", publisher.error().message.c_str()), 1;

  int sent = 0;
  int received = 0;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  while (received < 10) {
    if (std::chrono::steady_clock::now() > until) return std::fputs("no ticks\n", stderr), 1;
    if (sent < 10 && publisher->subscriber_count() != 0) {
      if (sluice::Loan loan = publisher->loan(sizeof sent)) {
        std::memcpy(loan.data(), &sent, sizeof sent);
        publisher->publish(std::move(loan));
        ++sent;
      }
    }
    // arm() says false when there is something already: then look at once.
    pollfd fds[] = {{node->fd(), POLLIN, 0}, {subscriber->fd(), POLLIN, 0}};
    ::poll(fds, 2, subscriber->arm() ? 100 : 0);
    subscriber->disarm();
    node->dispatch();
    while (const sluice::Sample sample = subscriber->take()) {
      int tick = 0;
      std::memcpy(&tick, sample.data(), sizeof tick);
      std::printf("tick %d\n", tick);
      ++received;
    }
  }
  return 0;
}
