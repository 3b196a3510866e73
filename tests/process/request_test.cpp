// Requests and replies, over a real broker: what callers are told.
#include "tests/process/request_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

TEST_F(RequestTest, IsAnswered) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo");
  for (int i = 0; i < 100; ++i) {
    const std::string text = "hello " + std::to_string(i);
    const Reply reply = asks->call(text);
    ASSERT_TRUE(reply) << to_string(reply.status.code) << ' ' << reply.status.message;
    EXPECT_EQ(reply.text(), text);
    EXPECT_EQ(reply.message.envelope().kind, MessageKind::reply);
  }
  EXPECT_EQ(asks->counts().ok, 100u);
  EXPECT_EQ(asks->outstanding(), 0u);
}

TEST_F(RequestTest, ThatNobodyServesIsAnsweredAtOnce) {
  Node a = node("a");
  auto asks = requester(a, "nobody");
  const Deadline soon_enough = soon();
  const Reply reply = asks->call("?", {.deadline = never()});
  EXPECT_LT(std::chrono::steady_clock::now(), soon_enough);
  EXPECT_EQ(reply.status.code, StatusCode::unavailable);
  EXPECT_EQ(reply.status.message.find("nobody serves 'nobody'"), 0u) << reply.status.message;
  EXPECT_EQ(asks->counts().failed, 1u);
  EXPECT_FALSE(asks->is_served());
}

TEST_F(RequestTest, FallsBackToAnotherService) {
  Worker worker{node("w"), "second", [](Request& r) { (void)r.reply("second"); }};
  Node a = node("a");
  RequesterOptions options;
  options.fallback_service = "second";
  auto asks = requester(a, "first", options);
  EXPECT_EQ(asks->call("?").text(), "second");
  Worker first{node("w1"), "first", [](Request& r) { (void)r.reply("first"); }};
  ASSERT_TRUE(served(*asks));
  EXPECT_EQ(asks->call("?").text(), "first");
}

TEST_F(RequestTest, FailsWithStatusSentenceAndDetails) {
  Worker worker{node("w"), "strict", [](Request& r) {
                  if (r.text() == "throw") throw std::runtime_error("thrown");
                  if (r.text() == "silent") return;
                  (void)r.reply(Status{StatusCode::invalid_argument, "not this"}, bytes("details"));
                }};
  Node a = node("a");
  auto asks = requester(a, "strict");
  Reply reply = asks->call("x");
  EXPECT_EQ(reply.status.code, StatusCode::invalid_argument);
  EXPECT_EQ(reply.status.message, "not this");
  EXPECT_EQ(reply.text(), "details");
  reply = asks->call("throw");
  EXPECT_EQ(reply.status.code, StatusCode::internal);
  EXPECT_EQ(reply.status.message, "thrown");
  EXPECT_EQ(asks->call("silent").status.code, StatusCode::internal);
  worker.stop();
  EXPECT_EQ(worker.responder().counts().handled, 3u);
  EXPECT_EQ(worker.responder().counts().failed, 3u);
}

TEST_F(RequestTest, EndsAtItsDeadline) {
  std::atomic<bool> saw_cancelled{false};
  std::atomic<bool> go{false};
  Worker worker{node("w"), "slow", [&](Request& r) {
                  while (!r.cancelled()) std::this_thread::sleep_for(1ms);
                  saw_cancelled = true;
                  while (!go) std::this_thread::sleep_for(1ms);
                  (void)r.reply("late");
                }};
  Node a = node("a");
  auto asks = requester(a, "slow");
  const auto start = std::chrono::steady_clock::now();
  const Reply reply = asks->call("?", {.deadline = start + 50ms});
  EXPECT_EQ(reply.status.code, StatusCode::deadline_exceeded);
  EXPECT_GE(std::chrono::steady_clock::now(), start + 50ms);
  EXPECT_LT(std::chrono::steady_clock::now(), start + patient(10s)) << "or never: nobody answers";
  go = true;
  EXPECT_TRUE(eventually([&] { return saw_cancelled.load(); }));
  EXPECT_TRUE(eventually([&] { return asks->step(Deadline{}) == 0 && asks->counts().late == 1; }));
  EXPECT_EQ(asks->call("?", {.deadline = Deadline{}}).status.code, StatusCode::deadline_exceeded);
}

