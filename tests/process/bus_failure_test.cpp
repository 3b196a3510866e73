// What the library does when the n-th allocation, or the n-th system call, of the calling thread is
// refused: for every n until nothing fails any more. It says so, leaves nothing behind, and what is
// there already goes on.
#include "sluice/agent.hpp"
#include "sluice/dead_letter.hpp"
#include "sluice/dispatcher.hpp"
#include "sluice/durable.hpp"
#include "sluice/requester.hpp"
#include "sluice/responder.hpp"
#include "sluice/state.hpp"
#include "tests/support/bus_fixture.hpp"
#include "tests/support/failing.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <new>
#include <string>
#include <thread>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMost = 5'000;
// Arenas that a node keeps for the next reader; dozens of failures would leave dozens.
constexpr std::size_t kSpare = 6;

std::size_t descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++n;
  return n;
}

class BusFailureTest : public BusTest, public testing::WithParamInterface<Fails> {
 protected:
  BusFailureTest() {
    echo_ =
        value(Responder::create(server_, "echo", [](Request& r) { (void)r.reply(r.payload()); }));
    thread_ = std::thread{[this] { (void)echo_->run(); }};
  }
  ~BusFailureTest() override {
    echo_->stop();
    thread_.join();
  }

  // `act` under the n-th failure, for n = 1, 2, … until none happens. It returns whether all went
  // well. Returns how often it did not. `lean`: it may need nothing that can be refused.
  std::uint64_t each(const std::function<bool()>& act, bool lean = false) {
    std::uint64_t refused = 0;
    for (std::uint64_t n = 1; n < kMost; ++n) {
      bool well = false;
      bool failed = false;
      {
        const Failing failing{GetParam(), n};
        try {
          well = act();
        } catch (const std::bad_alloc&) {  // out of functions that are not noexcept
        }
        failed = failing.failed();
      }
      if (!failed) {
        EXPECT_TRUE(well) << "though nothing failed";
        EXPECT_TRUE(n > 1 || lean) << "nothing was refused";
        return refused;
      }
      refused += well ? 0 : 1;
    }
    ADD_FAILURE() << "it never comes to an end";
    return refused;
  }

  // The same, of something that is made and goes again: no descriptor stays, and a caller that is
  // asked afterwards is answered.
  std::uint64_t each_made(const std::function<bool()>& make) {
    EXPECT_TRUE(make());
    const std::size_t open = descriptors();
    const std::uint64_t refused = each(make);
    EXPECT_TRUE(eventually([&] { return descriptors() <= open + kSpare; }))
        << descriptors() << " of " << open;
    EXPECT_TRUE(make()) << "afterwards";
    EXPECT_TRUE(value(Requester::create(node_, "echo"))->call("still here"));
    return refused;
  }

  Node server_ = node("server");
  Node node_ = node("client");
  std::unique_ptr<Responder> echo_;
  std::thread thread_;
};

TEST_P(BusFailureTest, OfPublishersAndSubscribers) {
  MessagePublisher before = publisher(node_, "before");
  MessageSubscriber there = subscriber(node_, "before");
  ASSERT_TRUE(attached(before));
  const auto make_both = [&] {
    auto out = MessagePublisher::create(node_, "t");
    if (!out) return false;
    auto in = MessageSubscriber::create(node_, "t");
    return static_cast<bool>(in);
  };
  EXPECT_TRUE(make_both());
  const std::size_t open = descriptors();
  EXPECT_GT(each(make_both), 3u);
  EXPECT_TRUE(eventually([&] { return descriptors() <= open + kSpare; }))
      << descriptors() << " of " << open;
  ASSERT_EQ(before.publish("still here"), Outcome::ok);
  EXPECT_EQ(there.receive(soon()).text(), "still here");
}

