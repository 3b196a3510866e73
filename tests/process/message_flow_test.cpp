// How messages flow: watermarks, batches, fallbacks, limits, lifetimes and interceptors, over a
// real broker.
#include "sluice/codec.hpp"
#include "sluice/correlation.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/support/bus_fixture.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

class MessageFlowTest : public BusTest {
 protected:
  static MessageSubscriptionOptions reliable() {
    MessageSubscriptionOptions options;
    options.subscription.mode = DeliveryMode::reliable;
    return options;
  }
  static MessagePublisherOptions failing() {
    MessagePublisherOptions options;
    options.stream.on_full = OnFull::fail;
    return options;
  }
  static std::vector<MessageLoan> loans(MessagePublisher& out, std::size_t count) {
    std::vector<MessageLoan> made;
    for (std::size_t i = 0; i < count; ++i) {
      made.push_back(out.loan(1));
      EXPECT_TRUE(made.back());
      if (made.back()) made.back().bytes()[0] = std::byte(i);
    }
    return made;
  }
  static Context after_hops(std::uint8_t hops) {
    Context context;
    context.hops = hops;
    return context;
  }
  // Waits for the first: a publisher counts a reader before that has the stream.
  static std::size_t drain(MessageSubscriber& in) {
    std::size_t count = 0;
    for (Message message = in.receive(soon()); message; message = in.take()) {
      in.acknowledge(std::move(message));
      ++count;
    }
    return count;
  }
};

// --- watermarks

struct Told {
  Priority lane{};
  bool above = false;
  std::uint64_t backlog = 0;
};

TEST_F(MessageFlowTest, EachLaneHasWatermarksOfItsOwn) {
  Node a = node("a");
  std::vector<Told> told;
  int changes = 0;
  MessagePublisherOptions options = failing();
  options.watermarks.changed = [&](bool, std::uint64_t) { ++changes; };
  options.watermarks.lane_changed = [&](Priority lane, bool above, std::uint64_t backlog) {
    told.push_back({lane, above, backlog});
  };
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  std::size_t published = 0;
  const std::array lanes{Priority::low, Priority::critical, Priority::normal, Priority::high};
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const std::uint64_t depth = lanes[i] == Priority::normal ? 64 : 8;
    // As soon as it is reached, not only when the lane is full.
    const std::uint64_t high = (depth * 8 + 9) / 10;
    for (std::uint64_t n = 1; n <= depth; ++n, ++published) {
      ASSERT_EQ(out.publish("x", {.priority = lanes[i]}), Outcome::ok);
      ASSERT_EQ(told.size(), n < high ? i : i + 1) << n;
    }
    EXPECT_EQ(out.publish("x", {.priority = lanes[i]}), Outcome::full);
    ASSERT_EQ(told.size(), i + 1);
    EXPECT_EQ(told[i].lane, lanes[i]);
    EXPECT_TRUE(told[i].above);
    EXPECT_EQ(told[i].backlog, high);
  }
  EXPECT_EQ(drain(in), published);
  // Whatever is published next, all that are above are looked at.
  ASSERT_EQ(out.publish("x", {.priority = Priority::high}), Outcome::ok);
  ASSERT_EQ(told.size(), 8u);
  std::map<Priority, int> fallen;
  for (std::size_t i = 4; i < 8; ++i) {
    EXPECT_FALSE(told[i].above);
    EXPECT_LE(told[i].backlog, 1u);
    ++fallen[told[i].lane];
  }
  EXPECT_EQ(fallen.size(), 4u);
  EXPECT_EQ(changes, 8);
}

// A reader that wants what was there before it makes a lane full at once.
TEST_F(MessageFlowTest, WatermarksAreLookedAtWhenALoanIsRefused) {
  Node a = node("a");
  std::vector<std::uint64_t> backlogs;
  MessagePublisherOptions options = failing();
  options.stream.lanes = {{64, 64}};
  options.watermarks.changed = [&](bool above, std::uint64_t backlog) {
    EXPECT_TRUE(above);
    backlogs.push_back(backlog);
  };
  MessagePublisher out = publisher(a, "t", options);
  for (int i = 0; i < 64; ++i) ASSERT_EQ(out.publish("x"), Outcome::ok);
  EXPECT_TRUE(backlogs.empty());
  MessageSubscriptionOptions all = reliable();
  all.subscription.history = 64;
  MessageSubscriber in = subscriber(a, "t", all);
  ASSERT_TRUE(attached(out));
  EXPECT_EQ(out.loan(1).outcome(), Outcome::full);
  EXPECT_EQ(backlogs, std::vector<std::uint64_t>{64});
}

