// Health, system messages, breakers and errors of a node, as operators see them.
#include "sluice/agent.hpp"

#include "sluice/dispatcher.hpp"
#include "tests/support/bus_fixture.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

class AgentTest : public BusTest {
 protected:
  static MessageSubscriber follower(Node& node, std::string_view filter) {
    MessageSubscriptionOptions options;
    options.retained = true;
    return subscriber(node, filter, std::move(options));
  }
  static MessagePublisher orders(Node& node, const std::string& to) {
    return publisher(node, "$sys/control/" + to);
  }
  // The next record, while the agent does its work.
  static json next(Agent& agent, MessageSubscriber& from) {
    const Deadline until = soon();
    while (std::chrono::steady_clock::now() < until) {
      (void)agent.step();
      const Message message = from.receive(std::chrono::steady_clock::now() + 2ms);
      if (message) return json::parse(message.text());
    }
    return {};
  }
  static void send(MessagePublisher& out, const std::string& text) {
    ASSERT_TRUE(attached(out));
    ASSERT_EQ(out.publish(text), Outcome::ok);
  }
};

TEST_F(AgentTest, CountsWhatItsNodeHasPublished) {
  Node a = node("a");
  Node b = node("b");
  AgentOptions with;
  with.health_interval = 1h;
  Agent agent = value(Agent::create(a, std::move(with)));
  {
    MessagePublisher ended = publisher(a, "t");
    for (int i = 0; i < 5; ++i) EXPECT_EQ(ended.publish(bytes("x")), Outcome::ok);
  }
  MessagePublisher running = publisher(a, "t");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(running.publish(bytes("x")), Outcome::ok);
  EXPECT_EQ(a.published(), 8u);
  EXPECT_EQ(b.published(), 0u);
  (void)agent.step();
  MessageSubscriber in = follower(b, "health/a/bus");
  EXPECT_EQ(next(agent, in)["published"], 8);
}

TEST_F(AgentTest, TellsHowItIs) {
  NodeOptions options;
  options.name = "camera-front";
  options.socket = broker_.socket();
  options.version = "1.2.3";
  Node a = value(Node::create(std::move(options)));
  Node b = node("b");
  AgentOptions with;
  with.health_interval = 1h;
  with.figures = [] { return HealthFigures{10, 9, 1, 2, 3, 4}; };
  Agent agent = value(Agent::create(a, std::move(with)));
  EXPECT_GT(agent.step(), std::chrono::steady_clock::now());
  // It is retained: for who comes later.
  MessageSubscriber in = follower(b, "health/+/bus");
  const json first = next(agent, in);
  EXPECT_EQ(first["node"], "camera-front");
  EXPECT_EQ(first["status"], "ok");
  EXPECT_EQ(first["version"], "1.2.3");
  EXPECT_EQ(first["pid"], ::getpid());
  EXPECT_EQ(first["messages"], 10);
  EXPECT_EQ(first["handled"], 9);
  EXPECT_EQ(first["errors"], 1);
  EXPECT_EQ(first["dead"], 2);
  EXPECT_EQ(first["published"], 3);
  EXPECT_EQ(first["slow"], 4);
  EXPECT_TRUE(first["uptime_s"].is_number_unsigned());
  EXPECT_FALSE(first.contains("problem"));

  agent.set_problem("the lens is dirty");
  agent.set_problem("the lens is dirty");
  const json second = next(agent, in);
  EXPECT_EQ(second["status"], "problem");
  EXPECT_EQ(second["problem"], "the lens is dirty");
  agent.set_problem("");
  EXPECT_EQ(next(agent, in)["status"], "ok");
  EXPECT_FALSE(in.receive(std::chrono::steady_clock::now() + 10ms));
}

TEST_F(AgentTest, TellsEveryInterval) {
  Node a = node("a");
  AgentOptions with;
  with.health_interval = 10ms;
  Agent agent = value(Agent::create(a, std::move(with)));
  MessageSubscriber in = follower(a, "health/a/bus");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(next(agent, in)["node"], "a");
}

