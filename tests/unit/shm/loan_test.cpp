// loan: every outcome and every option.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

TEST(Loans, AreWritableMemoryOfTheSizeAskedFor) {
  LocalLink link(small_stream());
  Loan loan = link.publisher().loan(40);
  ASSERT_TRUE(loan);
  EXPECT_EQ(loan.outcome(), Outcome::ok);
  EXPECT_EQ(loan.size(), 40u);
  EXPECT_EQ(loan.bytes().size(), 40u);
  EXPECT_EQ(loan.capacity(), 64u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(loan.data()) % 64, 0u);
  EXPECT_TRUE(loan.resize(64));
  EXPECT_FALSE(loan.resize(65));
  EXPECT_EQ(loan.size(), 64u);
}

TEST(Loans, AreEmptyAfterTheyWereMovedOrPublished) {
  LocalLink link(small_stream());
  Loan loan = link.publisher().loan(8);
  Loan moved = std::move(loan);
  EXPECT_FALSE(loan);
  EXPECT_EQ(link.publisher().publish(std::move(loan)), Outcome::empty);
  EXPECT_EQ(link.publisher().publish(std::move(moved)), Outcome::ok);
  EXPECT_FALSE(moved);
  EXPECT_EQ(moved.outcome(), Outcome::empty);
}

TEST(Loans, GivenBackAreLoanedAgain) {
  StreamOptions options = small_stream();
  options.max_loans = 1;
  options.pools = {{64, 1}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (int i = 0; i < 5; ++i) {
    const Loan loan = link.publisher().loan(8);
    ASSERT_TRUE(loan);
    EXPECT_EQ(link.publisher().loan(8).outcome(), Outcome::no_loan);
  }
  EXPECT_EQ(reader->take().outcome(), Outcome::empty) << "what was not published is not seen";
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::ok);
  EXPECT_EQ(reader->take().info().sequence, 1u) << "and leaves no gap";
}

TEST(Loans, AreLimitedInNumber) {
  StreamOptions options = small_stream();
  options.max_loans = 3;
  LocalLink link(options);
  std::vector<Loan> loans(3);
  std::set<std::byte*> places;
  for (Loan& loan : loans) {
    loan = link.publisher().loan(8);
    ASSERT_TRUE(loan);
    places.insert(loan.data());
  }
  EXPECT_EQ(places.size(), 3u);
  EXPECT_EQ(link.publisher().loan(8).outcome(), Outcome::no_loan);
  loans[1] = Loan{};
  EXPECT_TRUE(link.publisher().loan(8));
}

TEST(Loans, NeedAPlaceInTheRing) {
  StreamOptions options = small_stream(1);
  options.max_loans = 2;
  LocalLink link(options);
  const Loan one = link.publisher().loan(8);
  EXPECT_TRUE(one);
  EXPECT_EQ(link.publisher().loan(8).outcome(), Outcome::no_loan);
}

TEST(Loans, LargerThanEverySlotAreRefused) {
  LocalLink link(small_stream());
  EXPECT_TRUE(link.publisher().loan(64));
  EXPECT_EQ(link.publisher().loan(65).outcome(), Outcome::too_large);
  EXPECT_EQ(link.publisher().loan(UINT64_MAX).outcome(), Outcome::too_large);
}

TEST(Loans, OfNothingAreMessagesToo) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  ASSERT_EQ(link.publisher().publish(link.publisher().loan(0)), Outcome::ok);
  const Sample sample = reader->take();
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample.size(), 0u);
}

TEST(Pools, GiveTheSmallestSlotThatFits) {
  StreamOptions options = small_stream();
  options.pools = {{4096, 0}, {64, 0}, {512, 0}};
  LocalLink link(options);
  EXPECT_EQ(link.publisher().loan(1).capacity(), 64u);
  EXPECT_EQ(link.publisher().loan(64).capacity(), 64u);
  EXPECT_EQ(link.publisher().loan(65).capacity(), 512u);
  EXPECT_EQ(link.publisher().loan(4096).capacity(), 4096u);
}

