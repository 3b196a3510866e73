// Requests and replies, over a real broker: what callers are told, and who answers.
#include "sluice/correlation.hpp"
#include "sluice/monitor.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "tests/support/bus_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

// A worker with a node and a thread of its own.
class Worker {
 public:
  Worker(Node node, const std::string& service, Responder::Handler handler,
         ResponderOptions options = {})
      : node_(std::move(node)),
        responder_(must(Responder::create(node_, service, std::move(handler), options))),
        thread_([this] { (void)responder_->run(); }) {}
  ~Worker() { stop(); }
  void stop() {
    responder_->stop();
    join();
  }
  void drain() {
    responder_->drain();
    join();
  }
  Responder& responder() { return *responder_; }

 private:
  static std::unique_ptr<Responder> must(Result<std::unique_ptr<Responder>> made) {
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  Node node_;
  std::unique_ptr<Responder> responder_;
  std::thread thread_;
};

void echo(Request& request) { (void)request.reply(request.payload()); }

class RequestTest : public BusTest {
 protected:
  static std::unique_ptr<Requester> requester(Node& node, const std::string& service,
                                              RequesterOptions options = {}) {
    return value(Requester::create(node, service, std::move(options)));
  }
  static bool served(Requester& requester, std::size_t workers = 1) {
    return eventually([&] { return requester.worker_count() == workers; });
  }
  /// Later than any test lasts: what ends at once does not end by it.
  static Deadline never() { return std::chrono::steady_clock::now() + 24h; }
  /// The streams that replies of this service go through.
  static std::size_t reply_streams(const Monitor& monitor) {
    const Snapshot now = monitor.snapshot();
    return static_cast<std::size_t>(
        std::count_if(now.streams.begin(), now.streams.end(),
                      [](const StreamInfo& stream) { return !stream.ended; }));
  }
};

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

TEST_F(RequestTest, CallbacksComeInStep) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo");
  std::multiset<std::string> answers;
  for (int i = 0; i < 20; ++i) {
    asks->start(bytes(std::to_string(i)), {},
                [&](Reply reply) { answers.insert(std::string{reply.text()}); });
  }
  while (answers.size() < 20 && asks->step(soon()) != 0) {
  }
  EXPECT_EQ(answers.size(), 20u);
  EXPECT_EQ(asks->step(Deadline::max()), 0u);  // nothing outstanding: nothing to wait for
  asks->start(bytes(std::string(100'000, 'x')), {}, [&](Reply reply) {
    EXPECT_EQ(reply.status.code, StatusCode::invalid_argument);
    answers.insert("too large");
  });
  EXPECT_EQ(asks->step(soon()), 1u);
  EXPECT_EQ(answers.count("too large"), 1u);
}

// Who has them all outstanding at one worker may fetch them in any order.
TEST_F(RequestTest, AreFetchedInReverseOrder) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo");
  std::vector<Call> calls;
  for (int i = 0; i < 64; ++i) {
    calls.push_back(asks->start(bytes(std::to_string(i)), {.deadline = soon() + 60s}));
  }
  for (int i = 64; i-- != 0;) {
    const Reply reply = calls[static_cast<std::size_t>(i)].get();
    ASSERT_TRUE(reply) << i << ": " << reply.status.message;
    EXPECT_EQ(reply.text(), std::to_string(i));
  }
  EXPECT_EQ(asks->outstanding(), 0u);
}

TEST_F(RequestTest, WithCallbacksDoNotDisturbACallThatWaits) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo");
  std::multiset<std::string> answers;
  for (int i = 0; i < 20; ++i) {
    asks->start(bytes(std::to_string(i)), {.deadline = soon() + 60s},
                [&](Reply reply) { answers.insert(std::string{reply.text()}); });
  }
  const Reply reply = asks->call("now", {.deadline = soon() + 60s});
  ASSERT_TRUE(reply) << reply.status.message;
  EXPECT_EQ(reply.text(), "now");
  EXPECT_TRUE(answers.empty()) << "they are called in step() alone";
  while (answers.size() < 20 && asks->step(soon()) != 0) {
  }
  EXPECT_EQ(answers.size(), 20u);
}

