// Members that give messages back, and what they say of their load.
#include "tests/support/forged_reader.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <sys/eventfd.h>

#include <vector>

namespace sluice::shm {
namespace {

using namespace test;
using Numbers = std::vector<std::uint64_t>;

SubscriptionOptions worker(std::uint32_t credits = 8, std::uint32_t max_held = 8) {
  return {
      .mode = DeliveryMode::group, .max_held = max_held, .group = "workers", .credits = credits};
}

StreamOptions work_stream(std::uint32_t depth = 16) {
  StreamOptions options = small_stream(depth);
  options.max_held = 64;
  return options;
}

void publish(LocalLink& link, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t i = first; i <= last; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok) << i;
  }
}

TEST(Reject, GivesTheMessageToAnotherMember) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  const ReaderPtr b = link.attach(worker());
  publish(link, 1, 1);
  Sample sample = a->take();
  ASSERT_EQ(number_of(sample), 1u);
  EXPECT_EQ(sample.info().deliveries_before, 0u);
  a->reject(std::move(sample));
  EXPECT_FALSE(sample);
  EXPECT_EQ(value(a->counters().rejected), 1u);
  EXPECT_EQ(value(a->counters().acknowledged), 0u);
  link.publisher().tend();
  EXPECT_FALSE(a->take());
  sample = b->take();
  ASSERT_EQ(number_of(sample), 1u);
  EXPECT_TRUE(sample.info().redelivered);
  EXPECT_EQ(sample.info().deliveries_before, 1u);
  b->acknowledge(std::move(sample));
  link.publisher().tend();
  EXPECT_FALSE(a->take());
  EXPECT_FALSE(b->take());
}

TEST(Reject, GivesItToTheSameMemberWhenThereIsNoOther) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  publish(link, 1, 1);
  for (unsigned n = 0; n < 300; ++n) {
    Sample sample = a->take();
    ASSERT_EQ(number_of(sample), 1u) << n;
    EXPECT_EQ(sample.info().deliveries_before, std::min(n, 255u));
    a->reject(std::move(sample));
    link.publisher().tend();
  }
  EXPECT_EQ(drain(*a), Numbers{1});
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
}

TEST(Reject, GivesItToTheSameMemberWhenTheOtherHasNoCredit) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker(1));
  const ReaderPtr b = link.attach(worker(1));
  publish(link, 1, 2);
  Sample second = b->take();
  ASSERT_EQ(number_of(second), 2u);
  a->reject(a->take());
  link.publisher().tend();
  EXPECT_EQ(drain(*a), Numbers{1});
}

TEST(Reject, KeepsTheOrderOfTheRest) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker(4));
  publish(link, 1, 8);
  Sample first = a->take();
  Sample second = a->take();
  a->reject(std::move(first));  // before what is new
  link.publisher().tend();
  ASSERT_EQ(number_of(second), 2u);
  a->acknowledge(std::move(second));
  Numbers seen;
  for (int i = 0; i < 7; ++i) {  // 1, and all but 2
    Sample sample = a->take();
    if (!sample) {
      link.publisher().tend();
      sample = a->take();
    }
    seen.push_back(number_of(sample));
    a->acknowledge(std::move(sample));
    link.publisher().tend();
  }
  EXPECT_EQ(seen, (Numbers{3, 4, 1, 5, 6, 7, 8}));
}

// What stands behind a gap is not settled, so nobody looks at its bit.
TEST(Reject, BehindAGapWaitsForTheGap) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  publish(link, 1, 3);
  std::vector<Sample> held;
  while (Sample sample = a->take()) held.push_back(std::move(sample));
  ASSERT_EQ(held.size(), 3u);
  a->reject(std::move(held[1]));
  link.publisher().tend();
  EXPECT_FALSE(a->take());
  a->acknowledge(std::move(held[0]));
  link.publisher().tend();
  const Sample again = a->take();
  EXPECT_EQ(number_of(again), 2u);
  EXPECT_EQ(again.info().deliveries_before, 1u);
}

