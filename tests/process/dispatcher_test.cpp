// Handlers that fail, and what becomes of their messages.
#include "sluice/dispatcher.hpp"

#include "sluice/correlation.hpp"
#include "sluice/requester.hpp"
#include "tests/support/bus_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

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

TEST_F(DispatcherTest, WhatFailsIsTriedAgain) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  auto loop = dispatcher(a);
  int calls = 0;
  std::vector<std::string> topics;
  const auto id = value(loop->on(
      "t",
      [&](const Message& message) -> HandlerResult {
        topics.emplace_back(message.topic());
        EXPECT_EQ(message.text(), "work");
        EXPECT_EQ(current_context().correlation, message.info().correlation);
        EXPECT_EQ(current_context().hops, 1);
        if (++calls == 1) return retry("not yet");
        if (calls == 2) throw std::runtime_error("not now");
        return {};
      },
      reliable()));
  ASSERT_TRUE(attached(out));
  Published published;
  ASSERT_EQ(out.publish(bytes("work"), {}, published), Outcome::ok);
  EXPECT_TRUE(work(*loop, [&] { return loop->counts().handled == 1; }));
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(topics, (std::vector<std::string>{"t", "t", "t"}));
  const Dispatcher::Counts counts = loop->counts(id);
  EXPECT_EQ(counts.failed, 2u);
  EXPECT_EQ(counts.retried, 2u);
  EXPECT_EQ(counts.dead + counts.dropped, 0u);
  EXPECT_EQ(out.wait_reached(published, ReachLevel::handled, soon()), Outcome::ok);
  EXPECT_EQ(current_context().hops, 0);
}

TEST_F(DispatcherTest, WhatFailsForEverBecomesADeadLetter) {
  Node a = node("a");
  Node b = node("b");
  MessagePublisherOptions options;
  options.codec = Codec::json;
  MessagePublisher out = publisher(a, "room/light", options);
  MessageSubscriber dead = graves(b, "room/light");
  auto loop = dispatcher(b);
  const std::string sentence(200, 'x');
  value(loop->on(
      "room/+", [&](const Message&) { return retry(sentence); }, reliable()));
  ASSERT_TRUE(attached(out));
  Context context;
  context.correlation = new_correlation_id();
  context.trace = new_trace(context.correlation);
  context.tracestate = "vendor=1";
  Published published;
  {
    const ScopedContext scope{context};
    ASSERT_EQ(out.publish(bytes("{\"on\":true}"), {.type_hash = 77}, published), Outcome::ok);
  }
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dead == 1; }));
  EXPECT_EQ(loop->counts().failed, 3u);
  EXPECT_EQ(out.wait_reached(published, ReachLevel::handled, soon()), Outcome::ok);

  const Message letter = dead.receive(soon());
  ASSERT_TRUE(letter);
  EXPECT_EQ(letter.topic(), "$dlq/room/light");
  EXPECT_EQ(original_topic(letter), "room/light");
  EXPECT_EQ(letter.text(), "{\"on\":true}");
  EXPECT_EQ(letter.envelope().kind, MessageKind::dead_letter);
  EXPECT_EQ(letter.envelope().codec, Codec::json);
  EXPECT_EQ(letter.envelope().id, published.id);
  EXPECT_EQ(letter.envelope().source, a.id());
  EXPECT_EQ(letter.envelope().trace_id, context.trace.trace_id);
  EXPECT_EQ(letter.context().tracestate, "vendor=1");
  EXPECT_EQ(letter.info().correlation, context.correlation);
  EXPECT_EQ(letter.info().type_hash, 77u);
  const auto record = dead_letter_of(letter);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->reason, DeadLetterReason::max_attempts);
  EXPECT_EQ(record->attempts, 3u);
  EXPECT_EQ(record->times, 1u);
  EXPECT_EQ(record->failed_node, b.id());
  EXPECT_GT(record->last_ns, record->first_ns);
  EXPECT_EQ(std::string{record->error.data()}, std::string(127, 'x'));
}