TEST(Pools, FallBackToTheNextLarger) {
  StreamOptions options = small_stream();
  options.max_loans = 4;
  options.pools = {{64, 1}, {512, 1}, {4096, 1}};
  LocalLink link(options);
  const Loan small = link.publisher().loan(8);
  const Loan medium = link.publisher().loan(8);
  const Loan large = link.publisher().loan(8);
  EXPECT_EQ(small.capacity(), 64u);
  EXPECT_EQ(medium.capacity(), 512u);
  EXPECT_EQ(large.capacity(), 4096u);
  EXPECT_EQ(large.size(), 8u);
  EXPECT_EQ(link.publisher().loan(8).outcome(), Outcome::no_slot);
  EXPECT_EQ(value(link.publisher().counters().no_slot), 1u);
}

TEST(Pools, NeverFallBackToASmallerOne) {
  StreamOptions options = small_stream();
  options.pools = {{64, 4}, {512, 1}};
  LocalLink link(options);
  const Loan large = link.publisher().loan(512);
  EXPECT_TRUE(large);
  EXPECT_EQ(link.publisher().loan(65).outcome(), Outcome::no_slot);
  EXPECT_EQ(link.publisher().loan(64).capacity(), 64u);
}

TEST(Shortage, OfSlotsIsAnOutcomeWhileReadersHoldThem) {
  StreamOptions options = small_stream();
  options.pools = {{64, 2}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.max_held = 2});
  std::vector<Sample> held;
  for (std::uint64_t i = 0; i < 2; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    held.push_back(reader->take());
  }
  EXPECT_EQ(publish_number(link.publisher(), 2), Outcome::no_slot);
  EXPECT_EQ(number_of(held[0]), 0u);
  EXPECT_EQ(number_of(held[1]), 1u);
  held.pop_back();
  EXPECT_EQ(publish_number(link.publisher(), 2), Outcome::ok);
  EXPECT_EQ(number_of(held[0]), 0u);
}

TEST(Shortage, OfSlotsRetiresOldEntriesEarly) {
  StreamOptions options = small_stream(8);
  options.pools = {{64, 3}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 1; i <= 8; ++i)
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{6, 7, 8}));
  EXPECT_EQ(lost(*reader, LossCause::full), 5u);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 5u);
}

// Large slots look at the readers on every loan, small ones only when none is free; both must find
// what was released.
TEST(Shortage, OfSlotsEndsWhenTheyAreReleased) {
  for (const std::uint64_t bytes : {std::uint64_t{64}, kLargeSlotBytes}) {
    StreamOptions options = small_stream(4);
    options.pools = {{bytes, 2}};
    LocalLink link(options);
    const ReaderPtr reader = link.attach({.max_held = 2});
    for (std::uint64_t i = 0; i < 50; ++i) {
      ASSERT_EQ(publish_number(link.publisher(), i, bytes), Outcome::ok);
      ASSERT_EQ(number_of(reader->take()), i);
    }
    EXPECT_EQ(value(link.publisher().counters().no_slot), 0u);
  }
}

TEST(FullStreams, FailAtOnceWhenAsked) {
  StreamOptions options = small_stream(4);
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 4; ++i)
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full);
  EXPECT_EQ(value(link.publisher().counters().full), 1u);
  Sample sample = reader->take();
  sample.release();
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full) << "released is not acknowledged";
  sample = reader->take();
  reader->acknowledge(sample);
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full) << "the first is still missing";
}

TEST(FullStreams, WaitForTheTimeAsked) {
  StreamOptions options = small_stream(2);
  options.full_timeout_ns = 3'000'000;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 2; ++i)
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  const std::uint64_t deadline = deadline_in(3'000'000);
  EXPECT_EQ(publish_number(link.publisher(), 3), Outcome::full);
  EXPECT_GE(now_ns(), deadline);
  EXPECT_EQ(value(link.publisher().counters().full_waits), 1u);
  EXPECT_EQ(value(link.publisher().counters().full), 1u);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(publish_number(link.publisher(), 3), Outcome::ok);
}