TEST_F(RequestTest, CallbacksBehindOneThatThrowsAreCalledNext) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo");
  int called = 0;
  for (int i = 0; i < 3; ++i) {
    asks->start(bytes("x"), {}, [&](Reply) {
      if (++called == 1) throw std::runtime_error("not this one");
    });
  }
  ASSERT_TRUE(asks->call("all that came before is answered"));
  EXPECT_THROW((void)asks->step(soon()), std::runtime_error);
  EXPECT_EQ(called, 1);
  EXPECT_EQ(asks->step(soon()), 2u);
  EXPECT_EQ(called, 3);
}

// A reply that is kept lies in its worker's memory, of which there is as much as calls are allowed.
TEST_F(RequestTest, WhoseRepliesAreKeptCountAsOutstanding) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo", {.max_calls = 20});
  std::vector<Reply> kept;
  for (int i = 0; i < 20; ++i) {
    kept.push_back(asks->call(std::to_string(i), {.deadline = soon() + 60s}));
    ASSERT_TRUE(kept.back()) << i << ": " << kept.back().status.message;
  }
  const Reply refused = asks->call("one more", {.deadline = never()});
  EXPECT_EQ(refused.status.code, StatusCode::resource_exhausted);
  EXPECT_EQ(refused.status.message.find("max_calls (20) calls of 'echo'"), 0u)
      << refused.status.message;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(kept[static_cast<std::size_t>(i)].text(), std::to_string(i)) << "still intact";
  }
  kept.pop_back();
  EXPECT_TRUE(asks->call("now there is room"));
  EXPECT_EQ(asks->outstanding(), 0u);
}

TEST_F(RequestTest, HaveHeadersOfAtMostAHundredBytes) {
  std::atomic<unsigned> request_bytes{0};
  Worker worker{node("w"), "a/service/with/a/name", [&](Request& r) {
                  request_bytes = r.message().envelope().header_bytes;
                  echo(r);
                }};
  Node a = node("a");
  auto asks = requester(a, "a/service/with/a/name");
  const Reply reply = asks->call("?");
  ASSERT_TRUE(reply) << reply.status.message;
  EXPECT_EQ(request_bytes, 96u);
  EXPECT_EQ(reply.message.envelope().header_bytes, 96u);
}

// Its answer goes to whoever publishes it, and to nobody else.
TEST_F(RequestTest, ThatNameAnotherNodeAreNotHandled) {
  std::atomic<int> handled{0};
  Worker worker{node("w"), "echo", [&](Request& r) {
                  ++handled;
                  echo(r);
                }};
  Node a = node("a");
  auto asks = requester(a, "echo");
  ASSERT_TRUE(asks->call("so that it is known"));
  Node rogue = node("rogue");
  StreamOptions options;
  options.pools = {{256}};
  options.lanes = {{16, 0}};
  options.offered = {.latest = false, .next = false, .reliable = false, .group = true};
  Publisher forger = value(rogue.advertise("$request/echo", options));
  ASSERT_TRUE(eventually([&] { return forger.subscriber_count() == 1; }));
  const auto forge = [&](std::uint64_t source, std::uint64_t call) {
    Envelope envelope;
    envelope.kind = MessageKind::request;
    envelope.id = new_correlation_id();
    envelope.source = source;
    envelope.call = call;
    Loan loan = forger.loan(sizeof envelope);
    ASSERT_TRUE(loan);
    std::memcpy(loan.bytes().data(), &envelope, sizeof envelope);
    ASSERT_EQ(forger.publish(std::move(loan)), Outcome::ok);
  };
  for (std::uint64_t call = 0; call < 8; ++call) forge(a.id(), call << 16);
  forge(0, 1);
  forge(rogue.id(), 1);  // an honest one behind them, which nobody waits for
  ASSERT_TRUE(eventually([&] { return handled == 2; }));
  EXPECT_TRUE(asks->call("still served"));
  EXPECT_EQ(asks->counts().late, 0u) << "nothing came that was not asked for";
  worker.stop();
  EXPECT_EQ(worker.responder().counts().forged, 9u);
}

