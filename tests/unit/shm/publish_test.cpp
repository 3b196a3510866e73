// publish: what travels with a message, batches, and waking.
#include "shm/futex.hpp"
#include "shm/histogram.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <sys/eventfd.h>

#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

TEST(Publishing, CarriesTheHeaders) {
  StreamOptions options = small_stream();
  options.lanes = {{4, 0}, {4, 0}};
  options.type_hash = 99;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.type_hash = 99});
  Loan loan = link.publisher().loan(16, Priority::high);
  write_number(loan.data(), 16, 5);
  loan.headers.correlation = {0x1111, 0x2222};
  loan.headers.origin_ns = 12345;
  loan.headers.type_hash = 7;
  loan.headers.ttl_ms = 60'000;
  loan.headers.user_flags = 0xff;
  const std::uint64_t before = now_ns();
  ASSERT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
  const Sample sample = reader->take();
  ASSERT_TRUE(sample);
  const MessageInfo& info = sample.info();
  EXPECT_EQ(info.sequence, 1u);
  EXPECT_EQ(info.correlation, (CorrelationId{0x1111, 0x2222}));
  EXPECT_EQ(info.origin_ns, 12345u);
  EXPECT_GE(info.publish_ns, before);
  EXPECT_LE(info.publish_ns, now_ns());
  EXPECT_EQ(info.type_hash, 7u);
  EXPECT_EQ(info.ttl_ms, 60'000u);
  EXPECT_EQ(info.user_flags, 0x0f);
  EXPECT_EQ(info.priority, Priority::high);
  EXPECT_EQ(sample.size(), 16u);
  EXPECT_EQ(number_of(sample), 5u);
}

TEST(Publishing, FillsInWhatWasNotSaid) {
  StreamOptions options = small_stream();
  options.type_hash = 99;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  const Sample sample = reader->take();
  EXPECT_EQ(sample.info().type_hash, 99u);
  EXPECT_NE(sample.info().publish_ns, 0u);
  EXPECT_EQ(sample.info().origin_ns, sample.info().publish_ns);
}

TEST(Publishing, DoesNotReadTheClockWhenToldSo) {
  StreamOptions options = small_stream();
  options.stamp_publish_time = false;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  const Sample sample = reader->take();
  EXPECT_EQ(sample.info().publish_ns, 0u);
  EXPECT_FALSE(reader->geometry().stamped);
}

TEST(Publishing, RefusesTheLoanOfAnotherStream) {
  LocalLink one(small_stream());
  LocalLink two(small_stream());
  Loan loan = one.publisher().loan(8);
  EXPECT_EQ(two.publisher().publish(std::move(loan)), Outcome::mismatch);
  EXPECT_TRUE(loan);
  EXPECT_EQ(one.publisher().publish(std::move(loan)), Outcome::ok);
}

TEST(Publishing, NumbersEachLaneWithoutGaps) {
  StreamOptions options = small_stream();
  options.lanes = {{8, 0}, {8, 0}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (int i = 0; i < 6; ++i) {
    publish_number(link.publisher(), 1, 64, i % 2 == 0 ? Priority::critical : Priority::high);
  }
  std::array<std::uint64_t, 2> next{1, 1};
  while (const Sample sample = reader->take()) {
    EXPECT_EQ(sample.info().sequence, next[static_cast<std::size_t>(sample.info().priority)]++);
  }
  EXPECT_EQ(next, (std::array<std::uint64_t, 2>{4, 4}));
}

TEST(Publishing, CountsMessagesBytesAndIntervals) {
  LocalLink link(small_stream());
  for (std::uint64_t i = 0; i < 5; ++i) publish_number(link.publisher(), i, 40);
  EXPECT_EQ(value(link.publisher().counters().published), 5u);
  EXPECT_EQ(value(link.publisher().counters().bytes), 200u);
  const auto* intervals =
      reinterpret_cast<const Histogram*>(link.publisher().control() + kIntervalsOffset);
  EXPECT_EQ(histogram_count(*intervals), 4u);
}

TEST(Batches, ArriveInOrder) {
  StreamOptions options = small_stream();
  options.max_loans = 4;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  std::array<Loan, 4> loans;
  for (std::uint64_t i = 0; i < 4; ++i) {
    loans[i] = link.publisher().loan(64);
    write_number(loans[i].data(), 64, i);
  }
  EXPECT_EQ(link.publisher().publish(loans), Outcome::ok);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{0, 1, 2, 3}));
}

