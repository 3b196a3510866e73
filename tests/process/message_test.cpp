// Messages with an envelope, over a real broker.
#include "sluice/codec.hpp"
#include "sluice/correlation.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/support/bus_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>

#include <set>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

class MessageTest : public BusTest {
 protected:
  static MessageSubscriptionOptions reliable() {
    MessageSubscriptionOptions options;
    options.subscription.mode = DeliveryMode::reliable;
    return options;
  }
};

TEST_F(MessageTest, CarriesAnEnvelope) {
  Node a = node("a");
  Node b = node("b");
  MessagePublisher out = publisher(a, "room/kitchen/light");
  MessageSubscriber in = subscriber(b, "room/+/light");
  ASSERT_TRUE(attached(out));
  Published published;
  ASSERT_EQ(
      out.publish(bytes("on"), {.priority = Priority::high, .destination = b.id()}, published),
      Outcome::ok);
  EXPECT_EQ(published.queued, 1u);
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.text(), "on");
  EXPECT_EQ(message.topic(), "room/kitchen/light");
  EXPECT_EQ(message.info().priority, Priority::high);
  const Envelope& envelope = message.envelope();
  EXPECT_EQ(envelope.id, published.id);
  EXPECT_EQ(envelope.kind, MessageKind::event);
  EXPECT_EQ(envelope.source, a.id());
  EXPECT_EQ(envelope.destination, b.id());
  EXPECT_EQ(envelope.hops, 1);
  EXPECT_EQ(envelope.attempt, 1);
  // A message that begins something gives it its name.
  EXPECT_EQ(message.info().correlation, published.id);
  EXPECT_TRUE(message.context().trace.valid());
  EXPECT_EQ(message.deliveries_before(), 0u);
}

TEST_F(MessageTest, ForSomebodyElseIsNotSeen) {
  Node a = node("a");
  Node b = node("b");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(b, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("for a", {.destination = a.id()}), Outcome::ok);
  ASSERT_EQ(out.publish("for all"), Outcome::ok);
  EXPECT_EQ(in.receive(soon()).text(), "for all");
  EXPECT_EQ(in.counts().filtered, 1u);
}

TEST_F(MessageTest, BelongsToTheMessageThatIsBeingHandled) {
  Node a = node("a");
  MessagePublisher first = publisher(a, "first");
  MessagePublisher second = publisher(a, "second");
  MessageSubscriber in_first = subscriber(a, "first");
  MessageSubscriber in_second = subscriber(a, "second");
  ASSERT_TRUE(attached(first));
  ASSERT_TRUE(attached(second));
  Context context;
  context.correlation = new_correlation_id();
  context.trace = new_trace(context.correlation);
  context.tracestate = "vendor=value,other=1";
  context.origin_ns = 4711;
  {
    const ScopedContext scope{context};
    ASSERT_EQ(first.publish("1"), Outcome::ok);
  }
  const Message one = in_first.receive(soon());
  ASSERT_TRUE(one);
  {
    const ScopedContext scope{one.context()};
    ASSERT_EQ(second.publish("2"), Outcome::ok);
  }
  const Message two = in_second.receive(soon());
  ASSERT_TRUE(two);
  EXPECT_EQ(two.info().correlation, context.correlation);
  EXPECT_EQ(two.info().origin_ns, 4711u);
  EXPECT_EQ(two.context().trace.trace_id, context.trace.trace_id);
  EXPECT_NE(two.context().trace.span_id, one.context().trace.span_id);
  EXPECT_EQ(two.context().tracestate, context.tracestate);
  EXPECT_EQ(two.envelope().hops, 2);
}

// Two handlers that answer each other would go on for ever.
TEST_F(MessageTest, EndsAfterTenHops) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "loop");
  MessageSubscriber in = subscriber(a, "loop");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("go"), Outcome::ok);
  int hops = 0;
  Outcome outcome = Outcome::ok;
  while (outcome == Outcome::ok && hops < 100) {
    Message message = in.receive(soon());
    ASSERT_TRUE(message);
    ++hops;
    const ScopedContext scope{message.context()};
    in.acknowledge(std::move(message));
    outcome = out.publish("again");
  }
  EXPECT_EQ(hops, kMaxHops);
  EXPECT_EQ(outcome, Outcome::rejected);
  EXPECT_EQ(out.counts().rejected, 1u);
}