TEST_F(DispatcherTest, ARejectionIsFinalAndSaysWhy) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber dead = graves(a, "t");
  std::vector<std::string> log;
  DispatcherOptions with;
  with.log = [&log](LogLevel, std::string_view text) { log.emplace_back(text); };
  auto loop = dispatcher(a, with);
  value(loop->on(
      "t",
      [](const Message&) {
        HandlerResult result{Handled::reject, "no such field: café"};
        result.reason = DeadLetterReason::decode_error;
        return result;
      },
      reliable()));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("?"), Outcome::ok);
  ASSERT_EQ(out.publish("??"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dead == 2; }));
  EXPECT_EQ(loop->counts().failed, 2u);
  for (const char* text : {"?", "??"}) {
    const Message letter = dead.receive(soon());
    EXPECT_EQ(letter.text(), text);
    const auto record = dead_letter_of(letter);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->reason, DeadLetterReason::decode_error);
    EXPECT_EQ(record->attempts, 1u);
    EXPECT_STREQ(record->error.data(), "no such field: café");
  }
  ASSERT_EQ(log.size(), 1u);  // the second came within the same second
  EXPECT_EQ(log[0], "t: no such field: café");
}

TEST_F(DispatcherTest, InStrictOrderNothingOvertakes) {
  for (const std::uint32_t inflight : {1u, 8u}) {
    Node a = node("a");
    MessagePublisher out = publisher(a, "t");
    auto loop = dispatcher(a);
    HandlerOptions options = reliable();
    options.max_inflight = inflight;
    std::string order;
    int failures = 2;
    value(loop->on(
        "t",
        [&](const Message& message) -> HandlerResult {
          if (message.text() == "2" && failures-- > 0) return retry("");
          order += message.text();
          return {};
        },
        options));
    ASSERT_TRUE(attached(out));
    for (const char* text : {"1", "2", "3", "4", "5"}) ASSERT_EQ(out.publish(text), Outcome::ok);
    ASSERT_TRUE(work(*loop, [&] { return order.size() == 5; }));
    EXPECT_EQ(order, inflight == 1 ? "12345" : "13452");
  }
}

// In a group it is the order of each member: what one has under retry the others do not wait for.
TEST_F(DispatcherTest, InAGroupStrictOrderIsThatOfEachMember) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  HandlerOptions options = group(1'000);
  options.max_inflight = 1;
  options.subscription.subscription.credits = 1;
  std::string order;
  bool alone = true;
  const auto handler = [&](const Message& message) -> HandlerResult {
    if (message.text() == "2" && (alone || order.find('5') == order.npos)) {
      alone = false;
      return retry("");
    }
    order += message.text();
    return {};
  };
  auto loop = dispatcher(a);
  value(loop->on("t", handler, options));
  ASSERT_TRUE(attached(out));
  for (const char* text : {"1", "2"}) ASSERT_EQ(out.publish(text), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return !alone; }));
  for (const char* text : {"3", "4", "5"}) ASSERT_EQ(out.publish(text), Outcome::ok);
  // The only member: nothing overtakes what it has under retry.
  for (int i = 0; i < 10; ++i) loop->step(std::chrono::steady_clock::now() + 2ms);
  EXPECT_EQ(order, "1");
  auto second = dispatcher(a);
  value(second->on("t", handler, options));
  ASSERT_TRUE(attached(out, 2));
  ASSERT_TRUE(work(*second, [&] { return order.size() == 4; }));
  EXPECT_EQ(order, "1345");
  ASSERT_TRUE(work(*loop, [&] { return order.size() == 5; }));
  EXPECT_EQ(order, "13452");
}

TEST_F(DispatcherTest, NoMoreIsTakenThanMayBeUnderWay) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessagePublisher other = publisher(a, "u");
  auto loop = dispatcher(a);
  HandlerOptions options = reliable();
  options.max_inflight = 2;
  options.retry.first_delay_ns = 300'000'000'000;
  options.retry.max_delay_ns = 300'000'000'000;
  int calls = 0;
  int others = 0;
  const auto id = value(loop->on(
      "t", [&](const Message&) { return ++calls, retry(""); }, options));
  value(loop->on(
      "u", [&](const Message&) -> HandlerResult { return ++others, HandlerResult{}; }, reliable()));
  ASSERT_TRUE(attached(out) && attached(other));
  for (int i = 0; i < 10; ++i) ASSERT_EQ(out.publish("x"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return calls == 2; }));
  // What waits there ends no wait, and holds nobody else up.
  EXPECT_EQ(loop->step(std::chrono::steady_clock::now() + 30ms), 0u);
  ASSERT_EQ(other.publish("y"), Outcome::ok);
  EXPECT_EQ(loop->step(soon()), 1u);
  EXPECT_EQ(others, 1);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(loop->counts(id).retried, 2u);
}