TEST_F(MessageFlowTest, WatermarksAreLookedAtInBatches) {
  Node a = node("a");
  std::vector<bool> told;
  MessagePublisherOptions options = failing();
  options.stream.lanes = {{100, 0}};
  options.stream.max_loans = 40;
  options.watermarks.changed = [&](bool above, std::uint64_t) { told.push_back(above); };
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  std::vector<MessageLoan> batch = loans(out, 40);
  ASSERT_EQ(out.publish(batch), Outcome::ok);
  EXPECT_TRUE(told.empty());
  batch = loans(out, 40);
  ASSERT_EQ(out.publish(batch), Outcome::ok);
  EXPECT_EQ(told, std::vector<bool>{true});
  EXPECT_EQ(drain(in), 80u);
  batch = loans(out, 1);
  ASSERT_EQ(out.publish(batch), Outcome::ok);
  EXPECT_EQ(told, (std::vector<bool>{true, false}));
}

TEST_F(MessageFlowTest, SubscribersHaveWatermarksToo) {
  Node a = node("a");
  std::vector<Told> told;
  MessageSubscriptionOptions options = reliable();
  options.capacity = 20;
  options.watermarks.changed = [&](bool above, std::uint64_t backlog) {
    told.push_back({Priority::critical, above, backlog});
  };
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t", options);
  ASSERT_TRUE(attached(out));
  for (int i = 0; i < 10; ++i) ASSERT_EQ(out.publish("x"), Outcome::ok);
  in.acknowledge(in.receive(soon()));
  EXPECT_TRUE(told.empty());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(out.publish("x"), Outcome::ok);
  for (int i = 0; i < 2; ++i) in.acknowledge(in.receive(soon()));  // every second take looks
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].above);
  EXPECT_GE(told[0].backlog, 28u);
  drain(in);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_FALSE(told[1].above);
  EXPECT_EQ(told[1].backlog, 10u);
}

TEST_F(MessageFlowTest, WatermarksThatContradictEachOtherAreRefused) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.watermarks = {
      .high = 0.4, .low = 0.6, .lane_changed = [](Priority, bool, std::uint64_t) {}};
  EXPECT_FALSE(MessagePublisher::create(a, "t", options));
  MessageSubscriptionOptions in;
  in.watermarks = {.high = 0.4, .low = 0.6, .changed = [](bool, std::uint64_t) {}};
  EXPECT_FALSE(MessageSubscriber::create(a, "t", in));
}

// --- batches

TEST_F(MessageFlowTest, BatchesNeedSomebodyAsWell) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.stream.max_loans = 3;
  options.need_subscriber = true;
  MessagePublisher out = publisher(a, "t", options);
  std::vector<MessageLoan> batch = loans(out, 3);
  EXPECT_EQ(out.publish(batch), Outcome::no_subscriber);
  EXPECT_EQ(out.counts().no_subscriber, 1u);
  for (const MessageLoan& loan : batch) EXPECT_TRUE(loan);
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  EXPECT_EQ(out.publish(batch), Outcome::ok);
  EXPECT_EQ(out.counts().published, 3u);
}

TEST_F(MessageFlowTest, BatchesFallBack) {
  Node a = node("a");
  MessageSubscriber in = subscriber(a, "attic", reliable());
  MessagePublisherOptions options;
  options.stream.max_loans = 3;
  options.fallback_topic = "attic";
  MessagePublisher out = publisher(a, "room", options);
  MessagePublisher probe = publisher(a, "attic");
  ASSERT_TRUE(attached(probe));
  std::vector<MessageLoan> batch = loans(out, 3);
  ASSERT_TRUE(eventually([&] { return out.publish(batch) == Outcome::ok; }));
  EXPECT_EQ(out.counts().fell_back, 3u);
  EXPECT_EQ(out.counts().published, 0u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(batch[static_cast<std::size_t>(i)]);
    Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(message.payload()[0], std::byte(i));
    in.acknowledge(std::move(message));
  }
  // Nobody there either.
  in = subscriber(a, "elsewhere");
  ASSERT_TRUE(attached(probe, 0));
  ASSERT_TRUE(eventually([&] {
    batch.clear();
    batch = loans(out, 2);
    return out.publish(batch) == Outcome::no_subscriber;
  }));
  EXPECT_TRUE(batch[1]);
}

