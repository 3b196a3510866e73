// retire: when a slot may be used again, and when it must not.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <set>

namespace sluice::shm {
namespace {

using namespace test;

TEST(Claims, ASlotIsNotReusedWhileAReaderHoldsIt) {
  for (const std::uint64_t bytes : {std::uint64_t{64}, kLargeSlotBytes}) {
    StreamOptions options = small_stream(4);
    options.pools = {{bytes, 4}};
    LocalLink link(options);
    const ReaderPtr reader = link.attach({.max_held = 1});
    ASSERT_EQ(publish_number(link.publisher(), 1, bytes), Outcome::ok);
    const Sample held = reader->take();
    for (std::uint64_t i = 2; i <= 100; ++i) {
      Loan loan = link.publisher().loan(bytes);
      ASSERT_TRUE(loan);
      write_number(loan.data(), bytes, i);
      ASSERT_EQ(number_of(held), 1u) << "overwritten by " << i;
      link.publisher().publish(std::move(loan));
    }
    EXPECT_TRUE(held.intact());
  }
}

TEST(Claims, OfEveryReaderCount) {
  StreamOptions options = small_stream(4);
  options.max_held = 40;
  options.pools = {{64, 48}};
  LocalLink link(options);
  std::vector<ReaderPtr> readers;
  std::vector<Sample> held;
  for (std::uint64_t i = 0; i < 40; ++i) {
    readers.push_back(link.attach({.max_held = 1}));
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    held.push_back(readers.back()->take());
  }
  for (std::uint64_t i = 100; i < 300; ++i) publish_number(link.publisher(), i);
  for (std::uint64_t i = 0; i < 40; ++i) EXPECT_EQ(number_of(held[i]), i);
}

TEST(Claims, InEveryWordCount) {
  StreamOptions options = small_stream(256);
  options.max_held = 200;
  options.pools = {{64, 400}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.max_held = 200});
  std::vector<Sample> held;
  for (std::uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    held.push_back(reader->take());
  }
  for (std::uint64_t i = 1000; i < 3000; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  }
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_EQ(number_of(held[i]), i);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().set_aside), 200u);
  held.clear();
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().set_aside), 0u);
}

TEST(Claims, OfOneSlotByTwoReadersEndWithTheLast) {
  StreamOptions options = small_stream(2);
  options.pools = {{64, 2}};
  LocalLink link(options);
  const ReaderPtr one = link.attach({.max_held = 1});
  const ReaderPtr two = link.attach({.max_held = 1});
  publish_number(link.publisher(), 1);
  Sample first = one->take();
  Sample second = two->take();
  EXPECT_EQ(first.data() == second.data(), false) << "each has a mapping of its own";
  first.release();
  for (std::uint64_t i = 2; i < 20; ++i) publish_number(link.publisher(), i);
  EXPECT_EQ(number_of(second), 1u);
}

TEST(Retiring, WorksInTheSameFewSlotsWhenReadersKeepUp) {
  LocalLink link(small_stream(64));
  const ReaderPtr reader = link.attach({});
  std::set<const std::byte*> places;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    Loan loan = link.publisher().loan(64);
    places.insert(loan.data());
    write_number(loan.data(), 64, i);
    link.publisher().publish(std::move(loan));
    ASSERT_EQ(number_of(reader->take()), i);
  }
  EXPECT_LE(places.size(), 128u);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
}

TEST(Retiring, KeepsTheHistory) {
  StreamOptions options = small_stream(8);
  options.lanes = {{8, 3}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 1; i <= 5; ++i) publish_number(link.publisher(), i);
  drain(*reader);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 3u);
  const ReaderPtr late = link.attach({.history = 8});
  EXPECT_EQ(drain(*late), (std::vector<std::uint64_t>{3, 4, 5}));
}

TEST(Retiring, WithoutReadersKeepsTheHistoryOnly) {
  StreamOptions options = small_stream(8);
  options.lanes = {{8, 1}};
  LocalLink link(options);
  for (std::uint64_t i = 1; i <= 100; ++i) publish_number(link.publisher(), i);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 1u);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u) << "nobody missed anything";
}

TEST(Retiring, GivesUpWhatAllHavePassedBeforeAnythingIsLost) {
  LocalLink link(small_stream(4));
  const ReaderPtr fast = link.attach({});
  const ReaderPtr slow = link.attach({});
  for (std::uint64_t i = 1; i <= 4; ++i) publish_number(link.publisher(), i);
  drain(*fast);
  EXPECT_EQ(number_of(slow->take()), 1u);
  EXPECT_EQ(number_of(slow->take()), 2u);
  publish_number(link.publisher(), 5);
  publish_number(link.publisher(), 6);
  EXPECT_EQ(drain(*slow), (std::vector<std::uint64_t>{3, 4, 5, 6}));
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u);
  EXPECT_EQ(lost(*slow), 0u);
}

TEST(Retiring, DoesNotKeepWhatALatestReaderWillSkip) {
  LocalLink link(small_stream(8));
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::latest});
  for (std::uint64_t i = 1; i <= 8; ++i) publish_number(link.publisher(), i);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 1u);
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{8});
}

TEST(Retiring, MovesTheTailThatReadersSee) {
  LocalLink link(small_stream(4));
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 1; i <= 10; ++i) publish_number(link.publisher(), i);
  const auto* heads = reinterpret_cast<const HeadLine*>(link.publisher().control() + kHeadOffset);
  EXPECT_EQ(value(heads->head[0]), 10u);
  EXPECT_EQ(value(heads->tail[0]), 7u);
}

TEST(Gauges, TellWhatIsInUse) {
  LocalLink link(small_stream(8));
  const ReaderPtr reader = link.attach({.max_held = 4});
  for (std::uint64_t i = 1; i <= 3; ++i) publish_number(link.publisher(), i);
  Sample held = reader->take();
  drain(*reader);
  link.publisher().collect();
  const PublisherCounters& counters = link.publisher().counters();
  EXPECT_EQ(value(counters.slots_in_use), 1u);
  EXPECT_EQ(value(counters.set_aside), 1u);
  EXPECT_GE(value(counters.slots_committed), 3u);
  held.release();
  link.publisher().collect();
  EXPECT_EQ(value(counters.slots_in_use), 0u);
  EXPECT_EQ(value(counters.set_aside), 0u);
  EXPECT_GE(value(counters.slots_in_use_most), 1u);
}

}  // namespace
}  // namespace sluice::shm