TEST_F(DispatcherTest, WhatHasExpiredIsNotHandled) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber dead = graves(a, "t");
  auto loop = dispatcher(a);
  int calls = 0;
  const auto strict = value(loop->on(
      "t", [&](const Message&) -> HandlerResult { return ++calls, HandlerResult{}; }, reliable()));
  const auto loose = value(
      loop->on("t", [&](const Message&) -> HandlerResult { return ++calls, HandlerResult{}; }));
  ASSERT_TRUE(attached(out, 2));
  ASSERT_EQ(out.publish("late", {.ttl_ns = 1}), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dead + loop->counts().dropped == 2; }));
  EXPECT_EQ(calls, 0);
  // One dead letter, not one of each subscriber.
  EXPECT_EQ(loop->counts(strict).dead, 1u);
  EXPECT_EQ(loop->counts(loose).dropped, 1u);
  const Message letter = dead.receive(soon());
  ASSERT_TRUE(dead_letter_of(letter));
  EXPECT_EQ(dead_letter_of(letter)->reason, DeadLetterReason::expired);
  EXPECT_EQ(letter.envelope().expires_ns, 0u);
}

TEST_F(DispatcherTest, ExpiryEndsRetries) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber dead = graves(a, "t");
  auto loop = dispatcher(a);
  HandlerOptions options = reliable(100);
  options.retry.first_delay_ns = 300'000'000'000;
  options.retry.max_delay_ns = 300'000'000'000;
  value(loop->on(
      "t", [&](const Message&) { return retry("busy"); }, options));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("soon", {.ttl_ns = 200'000'000}), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dead == 1; }));
  const Message letter = dead.receive(soon());
  ASSERT_TRUE(dead_letter_of(letter));
  EXPECT_EQ(dead_letter_of(letter)->reason, DeadLetterReason::expired);
  EXPECT_STREQ(dead_letter_of(letter)->error.data(), "busy");
}

TEST_F(DispatcherTest, WithoutDeadLettersItIsCountedOnly) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber dead = graves(a, "t");
  auto loop = dispatcher(a);
  HandlerOptions options = reliable(2);
  options.dead_letters = false;
  value(loop->on(
      "t", [&](const Message&) { return retry(""); }, options));
  ASSERT_TRUE(attached(out));
  Published published;
  ASSERT_EQ(out.publish(bytes("x"), {}, published), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dropped == 1; }));
  EXPECT_EQ(out.wait_reached(published, ReachLevel::handled, soon()), Outcome::ok);
  EXPECT_FALSE(dead.receive(std::chrono::steady_clock::now() + 20ms));
}

TEST_F(DispatcherTest, DuplicatesAreHandledOnce) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  auto loop = dispatcher(a);
  HandlerOptions options = reliable();
  options.subscription.duplicates.count = 16;
  std::string order;
  int failures = 1;
  value(loop->on(
      "t",
      [&](const Message& message) -> HandlerResult {
        if (failures-- > 0) return retry("");  // is not taken for its own duplicate
        order += message.text();
        return {};
      },
      options));
  ASSERT_TRUE(attached(out));
  const MessageId id = new_correlation_id();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(out.publish("a", {.id = id}), Outcome::ok);
  ASSERT_EQ(out.publish("b"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return order.size() >= 2; }));
  EXPECT_EQ(order, "ba");
}