// What a worker keeps for requesters does not grow with how many there have been.
TEST_F(RequestTest, OfManyRequestersLeaveNothingBehind) {
  std::vector<Request> kept;
  std::atomic<bool> waits{false};
  Worker worker{node("w"), "echo", [&](Request& r) {
                  if (r.text() == "keep") {
                    kept.push_back(std::move(r));
                    waits = true;
                  } else {
                    if (r.text() == "release") kept.clear();
                    echo(r);
                  }
                }};
  Node watcher = node("watcher");
  const Monitor monitor = value(watcher.monitor("$reply/echo/+/+"));
  Node a = node("a");
  auto asks = requester(a, "echo");
  auto other = requester(a, "echo");
  Call first = asks->start(bytes("keep"), {.deadline = soon() + 60s});
  EXPECT_TRUE(eventually([&] { return waits.load(); }));
  for (int i = 0; i < 10; ++i) {
    auto passing = requester(a, "echo");
    EXPECT_TRUE(passing->call("x")) << i;
  }
  // Once a second it looks who is gone, although one request is still here.
  EXPECT_TRUE(eventually([&] { return other->call("x") && reply_streams(monitor) == 2; }))
      << reply_streams(monitor);
  EXPECT_FALSE(first.ready());
  EXPECT_TRUE(other->call("release"));
  EXPECT_EQ(first.get().status.code, StatusCode::internal) << "the handler gave no answer";
}

TEST_F(RequestTest, OfManyRequestersOfOneNodeHaveSoManyStreams) {
  Worker worker{node("w"), "echo", echo};
  Node watcher = node("watcher");
  const Monitor monitor = value(watcher.monitor("$reply/echo/+/+"));
  Node a = node("a");
  std::vector<std::unique_ptr<Requester>> all;
  for (int i = 0; i < 80; ++i) {
    all.push_back(requester(a, "echo"));
    ASSERT_TRUE(all.back()->call("x", {.deadline = soon() + 60s})) << i;
  }
  EXPECT_TRUE(eventually([&] { return reply_streams(monitor) == 64; })) << reply_streams(monitor);
  // Those that had to make room are answered as before.
  for (std::size_t i = 0; i < all.size(); i += 8) {
    EXPECT_TRUE(all[i]->call("again", {.deadline = soon() + 60s})) << i;
  }
  EXPECT_TRUE(eventually([&] { return reply_streams(monitor) == 64; })) << reply_streams(monitor);
}