TEST(Reject, AndAcknowledgeOfTheSameMessageCountOnce) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  publish(link, 1, 1);
  const Sample sample = a->take();
  a->reject(sample);
  a->acknowledge(sample);
  a->reject(sample);
  EXPECT_EQ(value(a->counters().rejected), 1u);
  EXPECT_EQ(value(a->counters().acknowledged), 0u);
  EXPECT_EQ(value(a->page().cursor[0]), 1u);
}

TEST(Reject, IsAcknowledgingInOtherModes) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach({.mode = DeliveryMode::reliable});
  publish(link, 1, 2);
  a->reject(a->take());
  EXPECT_EQ(value(a->counters().acknowledged), 1u);
  EXPECT_EQ(number_of(a->take()), 2u);
}

TEST(Reject, IsToldToAPublisherThatIsIdle) {
  LocalLink link(work_stream());
  link.use_room_event(UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)});
  const ReaderPtr a = link.attach(worker());
  publish(link, 1, 3);
  std::vector<Sample> held;
  while (Sample sample = a->take()) held.push_back(std::move(sample));
  ASSERT_EQ(held.size(), 3u);
  eventfd_t count = 0;
  a->reject(std::move(held[1]));
  EXPECT_NE(::eventfd_read(link.room_event(), &count), 0) << "it stands behind a gap";
  a->acknowledge(std::move(held[0]));
  EXPECT_EQ(::eventfd_read(link.room_event(), &count), 0);
  a->acknowledge(std::move(held[2]));
  EXPECT_NE(::eventfd_read(link.room_event(), &count), 0) << "nobody waits for an acknowledgement";
}

// The bit of a place says what became of the last assignment there.
TEST(Reject, LeavesNoTraceInThePlaceOfLaterAssignments) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  std::uint64_t rejected = 0;
  for (std::uint64_t n = 1; n <= 3 * kMaxCredits; ++n) {
    publish(link, n, n);
    Sample sample = a->take();
    ASSERT_EQ(number_of(sample), n);
    if (n % 5 == 0) {
      a->reject(std::move(sample));
      ++rejected;
      link.publisher().tend();
      sample = a->take();
      ASSERT_EQ(number_of(sample), n);
      EXPECT_EQ(sample.info().deliveries_before, 1u);
    }
    EXPECT_EQ(sample.info().deliveries_before != 0, n % 5 == 0);
    a->acknowledge(std::move(sample));
    link.publisher().tend();
    ASSERT_FALSE(a->take());
  }
  EXPECT_EQ(value(a->counters().rejected), rejected);
}

// A sample of a message that was rejected may live on, and end at any time.
TEST(Reject, WhileASampleOfItLivesHoldsItTwice) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  publish(link, 1, 1);
  Sample first = a->take();
  a->reject(first);
  link.publisher().tend();
  Sample second = a->take();
  ASSERT_EQ(number_of(second), 1u);
  EXPECT_EQ(second.info().deliveries_before, 1u);
  EXPECT_EQ(a->held(), 2u);
  a->reject(second);
  link.publisher().tend();
  Sample third = a->take();
  ASSERT_EQ(number_of(third), 1u);
  EXPECT_EQ(third.info().deliveries_before, 2u);
  first.release();
  second.release();
  a->acknowledge(third);
  EXPECT_EQ(value(a->counters().taken), 3u);
  link.publisher().collect();
  for (std::uint64_t n = 2; n <= 40; ++n) {
    publish(link, n, n);
    EXPECT_EQ(drain(*a), Numbers{n});
  }
  EXPECT_EQ(number_of(third), 1u) << "it is still held";
  EXPECT_EQ(a->held(), 1u);
}

TEST(Reject, OfOneThatWasTakenAwayCountsForNothing) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  const std::uint32_t id = link.last_reader_id();
  const ReaderPtr b = link.attach(worker());
  publish(link, 1, 1);
  const Sample held = a->take();
  link.publisher().detach(id);
  Sample again = b->take();
  ASSERT_EQ(number_of(again), 1u);
  EXPECT_EQ(again.info().deliveries_before, 1u);
  a->reject(held);
  b->acknowledge(std::move(again));
  link.publisher().tend();
  EXPECT_FALSE(b->take());
}