TEST_F(RequestTest, ThatIsCancelledIsSeenByItsWorker) {
  std::atomic<bool> started{false};
  std::atomic<bool> cancelled{false};
  Worker worker{node("w"), "slow", [&](Request& r) {
                  started = true;
                  while (!r.cancelled()) std::this_thread::sleep_for(1ms);
                  cancelled = true;
                }};
  Node a = node("a");
  auto asks = requester(a, "slow");
  {
    Call call = asks->start(bytes("?"), {.deadline = soon() + 1h});
    ASSERT_TRUE(eventually([&] { return started.load(); }));
    EXPECT_FALSE(call.ready());
    EXPECT_FALSE(cancelled.load());
  }
  EXPECT_TRUE(eventually([&] { return cancelled.load(); }));
  EXPECT_EQ(asks->counts().cancelled, 1u);
  EXPECT_EQ(asks->outstanding(), 0u);
}

TEST_F(RequestTest, ThatIsCancelledBeforeItIsTakenIsNotHandled) {
  std::atomic<bool> go{false};
  std::atomic<int> handled{0};
  Worker worker{node("w"), "one-by-one", [&](Request& r) {
                  ++handled;
                  while (!go) std::this_thread::sleep_for(1ms);
                  (void)r.reply("done");
                }};
  Node a = node("a");
  auto asks = requester(a, "one-by-one");
  Call first = asks->start(bytes("1"));
  ASSERT_TRUE(eventually([&] { return handled == 1; }));
  asks->start(bytes("2")).cancel();
  Call third = asks->start(bytes("3"));
  go = true;
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(third.get());
  EXPECT_EQ(handled, 2);
}

TEST_F(RequestTest, OfADeadRequesterAreSeenByTheirWorker) {
  EarlyChild mortal{[&] {
    Node a = node("mortal");
    auto asks = requester(a, "slow");
    (void)asks->call("?", {.deadline = soon() + 1h});
  }};
  std::atomic<bool> started{false};
  std::atomic<bool> cancelled{false};
  Worker worker{node("w"), "slow", [&](Request& r) {
                  started = true;
                  while (!r.cancelled()) std::this_thread::sleep_for(1ms);
                  cancelled = true;
                }};
  mortal.start();
  ASSERT_TRUE(eventually([&] { return started.load(); }));
  EXPECT_FALSE(cancelled);
  mortal.end(SIGKILL);
  EXPECT_TRUE(eventually([&] { return cancelled.load(); }));
}

TEST_F(RequestTest, PassesItsDeadlineOnToNestedCalls) {
  Node m = node("middle");
  Worker inner{node("inner"), "inner", [](Request& r) {
                 while (!r.cancelled()) std::this_thread::sleep_for(1ms);
                 (void)r.reply("late");
               }};
  auto onward = requester(m, "inner");
  ASSERT_TRUE(served(*onward));
  std::atomic<StatusCode> nested{StatusCode::ok};
  Worker outer{node("outer"), "outer", [&](Request& r) {
                 nested = onward->call("?", {.deadline = soon() + 1h}).status.code;
                 (void)r.reply("done");
               }};
  Node a = node("a");
  auto asks = requester(a, "outer");
  ASSERT_TRUE(served(*asks));
  // On a loaded machine a request may have expired before anybody takes it.
  EXPECT_TRUE(eventually([&] {
    const Deadline deadline = std::chrono::steady_clock::now() + 200ms;
    (void)asks->call("?", {.deadline = deadline});
    return nested == StatusCode::deadline_exceeded;
  }));
  outer.stop();
}

