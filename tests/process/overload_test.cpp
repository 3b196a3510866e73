// Publishers that give ten times what the consumer can take, and more: for each policy memory stays
// bounded, the numbers add up by cause, and what is said in the highest lane arrives, all of it, in
// order, and before any data that waits.
#include "tests/support/bus_fixture.hpp"
#include "tests/support/sanitized.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kPayload = 1'000;
constexpr int kTaken = 60;
constexpr std::uint32_t kCredits = 4;

// VmRSS counts what is mapped of streams, too.
std::uint64_t resident_kib() {
  std::ifstream file{"/proc/self/status"};
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6));
  }
  return 0;
}

struct Policy {
  const char* name;
  OnFull on_full;
  DeliveryMode mode;
};

class OverloadTest : public BusTest, public testing::WithParamInterface<Policy> {
 protected:
  static MessagePublisherOptions small(OnFull on_full) {
    MessagePublisherOptions options;
    options.stream = message_stream(kPayload, 64);
    options.stream.on_full = on_full;
    options.stream.full_timeout_ns = 100'000;
    return options;
  }
};

TEST_P(OverloadTest, IsBoundedAndCounted) {
  const Policy& policy = GetParam();
  Node a = node("a");
  Node b = node("b");
  MessagePublisher out = publisher(a, "flood", small(policy.on_full));
  MessageSubscriptionOptions options;
  options.subscription.mode = policy.mode;
  if (policy.mode == DeliveryMode::group) {
    options.subscription.group = "g";
    options.subscription.credits = kCredits;
  }
  MessageSubscriber in = subscriber(b, "flood", options);
  ASSERT_TRUE(attached(out));
  ASSERT_TRUE(eventually([&] { return in.stream().stream_count() == 1; }));
  const std::string payload(kPayload, 'x');
  // Every place was used once: from here on nothing more may be needed.
  for (int i = 0; i < 200; ++i) {
    (void)out.publish(payload);
    if (policy.on_full == OnFull::evict) in.acknowledge(in.take());  // its turn comes below
  }
  const std::uint64_t before_kib = resident_kib();

  std::uint64_t asked = 0;
  std::uint64_t control_sent = 0;
  std::uint64_t control_taken = 0;
  std::uint64_t data_taken = 0;
  std::vector<std::uint64_t> taken_before;  // data, when each control message was published
  std::uint64_t most_in_between = 0;        // data taken until that was
  bool evicted = false;
  std::uint64_t published_to_it = 0;
  while (data_taken < kTaken && !evicted) {
    for (int k = 0; k < 50; ++k, ++asked) {
      const std::uint64_t published = out.counts().published;
      const Outcome outcome = out.publish(payload, {.priority = Priority::normal});
      EXPECT_TRUE(outcome == Outcome::ok || outcome == Outcome::full) << to_string(outcome);
      // The loan that finds no room evicts; that message goes to nobody.
      if (published_to_it == 0 && out.stream().stats().evicted != 0) published_to_it = published;
    }
    const std::string word = std::to_string(control_sent);
    if (out.publish(word, {.priority = Priority::critical}) == Outcome::ok) {
      ++control_sent;
      taken_before.push_back(data_taken);
    }
    // The consumer takes what there is of control, and one of data.
    for (;;) {
      Message message = in.take();
      if (!message) {
        evicted = message.outcome() == Outcome::evicted;
        break;
      }
      const bool control = message.info().priority == Priority::critical;
      if (control) {
        EXPECT_EQ(message.text(), std::to_string(control_taken));
        most_in_between = std::max(most_in_between, data_taken - taken_before.at(control_taken));
      }
      ++(control ? control_taken : data_taken);
      in.acknowledge(std::move(message));
      if (!control) break;
    }
  }
  EXPECT_GE(asked, 10 * data_taken);
  if (!kSanitized) {  // which keep what was freed for a while
    EXPECT_LE(resident_kib(), before_kib + 1'024)
        << "memory grew while nothing more was to be kept";
  }
  EXPECT_EQ(evicted, policy.on_full == OnFull::evict && policy.mode == DeliveryMode::reliable);
  // What is urgent is the next that is taken; of a group's member when it has a credit, for which
  // it first deals with what it was given before.
  EXPECT_LE(most_in_between, policy.mode == DeliveryMode::group ? kCredits : 0u);
  EXPECT_GT(control_taken, 0u);
  // published = taken + lost, by cause + what still waits
  const StreamStats stream = out.stream().stats();
  if (evicted) {
    EXPECT_EQ(stream.evicted, 1u);
    const SubscriptionStats seen = in.stream().stats();
    EXPECT_EQ(seen.taken + seen.lost_evicted, published_to_it);
    EXPECT_EQ(seen.lost(), seen.lost_evicted);
    return;
  }
  // To the end: a group's member is given more when it has acknowledged.
  while (eventually(
      [&] { return out.stream().backlog(Priority::normal) == 0 || in.stream().backlog() != 0; })) {
    Message message = in.take();
    if (!message) break;
    control_taken += message.info().priority == Priority::critical ? 1 : 0;
    in.acknowledge(std::move(message));
  }
  EXPECT_EQ(control_taken, control_sent);
  const SubscriptionStats taken = in.stream().stats();
  const std::uint64_t lost = taken.lost();
  EXPECT_EQ(out.stream().stats().published, taken.taken + lost + out.stream().stats().dropped);
  // What a group's member had not taken yet when its place was needed is full, too.
  const bool overwrites = policy.mode == DeliveryMode::next || policy.on_full == OnFull::drop;
  const std::uint64_t by_cause = policy.mode == DeliveryMode::latest ? taken.lost_policy
                                 : overwrites                        ? taken.lost_full
                                                                     : 0;
  EXPECT_EQ(lost, by_cause);
  EXPECT_EQ(out.counts().published, stream.published);
}

INSTANTIATE_TEST_SUITE_P(Each, OverloadTest,
                         testing::Values(Policy{"waits", OnFull::wait, DeliveryMode::reliable},
                                         Policy{"fails", OnFull::fail, DeliveryMode::reliable},
                                         Policy{"evicts", OnFull::evict, DeliveryMode::reliable},
                                         Policy{"group_waits", OnFull::wait, DeliveryMode::group},
                                         Policy{"group_fails", OnFull::fail, DeliveryMode::group},
                                         Policy{"group_drops", OnFull::drop, DeliveryMode::group},
                                         Policy{"next", OnFull::drop, DeliveryMode::next},
                                         Policy{"latest", OnFull::drop, DeliveryMode::latest}),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace sluice::test