TEST(Deliveries, CountOnlyWhatAMemberHadTaken) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  const std::uint32_t id = link.last_reader_id();
  const ReaderPtr b = link.attach(worker(8, 16));
  publish(link, 1, 6);  // 1, 3 and 5 are a's
  const Sample taken = a->take();
  ASSERT_EQ(number_of(taken), 1u);
  link.publisher().detach(id);
  Numbers seen;
  while (Sample sample = b->take()) {
    const std::uint64_t n = number_of(sample);
    seen.push_back(n);
    EXPECT_EQ(sample.info().deliveries_before, n == 1 ? 1u : 0u) << n;
    EXPECT_EQ(sample.info().redelivered, n == 1) << n;
  }
  EXPECT_EQ(seen, (Numbers{2, 4, 6, 1, 3, 5}));
}

TEST(ForgedMember, MaySayAnythingOfWhatItRejectedAndTook) {
  LocalLink link(work_stream());
  const ReaderPtr honest = link.attach(worker(8, 16));
  {
    ForgedReader forged(link.publisher(), worker(4));
    for (Word64& word : forged.page().progress.taken) ForgedReader::put(word, ~std::uint64_t{0});
    for (Word64& word : forged.page().progress.returned) ForgedReader::put(word, ~std::uint64_t{0});
    publish(link, 1, 4);
    EXPECT_EQ(drain(*honest), (Numbers{1, 3}));
    for (std::uint64_t n = 1; n <= 2; ++n) {
      ForgedReader::put(forged.page().cursor[0], n);
      link.publisher().tend();
    }
    EXPECT_EQ(forged.state(), AdmissionState::attached);
    link.publisher().detach(forged.id());
  }
  Numbers rest = drain(*honest);
  EXPECT_EQ(rest, (Numbers{2, 4}));
}

// --- load
// ------------------------------------------------------------------------------------------

TEST(Load, WhoIsDrainingOrGoneIsGivenNothing) {
  for (const WorkerState state : {WorkerState::draining, WorkerState::gone}) {
    LocalLink link(work_stream());
    const ReaderPtr a = link.attach(worker());
    const ReaderPtr b = link.attach(worker());
    a->tell_load(state, 0);
    publish(link, 1, 4);
    EXPECT_EQ(drain(*a), Numbers{});
    EXPECT_EQ(drain(*b), (Numbers{1, 2, 3, 4}));
  }
}

TEST(Load, WhoIsDrainingFinishesWhatItHas) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  publish(link, 1, 2);
  a->tell_load(WorkerState::draining, 0);
  publish(link, 3, 4);
  EXPECT_EQ(drain(*a), (Numbers{1, 2}));
  EXPECT_TRUE(link.publisher().tend()) << "two wait";
  a->tell_load(WorkerState::ready, 0);
  EXPECT_FALSE(link.publisher().tend());
  EXPECT_EQ(drain(*a), (Numbers{3, 4}));
}

TEST(Load, WhoIsDrainingCountsAsTakerNoMore) {
  LocalLink link(work_stream());
  shm::Publisher& publisher = link.publisher();
  EXPECT_EQ(publisher.taker_count(), 0u);
  const auto is_assigned = [&](std::uint64_t sequence) {
    return publisher.is_assigned({publisher.geometry().stream_id, sequence, 0, 0});
  };
  ReaderPtr a = link.attach(worker());
  EXPECT_EQ(publisher.taker_count(), 1u);
  SubscriptionOptions recorder = worker();
  recorder.group = kRecorderGroup;
  const ReaderPtr keeps = link.attach(recorder);
  EXPECT_EQ(publisher.taker_count(), 1u) << "who only keeps it does not work on it";
  publish(link, 1, 1);
  EXPECT_TRUE(is_assigned(1));
  a->tell_load(WorkerState::draining, 0);
  publish(link, 2, 2);
  EXPECT_EQ(publisher.taker_count(), 0u);
  EXPECT_TRUE(is_assigned(1)) << "what it has it will finish";
  EXPECT_FALSE(is_assigned(2));
  EXPECT_FALSE(is_assigned(3)) << "was never published";
  a->tell_load(WorkerState::busy, 0);
  publisher.collect();
  EXPECT_EQ(publisher.taker_count(), 1u);
  EXPECT_TRUE(is_assigned(2));
  a.reset();
  publisher.collect();
  EXPECT_EQ(publisher.taker_count(), 0u);
  EXPECT_FALSE(is_assigned(2));
}