TEST_F(AgentTest, FollowsSystemMessagesAndReportsWhatItCannot) {
  Node a = node("a");
  Node b = node("operator");
  std::vector<std::pair<SystemMessage, std::string>> got;
  AgentOptions with;
  with.health_interval = 1h;
  with.system = [&](SystemMessage order, std::string_view text) {
    got.emplace_back(order, text);
    return order == SystemMessage::configuration;
  };
  Agent agent = value(Agent::create(a, std::move(with)));
  MessageSubscriptionOptions reliable;
  reliable.subscription.mode = DeliveryMode::reliable;
  reliable.subscription.history = 32;
  MessageSubscriber errors = subscriber(b, "$sys/errors/a", reliable);
  MessageSubscriber health = follower(b, "health/a/bus");
  ASSERT_EQ(next(agent, health)["status"], "ok");
  MessagePublisher one = orders(b, "a");
  MessagePublisher everybody = orders(b, "all");

  send(one, R"({"do":"health_check"})");
  EXPECT_EQ(next(agent, health)["status"], "ok");
  send(everybody, R"({"do":"ready"})");
  send(one, R"({"do":"configuration","values":{"rate":5}})");
  send(one, R"({"do":"shutdown","reason":"test"})");
  const json refused = next(agent, errors);
  EXPECT_EQ(refused["node"], "a");
  EXPECT_EQ(refused["topic"], "$sys/control/a");
  EXPECT_EQ(refused["error"], "the system message 'shutdown' was not followed");
  ASSERT_EQ(got.size(), 4u);
  EXPECT_EQ(got[0].first, SystemMessage::health_check);
  bool ready = false;
  bool configured = false;
  for (const auto& [order, text] : got) {
    ready = ready || order == SystemMessage::ready;
    configured = configured || (order == SystemMessage::configuration &&
                                json::parse(text)["values"]["rate"] == 5);
  }
  EXPECT_TRUE(ready && configured);
}

TEST_F(AgentTest, WhatIsNoSystemMessageIsReportedAndHarmless) {
  Node a = node("a");
  Node b = node("operator");
  AgentOptions with;
  bool ready = false;
  with.system = [&](SystemMessage order, std::string_view) {
    ready = ready || order == SystemMessage::ready;
    return false;
  };
  Agent agent = value(Agent::create(a, std::move(with)));
  MessageSubscriptionOptions reliable;
  reliable.subscription.mode = DeliveryMode::reliable;
  reliable.subscription.history = 32;
  MessageSubscriber errors = subscriber(b, "$sys/errors/a", reliable);
  MessagePublisherOptions large;
  large.stream = message_stream(100'000, 16);
  MessagePublisher out = publisher(b, "$sys/control/a", large);
  const std::vector<std::string> wrong{
      "",
      "shutdown",
      "{",
      "[]",
      "\"shutdown\"",
      "{}",
      R"({"do":7})",
      R"({"do":"dance"})",
      R"({"do":"breaker","service":"s"})",
      "{\"do\":\"\xff\xfe\"}",
      std::string(200, '['),
      R"({"do":"ready","x":")" + std::string(80'000, 'x') + "\"}",
  };
  // No more than ten a second are told; the others are counted.
  std::size_t told = 0;
  for (const std::string& text : wrong) {
    send(out, text);
    const json record = next(agent, errors);
    if (record.is_null()) break;
    EXPECT_FALSE(record["error"].get<std::string>().empty());
    told += 1 + record["left_out"].get<std::size_t>();
    if (told >= 9) break;
  }
  EXPECT_GE(told, 9u);
  for (const std::string& text : wrong) send(out, text);
  send(out, R"({"do":"ready"})");
  const Deadline until = soon();
  while (!ready && std::chrono::steady_clock::now() < until) (void)agent.step();
  EXPECT_TRUE(ready);
}

