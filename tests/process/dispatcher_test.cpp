// Handlers: what is handled when, tried again, counted; the loop around them.
#include "sluice/correlation.hpp"
#include "sluice/dead_letter.hpp"
#include "sluice/requester.hpp"
#include "tests/process/dispatcher_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

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
