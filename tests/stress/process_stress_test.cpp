// Publisher and readers as processes, each with mappings of its own and nothing in common but the
// descriptors that were passed.
//
// How long each part runs, in milliseconds: SLUICE_STRESS_MS.
#include "tests/support/process_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>

namespace sluice::test {
namespace {

std::uint64_t duration_ns() {
  const char* text = std::getenv("SLUICE_STRESS_MS");
  return (text != nullptr ? std::strtoull(text, nullptr, 10) : 500) * 1'000'000;
}

// What a reader process reports at the end.
struct Report {
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  std::uint64_t waiting = 0;
  std::uint64_t broken = 0;
  std::uint64_t disorder = 0;
  std::uint64_t timeouts = 0;
};

int reader_process(int socket, const SubscriptionOptions& options, unsigned pause_us) {
  const auto arena = must(shm::Arena::create("readers"));
  const shm::ReaderPtr reader = must(attach_over(socket, options, arena));
  Report report;
  std::uint64_t last = 0;
  std::deque<std::pair<std::uint64_t, Sample>> held;
  for (;;) {
    if (reader->wait(soon()) == Outcome::timeout) {
      ++report.timeouts;
      break;
    }
    Sample sample = reader->take();
    if (sample.outcome() == Outcome::ended || sample.outcome() == Outcome::evicted) break;
    if (sample) {
      const std::uint64_t number = number_of(sample);
      report.broken += number == kBroken;
      report.disorder +=
          number <= last || (options.mode == DeliveryMode::reliable && number != last + 1);
      last = number;
      reader->acknowledge(sample);
      held.emplace_back(number, std::move(sample));
      if (pause_us != 0) ::usleep(pause_us);
    }
    if (held.size() == options.max_held || (!sample && !held.empty())) {
      report.broken += number_of(held.front().second) != held.front().first;
      held.pop_front();
    }
  }
  report.taken = taken(*reader);
  report.lost = lost(*reader);
  report.waiting = reader->waiting();
  must(send_value(socket, report));
  return 0;
}

struct Scenario {
  const char* name;
  std::uint32_t depth;
  std::uint64_t bytes;
  std::vector<DeliveryMode> modes;
  unsigned slowest_us;  // the last reader pauses so long with each message
};

constexpr auto kLatest = DeliveryMode::latest;
constexpr auto kNext = DeliveryMode::next;
constexpr auto kReliable = DeliveryMode::reliable;

class Processes : public testing::TestWithParam<Scenario> {};

TEST_P(Processes, SeeWholePayloadsInOrderAndCountTheRest) {
  const Scenario& scenario = GetParam();
  std::vector<Child> children;
  for (std::size_t i = 0; i < scenario.modes.size(); ++i) {
    children.push_back(Child::run([&scenario, i](int socket) {
      const bool slow = i + 1 == scenario.modes.size();
      return reader_process(socket, {.mode = scenario.modes[i], .max_held = 2},
                            slow ? scenario.slowest_us : 0);
    }));
  }
  StreamOptions options = small_stream(scenario.depth);
  options.pools = {{scenario.bytes, 0}};
  options.max_held = static_cast<std::uint32_t>(2 * scenario.modes.size());
  options.full_timeout_ns = 10'000'000'000;
  const shm::PublisherPtr publisher = must(shm::Publisher::create(options));
  const auto wakes = must(shm::Arena::create("wakes"));
  for (const Child& child : children) must(admit_over(child.socket(), *publisher, wakes));

  std::uint64_t published = 0;
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end) {
    for (int i = 0; i < 16; ++i) {
      const Outcome outcome = publish_number(*publisher, published + 1, scenario.bytes);
      ASSERT_EQ(outcome, Outcome::ok) << to_string(outcome);
      ++published;
    }
    if (published % 1024 == 0) ::usleep(200);  // lets them fall asleep
  }
  publisher->end();
  for (std::size_t i = 0; i < children.size(); ++i) {
    const Report report = must(receive_value<Report>(children[i].socket()));
    EXPECT_EQ(report.timeouts, 0u) << "reader " << i << " missed a wake-up";
    EXPECT_EQ(report.broken, 0u) << "reader " << i;
    EXPECT_EQ(report.disorder, 0u) << "reader " << i;
    EXPECT_EQ(report.taken + report.lost + report.waiting, published) << "reader " << i;
    EXPECT_EQ(report.waiting, 0u) << "reader " << i;
    EXPECT_GT(report.taken, 0u) << "reader " << i;
    if (scenario.modes[i] == kReliable) {
      EXPECT_EQ(report.taken, published) << "reader " << i;
    }
    EXPECT_EQ(children[i].join(), 0);
  }
  EXPECT_EQ(publisher->reap(), children.size());
  EXPECT_EQ(publisher->reader_count(), 0u);
  EXPECT_EQ(wakes->used(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Streams, Processes,
    testing::Values(Scenario{"LosslessSmall", 64, 64, {kReliable}, 0},
                    Scenario{"LosslessTinyRing", 1, 64, {kReliable}, 0},
                    Scenario{"LosslessToThree", 16, 256, {kReliable, kReliable, kReliable}, 0},
                    Scenario{"SlowLatest", 4, 4096, {kNext, kLatest}, 500},
                    Scenario{"SlowNext", 4, 4096, {kLatest, kNext}, 500},
                    Scenario{"SlowOneOfMany", 8, 1024, {kNext, kReliable, kLatest, kNext}, 300},
                    Scenario{"Frames", 4, 1 << 20, {kNext, kReliable}, 0}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// Each is woken by the other, thousands of times.
TEST(ProcessesInTurns, LoseNoWakeUp) {
  Child echo = Child::run([](int socket) {
    const auto readers = must(shm::Arena::create("readers"));
    const auto wakes = must(shm::Arena::create("wakes"));
    const shm::ReaderPtr ping = must(attach_over(socket, {.spin_ns = 0}, readers));
    const shm::PublisherPtr back = must(shm::Publisher::create(small_stream(2)));
    must(admit_over(socket, *back, wakes));
    while (ping->wait(soon()) == Outcome::ok) {
      for (const std::uint64_t n : drain(*ping)) publish_number(*back, n);
    }
    return ping->over() == Outcome::ended ? 0 : 1;
  });
  const auto readers = must(shm::Arena::create("readers"));
  const auto wakes = must(shm::Arena::create("wakes"));
  const shm::PublisherPtr there = must(shm::Publisher::create(small_stream(2)));
  must(admit_over(echo.socket(), *there, wakes));
  const shm::ReaderPtr pong = must(attach_over(echo.socket(), {.spin_ns = 0}, readers));
  const std::uint64_t end = shm::deadline_in(duration_ns());
  std::uint64_t number = 0;
  while (shm::now_ns() < end) {
    ASSERT_EQ(publish_number(*there, ++number), Outcome::ok);
    ASSERT_EQ(pong->wait(soon()), Outcome::ok) << "round trip " << number;
    ASSERT_EQ(drain(*pong), std::vector<std::uint64_t>{number});
  }
  there->end();
  EXPECT_EQ(echo.join(), 0);
}

TEST(RefusedProcesses, HearTheReason) {
  Child child = Child::run([](int socket) {
    const auto arena = must(shm::Arena::create("readers"));
    const auto reader = attach_over(socket, {.max_held = 100}, arena);
    return !reader && reader.error().code == Errc::refused &&
                   reader.error().message.find("max_held = 100") != std::string::npos
               ? 0
               : 1;
  });
  const shm::PublisherPtr publisher = must(shm::Publisher::create(small_stream()));
  const auto wakes = must(shm::Arena::create("wakes"));
  EXPECT_FALSE(admit_over(child.socket(), *publisher, wakes));
  EXPECT_EQ(child.join(), 0);
}

}  // namespace
}  // namespace sluice::test