TEST_F(DispatcherTest, ADeadLetterThatFailsIsNotBuriedTwice) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber deeper = graves(a, "$dlq/t");
  auto loop = dispatcher(a);
  const HandlerResult no{Handled::reject, "no"};
  value(loop->on(
      "t", [&](const Message&) { return no; }, reliable()));
  const auto sexton = value(loop->on(
      "$dlq/#", [&](const Message&) { return no; }, reliable()));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts(sexton).dropped == 1; }));
  EXPECT_EQ(loop->counts().dead, 1u);
  EXPECT_FALSE(deeper.receive(std::chrono::steady_clock::now() + 20ms));
}

TEST_F(DispatcherTest, DeadLettersOfAllSizesAreKept) {
  Node a = node("a");
  MessagePublisherOptions options;
  options.stream = message_stream(300'000, 16);
  MessagePublisher out = publisher(a, "t", options);
  auto loop = dispatcher(a);
  value(loop->on(
      "t",
      [&](const Message&) {
        return HandlerResult{Handled::reject, ""};
      },
      reliable()));
  ASSERT_TRUE(attached(out));
  const std::vector<std::size_t> sizes{0, 500, 5'000, 50'000, 300'000, 1};
  for (const std::size_t size : sizes) {
    ASSERT_EQ(out.publish(std::string(size, static_cast<char>('a' + size % 7))), Outcome::ok);
  }
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dead == sizes.size(); }));
  // Also for who comes later.
  MessageSubscriber dead = graves(a, "t");
  for (const std::size_t size : sizes) {
    const Message letter = dead.receive(soon());
    ASSERT_TRUE(letter);
    EXPECT_EQ(letter.text(), std::string(size, static_cast<char>('a' + size % 7)));
  }
}

TEST_F(DispatcherTest, WhatWasSentAgainRemembers) {
  Node a = node("a");
  DeadLetters letters{a};
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t");
  MessageSubscriber dead = graves(a, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  const Message message = in.receive(soon());
  DeadLetterRecord record;
  record.reason = DeadLetterReason::no_subscriber;
  record.first_ns = 5;
  ASSERT_TRUE(letters.put(message, record));
  const Message letter = dead.receive(soon());
  EXPECT_FALSE(letters.put(letter, record));  // one already
  EXPECT_FALSE(letters.put(Message{}, record));
  EXPECT_EQ(letters.count(), 1u);

  // As whoever sends it again does: with the record.
  Publisher raw = value(a.advertise("t", message_stream(4'096, 8)));
  ASSERT_TRUE(eventually([&] { return raw.subscriber_count() == 1; }));
  const auto bytes_of_letter = letter.sample().bytes();
  Loan loan = raw.loan(bytes_of_letter.size());
  std::memcpy(loan.data(), bytes_of_letter.data(), bytes_of_letter.size());
  Envelope envelope = letter.envelope();
  envelope.kind = MessageKind::event;
  envelope.flags |= kFlagRedelivered;
  std::memcpy(loan.data(), &envelope, sizeof envelope);
  ASSERT_EQ(raw.publish(std::move(loan)), Outcome::ok);
  const Message again = in.receive(soon());
  ASSERT_TRUE(again);
  record.first_ns = 9;
  ASSERT_TRUE(letters.put(again, record));
  const auto second = dead_letter_of(dead.receive(soon()));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->times, 2u);
  EXPECT_EQ(second->first_ns, 5u);
}

TEST_F(DispatcherTest, WhatBecameADeadLetterAndIsSentAgainIsNoDuplicate) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  auto loop = dispatcher(a);
  HandlerOptions options = reliable(1);
  options.subscription.duplicates.count = 16;
  int calls = 0;
  value(loop->on(
      "t",
      [&](const Message&) -> HandlerResult {
        return ++calls == 1 ? HandlerResult{Handled::reject, "no"} : HandlerResult{};
      },
      options));
  ASSERT_TRUE(attached(out));
  Published published;
  ASSERT_EQ(out.publish(bytes("x"), {}, published), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().dead == 1; }));
  // Twice: what was handled meanwhile is one.
  for (int i = 0; i < 2; ++i) {
    Published again;
    ASSERT_EQ(out.publish(bytes("x"), {.id = published.id}, again), Outcome::ok);
    EXPECT_TRUE(work(*loop, [&] { return out.reached(again).handled == 1; }));
  }
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(loop->counts().handled, 1u);
}

