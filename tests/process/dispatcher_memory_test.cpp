// A dispatcher whose n-th allocation fails, for every n there is: it says so, and loses nothing.
#include "sluice/dispatcher.hpp"
#include "tests/support/bus_fixture.hpp"
#include "tests/support/counting.hpp"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

const std::string kLongWhy(100, 'w');  // too long to be kept without an allocation

class DispatcherMemoryTest : public BusTest {
 protected:
  // Calls `make` with the n-th allocation failing, until there are none left to fail.
  template <class Make>
  static std::uint64_t each_failure(Make make) {
    std::uint64_t n = 0;
    for (failed_ = true; failed_;) {
      fail_in = ++n;
      make();
      disarm();
    }
    return n;
  }
  // What was made is destroyed after this.
  static void disarm() {
    if (const std::uint64_t left = std::exchange(fail_in, 0); left != 0) failed_ = false;
  }
  static inline bool failed_ = false;

  static HandlerOptions reliable() {
    HandlerOptions options;
    options.subscription.subscription.mode = DeliveryMode::reliable;
    options.retry.attempts = 2;
    options.retry.first_delay_ns = 1'000;
    options.retry.budget_burst = 1e6;
    return options;
  }
};

TEST_F(DispatcherMemoryTest, CreationFailsInOrder) {
  Node a = node("a");
  std::uint64_t errors = 0;
  const std::uint64_t tries = each_failure([&] {
    auto made = Dispatcher::create(a);
    disarm();
    if (!made) {
      EXPECT_FALSE(made.error().message.empty());
      ++errors;
    }
  });
  EXPECT_GT(tries, 10u);
  EXPECT_GT(errors, 0u);
  auto made = Dispatcher::create(a);  // and works afterwards
  ASSERT_TRUE(made) << made.error().message;
}

TEST_F(DispatcherMemoryTest, SubscribingFailsInOrder) {
  Node a = node("a");
  auto loop = value(Dispatcher::create(a));
  std::uint64_t errors = 0;
  const std::uint64_t tries = each_failure([&] {
    try {
      auto id = loop->on(
          "a/topic/that/is/too/long/for/a/small/string",
          [](const Message&) { return HandlerResult{}; }, reliable());
      disarm();
      if (id) {
        loop->remove(*id);
      } else {
        ++errors;
      }
    } catch (const std::bad_alloc&) {  // of the arguments, which are this program's
    }
  });
  EXPECT_GT(tries, 5u);
  EXPECT_GT(errors, 0u);
  int handled = 0;
  value(loop->on(
      "a/topic/that/is/too/long/for/a/small/string",
      [&](const Message&) -> HandlerResult { return ++handled, HandlerResult{}; }, reliable()));
  MessagePublisher out = publisher(a, "a/topic/that/is/too/long/for/a/small/string");
  ASSERT_TRUE(attached(out));
  ASSERT_EQ(out.publish("x"), Outcome::ok);
  const Deadline until = soon();
  while (handled == 0 && std::chrono::steady_clock::now() < until) loop->step(until);
  EXPECT_EQ(handled, 1);
}

// Each message fails twice, and becomes a dead letter; on its way each allocation fails once.
TEST_F(DispatcherMemoryTest, NoMessageIsLost) {
  Node a = node("a");
  DispatcherOptions with;
  std::uint64_t said = 0;
  with.log = [&said](LogLevel, std::string_view) { ++said; };
  constexpr const char* kTopic = "a/topic/that/is/too/long/for/a/small/string";
  MessagePublisher out = publisher(a, kTopic);
  std::set<std::string> buried;
  std::uint64_t count = 0;
  bool all_failed = false;
  // A new dispatcher for each, since the first dead letter of a topic allocates most.
  for (std::uint64_t n = 1; !all_failed; ++n) {
    auto loop = value(Dispatcher::create(a, with));
    value(loop->on(
        kTopic,
        [](const Message&) {
          return HandlerResult{Handled::retry, kLongWhy};
        },
        reliable()));
    ASSERT_TRUE(eventually([&] { return out.stream().subscriber_count() == 1; })) << n;
    Published published;
    ASSERT_EQ(out.publish(bytes(std::to_string(n)), {}, published), Outcome::ok) << n;
    ++count;
    const Deadline until = soon();
    fail_in = n;
    while (loop->counts().dead == 0 && std::chrono::steady_clock::now() < until) {
      loop->step(std::chrono::steady_clock::now() + 20ms);
    }
    all_failed = fail_in != 0;
    fail_in = 0;
    ASSERT_EQ(loop->counts().dead, 1u) << n;
    ASSERT_EQ(loop->counts().dropped, 0u) << n;
    EXPECT_EQ(out.wait_reached(published, ReachLevel::handled, soon()), Outcome::ok) << n;
    MessageSubscriptionOptions options;
    options.subscription.mode = DeliveryMode::reliable;
    options.subscription.history = 16;
    MessageSubscriber dead = subscriber(a, dead_letter_topic(kTopic), options);
    const Message letter = dead.receive(soon());
    ASSERT_TRUE(letter) << n;
    EXPECT_TRUE(dead_letter_of(letter)) << n;
    buried.insert(std::string{letter.text()});
    loop.reset();
    ASSERT_TRUE(eventually([&] {
      (void)out.stream().reap();
      return out.stream().subscriber_count() == 0;
    }));
  }
  EXPECT_GT(count, 10u);
  EXPECT_EQ(buried.size(), count);
  EXPECT_GT(said, 0u);
}

}  // namespace
}  // namespace sluice::test
