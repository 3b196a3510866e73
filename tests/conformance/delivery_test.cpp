// What every subscription may rely on, whatever its delivery mode, its way of waiting and the pools
// of its stream.
#include "tests/conformance/ways_to_wait.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <thread>
#include <tuple>

namespace sluice::test {
namespace {

struct Pools {
  const char* name;
  std::uint32_t depth;
  std::vector<PoolOptions> pools;
};

const Pools kPools[] = {
    {"OneSmall", 16, {{64, 0}}},
    {"OneLarge", 8, {{128 * 1024, 0}}},
    {"Several", 16, {{64, 0}, {512, 0}, {4096, 6}, {70'000, 4}}},
    {"FewSlots", 64, {{256, 6}}},
    {"Deep", kMaxDepth, {{64, 0}}},
};

std::string name_of(DeliveryMode mode) {
  return mode == DeliveryMode::latest ? "Latest" : mode == DeliveryMode::next ? "Next" : "Reliable";
}

class Delivery : public testing::TestWithParam<std::tuple<DeliveryMode, WaitKind, std::size_t>> {
 protected:
  void SetUp() override {
    waiter_ = make_waiter(std::get<1>(GetParam()));
    if (!waiter_) GTEST_SKIP() << "this kernel cannot wait in this way";
    StreamOptions options;
    options.lanes = {{pools().depth, std::min(pools().depth, 4u)}};
    options.pools = pools().pools;
    options.max_loans = 2;
    options.max_held = 4;
    options.full_timeout_ns = 10'000'000'000;
    link_.emplace(options);
    largest_ = 0;
    for (const PoolOptions& pool : options.pools) largest_ = std::max(largest_, pool.slot_bytes);
  }
  static DeliveryMode mode() { return std::get<0>(GetParam()); }
  static const Pools& pools() { return kPools[std::get<2>(GetParam())]; }

  shm::ReaderPtr attach(std::uint32_t max_held = 2, std::uint32_t history = 0) {
    return waiter_->attach(*link_, {.mode = mode(), .max_held = max_held, .history = history});
  }
  // Sizes that go through all the pools, mostly small.
  std::uint64_t size_of(std::uint64_t number) const {
    return number % 16 == 7 ? largest_ : number % 4 == 3 ? largest_ / 2 : 8 + number % 57;
  }
  Outcome publish(std::uint64_t number) {
    return publish_number(link_->publisher(), number, size_of(number));
  }
  // Publishes 1 to `count` in a thread of its own, now and then with a pause, and ends the stream.
  std::jthread publisher(std::uint64_t count) {
    return std::jthread([this, count] {
      for (std::uint64_t i = 1; i <= count; ++i) {
        if (i % 64 == 1) std::this_thread::sleep_for(std::chrono::microseconds(200));
        const Outcome outcome = publish(i);
        EXPECT_EQ(outcome, Outcome::ok) << to_string(outcome);
        if (outcome != Outcome::ok) break;
      }
      link_->publisher().end();
    });
  }
  void expect_order(std::uint64_t number, std::uint64_t& last) const {
    ASSERT_NE(number, kBroken) << "the payload is broken";
    ASSERT_GT(number, last) << "twice, or out of order";
    if (mode() == DeliveryMode::reliable) {
      ASSERT_EQ(number, last + 1);
    }
    last = number;
  }

  std::unique_ptr<Waiter> waiter_;
  std::optional<LocalLink> link_;
  std::uint64_t largest_ = 0;
};

TEST_P(Delivery, GivesEveryEntryOnceInOrderOrCountsIt) {
  constexpr std::uint64_t kCount = 400;
  const shm::ReaderPtr reader = attach();
  std::jthread thread = publisher(kCount);
  std::uint64_t last = 0;
  std::uint64_t got = 0;
  for (;;) {
    ASSERT_EQ(waiter_->wait(*reader, soon()), Outcome::ok) << "a wake-up was lost";
    Sample sample = reader->take();
    if (!sample) {
      if (sample.outcome() == Outcome::ended) break;
      ASSERT_EQ(sample.outcome(), Outcome::empty);
      continue;
    }
    ++got;
    expect_order(number_of(sample), last);
    EXPECT_EQ(sample.size(), size_of(last));
    EXPECT_EQ(sample.info().sequence, last);
    reader->acknowledge(sample);
    if (HasFatalFailure()) break;
  }
  thread.join();
  EXPECT_EQ(last, kCount) << "drained to the end";
  EXPECT_EQ(taken(*reader), got);
  EXPECT_EQ(got + lost(*reader), kCount);
  EXPECT_EQ(reader->waiting(), 0u);
  if (mode() == DeliveryMode::reliable) {
    EXPECT_EQ(got, kCount);
  }
  if (mode() == DeliveryMode::latest) {
    EXPECT_EQ(lost(*reader), lost(*reader, shm::LossCause::policy));
  }
  if (mode() == DeliveryMode::next) {
    EXPECT_EQ(lost(*reader), lost(*reader, shm::LossCause::full));
  }
}

TEST_P(Delivery, KeepsWhatIsHeldWhileThePublisherGoesOn) {
  constexpr std::uint64_t kCount = 300;
  const shm::ReaderPtr reader = attach(3);
  std::jthread thread = publisher(kCount);
  std::deque<std::pair<std::uint64_t, Sample>> held;
  std::uint64_t last = 0;
  for (;;) {
    ASSERT_EQ(waiter_->wait(*reader, soon()), Outcome::ok);
    Sample sample = reader->take();
    if (sample.outcome() == Outcome::ended) break;
    if (sample) {
      expect_order(number_of(sample), last);
      reader->acknowledge(sample);
      held.emplace_back(last, std::move(sample));
    }
    for (const auto& [number, old] : held) ASSERT_EQ(number_of(old), number);
    if (held.size() == 3) held.pop_front();
    if (HasFatalFailure()) break;
  }
  thread.join();
  for (const auto& [number, old] : held) EXPECT_EQ(number_of(old), number);
}

TEST_P(Delivery, StartsALateJoinerWithTheHistory) {
  std::uint64_t published = 0;
  for (; published < 6; ++published) ASSERT_EQ(publish(published + 1), Outcome::ok);
  const shm::ReaderPtr reader = attach(2, 3);
  EXPECT_EQ(waiter_->wait(*reader, 0), Outcome::ok);
  const auto expected = mode() == DeliveryMode::latest ? std::vector<std::uint64_t>{6}
                                                       : std::vector<std::uint64_t>{4, 5, 6};
  EXPECT_EQ(drain(*reader), expected);
  EXPECT_EQ(taken(*reader) + lost(*reader), 3u);
  const shm::ReaderPtr without = attach(2, 0);
  EXPECT_EQ(waiter_->wait(*without, 0), Outcome::timeout);
  EXPECT_EQ(without->take().outcome(), Outcome::empty);
}

TEST_P(Delivery, DrainsWhatWasPublishedBeforeTheEnd) {
  const shm::ReaderPtr reader = attach();
  for (std::uint64_t i = 1; i <= 4; ++i) ASSERT_EQ(publish(i), Outcome::ok);
  link_->close_publisher();
  EXPECT_EQ(waiter_->wait(*reader, soon()), Outcome::ok);
  const auto numbers = drain(*reader);
  EXPECT_EQ(numbers.size(), mode() == DeliveryMode::latest ? 1u : 4u);
  EXPECT_EQ(numbers.back(), 4u);
  EXPECT_EQ(reader->take().outcome(), Outcome::ended);
  EXPECT_EQ(waiter_->wait(*reader, soon()), Outcome::ok) << "an end is something to be told";
}

TEST_P(Delivery, WaitsUntilTheDeadlineAndNotLonger) {
  const shm::ReaderPtr reader = attach();
  const std::uint64_t deadline = shm::deadline_in(1'000'000);
  EXPECT_EQ(waiter_->wait(*reader, deadline), Outcome::timeout);
  EXPECT_GE(shm::now_ns(), deadline);
}

INSTANTIATE_TEST_SUITE_P(All, Delivery,
                         testing::Combine(testing::Values(DeliveryMode::latest, DeliveryMode::next,
                                                          DeliveryMode::reliable),
                                          testing::Values(WaitKind::spin, WaitKind::futex,
                                                          WaitKind::waitv, WaitKind::event,
                                                          WaitKind::poll),
                                          testing::Range(std::size_t{0}, std::size(kPools))),
                         [](const auto& param_info) {
                           return name_of(std::get<0>(param_info.param)) + "_" +
                                  name_of(std::get<1>(param_info.param)) + "_" +
                                  kPools[std::get<2>(param_info.param)].name;
                         });

}  // namespace
}  // namespace sluice::test