TEST(Batches, StopAtTheFirstThatCannotBePublished) {
  StreamOptions options = small_stream();
  options.max_loans = 3;
  LocalLink link(options);
  LocalLink other(small_stream());
  const ReaderPtr reader = link.attach({});
  for (const bool foreign : {true, false}) {
    std::array<Loan, 3> loans;
    for (std::uint64_t i = 0; i < 3; ++i) {
      loans[i] = i != 1 ? link.publisher().loan(64) : foreign ? other.publisher().loan(64) : Loan{};
      if (loans[i]) write_number(loans[i].data(), 64, i);
    }
    EXPECT_EQ(link.publisher().publish(loans), foreign ? Outcome::mismatch : Outcome::empty);
    EXPECT_FALSE(loans[0]);
    EXPECT_TRUE(loans[2]);
    EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{0});
  }
  EXPECT_EQ(link.publisher().publish(std::span<Loan>{}), Outcome::ok);
}

TEST(Batches, AreTakenAtOnce) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.max_held = 3});
  for (std::uint64_t i = 0; i < 5; ++i) publish_number(link.publisher(), i);
  std::array<Sample, 4> samples;
  EXPECT_EQ(reader->take(samples), 3u) << "no more than it may hold";
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(number_of(samples[i]), i);
  EXPECT_EQ(samples[3].outcome(), Outcome::quota);
  for (Sample& sample : samples) sample.release();
  EXPECT_EQ(reader->take(samples), 2u);
  EXPECT_EQ(number_of(samples[1]), 4u);
}

TEST(Waking, TakesNoSystemCallWhileNobodySleeps) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 0; i < 100; ++i) {
    publish_number(link.publisher(), i);
    drain(*reader);
  }
  EXPECT_EQ(value(link.publisher().counters().wakes), 0u);
}

TEST(Waking, HappensOnceForEachSleep) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  (void)reader->prepare_sleep(false);
  for (std::uint64_t i = 0; i < 5; ++i) publish_number(link.publisher(), i);
  EXPECT_EQ(value(link.publisher().counters().wakes), 1u);
  reader->finish_sleep();
  publish_number(link.publisher(), 5);
  EXPECT_EQ(value(link.publisher().counters().wakes), 1u);
  (void)reader->prepare_sleep(false);
  publish_number(link.publisher(), 6);
  EXPECT_EQ(value(link.publisher().counters().wakes), 2u);
}

TEST(Waking, FindsEverySleeperAmongManyReaders) {
  StreamOptions options = small_stream();
  options.max_held = 32;
  LocalLink link(options);
  std::vector<ReaderPtr> readers;
  for (std::uint64_t wakes = 0; readers.size() < 11;) {
    readers.push_back(link.attach({.max_held = 1}));
    for (const ReaderPtr& sleeper : readers) {
      const std::uint32_t expected = sleeper->prepare_sleep(false);
      publish_number(link.publisher(), 1);
      ASSERT_NE(sleeper->wake_word().load(), expected) << "of " << readers.size();
      ASSERT_EQ(value(link.publisher().counters().wakes), ++wakes);
      sleeper->finish_sleep();
    }
  }
}

TEST(Waking, GoesToTheEventWhenTheReaderAsksForIt) {
  LocalLink link(small_stream());
  const UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  const ReaderPtr reader = link.attach({}, UniqueFd{::dup(event.get())});
  (void)reader->prepare_sleep(true);
  publish_number(link.publisher(), 1);
  eventfd_t count = 0;
  EXPECT_EQ(::eventfd_read(event.get(), &count), 0);
  EXPECT_EQ(count, 1u);
}

TEST(Waking, ChangesTheWordThatTheReaderIsAboutToSleepOn) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  const std::uint32_t expected = reader->prepare_sleep(false);
  publish_number(link.publisher(), 1);
  EXPECT_EQ(futex_wait(reader->wake_word(), expected, soon()), FutexResult::changed);
}

TEST(Waking, AlsoTellsOfTheEnd) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  const std::uint32_t expected = reader->prepare_sleep(false);
  link.publisher().end();
  EXPECT_EQ(futex_wait(reader->wake_word(), expected, soon()), FutexResult::changed);
}

}  // namespace
}  // namespace sluice::shm
