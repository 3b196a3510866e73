// A broker and its clients in one thread, over socketpairs.
#pragma once

#include "daemons/sluiced/broker.hpp"
#include "tests/support/broker_client.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <utility>

namespace sluice::broker {

class BrokerFixture : public testing::Test {
 protected:
  using BrokerClient = test::BrokerClient;

  static Policy everything() { return Policy{{}, ::geteuid(), ::getegid()}; }
  /// Only what this rule allows, to everybody.
  static Policy only(std::vector<Action> actions, std::vector<std::string> filters) {
    Rule rule;
    rule.actions = std::move(actions);
    rule.filters = std::move(filters);
    return Policy{Rules{"test.toml", {rule}, {}}, ::geteuid(), ::getegid()};
  }
  void restart(LimitTable limits = {}) {
    broker_ = std::make_unique<Broker>(loop_, everything(), std::move(limits));
  }

  BrokerClient connect() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    broker_->adopt(shm::UniqueFd{ends[0]});
    return BrokerClient{shm::UniqueFd{ends[1]}, [this] { turn(); }};
  }
  BrokerClient node(Id id) {
    BrokerClient client = connect();
    EXPECT_TRUE(client.hello(id, "node" + std::to_string(id))) << client.failure.message;
    return client;
  }
  void turn() {
    for (int i = 0; i < 3; ++i) test::must(loop_.run_once(0));
  }

  EventLoop loop_ = test::must(EventLoop::create());
  std::unique_ptr<Broker> broker_ = std::make_unique<Broker>(loop_, everything(), LimitTable{});
};

}  // namespace sluice::broker