TEST_F(DispatcherTest, WhatCouldNotBePublishedBecomesADeadLetter) {
  Node a = node("a");
  DeadLetters letters{a};
  MessageSubscriber dead = graves(a, "t");
  MessagePublisherOptions options;
  options.need_subscriber = true;
  MessagePublisher out = publisher(a, "t", options);
  const MessageOptions with{.type_hash = 7, .id = new_correlation_id()};
  ASSERT_EQ(out.publish(bytes("x"), with), Outcome::no_subscriber);
  DeadLetterRecord record;
  record.reason = DeadLetterReason::no_subscriber;
  ASSERT_TRUE(letters.put("t", bytes("x"), with, Codec::text, record));
  const Message letter = dead.receive(soon());
  ASSERT_TRUE(letter);
  EXPECT_EQ(original_topic(letter), "t");
  EXPECT_EQ(letter.text(), "x");
  EXPECT_EQ(letter.envelope().id, with.id);
  EXPECT_EQ(letter.envelope().codec, Codec::text);
  EXPECT_EQ(letter.envelope().source, a.id());
  EXPECT_EQ(letter.info().type_hash, 7u);
  const auto told = dead_letter_of(letter);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->reason, DeadLetterReason::no_subscriber);
  EXPECT_EQ(told->failed_node, a.id());
  EXPECT_FALSE(letters.put("t/#", bytes("x"), with, Codec::text, record));
}

TEST_F(DispatcherTest, AThousandDeadLettersAreKept) {
  constexpr std::uint32_t kMany = 1'100;
  Node a = node("a");
  DeadLetters letters{a};
  DeadLetterRecord record;
  record.reason = DeadLetterReason::full;
  for (std::uint32_t i = 1; i <= kMany; ++i) {
    ASSERT_TRUE(letters.put("t", bytes(std::to_string(i)), {}, Codec::text, record));
  }
  EXPECT_EQ(letters.count(), kMany);
  MessageSubscriptionOptions options;
  options.subscription.history = DeadLetters::kKept;
  MessageSubscriber late = subscriber(a, dead_letter_topic("t"), options);
  for (std::uint32_t i = kMany - DeadLetters::kKept + 1; i <= kMany; ++i) {
    const Message letter = late.receive(soon());
    ASSERT_TRUE(letter) << i;
    ASSERT_EQ(letter.text(), std::to_string(i));
  }
}

TEST_F(DispatcherTest, AForgedRecordIsNone) {
  Node a = node("a");
  MessageSubscriber in = subscriber(a, "t");
  Publisher raw = value(a.advertise("t", message_stream(4'096, 8)));
  ASSERT_TRUE(eventually([&] { return raw.subscriber_count() == 1; }));
  struct Extension {
    std::uint16_t id = 5;
    std::uint16_t size = sizeof(DeadLetterRecord);
    DeadLetterRecord record{};
  };
  const auto send = [&](const Extension& extension, MessageKind kind) {
    constexpr std::size_t kHeader = 288;
    Envelope envelope;
    envelope.kind = kind;
    envelope.id = new_correlation_id();
    envelope.header_bytes = kHeader;
    Loan loan = raw.loan(kHeader);
    std::memset(loan.data(), 0, kHeader);
    std::memcpy(loan.data(), &envelope, sizeof envelope);
    std::memcpy(loan.data() + sizeof envelope, &extension.id, 4);
    std::memcpy(loan.data() + sizeof envelope + 4, &extension.record, sizeof(DeadLetterRecord));
    EXPECT_EQ(raw.publish(std::move(loan)), Outcome::ok);
    return dead_letter_of(in.receive(soon())).has_value();
  };
  Extension good;
  EXPECT_TRUE(send(good, MessageKind::dead_letter));
  EXPECT_FALSE(send(good, MessageKind::event));
  Extension bad = good;
  bad.record.reason = static_cast<DeadLetterReason>(10);
  EXPECT_FALSE(send(bad, MessageKind::dead_letter));
  bad.record.reason = static_cast<DeadLetterReason>(0);
  EXPECT_FALSE(send(bad, MessageKind::dead_letter));
  bad = good;
  bad.size -= 4;
  EXPECT_FALSE(send(bad, MessageKind::dead_letter));
  bad = good;
  bad.record.error.fill('x');
  EXPECT_FALSE(send(bad, MessageKind::dead_letter));
  bad = good;
  bad.id = 99;
  EXPECT_FALSE(send(bad, MessageKind::dead_letter));
}

TEST_F(DispatcherTest, SlowHandlersAreCountedAndNamed) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  std::string log;
  DispatcherOptions with;
  with.log = [&log](LogLevel, std::string_view text) { log += text; };
  auto loop = dispatcher(a, with);
  HandlerOptions options = reliable();
  options.slow = 1ms;
  value(loop->on(
      "t", [](const Message&) { return std::this_thread::sleep_for(5ms), HandlerResult{}; },
      options));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().handled == 1; }));
  EXPECT_EQ(loop->counts().slow, 1u);
  EXPECT_EQ(log.find("t: the handler is slow: it took "), 0u) << log;
}

