// Dispatchers on a broker of their own, and handlers that are tried again at once.
#pragma once

#include "sluice/dispatcher.hpp"

#include "tests/support/bus_fixture.hpp"

#include <memory>
#include <string>
#include <utility>

namespace sluice::test {

using namespace std::chrono_literals;

class DispatcherTest : public BusTest {
 protected:
  static std::unique_ptr<Dispatcher> dispatcher(Node& node, DispatcherOptions options = {}) {
    options.agent = false;
    return value(Dispatcher::create(node, std::move(options)));
  }
  static HandlerOptions reliable(std::uint32_t attempts = 3) {
    HandlerOptions options;
    options.subscription.subscription.mode = DeliveryMode::reliable;
    options.retry.attempts = attempts;
    options.retry.first_delay_ns = 2'000'000;
    return options;
  }
  static HandlerOptions group(std::uint32_t attempts = 3) {
    HandlerOptions options = reliable(attempts);
    options.subscription.subscription.mode = DeliveryMode::group;
    options.subscription.subscription.group = "workers";
    return options;
  }
  static MessageSubscriber graves(Node& node, std::string_view topic) {
    MessageSubscriptionOptions options;
    options.subscription.mode = DeliveryMode::reliable;
    options.subscription.history = 64;
    return subscriber(node, dead_letter_topic(topic), std::move(options));
  }
  // Lets it work until `done`, or for ten seconds.
  template <class Done>
  static bool work(Dispatcher& dispatcher, Done done) {
    const Deadline until = soon();
    while (!done() && std::chrono::steady_clock::now() < until) {
      dispatcher.step(std::chrono::steady_clock::now() + 5ms);
    }
    return done();
  }
  static HandlerResult retry(std::string why) { return {Handled::retry, std::move(why)}; }
};

}  // namespace sluice::test