TEST_F(RequestTest, CarriesCorrelationAndTrace) {
  Worker worker{node("w"), "who", [](Request& r) {
                  EXPECT_EQ(current_context().correlation, r.message().info().correlation);
                  EXPECT_EQ(current_context().hops, 1);
                  (void)r.reply(to_traceparent(current_context().trace));
                }};
  Node a = node("a");
  auto asks = requester(a, "who");
  Context context;
  context.correlation = {1, 2};
  context.trace = new_trace(context.correlation);
  const ScopedContext scope{context};
  const Reply reply = asks->call("?");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply.message.info().correlation, context.correlation);
  const auto trace = parse_traceparent(reply.text());
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->trace_id, context.trace.trace_id);
  EXPECT_NE(trace->span_id, context.trace.span_id);
}

TEST_F(RequestTest, CallsAreConcurrentAndAnsweredInAnyOrder) {
  // Answers in reverse, in groups of eight.
  std::vector<Request> kept;
  ResponderOptions options;
  options.credits = 8;
  Worker worker{node("w"), "batch",
                [&](Request& r) {
                  kept.push_back(std::move(r));
                  if (kept.size() < 8) return;
                  while (!kept.empty()) {
                    (void)kept.back().reply(kept.back().text());
                    kept.pop_back();
                  }
                },
                options};
  Node a = node("a");
  auto asks = requester(a, "batch");
  std::vector<Call> calls;
  for (int i = 0; i < 64; ++i) calls.push_back(asks->start(bytes(std::to_string(i))));
  Call more = asks->start(bytes("64"));
  EXPECT_TRUE(more.ready());
  EXPECT_EQ(more.get().status.code, StatusCode::resource_exhausted);
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(calls[static_cast<std::size_t>(i)].get().text(), std::to_string(i));
}

// What it keeps, keeps the places behind it, of which there are fewer than are asked for meanwhile.
TEST_F(RequestTest, WaitForRoomBehindASlowWorker) {
  std::atomic<bool> first{true};
  std::atomic<bool> kept{false};
  std::atomic<bool> go_on{false};
  const auto handler = [&](Request& r) {
    if (first.exchange(false)) {
      kept = true;
      while (!go_on) std::this_thread::sleep_for(1ms);
    }
    (void)r.reply(r.text());
  };
  Worker one{node("w1"), "uneven", handler};
  Worker other{node("w2"), "uneven", handler};
  Node a = node("a");
  auto asks = requester(a, "uneven", {.max_calls = 4});
  ASSERT_TRUE(served(*asks, 2));
  Call slow = asks->start(bytes("slow"));
  ASSERT_TRUE(eventually([&] { return kept.load(); }));
  std::thread later{[&] {
    std::this_thread::sleep_for(100ms);
    go_on = true;
  }};
  for (int i = 0; i < 100; ++i) {
    const Reply reply = asks->call(std::to_string(i));
    EXPECT_TRUE(reply) << i << ": " << reply.status.message;
    EXPECT_EQ(reply.text(), std::to_string(i));
  }
  later.join();
  EXPECT_EQ(slow.get().text(), "slow");
  EXPECT_EQ(asks->counts().ok, 101u);
}

TEST_F(RequestTest, OpenTheBreakerWhenTheyFail) {
  std::atomic<bool> broken{true};
  Worker worker{node("w"), "fragile", [&](Request& r) {
                  if (broken) {
                    (void)r.reply(Status{StatusCode::internal, "broken"});
                  } else {
                    (void)r.reply("well");
                  }
                }};
  Node a = node("a");
  RequesterOptions options;
  options.use_breaker = true;
  options.breaker.minimum_calls = 5;
  options.breaker.open_ns = 20'000'000;
  auto asks = requester(a, "fragile", options);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(asks->call("?").status.code, StatusCode::internal);
  const Reply refused = asks->call("?");
  EXPECT_EQ(refused.status.code, StatusCode::unavailable);
  EXPECT_EQ(refused.status.message.find("the circuit breaker of 'fragile'"), 0u)
      << refused.status.message;
  EXPECT_EQ(asks->counts().refused, 1u);
  broken = false;
  EXPECT_TRUE(eventually([&] { return static_cast<bool>(asks->call("?")); }));
}

