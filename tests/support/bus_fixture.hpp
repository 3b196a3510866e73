// Nodes, publishers and subscribers of messages at a broker of the test's own.
#pragma once

#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

class BusTest : public testing::Test {
 protected:
  Node node(std::string name) const { return node_at(broker_.socket(), std::move(name)); }
  static Node node_at(std::string socket, std::string name) {
    NodeOptions o;
    o.name = std::move(name);
    o.socket = std::move(socket);
    o.log = [name = o.name](LogLevel level, std::string_view text) {
      if (level < LogLevel::warning) return;
      std::fprintf(stderr, "[%s] %.*s\n", name.c_str(), static_cast<int>(text.size()), text.data());
    };
    return value(Node::create(std::move(o)));
  }
  static MessagePublisher publisher(Node& node, std::string_view topic,
                                    MessagePublisherOptions options = {}) {
    return value(MessagePublisher::create(node, topic, std::move(options)));
  }
  static MessageSubscriber subscriber(Node& node, std::string_view filter,
                                      MessageSubscriptionOptions options = {}) {
    return value(MessageSubscriber::create(node, filter, std::move(options)));
  }
  template <class T>
  static T value(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message);
    return std::move(*result);
  }
  static bool attached(MessagePublisher& publisher, std::size_t count = 1) {
    return eventually([&] { return publisher.stream().subscriber_count() == count; });
  }
  static std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span{text.data(), text.size()});
  }
  /// Generous: a loaded machine is slow.
  static Deadline soon() {
    return std::chrono::steady_clock::now() + patient(std::chrono::seconds{10});
  }

  BrokerProcess broker_{SLUICE_SLUICED};
};

}  // namespace sluice::test