TEST_F(MessageTest, OfATypeIsReadInPlace) {
  struct Reading {
    std::uint32_t sensor = 0;
    double value = 0;
  };
  struct Other {
    std::uint32_t sensor = 0;
    double value = 0;
  };
  Node a = node("a");
  MessagePublisher out = publisher(a, "reading", flat_publisher<Reading>());
  MessageSubscriber in = subscriber(a, "reading");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(publish_flat(out, Reading{7, 21.5}), Outcome::ok);
  const Message message = in.receive(soon());
  const Reading* reading = flat_of<Reading>(message);
  ASSERT_NE(reading, nullptr);
  EXPECT_EQ(reading->sensor, 7u);
  EXPECT_EQ(reading->value, 21.5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(reading) % alignof(Reading), 0u);
  EXPECT_EQ(flat_of<Other>(message), nullptr);
}

TEST_F(MessageTest, IsFilteredByTypeSourceAndPredicate) {
  Node a = node("a");
  Node b = node("b");
  MessagePublisher from_a = publisher(a, "t");
  MessagePublisher from_b = publisher(b, "t");
  MessageSubscriptionOptions only;
  only.source = b.id();
  only.type_hash = 5;
  only.predicate = [](const Message& m) { return m.text() != "no"; };
  MessageSubscriber in = subscriber(a, "t", only);
  ASSERT_TRUE(attached(from_a));
  ASSERT_TRUE(attached(from_b));
  ASSERT_EQ(from_a.publish("of a", {.type_hash = 5}), Outcome::ok);
  ASSERT_EQ(from_b.publish("type 6", {.type_hash = 6}), Outcome::ok);
  ASSERT_EQ(from_b.publish("no", {.type_hash = 5}), Outcome::ok);
  ASSERT_EQ(from_b.publish("yes", {.type_hash = 5}), Outcome::ok);
  EXPECT_EQ(in.receive(soon()).text(), "yes");
  ASSERT_TRUE(eventually([&] { return !in.take() && in.counts().filtered == 3; }));
  EXPECT_EQ(in.counts().taken, 1u);
}

TEST_F(MessageTest, ThatHasExpiredIsCountedOrGivenOut) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t", reliable());
  MessageSubscriptionOptions give = reliable();
  give.give_expired = true;
  MessageSubscriber all = subscriber(a, "t", give);
  ASSERT_TRUE(attached(out, 2));
  ASSERT_EQ(out.publish("old", {.ttl_ns = 1}), Outcome::ok);
  ASSERT_EQ(out.publish("new", {.ttl_ns = 600'000'000'000}), Outcome::ok);
  EXPECT_EQ(in.receive(soon()).text(), "new");
  EXPECT_EQ(in.counts().expired, 1u);
  EXPECT_EQ(all.receive(soon()).text(), "old");
}

TEST_F(MessageTest, ThatComesTwiceIsADuplicate) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriptionOptions once = reliable();
  once.duplicates.count = 100;
  MessageSubscriber in = subscriber(a, "t", once);
  ASSERT_TRUE(attached(out));
  const MessageId id = new_correlation_id();
  ASSERT_EQ(out.publish("1", {.id = id}), Outcome::ok);
  ASSERT_EQ(out.publish("1", {.id = id}), Outcome::ok);
  ASSERT_EQ(out.publish("2"), Outcome::ok);
  in.acknowledge(in.receive(soon()));
  EXPECT_EQ(in.receive(soon()).text(), "2");
  EXPECT_EQ(in.counts().duplicate, 1u);
}

TEST_F(MessageTest, OverlappingFiltersDeliverOnce) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "a/b");
  auto made =
      MessageSubscriber::create(a, std::vector<std::string>{"a/#", "a/+", "a/b"}, reliable());
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(attached(out));
  EXPECT_EQ(out.stream().subscriber_count(), 1u);
  ASSERT_EQ(out.publish("1"), Outcome::ok);
  ASSERT_EQ(out.publish("2"), Outcome::ok);
  EXPECT_EQ(made->receive(soon()).text(), "1");
  EXPECT_EQ(made->receive(soon()).text(), "2");
}