TEST_F(RequestTest, WhoseAnswerDoesNotFitAreToldSo) {
  ResponderOptions small;
  small.reply_bytes = 64;
  const std::string large(10'000, 'x');
  std::array<std::atomic<Outcome>, 4> said{};
  Worker worker{node("w"), "small",
                [&](Request& r) {
                  if (r.text() == "payload") said[0] = r.reply(large);
                  if (r.text() == "loan") said[1] = r.reply(r.loan(large.size()));
                  if (r.text() == "ok") said[2] = r.reply(Status{}, bytes(large));
                  if (r.text() == "details") {
                    said[3] = r.reply(Status{StatusCode::not_found, "not there"}, bytes(large));
                  }
                },
                small};
  Node a = node("a");
  auto asks = requester(a, "small");
  for (const char* const how : {"payload", "loan", "ok"}) {
    const Reply reply = asks->call(how, {.deadline = soon() + 60s});
    EXPECT_EQ(reply.status.code, StatusCode::internal) << how;
    EXPECT_NE(reply.status.message.find("ResponderOptions::reply_bytes (64) of 'small'"),
              std::string::npos)
        << how << ": " << reply.status.message;
    EXPECT_TRUE(reply.text().empty()) << how;
  }
  const Reply reply = asks->call("details", {.deadline = soon() + 60s});
  EXPECT_EQ(reply.status.code, StatusCode::not_found);
  EXPECT_EQ(reply.status.message.find("not there (without details: they have 10000 bytes"), 0u)
      << reply.status.message;
  worker.stop();
  for (const auto& outcome : said) EXPECT_EQ(outcome, Outcome::too_large);
  EXPECT_EQ(worker.responder().counts().failed, 4u);
  EXPECT_EQ(worker.responder().counts().unanswered, 0u);
  EXPECT_EQ(worker.responder().outstanding(), 0u);
}

TEST_F(RequestTest, ThatAreHandledSlowlyAreLogged) {
  EXPECT_EQ(ResponderOptions{}.slow, 100ms);
  std::string log;
  int lines = 0;
  ResponderOptions options;
  options.slow = 1ms;
  options.log = [&](LogLevel level, std::string_view sentence) {
    EXPECT_EQ(level, LogLevel::warning);
    log = sentence;
    ++lines;
  };
  Worker worker{node("w"), "lazy",
                [](Request& r) {
                  std::this_thread::sleep_for(3ms);
                  echo(r);
                },
                options};
  Node a = node("a");
  auto asks = requester(a, "lazy");
  ASSERT_TRUE(asks->call("?"));
  ASSERT_TRUE(asks->call("?"));
  worker.stop();
  EXPECT_EQ(worker.responder().counts().slow, 2u);
  EXPECT_EQ(log.find("the handler of service 'lazy' is slow: it took "), 0u) << log;
  EXPECT_GE(lines, 1);
}

TEST_F(RequestTest, ManyRequestersAreAnsweredByOneWorker) {
  Worker worker{node("w"), "echo", echo};
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Node a = node("r" + std::to_string(t));
      auto asks = requester(a, "echo");
      for (int i = 0; i < 200; ++i) {
        const std::string text = std::to_string(t) + ":" + std::to_string(i);
        right += asks->call(text).text() == text ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 800);
}

TEST_F(RequestTest, AreSharedByWorkers) {
  std::atomic<int> by_one{0};
  std::atomic<int> by_two{0};
  const auto counting = [](std::atomic<int>& count) {
    return [&count](Request& r) {
      ++count;
      std::this_thread::sleep_for(1ms);
      (void)r.reply("ok");
    };
  };
  Worker one{node("one"), "work", counting(by_one)};
  Worker two{node("two"), "work", counting(by_two)};
  Node a = node("a");
  auto asks = requester(a, "work");
  ASSERT_TRUE(served(*asks, 2));
  std::vector<Call> calls;
  for (int i = 0; i < 60; ++i) calls.push_back(asks->start(bytes("x")));
  for (Call& call : calls) EXPECT_TRUE(call.get());
  EXPECT_EQ(by_one + by_two, 60);
  EXPECT_GE(by_one, 4);  // its credits
  EXPECT_GE(by_two, 4);
}

// What another requester has waiting there is visible to us: that worker gets nothing while another
// is free.
TEST_F(RequestTest, GoToTheWorkerWithTheShortestBacklog) {
  std::vector<Request> kept;
  std::atomic<std::size_t> waiting{0};
  std::atomic<int> by_busy{0};
  std::atomic<int> by_idle{0};
  ResponderOptions wide;
  wide.credits = 16;
  Worker busy{node("busy"), "work",
              [&](Request& r) {
                if (r.text() == "keep") {
                  kept.push_back(std::move(r));
                  waiting = kept.size();
                  return;
                }
                by_busy += r.text() == "quick" ? 1 : 0;
                for (Request& one : kept) (void)one.reply("at last");
                kept.clear();
                (void)r.reply("ok");
              },
              wide};
  Node b = node("b");
  auto other = requester(b, "work");
  ASSERT_TRUE(served(*other));
  std::vector<Call> blocked;
  for (int i = 0; i < 10; ++i) {
    blocked.push_back(other->start(bytes("keep"), {.deadline = soon() + 60s}));
  }
  ASSERT_TRUE(eventually([&] { return waiting == 10; }));
  Worker idle{node("idle"), "work",
              [&](Request& r) {
                by_idle += r.text() == "quick" ? 1 : 0;
                (void)r.reply("ok");
              },
              wide};
  Node a = node("a");
  auto asks = requester(a, "work");
  ASSERT_TRUE(served(*asks, 2));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(asks->call("quick")) << i;
  EXPECT_EQ(by_idle, 20);
  EXPECT_EQ(by_busy, 0);
  idle.drain();
  EXPECT_TRUE(other->call("release"));
  for (Call& call : blocked) EXPECT_EQ(call.get().text(), "at last");
}

// A child process that serves, and dies at once when it is asked to.
EarlyChild make_mortal(const std::string& socket) {
  return EarlyChild{[&] {
    NodeOptions options;
    options.name = "mortal";
    options.socket = socket;
    auto node = Node::create(options);
    if (!node) ::_exit(1);
    auto responder = Responder::create(*node, "mortal", [](Request& r) {
      if (r.text() == "die") ::kill(::getpid(), SIGKILL);
      while (r.text() == "hang") ::pause();
      (void)r.reply("alive");
    });
    if (!responder) ::_exit(1);
    (void)(*responder)->run();
  }};
}

TEST_F(RequestTest, IdempotentOnesGoToAnotherWorkerWhenOneDies) {
  EarlyChild mortal = make_mortal(broker_.socket());
  Node a = node("a");
  RequesterOptions once;
  once.retry.attempts = 1;  // what is handled again was given to another by the stream
  auto asks = requester(a, "mortal", once);
  mortal.start();
  ASSERT_TRUE(served(*asks));
  Worker heir{node("heir"), "mortal", [](Request& r) {
                (void)r.reply(r.message().info().redelivered ? "again" : "first");
              }};
  ASSERT_TRUE(served(*asks, 2));
  // Until the mortal one gets it: who takes it dies.
  std::string text;
  while (text != "again") {
    const Reply reply = asks->call("die", {.deadline = soon() + 60s, .idempotent = true});
    ASSERT_TRUE(reply) << reply.status.message;
    text = reply.text();
    ASSERT_TRUE(text == "again" || text == "first") << text;
  }
  EXPECT_TRUE(WIFSIGNALED(mortal.wait()));
  EXPECT_EQ(asks->counts().retried, 0u);
  EXPECT_EQ(asks->counts().failed, 0u);
}

TEST_F(RequestTest, OthersFailWhenTheirWorkerDies) {
  EarlyChild mortal = make_mortal(broker_.socket());
  Node a = node("a");
  auto asks = requester(a, "mortal");
  mortal.start();
  ASSERT_TRUE(served(*asks));
  std::atomic<int> handled{0};
  Worker heir{node("heir"), "mortal", [&](Request& r) {
                handled += r.text() == "die" ? 1 : 0;
                (void)r.reply("alive");
              }};
  ASSERT_TRUE(served(*asks, 2));
  // Until the mortal one gets it: who takes it dies.
  for (;;) {
    const Reply reply = asks->call("die", {.deadline = soon() + 60s});
    if (reply) continue;
    EXPECT_EQ(reply.status.code, StatusCode::unavailable) << reply.status.message;
    break;
  }
  EXPECT_TRUE(WIFSIGNALED(mortal.wait()));
  EXPECT_TRUE(asks->call("?"));
}

TEST_F(RequestTest, FailAtOnceWhenTheLastWorkerDies) {
  EarlyChild mortal = make_mortal(broker_.socket());
  Node a = node("a");
  auto asks = requester(a, "mortal");
  mortal.start();
  ASSERT_TRUE(served(*asks));
  const Reply reply = asks->call("die", {.deadline = Deadline::max() - 1s});
  EXPECT_EQ(reply.status.code, StatusCode::unavailable) << reply.status.message;
  EXPECT_TRUE(WIFSIGNALED(mortal.wait()));
  EXPECT_EQ(asks->call("?").status.code, StatusCode::unavailable);
}

// The broker, who tells how many serve, and the last who does.
TEST_F(RequestTest, FailAtOnceWhenTheBrokerAndTheLastWorkerDie) {
  EarlyChild mortal = make_mortal(broker_.socket());
  Node a = node("a");
  auto asks = requester(a, "mortal");
  mortal.start();
  ASSERT_TRUE(served(*asks));
  Call call = asks->start(bytes("hang"), {.deadline = never()});
  broker_.kill(SIGKILL);
  ASSERT_TRUE(eventually([&] { return !a.connected(); }));
  EXPECT_FALSE(call.ready());
  EXPECT_TRUE(asks->is_served()) << "who is attached serves on";
  mortal.end(SIGKILL);
  const Deadline soon_enough = soon();
  const Reply lost = call.get();
  EXPECT_EQ(lost.status.code, StatusCode::unavailable) << lost.status.message;
  const Reply reply = asks->call("?", {.deadline = never()});
  EXPECT_EQ(reply.status.code, StatusCode::unavailable) << reply.status.message;
  EXPECT_EQ(reply.status.message.find("nobody serves"), 0u) << reply.status.message;
  EXPECT_LT(std::chrono::steady_clock::now(), soon_enough);
  EXPECT_FALSE(asks->is_served());
}

TEST_F(RequestTest, WorkersThatDrainFinishWhatTheyHave) {
  std::atomic<bool> go{false};
  std::atomic<int> started{0};
  Worker first{node("first"), "work", [&](Request& r) {
                 ++started;
                 while (!go) std::this_thread::sleep_for(1ms);
                 (void)r.reply("first");
               }};
  Node a = node("a");
  auto asks = requester(a, "work");
  Call early = asks->start(bytes("1"), {.deadline = soon() + 60s});
  ASSERT_TRUE(eventually([&] { return started == 1; }));
  Worker second{node("second"), "work", [](Request& r) { (void)r.reply("second"); }};
  ASSERT_TRUE(served(*asks, 2));
  first.responder().drain();
  go = true;
  EXPECT_EQ(early.get().text(), "first");
  first.drain();
  EXPECT_EQ(first.responder().outstanding(), 0u);
  const int before = started;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(asks->call("2").text(), "second") << i;
  EXPECT_EQ(started, before) << "it is attached, and takes nothing new";
}

TEST_F(RequestTest, FailAtOnceWhenTheOnlyWorkerDrains) {
  std::vector<Request> kept;
  std::atomic<bool> waits{false};
  Worker worker{node("w"), "work", [&](Request& r) {
                  if (r.text() != "keep") return echo(r);
                  kept.push_back(std::move(r));
                  waits = true;
                }};
  Node a = node("a");
  auto asks = requester(a, "work");
  Call early = asks->start(bytes("keep"), {.deadline = never()});
  ASSERT_TRUE(eventually([&] { return waits.load(); }));
  worker.responder().drain();
  // Until it has said so it takes what comes.
  const Deadline soon_enough = soon();
  Reply reply;
  do {
    reply = asks->call("?", {.deadline = never()});
  } while (reply && std::chrono::steady_clock::now() < soon_enough);
  EXPECT_EQ(reply.status.code, StatusCode::unavailable) << reply.status.message;
  reply = asks->call("?", {.deadline = never()});
  EXPECT_EQ(reply.status.message.find("nobody serves"), 0u) << reply.status.message;
  EXPECT_LT(std::chrono::steady_clock::now(), soon_enough);
  EXPECT_EQ(asks->worker_count(), 1u);
  EXPECT_FALSE(early.ready()) << "what it has is waited for";
  Worker other{node("other"), "work", echo};
  ASSERT_TRUE(served(*asks, 2));
  EXPECT_TRUE(asks->call("?", {.deadline = soon() + 60s}));
  worker.stop();
  kept.clear();
  EXPECT_EQ(early.get().status.code, StatusCode::internal);
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

TEST_F(RequestTest, GoOnWhileTheBrokerIsAway) {
  Worker worker{node("w"), "echo", echo};
  Node a = node("a");
  auto asks = requester(a, "echo");
  EXPECT_TRUE(asks->call("before"));
  broker_.kill(SIGKILL);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(asks->call("without")) << i;
  broker_.start();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(asks->call("again")) << i;
}

// The stream for the replies is made without the broker, and found when there is one again.
TEST_F(RequestTest, OfANewRequesterAreAnsweredWhenTheBrokerIsBack) {
  std::atomic<int> handled{0};
  Worker worker{node("w"), "echo", [&](Request& r) {
                  ++handled;
                  echo(r);
                }};
  Node a = node("a");
  Node b = node("b");
  auto known = requester(a, "echo");
  auto fresh = requester(b, "echo");
  ASSERT_TRUE(served(*known));
  ASSERT_TRUE(served(*fresh));
  ASSERT_TRUE(known->call("before"));
  broker_.kill(SIGKILL);
  ASSERT_TRUE(eventually([&] { return !a.connected() && !b.connected(); }));
  Call first = fresh->start(bytes("first"), {.deadline = never()});
  ASSERT_TRUE(eventually([&] { return handled == 2; }));
  // Others do not wait for it.
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(known->call("meanwhile")) << i;
  EXPECT_FALSE(first.ready());
  broker_.start();
  const Reply reply = first.get();
  EXPECT_TRUE(reply) << reply.status.message;
  EXPECT_EQ(reply.text(), "first");
  EXPECT_EQ(handled, 22) << "each once";
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