TEST(FullStreams, GoOnAsSoonAsTheReaderAcknowledges) {
  StreamOptions options = small_stream(2);
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  std::vector<std::uint64_t> numbers;
  std::jthread consumer([&] {
    while (numbers.size() < 300 && reader->wait(soon()) == Outcome::ok) {
      for (const std::uint64_t n : drain(*reader)) numbers.push_back(n);
      if (numbers.size() % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (std::uint64_t i = 1; i <= 300; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  }
  consumer.join();
  ASSERT_EQ(numbers.size(), 300u);
  for (std::uint64_t i = 0; i < 300; ++i) EXPECT_EQ(numbers[i], i + 1);
  EXPECT_EQ(lost(*reader), 0u);
}

TEST(FullStreams, GoOnWhenTheReaderThatBlocksThemLeaves) {
  StreamOptions options = small_stream(2);
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 2; ++i) publish_number(link.publisher(), i);
  std::jthread leaver([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    reader.reset();
  });
  EXPECT_EQ(publish_number(link.publisher(), 3), Outcome::ok);
  leaver.join();
  EXPECT_EQ(value(link.publisher().counters().full), 0u);
}

TEST(FullStreams, EvictWhoIsBehindWhenAsked) {
  StreamOptions options = small_stream(4);
  options.on_full = OnFull::evict;
  LocalLink link(options);
  const ReaderPtr slow = link.attach({.mode = DeliveryMode::reliable});
  const ReaderPtr good = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 10; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    EXPECT_EQ(drain(*good), std::vector<std::uint64_t>{i});
  }
  EXPECT_EQ(value(link.publisher().counters().evicted), 1u);
  EXPECT_EQ(link.publisher().reader_count(), 1u);
  EXPECT_EQ(slow->take().outcome(), Outcome::evicted);
  EXPECT_EQ(lost(*slow, LossCause::evicted), 4u);
  EXPECT_EQ(lost(*good), 0u);
}

TEST(FullStreams, AlsoWaitWhenOnlyTheSlotsAreShort) {
  StreamOptions options = small_stream(8);
  options.pools = {{64, 2}};
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 2; ++i)
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(publish_number(link.publisher(), 3), Outcome::full);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_EQ(publish_number(link.publisher(), 3), Outcome::ok);
}

TEST(Lanes, KeepWhatTheyHaveDuringAFloodInAnother) {
  StreamOptions options = small_stream();
  options.lanes = {{4, 0}, {4, 0}, {4, 0}, {4, 0}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 1; i <= 4; ++i) {
    publish_number(link.publisher(), i, 64, Priority::critical);
    publish_number(link.publisher(), 10 + i, 64, Priority::high);
    publish_number(link.publisher(), 20 + i, 64, Priority::normal);
  }
  for (std::uint64_t i = 1; i <= 1000; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), 1000 + i, 64, Priority::low), Outcome::ok);
  }
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24,
                                                        1997, 1998, 1999, 2000}));
  EXPECT_EQ(lost(*reader, LossCause::full), 996u);
}

TEST(Lanes, BlockedByAReliableReaderLeaveTheOthersFree) {
  StreamOptions options = small_stream();
  options.lanes = {{2, 0}, {2, 0}};
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 0; i < 2; ++i) publish_number(link.publisher(), i, 64, Priority::high);
  EXPECT_EQ(publish_number(link.publisher(), 2, 64, Priority::high), Outcome::full);
  EXPECT_EQ(publish_number(link.publisher(), 3, 64, Priority::critical), Outcome::ok);
}

TEST(Lanes, ThatAStreamDoesNotHaveFallIntoItsLast) {
  StreamOptions options = small_stream();
  options.lanes = {{4, 0}, {4, 0}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1, 64, Priority::low);
  const Sample sample = reader->take();
  EXPECT_EQ(sample.info().priority, Priority::high);
}

TEST(Lanes, TakeSlotsFromLowerOnesButNotFromHigherOnes) {
  StreamOptions options = small_stream();
  options.lanes = {{4, 0}, {4, 0}};
  options.pools = {{64, 4}};
  options.max_loans = 1;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 1; i <= 4; ++i) publish_number(link.publisher(), i, 64, Priority::high);
  for (std::uint64_t i = 11; i <= 14; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok) << "a lower lane gives its slots";
  }
  EXPECT_EQ(publish_number(link.publisher(), 5, 64, Priority::high), Outcome::no_slot);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{11, 12, 13, 14}));
}

}  // namespace
}  // namespace sluice::shm
