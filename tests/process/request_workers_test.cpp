// Several workers, and workers and brokers that go.
#include "tests/process/request_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

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

}  // namespace
}  // namespace sluice::test
