// Nodes whose broker dies, is not there yet, or is another one: what is attached goes on, and a new
// broker is told all.
#include "tests/process/node_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <optional>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

TEST_F(NodeTest, SeveralFiltersSurviveTheBroker) {
  Node a = node("a");
  Node b = node("b");
  Publisher front = advertise(a, "camera/front");
  auto subscriber = b.subscribe(std::vector<std::string>{"camera/+", "light/#"});
  ASSERT_TRUE(subscriber) << subscriber.error().message;
  ASSERT_TRUE(attached(front));
  ASSERT_TRUE(eventually([&] { return subscriber->stream_count() == 1; }));
  broker_.kill(SIGKILL);
  broker_.start();
  Publisher light = advertise(a, "light/hall");
  ASSERT_TRUE(attached(light));
  ASSERT_TRUE(publish(front, 1));
  ASSERT_TRUE(publish(light, 2));
  EXPECT_EQ(take(*subscriber) + take(*subscriber), 3u);
}

TEST_F(NodeTest, APublisherKnowsHowManySubscriptionsMatch) {
  Node a = node("a");
  Node b = node("b");
  std::optional<Subscriber> first = subscribe(b, "t");
  Publisher publisher = advertise(a, "t");
  EXPECT_EQ(publisher.matching_count(), 1u) << "with the answer already";
  const auto matching = [&](std::size_t count) {
    return eventually([&] { return publisher.matching_count() == count; });
  };
  std::optional<Subscriber> second = subscribe(b, "#");
  EXPECT_TRUE(matching(2));
  first.reset();
  EXPECT_TRUE(matching(1));
  broker_.kill(SIGKILL);
  EXPECT_EQ(publisher.matching_count(), 1u) << "who is attached counts without a broker, too";
  broker_.start();
  ASSERT_TRUE(eventually([&] { return a.connected() && b.connected(); }));
  EXPECT_TRUE(matching(1));
  second.reset();
  EXPECT_TRUE(matching(0));
}

// Nobody publishes, which would show it as well.
TEST_F(NodeTest, WhoLeavesWhileTheBrokerIsAwayIsNotCountedByTheNext) {
  Node a = node("a");
  Node b = node("b");
  Publisher publisher = advertise(a, "t");
  std::optional<Subscriber> leaving = subscribe(b, "t");
  Subscriber staying = subscribe(b, "t");
  ASSERT_TRUE(attached(publisher, 2));
  ASSERT_TRUE(eventually([&] { return leaving->stream_count() + staying.stream_count() == 2; }));
  broker_.kill(SIGKILL);
  ASSERT_TRUE(eventually([&] { return !a.connected() && !b.connected(); }));
  leaving.reset();
  broker_.start();
  EXPECT_TRUE(eventually([&] { return publisher.matching_count() == 1; }));
  EXPECT_EQ(publisher.subscriber_count(), 1u);
  ASSERT_TRUE(publish(publisher, 1));
  EXPECT_EQ(take(staying), 1u);
}

// The broker dies while a subscription is being attached, and with it the answer: the publisher may
// have admitted a reader that does not know of it. That one must not hold the publisher up.
TEST_F(NodeTest, WhatABrokerTookWithItLeavesNoReaderBehind) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.lanes = {{.depth = 2}};
  o.on_full = OnFull::fail;
  Publisher publisher = advertise(a, "t", o);
  for (int round = 0; round < 20; ++round) {
    Node b = node("b");
    {
      // Subscribing waits for the broker's word, attaching goes on by itself.
      const Subscriber mortal = subscribe(b, "t", {.mode = DeliveryMode::reliable});
      std::this_thread::sleep_for(std::chrono::microseconds{25 * round});
      broker_.kill(SIGKILL);
      if (round % 2 == 0) broker_.start();
    }
    if (round % 2 != 0) broker_.start();
    ASSERT_TRUE(eventually([&] { return a.connected() && b.connected(); }));
    const Subscriber other = subscribe(b, "t");
    EXPECT_TRUE(eventually([&] {
      return publish(publisher, 1) && publisher.subscriber_count() == 1;
    })) << round
        << ": " << publisher.subscriber_count();
    for (std::uint64_t i = 0; i < 5; ++i) EXPECT_TRUE(publish(publisher, i)) << round;
  }
}

TEST_F(NodeTest, FramesFlowWhileTheBrokerIsDownAndANewOneKnowsAll) {
  Node a = node("a");
  Node b = node("b");
  Publisher publisher = advertise(a, "x");
  Subscriber subscriber = subscribe(b, "x", {.mode = DeliveryMode::reliable});
  ASSERT_TRUE(attached(publisher));
  std::uint64_t number = 0;
  const auto exchange = [&] {
    ++number;
    ASSERT_TRUE(publish(publisher, number));
    Sample sample = next(subscriber);
    ASSERT_TRUE(sample);
    EXPECT_EQ(sample.info().sequence, number);
    subscriber.acknowledge(std::move(sample));
  };
  for (int round = 0; round < 3; ++round) {
    exchange();
    broker_.kill(SIGKILL);
    for (int i = 0; i < 100; ++i) exchange();
    EXPECT_TRUE(eventually([&] { return !a.connected() && !b.connected(); }));
    broker_.start();
    EXPECT_TRUE(eventually([&] { return a.connected() && b.connected(); }, 3s));
    for (int i = 0; i < 100; ++i) exchange();
    // What appears now is attached, and what was there is there once.
    Node c = node("c");
    auto monitor = c.monitor();
    ASSERT_TRUE(monitor) << monitor.error().message;
    EXPECT_TRUE(eventually([&] {
      const Snapshot s = monitor->snapshot();
      return s.streams.size() == 1 && s.streams[0].id == publisher.stream_id() &&
             s.subscriptions.size() == 1 && s.subscriptions[0].attachments.size() == 1 &&
             s.streams[0].stats.published == number &&
             s.subscriptions[0].attachments[0].stats.taken == number;
    }));
    Subscriber late = subscribe(c, "x");
    ASSERT_TRUE(attached(publisher, 2));
    exchange();
    EXPECT_EQ(take(late), number);
    EXPECT_EQ(publisher.subscriber_count(), 2u);
  }
}

TEST_F(NodeTest, ASubscriberThatDiesWhileTheBrokerIsDownIsNoticed) {
  EarlyChild child{[&] {
    Node b = node("b");
    Subscriber subscriber = subscribe(b, "x");
    ::pause();
  }};
  Node a = node("a");
  Publisher publisher = advertise(a, "x");
  child.start();
  ASSERT_TRUE(attached(publisher));
  broker_.kill(SIGKILL);
  child.end(SIGKILL);
  EXPECT_TRUE(attached(publisher, 0));
}

TEST_F(NodeTest, WaitsForTheBrokerOrFailsAtOnce) {
  broker_.kill(SIGKILL);
  NodeOptions hasty = options("hasty");
  hasty.connect_timeout = 0ms;
  auto refused = Node::create(std::move(hasty));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(broker_.socket()), std::string::npos)
      << refused.error().message;
  std::thread waiting{[&] {
    auto patient = Node::create(options("patient"));
    EXPECT_TRUE(patient) << patient.error().message;
  }};
  std::this_thread::sleep_for(100ms);
  broker_.start();
  waiting.join();
}

}  // namespace
}  // namespace sluice::test