TEST_F(MessageTest, RetainedReachesWhoComesLaterUntilItIsCleared) {
  Node a = node("a");
  MessagePublisherOptions keep;
  keep.retained = true;
  MessagePublisher out = publisher(a, "state", keep);
  ASSERT_EQ(out.publish("old"), Outcome::ok);
  ASSERT_EQ(out.publish("now"), Outcome::ok);
  MessageSubscriptionOptions retained = reliable();
  retained.retained = true;
  {
    MessageSubscriber late = subscriber(a, "state", retained);
    Message message = late.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(message.text(), "now");
    late.acknowledge(std::move(message));
    ASSERT_EQ(out.clear(), Outcome::ok);
    message = late.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_TRUE(message.payload().empty());
    EXPECT_NE(message.envelope().flags & kFlagRetained, 0);
  }
  MessageSubscriber later = subscriber(a, "state", retained);
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("next"), Outcome::ok);
  EXPECT_EQ(later.receive(soon()).text(), "next");
}

TEST_F(MessageTest, GapsAreReported) {
  Node a = node("a");
  MessagePublisherOptions small;
  small.stream = message_stream(64, 8);
  MessagePublisher out = publisher(a, "t", small);
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("first"), Outcome::ok);
  ASSERT_TRUE(in.receive(soon()));
  for (int i = 0; i < 100; ++i) ASSERT_EQ(out.publish(std::to_string(i)), Outcome::ok);
  Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.gap(), static_cast<std::uint64_t>(std::stoi(std::string{message.text()})));
  std::uint64_t taken = 1;
  while (in.take()) ++taken;
  EXPECT_EQ(taken + in.counts().gaps, 100u);
}

