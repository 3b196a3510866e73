// Requests and replies, over a real broker: what callers are told, and who answers.
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "tests/support/bus_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>

#include <atomic>
#include <map>
#include <set>
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
  const Reply reply = asks->call("?", {.deadline = Deadline::max()});
  EXPECT_EQ(reply.status.code, StatusCode::unavailable);
  EXPECT_NE(reply.status.message.find("'nobody'"), std::string::npos);
  EXPECT_EQ(asks->counts().failed, 1u);
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
      (void)r.reply("alive");
    });
    if (!responder) ::_exit(1);
    (void)(*responder)->run();
  }};
}

TEST_F(RequestTest, IdempotentOnesGoToAnotherWorkerWhenOneDies) {
  EarlyChild mortal = make_mortal(broker_.socket());
  Node a = node("a");
  auto asks = requester(a, "mortal");
  mortal.start();
  ASSERT_TRUE(served(*asks));
  Call call = asks->start(bytes("die"), {.deadline = soon() + 60s, .idempotent = true});
  Worker heir{node("heir"), "mortal", [](Request& r) {
                (void)r.reply(r.message().info().redelivered ? "again" : "first");
              }};
  EXPECT_TRUE(WIFSIGNALED(mortal.wait()));
  const Reply reply = call.get();
  EXPECT_TRUE(reply) << reply.status.message;
  // "first" where the request was asked again since for a moment nobody served.
  EXPECT_TRUE(reply.text() == "again" || reply.text() == "first");
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
  first.responder().drain();
  go = true;
  EXPECT_EQ(early.get().text(), "first");
  first.drain();
  EXPECT_EQ(first.responder().outstanding(), 0u);
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
  EXPECT_NE(refused.status.message.find("breaker"), std::string::npos);
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
