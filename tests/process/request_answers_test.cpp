// How answers come: callbacks, replies that are kept, where they go, what they weigh.
#include "sluice/correlation.hpp"
#include "tests/process/request_fixture.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice::test {
namespace {

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

}  // namespace
}  // namespace sluice::test
