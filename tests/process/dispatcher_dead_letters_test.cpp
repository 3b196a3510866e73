// What becomes of messages that nobody could handle.
#include "sluice/correlation.hpp"
#include "sluice/dead_letter.hpp"
#include "tests/process/dispatcher_fixture.hpp"
#include "tests/support/talking_program.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

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

TEST_F(DispatcherTest, AReaderThatIsStuckHoldsUpOneDeadLetterOnly) {
  Node a = node("a");
  DeadLetters letters{a};
  DeadLetterRecord record;
  record.reason = DeadLetterReason::full;
  const auto time_of = [&](const char* topic) {
    const auto from = std::chrono::steady_clock::now();
    EXPECT_TRUE(letters.put(topic, bytes("x"), {}, Codec::text, record));
    return std::chrono::steady_clock::now() - from;
  };
  TalkingProgram reader{{SLUICE_ACTOR, broker_.socket(), "bury", "reader", "/dev/stdout"},
                        broker_.folder() + "/heard"};
  const auto has_heard = [&](std::ptrdiff_t lines) {
    const std::string text = reader.out();
    return std::count(text.begin(), text.end(), '\n') == lines;
  };
  ASSERT_TRUE(eventually([&] { return has_heard(1); })) << reader.err();
  time_of("heard");
  EXPECT_TRUE(eventually([&] { return has_heard(2); }));
  reader.freeze();
  const auto first = time_of("first");
  std::chrono::nanoseconds later{};
  for (const char* topic : {"b", "c", "d", "e", "f"}) later += time_of(topic);
  EXPECT_LT(later, first);
  reader.thaw();
  EXPECT_TRUE(eventually([&] { return has_heard(8); })) << reader.out();
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
}  // namespace
}  // namespace sluice::test
