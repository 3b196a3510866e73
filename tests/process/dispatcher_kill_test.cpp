// Processes with a dispatcher that are killed: what they had goes on elsewhere.
#include "sluice/dispatcher.hpp"
#include "tests/support/bus_fixture.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

class DispatcherKillTest : public BusTest {
 protected:
  ~DispatcherKillTest() override {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
  using Plan = std::function<void(Dispatcher&)>;
  // A process with a dispatcher; start them before this process has nodes.
  pid_t start(const std::string& name, const Plan& plan, DispatcherOptions options = {}) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      Node mine = node(name);
      options.agent = false;
      auto loop = value(Dispatcher::create(mine, std::move(options)));
      plan(*loop);
      ::_exit(loop->run() ? 0 : 1);
    }
    children_.push_back(child);
    return child;
  }
  void await_death(pid_t child) {
    ::waitpid(child, nullptr, 0);
    std::erase(children_, child);
  }
  static HandlerOptions group(std::uint32_t attempts = 3) {
    HandlerOptions options;
    options.subscription.subscription.mode = DeliveryMode::group;
    options.subscription.subscription.group = "workers";
    options.retry.attempts = attempts;
    options.retry.first_delay_ns = 2'000'000;
    options.retry.budget_burst = 1'000;
    return options;
  }
  static MessageSubscriptionOptions all() {
    MessageSubscriptionOptions options;
    options.subscription.mode = DeliveryMode::reliable;
    options.subscription.max_held = 16;
    options.subscription.history = 64;
    return options;
  }

  std::vector<pid_t> children_;
};

TEST_F(DispatcherKillTest, WhatOneMemberRejectsAnotherGets) {
  const auto worker = [](bool willing) {
    return [willing](Dispatcher& loop) {
      HandlerOptions options = group(50);
      options.subscription.subscription.credits = 2;
      options.max_inflight = 2;
      (void)loop.on(
          "tasks",
          [willing](const Message&) {
            return willing ? HandlerResult{} : HandlerResult{Handled::retry, "not me"};
          },
          options);
    };
  };
  start("willing", worker(true));
  start("unwilling", worker(false));
  Node a = node("master");
  MessageSubscriber dead = subscriber(a, "$dlq/#", all());
  MessagePublisher out = publisher(a, "tasks");
  ASSERT_TRUE(attached(out, 2));
  std::vector<Published> published(50);
  for (Published& it : published) ASSERT_EQ(out.publish(bytes("task"), {}, it), Outcome::ok);
  for (const Published& it : published) {
    EXPECT_EQ(out.wait_reached(it, ReachLevel::handled, soon()), Outcome::ok);
  }
  EXPECT_FALSE(dead.take());
}

TEST_F(DispatcherKillTest, AMessageThatKillsItsWorkersIsBuried) {
  const auto victim = [](Dispatcher& loop) {
    (void)loop.on(
        "tasks",
        [](const Message& message) {
          if (message.text() == "poison") ::raise(SIGKILL);
          return HandlerResult{};
        },
        group(2));
  };
  for (const char* name : {"first", "second", "third"}) start(name, victim);
  Node a = node("master");
  MessageSubscriber dead = subscriber(a, "$dlq/tasks", all());
  MessagePublisher out = publisher(a, "tasks");
  ASSERT_TRUE(attached(out, 3));
  Published poison;
  ASSERT_EQ(out.publish(bytes("poison"), {}, poison), Outcome::ok);
  Published task;
  ASSERT_EQ(out.publish(bytes("task"), {}, task), Outcome::ok);
  const Deadline until = soon() + 10s;
  Message letter;
  while (!letter && std::chrono::steady_clock::now() < until) {
    out.stream().reap();
    out.stream().collect();
    letter = dead.receive(std::chrono::steady_clock::now() + 10ms);
  }
  const auto record = dead_letter_of(letter);
  ASSERT_TRUE(record);
  EXPECT_EQ(letter.text(), "poison");
  EXPECT_EQ(record->reason, DeadLetterReason::peer_died);
  EXPECT_EQ(record->attempts, 2u);
  EXPECT_EQ(out.wait_reached(poison, ReachLevel::handled, soon()), Outcome::ok);
  EXPECT_EQ(out.wait_reached(task, ReachLevel::handled, soon()), Outcome::ok);
  // Whose death is known already may still be on its way out.
  EXPECT_TRUE(eventually([&] {
    std::erase_if(children_,
                  [](pid_t child) { return ::waitpid(child, nullptr, WNOHANG) == child; });
    return children_.size() == 1;
  }));
}

TEST_F(DispatcherKillTest, ASuccessorGetsWhatWasUnderRetry) {
  const auto plan = [](bool first) {
    return [first](Dispatcher& loop) {
      HandlerOptions options = group();
      options.subscription.subscription.durable = true;
      options.pass_on = false;
      options.retry.first_delay_ns = 300'000'000'000;
      options.retry.max_delay_ns = 300'000'000'000;
      (void)loop.on(
          "tasks",
          [first](const Message& message) {
            if (message.text() == "last" && first) ::raise(SIGKILL);
            return first ? HandlerResult{Handled::retry, ""} : HandlerResult{};
          },
          options);
    };
  };
  const pid_t victim = start("victim", plan(true));
  Node a = node("master");
  MessagePublisher out = publisher(a, "tasks");
  ASSERT_TRUE(attached(out));
  std::vector<Published> published;
  for (const char* text : {"1", "2", "3", "last"}) {
    ASSERT_EQ(out.publish(bytes(text), {}, published.emplace_back()), Outcome::ok);
  }
  await_death(victim);
  for (const Published& it : published) EXPECT_EQ(out.reached(it).handled, 0u);
  start("successor", plan(false));
  for (const Published& it : published) {
    EXPECT_EQ(out.wait_reached(it, ReachLevel::handled, soon()), Outcome::ok);
  }
}

TEST_F(DispatcherKillTest, ADeadLetterOutlivesTheProcessThatPublishedIt) {
  DispatcherOptions dies;
  // Said between publishing a dead letter and acknowledging the message; of the first all know that
  // the topic is there.
  dies.log = [letters = 0](LogLevel, std::string_view) mutable {
    if (++letters == 2) ::raise(SIGKILL);
  };
  const pid_t victim = start(
      "victim",
      [](Dispatcher& loop) {
        (void)loop.on(
            "tasks",
            [](const Message&) {
              return HandlerResult{Handled::reject, "broken"};
            },
            group());
      },
      dies);
  Node a = node("master");
  MessageSubscriber dead = subscriber(a, "$dlq/tasks", all());
  MessagePublisher out = publisher(a, "tasks");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("first"), Outcome::ok);
  ASSERT_EQ(dead.receive(soon()).text(), "first");
  std::this_thread::sleep_for(1100ms);  // no more than one line a second is said
  Published published;
  ASSERT_EQ(out.publish(bytes("task"), {}, published), Outcome::ok);
  await_death(victim);
  const Message letter = dead.receive(soon());
  ASSERT_TRUE(letter);
  EXPECT_EQ(letter.text(), "task");
  ASSERT_TRUE(dead_letter_of(letter));
  EXPECT_STREQ(dead_letter_of(letter)->error.data(), "broken");
  EXPECT_EQ(out.reached(published).handled, 0u);
}

}  // namespace
}  // namespace sluice::test