class Counting final : public Interceptor {
 public:
  Outcome publishing(Intercepted&) override { return ++published, Outcome::ok; }
  int published = 0;
};

TEST_F(MessageFlowTest, ABatchStopsAtTheFirstThatIsAnothersAndLeavesTheRestAsItWas) {
  Node a = node("a");
  const auto mine = std::make_shared<Counting>();
  const auto others = std::make_shared<Counting>();
  MessagePublisherOptions options;
  options.stream.max_loans = 3;
  options.interceptors = {mine};
  MessagePublisher out = publisher(a, "t", options);
  options.interceptors = {others};
  MessagePublisher other = publisher(a, "u", options);
  MessageSubscriber in = subscriber(a, "+", reliable());
  ASSERT_TRUE(attached(out) && attached(other));
  std::vector<MessageLoan> batch = loans(out, 2);
  batch.insert(batch.begin() + 1, std::move(loans(other, 1)[0]));
  EXPECT_EQ(out.publish(batch), Outcome::mismatch);
  EXPECT_EQ(out.counts().published, 1u);
  EXPECT_FALSE(batch[0]);
  ASSERT_TRUE(batch[1] && batch[2]);
  EXPECT_EQ(other.publish(std::move(batch[1])), Outcome::ok);
  EXPECT_EQ(out.publish(std::move(batch[2])), Outcome::ok);
  EXPECT_EQ(mine->published, 2);
  EXPECT_EQ(others->published, 1);
  // What is published by the wrong one is gone, and nobody has seen it.
  EXPECT_EQ(out.publish(other.loan(1)), Outcome::mismatch);
  EXPECT_EQ(mine->published, 2);
}

TEST_F(MessageFlowTest, WhatABatchGivesBackIsInterceptedOnce) {
  Node a = node("a");
  const auto counting = std::make_shared<Counting>();
  MessagePublisherOptions options;
  options.stream.max_loans = 2;
  options.interceptors = {counting};
  options.rate = {.per_second = 0.001, .burst = 2};
  MessagePublisher out = publisher(a, "t", options);
  std::vector<MessageLoan> batch = loans(out, 2);
  out.stream().end();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(out.publish(batch), Outcome::ended);
    EXPECT_EQ(counting->published, 2);
    EXPECT_TRUE(batch[0] && batch[1]);
  }
}

// A topic belongs to its stream, and a stream that has ended is forgotten by the way.
TEST_F(MessageFlowTest, ABatchThatWasTakenKeepsItsTopics) {
  Node a = node("a");
  Node b = node("b");
  MessageSubscriptionOptions options = reliable();
  options.subscription.max_held = 8;
  MessageSubscriber in = subscriber(b, "+", options);
  std::vector<MessagePublisher> out;
  for (const char* topic : {"1", "2", "3", "4"}) {
    out.push_back(publisher(a, topic));
    ASSERT_TRUE(attached(out.back()));
  }
  for (MessagePublisher& publisher : out) {
    ASSERT_EQ(publisher.publish(publisher.topic()), Outcome::ok);
  }
  ASSERT_EQ(out[3].publish("4"), Outcome::ok);
  ASSERT_TRUE(eventually([&] { return in.stream().stream_count() == 4; }));
  out.erase(out.begin(), out.begin() + 3);
  std::vector<Message> batch(8);
  ASSERT_EQ(in.take(batch), 5u);
  EXPECT_EQ(batch[5].outcome(), Outcome::empty);
  std::string all;
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(batch[i].topic(), batch[i].text());
    all += batch[i].topic();
  }
  EXPECT_EQ(all, "12344");
  EXPECT_EQ(in.stream().stream_count(), 4u);
  for (Message& message : batch) in.acknowledge(std::move(message));
  EXPECT_TRUE(eventually([&] { return !in.take() && in.stream().stream_count() == 1; }));
}