TEST_F(DispatcherTest, SlowServicesAreCountedAndNamed) {
  EXPECT_EQ(HandlerOptions{}.slow, 100ms);
  EXPECT_EQ(ResponderOptions{}.slow, 100ms);
  Node a = node("a");
  Node b = node("b");
  std::string log;
  DispatcherOptions with;
  with.log = [&log](LogLevel, std::string_view text) { log += text; };
  auto loop = dispatcher(b, with);
  ResponderOptions options;
  options.slow = 1ms;
  value(loop->serve(
      "s",
      [](Request& request) {
        std::this_thread::sleep_for(5ms);
        (void)request.reply("at last");
      },
      options));
  auto asks = value(Requester::create(a, "s"));
  ASSERT_TRUE(work(*loop, [&] { return asks->worker_count() == 1; }));
  Call call = asks->start(bytes("x"));
  ASSERT_TRUE(work(*loop, [&] { return loop->counts().handled == 1; }));
  EXPECT_EQ(call.get().text(), "at last");
  EXPECT_EQ(loop->counts().slow, 1u);
  EXPECT_EQ(log.find("the handler of service 's' is slow: it took "), 0u) << log;
}

TEST_F(DispatcherTest, HandlersMayChangeTheLoop) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessagePublisher later = publisher(a, "u");
  auto loop = dispatcher(a);
  Dispatcher::Id first;
  Dispatcher::Id timer;
  int firsts = 0;
  int seconds = 0;
  int ticks = 0;
  timer = loop->every(1ms, [&] {
    if (++ticks == 3) loop->remove(timer);
  });
  first = value(loop->on(
      "t",
      [&](const Message&) -> HandlerResult {
        ++firsts;
        EXPECT_EQ(loop->step(soon()), 0u);  // not from within
        value(loop->on("u", [&](const Message&) -> HandlerResult {
          ++seconds;
          return {};
        }));
        loop->remove(first);
        return {};
      },
      reliable()));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return firsts == 1; }));
  ASSERT_TRUE(attached(later) && attached(out, 0));
  ASSERT_EQ(later.publish("y"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return seconds == 1 && ticks >= 3; }));
  EXPECT_EQ(firsts, 1);
  loop->step(std::chrono::steady_clock::now() + 10ms);
  EXPECT_EQ(ticks, 3);
  EXPECT_EQ(loop->counts().handled, 2u);
  EXPECT_EQ(loop->counts(first).handled, 0u);
}

TEST_F(DispatcherTest, WhatIsUnderRetryWhenItIsRemovedIsNotAcknowledged) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  auto loop = dispatcher(a);
  HandlerOptions options = group();
  options.subscription.subscription.durable = true;
  options.pass_on = false;
  options.retry.first_delay_ns = 300'000'000'000;
  options.retry.max_delay_ns = 300'000'000'000;
  const auto id = value(loop->on(
      "t", [&](const Message&) { return retry(""); }, options));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  ASSERT_TRUE(work(*loop, [&] { return loop->counts(id).retried == 1; }));
  loop->remove(id);
  std::string got;
  value(loop->on(
      "t",
      [&](const Message& message) -> HandlerResult {
        got = message.text();
        EXPECT_EQ(message.deliveries_before(), 1u);
        return {};
      },
      options));
  EXPECT_TRUE(work(*loop, [&] { return got == "x"; }));
}