TEST_F(MessageTest, LimitsAndMissingSubscribersHaveTheirOwnOutcomes) {
  Node a = node("a");
  MessagePublisherOptions limited;
  limited.rate = {.per_second = 0.001, .burst = 2};
  MessagePublisher slow = publisher(a, "slow", limited);
  EXPECT_EQ(slow.publish("1"), Outcome::ok);
  EXPECT_EQ(slow.publish("2"), Outcome::ok);
  EXPECT_EQ(slow.publish("3"), Outcome::rate_limited);
  MessagePublisherOptions needing;
  needing.need_subscriber = true;
  MessagePublisher alone = publisher(a, "alone", needing);
  EXPECT_EQ(alone.publish("1"), Outcome::no_subscriber);
  EXPECT_EQ(alone.publish(std::string(5'000, 'x')), Outcome::too_large);
  EXPECT_EQ(alone.counts().no_subscriber, 1u);
  EXPECT_EQ(alone.counts().failed, 1u);
  EXPECT_EQ(alone.counts().published, 0u);
  MessagePublisherOptions strict;
  strict.stream.on_full = OnFull::fail;
  strict.stream.lanes = {{4, 0}};
  MessagePublisher full = publisher(a, "full", strict);
  MessageSubscriber never = subscriber(a, "full", reliable());
  ASSERT_TRUE(attached(full));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(full.publish("x"), Outcome::ok);
  EXPECT_EQ(full.publish("x"), Outcome::full);
}

TEST_F(MessageTest, FallsBackWhereNobodyTakesIt) {
  Node a = node("a");
  MessageSubscriber in = subscriber(a, "attic");
  MessagePublisherOptions options;
  options.fallback_topic = "attic";
  MessagePublisher out = publisher(a, "room", options);
  ASSERT_TRUE(eventually([&] {
    if (out.publish("nobody?") != Outcome::ok) return false;
    return true;
  }));
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.text(), "nobody?");
  const auto topic = message.extension(ExtensionId::topic);
  EXPECT_EQ((std::string{reinterpret_cast<const char*>(topic.data()), topic.size()}), "room");
  EXPECT_EQ(out.counts().fell_back, 1u);
  MessageSubscriber there = subscriber(a, "room");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("somebody"), Outcome::ok);
  EXPECT_EQ(there.receive(soon()).text(), "somebody");
  EXPECT_EQ(out.counts().fell_back, 1u);
}

TEST_F(MessageTest, WatermarksAreToldOnceEach) {
  Node a = node("a");
  std::vector<bool> told;
  MessagePublisherOptions options;
  options.stream.lanes = {{100, 0}};
  options.stream.on_full = OnFull::fail;
  options.watermarks.changed = [&](bool above, std::uint64_t backlog) {
    told.push_back(above);
    EXPECT_EQ(above ? backlog >= 80 : backlog <= 50, true);
  };
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  for (int i = 0; i < 100; ++i) ASSERT_EQ(out.publish("x"), Outcome::ok);
  EXPECT_EQ(told, std::vector<bool>{true});
  for (int i = 0; i < 90; ++i) in.acknowledge(in.receive(soon()));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  EXPECT_EQ(told, (std::vector<bool>{true, false}));
}

class Stamp final : public Interceptor {
 public:
  explicit Stamp(std::vector<std::string>& log, std::string name)
      : log_(log), name_(std::move(name)) {}
  Outcome publishing(Intercepted& message) override {
    log_.push_back("publishing " + name_);
    message.headers.origin_ns += 1;
    message.envelope.id = {};  // not its to change
    return message.payload.empty() ? Outcome::rejected : Outcome::ok;
  }
  Outcome taken(Intercepted& message) override {
    log_.push_back("taken " + name_);
    return message.payload.size() > 100 ? Outcome::rejected : Outcome::ok;
  }

 private:
  std::vector<std::string>& log_;
  std::string name_;
};

TEST_F(MessageTest, InterceptorsFormAChain) {
  std::vector<std::string> log;
  const Interceptors chain{std::make_shared<Stamp>(log, "a"), std::make_shared<Stamp>(log, "b")};
  Node a = node("a");
  MessagePublisherOptions out_options;
  out_options.interceptors = chain;
  MessagePublisher out = publisher(a, "t", out_options);
  MessageSubscriptionOptions in_options;
  in_options.interceptors = chain;
  MessageSubscriber in = subscriber(a, "t", in_options);
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x", {.origin_ns = 10}), Outcome::ok);
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  EXPECT_EQ(message.info().origin_ns, 12u);
  EXPECT_NE(message.envelope().id, MessageId{});
  EXPECT_EQ(log, (std::vector<std::string>{"publishing a", "publishing b", "taken b", "taken a"}));
  EXPECT_EQ(out.publish(""), Outcome::rejected);
  EXPECT_EQ(out.counts().rejected, 1u);
  ASSERT_EQ(out.publish(std::string(101, 'x')), Outcome::ok);
  ASSERT_EQ(out.publish("y"), Outcome::ok);
  EXPECT_EQ(in.receive(soon()).text(), "y");
  EXPECT_EQ(in.counts().rejected, 1u);
}

TEST_F(MessageTest, BatchesArePublishedInOrder) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.stream.lanes = {{128, 0}};
  options.stream.max_loans = 40;
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  std::vector<MessageLoan> loans;
  for (int i = 0; i < 40; ++i) {
    loans.push_back(out.loan(1));
    ASSERT_TRUE(loans.back());
    loans.back().bytes()[0] = std::byte(i);
  }
  ASSERT_EQ(out.publish(loans), Outcome::ok);
  EXPECT_EQ(out.counts().published, 40u);
  for (int i = 0; i < 40; ++i) {
    Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(message.payload()[0], std::byte(i));
    in.acknowledge(std::move(message));
  }
}

TEST_F(MessageTest, IteratingAcknowledgesWhatWasSeen) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.stream.on_full = OnFull::fail;
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  std::vector<Published> sent(4);
  for (Published& p : sent) ASSERT_EQ(out.publish(bytes("x"), {}, p), Outcome::ok);
  int seen = 0;
  for (Message& message : in.until(soon())) {
    EXPECT_EQ(message.text(), "x");
    if (++seen == 3) break;
  }
  EXPECT_EQ(out.reached(sent[1]).handled, 1u);
  EXPECT_EQ(out.reached(sent[2]).handled, 0u);  // left by break
  EXPECT_EQ(out.reached(sent[2]).delivered, 1u);
  EXPECT_EQ(out.reached(sent[3]).delivered, 0u);
}