TEST(Load, WhoIsReadyAgainSaysSoToAPublisherThatIsIdle) {
  LocalLink link(work_stream());
  link.use_room_event(UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)});
  const ReaderPtr a = link.attach(worker());
  a->tell_load(WorkerState::draining, 0);
  publish(link, 1, 1);
  eventfd_t count = 0;
  a->tell_load(WorkerState::draining, 7);
  EXPECT_NE(::eventfd_read(link.room_event(), &count), 0) << "nothing that would help";
  a->tell_load(WorkerState::busy, 7);
  EXPECT_EQ(::eventfd_read(link.room_event(), &count), 0);
  link.publisher().tend();
  EXPECT_EQ(drain(*a), Numbers{1});
}

TEST(Load, WhoIsBusyIsGivenOnlyWhatNobodyElseCanTake) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker(2));
  const ReaderPtr b = link.attach(worker(2));
  a->tell_load(WorkerState::busy, 0);
  publish(link, 1, 4);
  EXPECT_EQ(drain(*b), (Numbers{1, 2}));
  EXPECT_EQ(drain(*a), (Numbers{3, 4}));
}

TEST(Load, TheShortestBacklogIsServedFirst) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach(worker());
  const ReaderPtr b = link.attach(worker());
  a->tell_load(WorkerState::ready, 3);  // elsewhere
  publish(link, 1, 3);
  EXPECT_EQ(a->waiting(), 0u);
  EXPECT_EQ(b->waiting(), 3u);
  publish(link, 4, 5);  // now they are equal, and take turns
  EXPECT_EQ(a->waiting(), 1u);
  EXPECT_EQ(b->waiting(), 4u);
}

TEST(Load, OfAStateThatThereIsNotNothingFollows) {
  LocalLink link(work_stream());
  ForgedReader forged(link.publisher(), worker());
  ForgedReader::put(forged.page().cursor[1], load_word(200, 0));
  publish(link, 1, 2);
  EXPECT_EQ(forged.state(), AdmissionState::attached);
  EXPECT_EQ(value(forged.group_wake().assignments.assigned), 2u);
}

TEST(Load, OfAReaderThatIsInNoGroupIsNotWritten) {
  LocalLink link(work_stream());
  const ReaderPtr a = link.attach({.mode = DeliveryMode::reliable});
  const std::uint64_t before = value(a->page().cursor[1]);
  a->tell_load(WorkerState::gone, 9);
  EXPECT_EQ(value(a->page().cursor[1]), before);
}

TEST(Backlog, CountsWhatWaitsAndWhatIsNotAcknowledged) {
  LocalLink link(work_stream());
  const ReaderPtr member = link.attach(worker(4));
  const ReaderPtr reliable = link.attach({.mode = DeliveryMode::reliable});
  publish(link, 1, 6);
  EXPECT_EQ(member->unsettled(), 4u);
  EXPECT_EQ(reliable->unsettled(), 6u);
  Sample a = member->take();
  Sample b = reliable->take();
  EXPECT_EQ(member->unsettled(), 4u);
  member->acknowledge(std::move(a));
  reliable->acknowledge(std::move(b));
  EXPECT_EQ(member->unsettled(), 3u);
  EXPECT_EQ(reliable->unsettled(), 5u);
}

}  // namespace
}  // namespace sluice::shm
