// Nodes at a broker of the test's own, and streams of numbers between them.
#pragma once

#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::test {

using namespace std::chrono_literals;

class NodeTest : public testing::Test {
 protected:
  NodeOptions options(std::string name) {
    NodeOptions o;
    o.name = std::move(name);
    o.socket = broker_.socket();
    o.log = [name = o.name](LogLevel level, std::string_view text) {
      if (level >= LogLevel::warning) {
        std::fprintf(stderr, "[%s] %.*s\n", name.c_str(), static_cast<int>(text.size()),
                     text.data());
      }
    };
    return o;
  }
  Node node(std::string name) {
    auto made = Node::create(options(std::move(name)));
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  static StreamOptions numbers() {
    StreamOptions o;
    o.pools = {{64}};
    return o;
  }
  static Publisher advertise(Node& node, const std::string& topic,
                             const StreamOptions& o = numbers()) {
    auto made = node.advertise(topic, o);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  static Subscriber subscribe(Node& node, const std::string& filter,
                              const SubscriptionOptions& o = {}) {
    auto made = node.subscribe(filter, o);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  static bool publish(Publisher& publisher, std::uint64_t number) {
    Loan loan = publisher.loan(sizeof number);
    if (!loan) return false;
    std::memcpy(loan.data(), &number, sizeof number);
    return publisher.publish(std::move(loan)) == Outcome::ok;
  }
  // The next sample, waited for: a publisher counts a reader before that reader's own thread has
  // mapped the stream.
  static Sample next(Subscriber& subscriber, std::chrono::milliseconds patience = 5s) {
    const Deadline until = std::chrono::steady_clock::now() + patient(patience);
    for (;;) {
      if (Sample sample = subscriber.take()) return sample;
      if (subscriber.wait(until) == Outcome::timeout) return {};
    }
  }
  // The next number, or 0 when none comes.
  static std::uint64_t take(Subscriber& subscriber, std::chrono::milliseconds patience = 5s) {
    const Sample sample = next(subscriber, patience);
    std::uint64_t number = 0;
    if (sample) std::memcpy(&number, sample.data(), sizeof number);
    return number;
  }
  static bool attached(Publisher& publisher, std::size_t count = 1) {
    return eventually([&] { return publisher.subscriber_count() == count; });
  }

  BrokerProcess broker_{SLUICE_SLUICED};
};

}  // namespace sluice::test