TEST_F(AgentTest, ErrorsAreLimitedAndCounted) {
  Node a = node("a");
  Agent agent = value(Agent::create(a, {}));
  MessageSubscriptionOptions reliable;
  reliable.subscription.mode = DeliveryMode::reliable;
  reliable.subscription.history = 32;
  for (int i = 0; i < 1'000; ++i) agent.report_error("t", "failed");
  MessageSubscriber errors = subscriber(a, "$sys/errors/a", reliable);
  int count = 0;
  while (errors.receive(std::chrono::steady_clock::now() + (count == 0 ? 10s : 20ms))) ++count;
  EXPECT_GE(count, 10);
  EXPECT_LT(count, 100);
  // A sentence is cut off between two characters.
  std::this_thread::sleep_for(150ms);
  std::string umlauts;
  while (umlauts.size() < 2'000) umlauts += "\xc3\xa4";
  agent.report_error("t", "x" + umlauts);
  const Message message = errors.receive(soon());
  ASSERT_TRUE(message);
  const json record = json::parse(message.text());
  EXPECT_EQ(record["error"], "x" + umlauts.substr(0, 510));
  EXPECT_GE(record["left_out"].get<int>(), 900);
}

TEST_F(AgentTest, BreakersAreSeenAndForced) {
  Node a = node("a");
  Node b = node("operator");
  AgentOptions with;
  with.health_interval = 1h;
  Agent agent = value(Agent::create(a, std::move(with)));
  BreakerOptions options;
  options.minimum_calls = 2;
  options.open_ns = 1'000'000'000'000'000;
  CircuitBreaker breaker{options};
  CircuitBreaker other{options};
  agent.watch_breaker("store/orders", breaker);
  agent.watch_breaker("other", other);
  MessageSubscriber in = follower(b, "$breaker/store/orders/a");
  EXPECT_EQ(next(agent, in)["state"], "closed");
  for (int i = 0; i < 2; ++i) {
    const auto permit = breaker.allow(1);
    breaker.ended(permit, false, 1, 1);
  }
  const json opened = next(agent, in);
  EXPECT_EQ(opened["state"], "open");
  EXPECT_EQ(opened["service"], "store/orders");
  EXPECT_EQ(opened["node"], "a");
  EXPECT_EQ(opened["opened"], 1);

  MessagePublisher out = orders(b, "all");
  send(out, R"({"do":"breaker","service":"store/orders","state":"forced_open"})");
  EXPECT_EQ(next(agent, in)["state"], "forced_open");
  EXPECT_FALSE(breaker.allow(2).allowed);
  EXPECT_TRUE(other.allow(2).allowed);
  send(out, R"({"do":"breaker","service":"store/orders","state":"closed"})");
  EXPECT_EQ(next(agent, in)["state"], "closed");
  EXPECT_TRUE(breaker.allow(2).allowed);
  agent.forget_breaker(breaker);
  send(out, R"({"do":"breaker","service":"store/orders","state":"forced_open"})");
  send(out, R"({"do":"breaker","service":"other","state":"forced_closed"})");
  MessageSubscriber in_other = follower(b, "$breaker/other/a");
  const Deadline until = soon();
  while (other.state(2) != BreakerState::forced_closed &&
         std::chrono::steady_clock::now() < until) {
    (void)agent.step();
  }
  EXPECT_EQ(other.state(2), BreakerState::forced_closed);
  EXPECT_TRUE(breaker.allow(2).allowed);
}

TEST_F(AgentTest, ADispatcherShutsDownWhenItIsTold) {
  Node b = node("operator");
  Node a = node("a");
  for (const bool obedient : {true, false}) {
    DispatcherOptions options;
    bool asked = false;
    options.agent_options.system = [&](SystemMessage order, std::string_view) {
      asked = asked || order == SystemMessage::shutdown;
      return obedient;
    };
    auto loop = value(Dispatcher::create(a, options));
    ASSERT_NE(loop->agent(), nullptr);
    bool handled = false;
    value(loop->on("t", [&](const Message&) -> HandlerResult {
      handled = true;
      return {};
    }));
    MessagePublisher work = publisher(b, "t");
    MessagePublisher out = orders(b, "a");
    send(work, "x");
    send(out, R"({"do":"shutdown","reason":"night"})");
    if (obedient) {
      EXPECT_TRUE(loop->run());
    } else {
      const Deadline until = soon();
      while (!asked && std::chrono::steady_clock::now() < until) loop->step(until);
      loop->after(5ms, [&] { loop->stop(); });
      EXPECT_TRUE(loop->run());  // ends by stop() only
    }
    EXPECT_TRUE(asked);
    EXPECT_TRUE(obedient || handled);
  }
}

TEST_F(AgentTest, WithoutAWordADispatcherFollowsAShutdown) {
  Node b = node("operator");
  Node a = node("a");
  auto loop = value(Dispatcher::create(a));
  MessagePublisher out = orders(b, "all");
  send(out, R"({"do":"shutdown"})");
  EXPECT_TRUE(loop->run());
}

TEST_F(AgentTest, AHealthRecordHasTheDispatchersFigures) {
  Node a = node("a");
  DispatcherOptions options;
  options.agent_options.health_interval = 10ms;
  auto loop = value(Dispatcher::create(a, options));
  HandlerOptions reliable;
  reliable.subscription.subscription.mode = DeliveryMode::reliable;
  const auto id = value(loop->on(
      "t",
      [](const Message& message) {
        return message.text() == "good" ? HandlerResult{} : HandlerResult{Handled::reject, "bad"};
      },
      reliable));
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = follower(a, "health/a/bus");
  MessageSubscriber errors = subscriber(a, "$sys/errors/a", {.subscription = {.history = 8}});
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("good"), Outcome::ok);
  ASSERT_EQ(out.publish("evil"), Outcome::ok);
  json record;
  const Deadline until = soon();
  while (std::chrono::steady_clock::now() < until) {
    loop->step(std::chrono::steady_clock::now() + 5ms);
    // What was removed still counts.
    if (loop->counts(id).dead == 1) loop->remove(id);
    const Message message = in.take();
    if (!message) continue;
    record = json::parse(message.text());
    if (loop->counts(id).dead == 0 && record["dead"] == 1) break;
  }
  EXPECT_EQ(record["messages"], 2);
  EXPECT_EQ(record["handled"], 1);
  EXPECT_EQ(record["errors"], 1);
  EXPECT_EQ(record["dead"], 1);
  const Message error = errors.receive(soon());
  ASSERT_TRUE(error);
  EXPECT_EQ(json::parse(error.text())["error"], "bad");
  EXPECT_EQ(json::parse(error.text())["topic"], "t");
}

}  // namespace
}  // namespace sluice::test