TEST_F(DispatcherTest, TimersRunWhenTheyAreDue) {
  Node a = node("a");
  auto loop = dispatcher(a);
  std::string order;
  loop->after(30ms, [&] { order += 'c'; });
  loop->after(10ms, [&] { order += 'b'; });
  loop->after(0ms, [&] {
    order += 'a';
    throw std::runtime_error("ends nothing");
  });
  ASSERT_TRUE(work(*loop, [&] { return order.size() == 3; }));
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(loop->step(std::chrono::steady_clock::now() + 10ms), 0u);
}

Dispatcher* to_stop = nullptr;

TEST_F(DispatcherTest, StopsFromASignalHandlerAndAnotherThread) {
  Node a = node("a");
  auto loop = dispatcher(a);
  to_stop = loop.get();
  struct sigaction action {};
  action.sa_handler = [](int) { to_stop->stop(); };
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  loop->after(5ms, [] { ::raise(SIGUSR1); });
  EXPECT_TRUE(loop->run());
  std::thread other{[&] {
    std::this_thread::sleep_for(10ms);
    loop->stop();
  }};
  EXPECT_TRUE(loop->run());  // it can be run again
  other.join();
  loop->stop();
  EXPECT_TRUE(loop->run());  // was stopped before
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_F(DispatcherTest, DrainingFinishesWhatIsHereAndTakesNothingNew) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  auto loop = dispatcher(a);
  HandlerOptions options = reliable();
  options.max_inflight = 1;
  std::string order;
  bool failed = false;
  value(loop->on(
      "t",
      [&](const Message& message) -> HandlerResult {
        if (!std::exchange(failed, true)) {
          loop->drain();
          return retry("");
        }
        order += message.text();
        return {};
      },
      options));
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("1"), Outcome::ok);
  ASSERT_EQ(out.publish("2"), Outcome::ok);
  EXPECT_TRUE(loop->run());
  EXPECT_EQ(order, "1");
  EXPECT_TRUE(loop->run());
  EXPECT_EQ(order, "1");
}

TEST_F(DispatcherTest, OptionsAreChecked) {
  Node a = node("a");
  auto loop = dispatcher(a);
  EXPECT_FALSE(loop->on("t", {}));
  HandlerOptions options;
  options.max_inflight = 0;
  const auto handler = [](const Message&) { return HandlerResult{}; };
  EXPECT_FALSE(loop->on("t", handler, options));
  options.max_inflight = 5'000;
  const auto too_many = loop->on("t", handler, options);
  ASSERT_FALSE(too_many);
  EXPECT_NE(too_many.error().message.find("max_inflight"), std::string::npos);
  EXPECT_FALSE(loop->on("a/#/b", handler));
  EXPECT_EQ(loop->counts(Dispatcher::Id{99}).handled, 0u);
}

TEST_F(DispatcherTest, ServesBesideHandlers) {
  Node a = node("a");
  Node b = node("b");
  MessagePublisher out = publisher(a, "t");
  auto loop = dispatcher(b);
  std::atomic<int> handled = 0;
  value(loop->serve("echo", [](Request& request) { (void)request.reply(request.text()); }));
  value(loop->on("t", [&](const Message&) -> HandlerResult {
    ++handled;
    return {};
  }));
  ASSERT_TRUE(attached(out));
  std::thread server{[&] { (void)loop->run(); }};
  auto requester = value(Requester::create(a, "echo"));
  ASSERT_TRUE(eventually([&] { return requester->worker_count() == 1; }));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(out.publish("x"), Outcome::ok);
    const Reply reply = requester->call("hello " + std::to_string(i));
    EXPECT_TRUE(reply) << reply.status.message;
    EXPECT_EQ(reply.text(), "hello " + std::to_string(i));
  }
  EXPECT_TRUE(eventually([&] { return handled == 20; }));
  loop->drain();
  server.join();
  EXPECT_EQ(loop->counts().handled, 40u);
}

}  // namespace
}  // namespace sluice::test
