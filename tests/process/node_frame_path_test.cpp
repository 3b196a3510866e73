// A publisher and a subscriber of nodes neither allocate nor take a mutex once they are attached,
// whatever their nodes' thread does meanwhile.
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/counting.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <mutex>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

class NodeFramePath : public testing::TestWithParam<DeliveryMode> {
 protected:
  Node node(const char* name) {
    NodeOptions o;
    o.name = name;
    o.socket = broker_.socket();
    auto made = Node::create(std::move(o));
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  BrokerProcess broker_{SLUICE_SLUICED};
};

TEST_P(NodeFramePath, AllocatesNothingAndTakesNoMutex) {
  Node a = node("a");
  Node b = node("b");
  StreamOptions stream;
  stream.pools = {{256}, {100'000, 8}};
  stream.commit_at_creation = true;
  auto one = a.advertise("camera/one/frames", stream);
  auto two = a.advertise("camera/two/frames", stream);
  ASSERT_TRUE(one && two);
  auto set = WaitSet::create();
  ASSERT_TRUE(set);
  auto all = b.subscribe("camera/+/frames", {.mode = GetParam()}, *set);
  ASSERT_TRUE(all);
  ASSERT_TRUE(eventually([&] { return one->subscriber_count() + two->subscriber_count() == 2; }));
  ASSERT_TRUE(eventually([&] { return all->stream_count() == 2; }));

  const auto play = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      for (Publisher* publisher : {&*one, &*two}) {
        Loan loan = publisher->loan(i % 10 == 0 ? 90'000 : 64);
        ASSERT_TRUE(loan) << to_string(loan.outcome());
        std::memcpy(loan.data(), &i, sizeof i);
        publisher->publish(std::move(loan));
      }
      ASSERT_EQ(set->wait(std::chrono::steady_clock::now() + 5s), Outcome::ok);
      int taken = 0;
      while (Sample sample = all->take()) {
        taken += !all->topic(sample).empty();
        all->acknowledge(std::move(sample));
      }
      ASSERT_EQ(taken, 2);
      EXPECT_EQ(all->wait_for(i % 100 == 0 ? 1ms : 0ms), Outcome::timeout);  // and sleeps
    }
  };
  play(20);
  const std::uint64_t allocated = allocations;
  const std::uint64_t locked = mutexes;
  play(2'000);
  EXPECT_EQ(allocations - allocated, 0u);
  EXPECT_EQ(mutexes - locked, 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, NodeFramePath,
                         testing::Values(DeliveryMode::latest, DeliveryMode::next,
                                         DeliveryMode::reliable),
                         [](const auto& p) -> std::string {
                           return p.param == DeliveryMode::latest ? "Latest"
                                  : p.param == DeliveryMode::next ? "Next"
                                                                  : "Reliable";
                         });

TEST(Counting, Counts) {
  const std::uint64_t before = allocations;
  delete new int{1};
  const std::vector<int> vector(3);
  EXPECT_GE(allocations - before, 1u);
  if (kSanitized) return;
  const std::uint64_t locked = mutexes;
  std::mutex mutex;
  { const std::lock_guard lock{mutex}; }
  EXPECT_EQ(mutexes - locked, 1u);
}

}  // namespace
}  // namespace sluice::test