TEST_F(RequestTest, AreTriedAgainWhereThatIsAllowed) {
  std::atomic<int> attempts{0};
  Worker worker{node("w"), "busy", [&](Request& r) {
                  if (++attempts < 3) {
                    (void)r.reply(Status{StatusCode::resource_exhausted, "later"});
                  } else {
                    (void)r.reply(std::to_string(r.message().envelope().attempt));
                  }
                }};
  Node a = node("a");
  RequesterOptions options;
  options.retry.first_delay_ns = 1'000'000;
  auto asks = requester(a, "busy", options);
  EXPECT_EQ(asks->call("?").status.code, StatusCode::resource_exhausted);
  attempts = 0;
  const Reply reply = asks->call("?", {.idempotent = true});
  EXPECT_TRUE(reply) << reply.status.message;
  EXPECT_EQ(reply.text(), "3");
  EXPECT_EQ(asks->counts().retried, 2u);
}

TEST_F(RequestTest, ThatAreTooLargeSayBothSizes) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo", {.request_bytes = 100});
  const std::string large(10'000, 'x');
  for (const Reply& reply : {asks->call(large), asks->start(asks->loan(10'000)).get()}) {
    EXPECT_EQ(reply.status.code, StatusCode::invalid_argument);
    EXPECT_EQ(reply.status.message,
              "a request of 10000 bytes to 'echo' is larger than RequesterOptions::request_bytes "
              "(100); raise that, or send less");
  }
}

// Who waits for room for another attempt still sees to its other calls.
TEST_F(RequestTest, ThatAreTriedAgainAndFindNoRoomKeepNobodyWaiting) {
  std::atomic<bool> stuck{false};
  std::atomic<bool> go{false};
  std::atomic<int> attempts{0};
  Worker worker{node("w"), "full", [&](Request& r) {
                  if (r.text() == "again" && ++attempts == 1) {
                    (void)r.reply(Status{StatusCode::unavailable, "not now"});
                    return;
                  }
                  stuck = stuck || r.text() == "stuck";
                  while (stuck && !go) std::this_thread::sleep_for(1ms);
                  echo(r);
                }};
  Node a = node("a");
  RequesterOptions options;
  options.retry.first_delay_ns = 50'000'000;
  auto asks = requester(a, "full", options);
  Call again = asks->start(bytes("again"), {.deadline = never(), .idempotent = true});
  ASSERT_TRUE(eventually([&] { return attempts == 1; }));
  const Deadline soon_enough = soon() + 10s;
  Call brief =
      asks->start(bytes("stuck"), {.deadline = std::chrono::steady_clock::now() + patient(2s)});
  ASSERT_TRUE(eventually([&] { return stuck.load(); }));
  // All places of the lane, by requests that nobody wants any more.
  for (int i = 0; i < 63; ++i) asks->start(bytes("x"), {.deadline = never()}).cancel();
  EXPECT_EQ(brief.get().status.code, StatusCode::deadline_exceeded);
  EXPECT_LT(std::chrono::steady_clock::now(), soon_enough);
  EXPECT_FALSE(again.ready());
  go = true;
  const Reply reply = again.get();
  EXPECT_TRUE(reply) << reply.status.message;
  EXPECT_EQ(attempts, 2);
}

TEST_F(RequestTest, HaveToBeNamedWell) {
  Node a = node("a");
  EXPECT_FALSE(Requester::create(a, ""));
  EXPECT_FALSE(Requester::create(a, "$sys"));
  EXPECT_FALSE(Requester::create(a, "a/+"));
  EXPECT_FALSE(Requester::create(a, std::string(257, 'x')));
  RequesterOptions none;
  none.max_calls = 0;
  EXPECT_FALSE(Requester::create(a, "x", none));
  EXPECT_FALSE(Responder::create(a, "x", nullptr));
  ResponderOptions greedy;
  greedy.credits = 1'000;
  EXPECT_FALSE(Responder::create(a, "x", echo, greedy));
}

}  // namespace
}  // namespace sluice::test