TEST_P(BusFailureTest, OfMessagesOnTheirWay) {
  MessagePublisherOptions options;
  options.stream = message_stream(100'000, 8);
  MessagePublisher out = publisher(node_, "t", options);
  MessageSubscriptionOptions once;
  once.duplicates.count = 16;
  MessageSubscriber in = subscriber(node_, "t", once);
  ASSERT_TRUE(attached(out));
  ASSERT_TRUE(eventually([&] { return in.stream().stream_count() == 1; }));
  std::uint64_t sent = 0;
  std::uint64_t taken = 0;
  (void)each([&] {
    const bool well = out.publish(std::string_view{"x"}) == Outcome::ok;
    sent += well ? 1 : 0;
    while (Message message = in.take()) {
      ++taken;
      in.acknowledge(std::move(message));
    }
    return well;
  });
  while (in.receive(std::chrono::steady_clock::now() + 10ms)) ++taken;
  EXPECT_EQ(taken, sent);
}

TEST_P(BusFailureTest, OfRequesters) {
  ASSERT_TRUE(value(Requester::create(node_, "echo"))->call("the worker knows us"));
  const std::size_t open = descriptors();
  (void)each([&] { return static_cast<bool>(Requester::create(node_, "echo")); });
  EXPECT_TRUE(eventually([&] { return descriptors() <= open + kSpare; }))
      << descriptors() << " of " << open;
}

TEST_P(BusFailureTest, OfCalls) {
  auto asks = value(Requester::create(node_, "echo"));
  ASSERT_TRUE(eventually([&] { return asks->worker_count() == 1; }));
  ASSERT_TRUE(asks->call("first"));
  const bool lean = GetParam() == Fails::system_call;  // all is in memory by now
  (void)each(
      [&] {
        const Reply reply = asks->call("hello", {.deadline = soon(), .idempotent = true});
        return reply && reply.text() == "hello";
      },
      lean);
  int answers = 0;
  int asked = 0;
  (void)each(
      [&] {
        asks->start(bytes("hello"), {.deadline = soon()}, [&](Reply) { ++answers; });
        ++asked;
        return true;
      },
      lean);
  while (asks->outstanding() != 0) (void)asks->step(soon());
  (void)asks->step(Deadline{});
  EXPECT_EQ(answers, asked);
  EXPECT_TRUE(asks->call("last"));
}

TEST_P(BusFailureTest, OfNodes) {
  const auto make = [&] {
    NodeOptions options;
    options.name = "newcomer";
    options.socket = broker_.socket();
    options.connect_timeout = 10s;
    return static_cast<bool>(Node::create(std::move(options)));
  };
  EXPECT_GT(each_made(make), 0u);
}

TEST_P(BusFailureTest, OfResponders) {
  const auto make = [&] {
    return static_cast<bool>(Responder::create(node_, "other", [](Request&) {}));
  };
  EXPECT_GT(each_made(make), 0u);
}

TEST_P(BusFailureTest, OfDispatchers) {
  const auto make = [&] {
    auto loop = Dispatcher::create(node_);
    if (!loop) return false;
    if (!(*loop)->on("t/+", [](const Message&) -> HandlerResult { return {}; })) return false;
    if (!(*loop)->serve("other", [](Request&) {})) return false;
    (*loop)->every(1s, [] {});
    return true;
  };
  EXPECT_GT(each_made(make), 0u);
}

TEST_P(BusFailureTest, OfAgents) {
  CircuitBreaker breaker;
  const auto make = [&] {
    auto agent = Agent::create(node_);
    if (!agent) return false;
    agent->watch_breaker("echo", breaker);
    agent->set_problem("none");
    agent->report_error("a/b", "an error");
    (void)agent->step();
    return true;
  };
  EXPECT_GT(each_made(make), 0u);
}

TEST_P(BusFailureTest, OfDeadLetters) {
  MessagePublisher out = publisher(node_, "t");
  MessageSubscriber in = subscriber(node_, "t");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("given up"), Outcome::ok);
  const Message message = in.receive(soon());
  ASSERT_TRUE(message);
  const auto bury = [&] {
    DeadLetters letters{node_};
    if (!letters.put(message, {DeadLetterReason::rejected, 1})) return false;
    return letters.count() == 1;
  };
  EXPECT_GT(each_made(bury), 0u);
}

TEST_P(BusFailureTest, OfKeepersOfState) {
  const auto make = [&] { return static_cast<bool>(StateKeeper::create(node_, "other")); };
  EXPECT_GT(each_made(make), 0u);
}

TEST_P(BusFailureTest, OfState) {
  auto keeper = value(StateKeeper::create(server_, "house"));
  std::thread keeps{[&] { (void)keeper->run(); }};
  const auto ask = [&] {
    auto state = State::create(node_, "house");
    if (!state) return false;
    auto watch = StateWatch::create(node_, "house");
    if (!watch) return false;
    const CallOptions call{.deadline = soon(), .idempotent = true};
    if (!state->set("a/b", bytes("1"), call).status.ok()) return false;
    return state->get("a/b", call).status.ok() && state->keys("#", call);
  };
  EXPECT_GT(each_made(ask), 0u);
  keeper->stop();
  keeps.join();
  EXPECT_EQ(keeper->size(), 1u);
}

TEST_P(BusFailureTest, OfDurableConsumers) {
  auto recorder = value(Responder::create(server_, "recorder/consume", [](Request& r) {
    (void)r.reply(bytes(R"({"topic":"$durable/billing","row":0})"));
  }));
  std::thread records{[&] { (void)recorder->run(); }};
  const auto make = [&] {
    return static_cast<bool>(DurableConsumer::create(node_, "billing", "orders/#"));
  };
  EXPECT_GT(each_made(make), 0u);
  recorder->stop();
  records.join();
}

INSTANTIATE_TEST_SUITE_P(Each, BusFailureTest,
                         testing::Values(Fails::allocation, Fails::system_call),
                         [](const auto& instance) {
                           return instance.param == Fails::allocation ? "allocation"
                                                                      : "system_call";
                         });

}  // namespace
}  // namespace sluice::test