TEST_F(MessageFlowTest, ATopicStaysWhileStreamsComeAndGo) {
  Node a = node("a");
  MessageSubscriber in = subscriber(a, "+", reliable());
  MessagePublisher out = publisher(a, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  const Message message = in.receive(soon());
  std::vector<MessagePublisher> more;
  for (int i = 0; i < 20; ++i) {
    more.push_back(publisher(a, std::to_string(i)));
    ASSERT_TRUE(attached(more.back()));
  }
  ASSERT_TRUE(eventually([&] { return in.stream().stream_count() == 21; }));
  EXPECT_EQ(message.topic(), "t");
}

// --- fallbacks, limits, lifetimes

TEST_F(MessageFlowTest, TheRateHoldsForTheFallbackToo) {
  Node a = node("a");
  MessageSubscriber in = subscriber(a, "attic", reliable());
  MessagePublisher probe = publisher(a, "attic");
  ASSERT_TRUE(attached(probe));
  MessagePublisherOptions options;
  options.fallback_topic = "attic";
  options.rate = {.per_second = 0.001, .burst = 2};
  MessagePublisher out = publisher(a, "room", options);
  std::uint64_t missed = 0;  // until the subscription has attached to the fallback
  for (std::uint64_t fell_back = 0; fell_back < 2;) {
    const Outcome outcome = out.publish("x");
    ASSERT_TRUE(outcome == Outcome::ok || outcome == Outcome::no_subscriber);
    outcome == Outcome::ok ? ++fell_back : ++missed;
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(out.publish("x"), Outcome::rate_limited);
  EXPECT_EQ(out.counts().fell_back, 2u);
  EXPECT_EQ(out.counts().no_subscriber, missed);
  EXPECT_EQ(out.counts().rate_limited, 1u);
}

TEST_F(MessageFlowTest, TheFallbackHasRoomForALongTopic) {
  Node a = node("a");
  MessageSubscriber in = subscriber(a, "attic");
  MessagePublisherOptions options;
  options.stream = message_stream(100);
  options.fallback_topic = "attic";
  const std::string topic = "room/" + std::string(1'500, 'x');
  MessagePublisher out = publisher(a, topic, options);
  const std::string payload(100, 'p');
  ASSERT_TRUE(eventually([&] { return out.publish(payload) == Outcome::ok; }));
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.text(), payload);
  const auto named = message.extension(ExtensionId::topic);
  EXPECT_EQ((std::string{reinterpret_cast<const char*>(named.data()), named.size()}), topic);
}

TEST_F(MessageFlowTest, LivesAsLongAsItWasGiven) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  constexpr std::uint64_t kForEver = std::numeric_limits<std::uint64_t>::max();
  ASSERT_EQ(out.publish("short", {.ttl_ns = 30'000'000}), Outcome::ok);
  ASSERT_EQ(out.publish("longest", {.ttl_ns = kForEver}), Outcome::ok);
  ASSERT_EQ(out.publish("long", {.ttl_ns = 600'000'000'000}), Outcome::ok);
  std::this_thread::sleep_for(40ms);
  Message message = in.receive(soon());
  EXPECT_EQ(message.text(), "longest");
  EXPECT_EQ(message.envelope().expires_ns, kForEver);
  in.acknowledge(std::move(message));
  EXPECT_EQ(in.receive(soon()).text(), "long");
  EXPECT_EQ(in.counts().expired, 1u);
  EXPECT_EQ(in.counts().taken, 2u);
}

// --- hops, interceptors, retained, inbox

TEST_F(MessageFlowTest, HopsCountWhereItIsPublished) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.stream.max_loans = 3;
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  MessageLoan outside = out.loan(1);
  std::vector<MessageLoan> batch = loans(out, 1);
  {
    const ScopedContext scope{after_hops(kMaxHops)};
    EXPECT_EQ(out.publish(std::move(outside)), Outcome::rejected);
    EXPECT_EQ(out.publish(batch), Outcome::rejected);
    EXPECT_EQ(out.counts().rejected, 2u);
  }
  {
    const ScopedContext scope{after_hops(kMaxHops - 1)};
    EXPECT_EQ(out.publish(batch), Outcome::ok);
  }
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.envelope().hops, kMaxHops);
  EXPECT_EQ(in.counts().malformed, 0u);
}

class Meddling final : public Interceptor {
 public:
  Outcome publishing(Intercepted& message) override { return spoil(message); }
  Outcome taken(Intercepted& message) override { return spoil(message); }

 private:
  static Outcome spoil(Intercepted& message) {
    Envelope& e = message.envelope;
    e.magic = 0;
    e.version = 9;
    e.kind = MessageKind::reply;
    e.codec = static_cast<Codec>(99);
    e.hops = 200;
    e.attempt = 0;
    e.header_bytes = 7;
    e.id = {};
    e.call = 1;
    message.headers.type_hash = 77;
    return Outcome::ok;
  }
};

TEST_F(MessageFlowTest, AnInterceptorCannotMakeItUnreadable) {
  Node a = node("a");
  MessagePublisherOptions out_options;
  out_options.codec = Codec::text;
  out_options.interceptors = {std::make_shared<Meddling>()};
  MessagePublisher out = publisher(a, "t", out_options);
  MessageSubscriptionOptions in_options;
  in_options.interceptors = out_options.interceptors;
  MessageSubscriber in = subscriber(a, "t", in_options);
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x", {.type_hash = 5}), Outcome::ok);
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  const Envelope& e = message.envelope();
  EXPECT_EQ(e.kind, MessageKind::event);
  EXPECT_EQ(e.codec, Codec::text);
  EXPECT_EQ(e.hops, 1);
  EXPECT_EQ(e.attempt, 1);
  EXPECT_EQ(e.call, 0u);
  EXPECT_NE(e.id, MessageId{});
  EXPECT_EQ(message.text(), "x");
  EXPECT_EQ(message.deliveries_before(), 0u);
  EXPECT_EQ(message.info().type_hash, 77u);  // said when it was published, not when it was taken
}

TEST_F(MessageFlowTest, AClearIsSeenHoweverManyStreamsWereThereBefore) {
  Node a = node("a");
  MessagePublisherOptions keep;
  keep.retained = true;
  MessageSubscriptionOptions retained = reliable();
  retained.retained = true;
  MessageSubscriber in = subscriber(a, "state/+", retained);
  MessagePublisher out = publisher(a, "state/live", keep);
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("on"), Outcome::ok);
  in.acknowledge(in.receive(soon()));
  for (int i = 0; i < 100; ++i) {
    MessagePublisher other = publisher(a, "state/" + std::to_string(i), keep);
    ASSERT_TRUE(attached(other));
    ASSERT_EQ(other.publish("x"), Outcome::ok);
    Message message = in.receive(soon());
    ASSERT_TRUE(message) << i;
    in.acknowledge(std::move(message));
  }
  ASSERT_EQ(out.clear(), Outcome::ok);
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.topic(), "state/live");
  EXPECT_TRUE(message.payload().empty());
  EXPECT_EQ(in.counts().filtered, 0u);
}

TEST_F(MessageFlowTest, AnInboxHoldsWhatComesWhileItsOwnerIsThere) {
  Node a = node("sender");
  MessagePublisher out = publisher(a, "inbox/owner");
  ASSERT_EQ(out.publish("before"), Outcome::ok);
  {
    Node owner = node("owner");
    MessageSubscriber inbox = value(MessageSubscriber::inbox(owner));
    ASSERT_TRUE(attached(out));
    ASSERT_EQ(out.publish("while"), Outcome::ok);
    EXPECT_EQ(inbox.receive(soon()).text(), "while");
  }
  ASSERT_TRUE(attached(out, 0));
  ASSERT_EQ(out.publish("between"), Outcome::ok);
  Node owner = node("owner");
  MessageSubscriber inbox = value(MessageSubscriber::inbox(owner));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("after"), Outcome::ok);
  EXPECT_EQ(inbox.receive(soon()).text(), "after");
}

}  // namespace
}  // namespace sluice::test