TEST_F(MessageTest, SaysHowFarItHasCome) {
  Node a = node("a");
  Node b = node("b");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber one = subscriber(b, "t", reliable());
  MessageSubscriber two = subscriber(b, "t", reliable());
  MessageSubscriber best_effort = subscriber(b, "t");
  ASSERT_TRUE(attached(out, 3));
  Published sent;
  ASSERT_EQ(out.publish(bytes("x"), {}, sent), Outcome::ok);
  EXPECT_EQ(sent.queued, 3u);
  EXPECT_EQ(sent.matching, 3u);
  Reach reach = out.reached(sent);
  EXPECT_EQ(reach.subscriptions, 2u);
  EXPECT_EQ(reach.delivered, 0u);
  EXPECT_EQ(out.wait_reached(sent, ReachLevel::delivered, std::chrono::steady_clock::now() + 5ms),
            Outcome::timeout);
  Message first = one.receive(soon());
  EXPECT_EQ(out.reached(sent).delivered, 1u);
  std::thread later([&] {
    one.acknowledge(std::move(first));
    two.acknowledge(two.receive(soon()));
  });
  EXPECT_EQ(out.wait_reached(sent, ReachLevel::handled, soon()), Outcome::ok);
  later.join();
  reach = out.reached(sent);
  EXPECT_TRUE(reach.retired || reach.handled == 2);
}

TEST_F(MessageTest, InAnInboxSurvivesItsSender) {
  EarlyChild sender{[&] {
    Node child = node("sender");
    MessagePublisher out = publisher(child, "inbox/owner");
    if (!attached(out)) ::_exit(1);
    for (int i = 0; i < 20; ++i) {
      if (out.publish(std::to_string(i)) != Outcome::ok) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);
  }};
  Node owner = node("owner");
  auto inbox = MessageSubscriber::inbox(owner);
  ASSERT_TRUE(inbox) << inbox.error().message;
  Node other = node("other");
  MessageSubscriber curious = subscriber(other, "inbox/#");
  sender.start();
  const int status = sender.wait();
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  for (int i = 0; i < 20; ++i) {
    Message message = inbox->receive(soon());
    ASSERT_TRUE(message) << i;
    EXPECT_EQ(message.text(), std::to_string(i));
    inbox->acknowledge(std::move(message));
  }
  EXPECT_FALSE(curious.take());
  EXPECT_EQ(curious.stream().stream_count(), 0u);
}

// A flood in the lowest lane, which nobody empties, and control messages meanwhile.
TEST_F(MessageTest, AFloodNeverDisplacesControl) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.stream.on_full = OnFull::fail;
  MessagePublisher out = publisher(a, "t", options);
  MessageSubscriptionOptions all = reliable();
  all.subscription.max_held = 2;
  MessageSubscriber in = subscriber(a, "t", all);
  ASSERT_TRUE(attached(out));
  Outcome outcome = Outcome::ok;
  while (outcome == Outcome::ok) outcome = out.publish("data", {.priority = Priority::low});
  EXPECT_EQ(outcome, Outcome::full);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(out.publish("control " + std::to_string(i), {.priority = Priority::critical}),
              Outcome::ok);
    Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(message.text(), "control " + std::to_string(i));
    in.acknowledge(std::move(message));
    EXPECT_EQ(out.publish("data", {.priority = Priority::low}), Outcome::full);
  }
}

// Ordinary streams of frames or foreign programs have no envelope.
TEST_F(MessageTest, WithoutAnEnvelopeIsCountedAsMalformed) {
  Node a = node("a");
  StreamOptions raw;
  raw.pools = {{256}};
  auto stream = a.advertise("t", raw);
  ASSERT_TRUE(stream);
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t", reliable());
  ASSERT_TRUE(attached(out));
  ASSERT_TRUE(eventually([&] { return stream->subscriber_count() == 1; }));
  Loan loan = stream->loan(200);
  std::memset(loan.data(), 0xab, loan.size());
  ASSERT_EQ(stream->publish(std::move(loan)), Outcome::ok);
  ASSERT_EQ(out.publish("good"), Outcome::ok);
  EXPECT_EQ(in.receive(soon()).text(), "good");
  EXPECT_TRUE(eventually([&] { return !in.take() && in.counts().malformed == 1; }));
}

}  // namespace
}  // namespace sluice::test
