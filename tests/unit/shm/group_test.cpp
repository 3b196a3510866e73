// Groups: each entry goes to one member, and to another one when the first is gone.
#include "tests/support/forged_reader.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <sys/eventfd.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <thread>

namespace sluice::shm {
namespace {

using namespace test;
using Numbers = std::vector<std::uint64_t>;

SubscriptionOptions worker(std::uint32_t credits = 8, const char* group = "workers") {
  return {.mode = DeliveryMode::group, .max_held = 8, .group = group, .credits = credits};
}

StreamOptions group_stream(std::uint32_t depth = 16) {
  StreamOptions options = small_stream(depth);
  options.max_held = 256;
  return options;
}

void publish(LocalLink& link, std::uint64_t first, std::uint64_t last,
             Priority lane = Priority::critical) {
  for (std::uint64_t i = first; i <= last; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i, 64, lane), Outcome::ok) << i;
  }
}

// Takes what is there, and neither acknowledges nor releases it.
std::vector<Sample> take_all(Reader& reader) {
  std::vector<Sample> samples;
  while (Sample sample = reader.take()) samples.push_back(std::move(sample));
  return samples;
}

Numbers numbers_of(const std::vector<Sample>& samples) {
  Numbers numbers;
  for (const Sample& sample : samples) numbers.push_back(number_of(sample));
  return numbers;
}

bool redelivered(const std::vector<Sample>& samples) {
  return !samples.empty() && std::all_of(samples.begin(), samples.end(), [](const Sample& sample) {
    return sample.info().redelivered;
  });
}

TEST(GroupName, KeepsUpTo31Bytes) {
  EXPECT_FALSE(GroupName{}.valid());
  EXPECT_FALSE(GroupName{""}.valid());
  EXPECT_EQ(GroupName{"workers"}.view(), "workers");
  const std::string longest(31, 'x');
  EXPECT_EQ(GroupName{longest}.view(), longest);
  EXPECT_FALSE(GroupName{longest + 'x'}.valid()) << "not cut off, or two groups would become one";
  static_assert(std::is_trivially_copyable_v<SubscriptionOptions>);
}

TEST(Group, GivesEachEntryToOneMember) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker());
  const ReaderPtr b = link.attach(worker());
  const ReaderPtr c = link.attach(worker());
  publish(link, 1, 9);
  EXPECT_EQ(drain(*a), (Numbers{1, 4, 7}));
  EXPECT_EQ(drain(*b), (Numbers{2, 5, 8}));
  EXPECT_EQ(drain(*c), (Numbers{3, 6, 9}));
  EXPECT_EQ(value(a->counters().acknowledged), 3u);
  EXPECT_EQ(taken(*a), 3u);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u);
}

TEST(Group, GivesToWhoHasLeastToDo) {
  LocalLink link(group_stream());
  const ReaderPtr slow = link.attach(worker());
  const ReaderPtr quick = link.attach(worker());
  publish(link, 1, 1);
  const std::vector<Sample> held = take_all(*slow);
  ASSERT_EQ(numbers_of(held), Numbers{1});
  for (std::uint64_t i = 2; i <= 8; ++i) {
    publish(link, i, i);
    EXPECT_EQ(drain(*quick), Numbers{i});
  }
}

TEST(Group, NeverGivesMoreThanTheCredits) {
  LocalLink link(group_stream());
  const ReaderPtr reader = link.attach(worker(2));
  publish(link, 1, 5);
  EXPECT_EQ(reader->waiting(), 2u);
  std::vector<Sample> held = take_all(*reader);
  EXPECT_EQ(numbers_of(held), (Numbers{1, 2}));
  held.clear();
  link.publisher().collect();
  EXPECT_FALSE(reader->ready()) << "released is not acknowledged";
}

TEST(Group, ACreditComesBackWhenAllBeforeItIsAcknowledged) {
  LocalLink link(group_stream());
  const ReaderPtr reader = link.attach(worker(3));
  publish(link, 1, 6);
  std::vector<Sample> held = take_all(*reader);
  ASSERT_EQ(numbers_of(held), (Numbers{1, 2, 3}));
  reader->acknowledge(std::move(held[2]));
  reader->acknowledge(held[1]);
  reader->acknowledge(held[1]);
  EXPECT_TRUE(link.publisher().tend());
  EXPECT_FALSE(reader->ready());
  reader->acknowledge(held[0]);
  EXPECT_EQ(value(reader->counters().acknowledged), 3u) << "one of them twice";
  EXPECT_FALSE(link.publisher().tend());
  EXPECT_EQ(drain(*reader), (Numbers{4, 5, 6}));
}

TEST(Group, GivesWhatADetachedMemberHadToAnother) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker());
  const std::uint32_t id = link.last_reader_id();
  const ReaderPtr b = link.attach(worker());
  publish(link, 1, 6);
  std::vector<Sample> held = take_all(*a);
  ASSERT_EQ(numbers_of(held), (Numbers{1, 3, 5}));
  a->acknowledge(held[0]);
  EXPECT_EQ(drain(*b), (Numbers{2, 4, 6}));
  link.publisher().detach(id);
  const std::vector<Sample> again = take_all(*b);
  EXPECT_EQ(numbers_of(again), (Numbers{3, 5}));
  EXPECT_TRUE(redelivered(again));
  EXPECT_EQ(a->take().outcome(), Outcome::evicted);
}

TEST(Group, GivesWhatALeavingMemberHadToAnother) {
  LocalLink link(group_stream());
  ReaderPtr a = link.attach(worker());
  const ReaderPtr b = link.attach(worker());
  publish(link, 1, 4);
  std::vector<Sample> held = take_all(*a);
  a.reset();
  link.publisher().collect();
  EXPECT_EQ(numbers_of(held), (Numbers{1, 3})) << "it may still read them";
  EXPECT_EQ(drain(*b), (Numbers{2, 4, 1, 3}));
  EXPECT_EQ(link.publisher().reader_count(), 2u);
  held.clear();
  link.publisher().collect();
  EXPECT_EQ(link.publisher().reader_count(), 1u);
}

TEST(Group, WithoutMembersKeepsItsPlace) {
  LocalLink link(group_stream(8));
  ReaderPtr a = link.attach(worker());
  publish(link, 1, 4);
  {
    std::vector<Sample> held = take_all(*a);
    a->acknowledge(held[0]);
    a->acknowledge(held[2]);
  }
  a.reset();
  link.publisher().reap();
  publish(link, 5, 7);
  const ReaderPtr b = link.attach(worker());
  const std::vector<Sample> rest = take_all(*b);
  EXPECT_EQ(numbers_of(rest), (Numbers{2, 3, 4, 5, 6, 7})) << "3 was acknowledged behind a gap";
  for (const Sample& sample : rest) {
    EXPECT_EQ(sample.info().redelivered, number_of(sample) <= 4) << number_of(sample);
  }
}

TEST(Group, WithoutMembersHoldsNobodyUp) {
  LocalLink link(group_stream(8));
  ReaderPtr a = link.attach(worker());
  publish(link, 1, 4);
  a.reset();
  link.publisher().reap();
  publish(link, 5, 1000);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 992u);
  const ReaderPtr b = link.attach(worker());
  EXPECT_EQ(drain(*b), (Numbers{993, 994, 995, 996, 997, 998, 999, 1000}));
}

TEST(Group, LosesOfWhatItLeftOnlyWhatWasOverwritten) {
  LocalLink link(group_stream(8));
  ReaderPtr a = link.attach(worker(4));
  publish(link, 1, 8);
  for (std::uint64_t n = 1; n <= 3; ++n) EXPECT_EQ(number_of(a->take()), n);
  a.reset();
  link.publisher().reap();
  publish(link, 9, 10);  // in the places of 1 and 2
  const ReaderPtr b = link.attach(worker(8));
  const std::vector<Sample> rest = take_all(*b);
  EXPECT_EQ(numbers_of(rest), (Numbers{3, 4, 5, 6, 7, 8, 9, 10}));
  for (const Sample& sample : rest) {
    EXPECT_EQ(sample.info().redelivered, number_of(sample) == 3)
        << "4 was given to it, and not taken";
  }
}

TEST(Group, StandsBesideOtherGroupsAndSubscriptions) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker(8, "one"));
  const ReaderPtr b = link.attach(worker(8, "one"));
  const ReaderPtr c = link.attach(worker(8, "two"));
  const ReaderPtr d = link.attach({.mode = DeliveryMode::reliable});
  publish(link, 1, 4);
  EXPECT_EQ(drain(*a), (Numbers{1, 3}));
  EXPECT_EQ(drain(*b), (Numbers{2, 4}));
  EXPECT_EQ(drain(*c), (Numbers{1, 2, 3, 4}));
  EXPECT_EQ(drain(*d), (Numbers{1, 2, 3, 4}));
}

TEST(Group, StartsWithTheHistoryOfItsFirstMember) {
  StreamOptions options = group_stream(8);
  options.lanes = {{8, 4}};
  LocalLink link(options);
  publish(link, 1, 6);
  SubscriptionOptions first = worker(1);
  first.history = 3;
  const ReaderPtr a = link.attach(first);
  SubscriptionOptions second = worker(8);
  second.history = 8;
  const ReaderPtr b = link.attach(second);
  EXPECT_EQ(drain(*a), (Numbers{4}));
  EXPECT_EQ(drain(*b), (Numbers{5, 6})) << "the others started already";
}

TEST(Group, TakesTheHighestLaneFirst) {
  StreamOptions options = group_stream();
  options.lanes = {{8, 0}, {8, 0}, {8, 0}};
  LocalLink link(options);
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 2, Priority::normal);
  publish(link, 11, 12, Priority::high);
  publish(link, 21, 22);
  Numbers order;
  while (Sample sample = a->take()) {
    order.push_back(number_of(sample));
    a->acknowledge(std::move(sample));
    link.publisher().collect();
  }
  EXPECT_EQ(order, (Numbers{1, 21, 22, 11, 12, 2})) << "1 was given before the others came";
}

// OnFull::drop: a camera waits for nobody.

StreamOptions camera(std::uint32_t depth) {
  StreamOptions options = group_stream(depth);
  options.on_full = OnFull::drop;
  return options;
}

TEST(GroupThatIsNotWaitedFor, IsNotGivenWhatNobodyHadACreditFor) {
  LocalLink link(camera(4));
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 1);
  std::vector<Sample> held = take_all(*a);
  EXPECT_EQ(numbers_of(held), Numbers{1});
  publish(link, 2, 20);
  EXPECT_EQ(value(link.publisher().counters().dropped), 18u) << "2 to 19; 1 was given";
  a->acknowledge(std::move(held[0]));
  link.publisher().tend();
  EXPECT_EQ(drain(*a), Numbers{20}) << "not an old one";
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u);
}

TEST(GroupThatIsNotWaitedFor, GoesOnWithWhatItHolds) {
  LocalLink link(camera(2));
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 1);
  std::vector<Sample> held = take_all(*a);
  ASSERT_EQ(numbers_of(held), Numbers{1});
  publish(link, 2, 40);
  EXPECT_EQ(number_of(held[0]), 1u) << "its slot was used again";
  a->acknowledge(std::move(held[0]));
  EXPECT_EQ(value(a->counters().lost[static_cast<std::size_t>(LossCause::full)]), 0u);
}

TEST(GroupThatIsNotWaitedFor, CountsWhatItWasGivenAndDidNotTakeInTime) {
  LocalLink link(camera(4));
  const ReaderPtr a = link.attach(worker(2));
  publish(link, 1, 10);  // 1 and 2 were given, and are gone
  EXPECT_EQ(value(link.publisher().counters().dropped), 7u) << "3 to 9";
  EXPECT_EQ(drain(*a), Numbers{}) << "only now is it known to have credits";
  link.publisher().tend();
  EXPECT_EQ(drain(*a), Numbers{10});
  EXPECT_EQ(value(a->counters().lost[static_cast<std::size_t>(LossCause::full)]), 2u);
  EXPECT_EQ(value(a->counters().lost[static_cast<std::size_t>(LossCause::invalid)]), 0u);
}

TEST(GroupThatIsNotWaitedFor, GivesNobodyAgainWhatWasGivenUp) {
  LocalLink link(camera(4));
  const ReaderPtr a = link.attach(worker(2));
  const std::uint32_t id = link.last_reader_id();
  const ReaderPtr b = link.attach(worker(2));
  publish(link, 1, 4);  // 1 and 3 are a's
  std::vector<Sample> of_a = take_all(*a);
  EXPECT_EQ(numbers_of(of_a), (Numbers{1, 3}));
  publish(link, 5, 6);  // 1 and 2 are given up
  link.publisher().detach(id);
  Numbers of_b;
  for (Numbers more = drain(*b); !more.empty(); more = drain(*b)) {
    of_b.insert(of_b.end(), more.begin(), more.end());
    link.publisher().tend();
  }
  std::sort(of_b.begin(), of_b.end());
  EXPECT_EQ(of_b, (Numbers{3, 4, 6}))
      << "2 was lost, 3 is given again, 1 is not; one member, so one that waits";
}

TEST(GroupThatIsNotWaitedFor, HoldsUpNeitherThePublisherNorOthers) {
  LocalLink link(camera(4));
  const ReaderPtr stuck = link.attach(worker(4));
  const ReaderPtr other = link.attach({});
  for (std::uint64_t i = 1; i <= 100; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    EXPECT_EQ(drain(*other), Numbers{i});
  }
  EXPECT_EQ(value(link.publisher().counters().full), 0u);
}

TEST(GroupThatIsNotWaitedFor, KeepsGoingWithFewSlots) {
  StreamOptions options = camera(16);
  options.pools = {{64, 4}};
  LocalLink link(options);
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 50);
  EXPECT_EQ(value(link.publisher().counters().no_slot), 0u);
  EXPECT_EQ(value(link.publisher().counters().published), 50u);
}

TEST(GroupThatIsNotWaitedFor, KeepsOneThatWaitsForEachMember) {
  LocalLink link(camera(16));
  const ReaderPtr a = link.attach(worker(1));
  const ReaderPtr b = link.attach(worker(1));
  publish(link, 1, 9);
  EXPECT_EQ(drain(*a), Numbers{1});
  EXPECT_EQ(drain(*b), Numbers{2});
  link.publisher().tend();
  EXPECT_EQ(drain(*a), Numbers{8});
  EXPECT_EQ(drain(*b), Numbers{9});
  EXPECT_EQ(value(link.publisher().counters().dropped), 5u);
}

TEST(GroupThatIsNotWaitedFor, StandsInAStreamWithoutReliableReaders) {
  LocalLink link(camera(4));
  const auto refused = link.try_attach({.mode = DeliveryMode::reliable});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("OnFull::drop"), std::string::npos);
}

TEST(Group, CountsAndSettlesWhatHasExpired) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker(2));
  for (std::uint64_t i = 1; i <= 4; ++i) {
    Loan loan = link.publisher().loan(64);
    write_number(loan.data(), 64, i);
    loan.headers.ttl_ms = i <= 2 ? 1 : 0;
    link.publisher().publish(std::move(loan));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  EXPECT_FALSE(a->take());
  EXPECT_EQ(lost(*a, LossCause::expired), 2u);
  link.publisher().tend();
  EXPECT_EQ(drain(*a), (Numbers{3, 4}));
  EXPECT_EQ(value(a->counters().acknowledged), 2u);
}

// --- a lane that is full because of a group
// -------------------------------------------------------

TEST(FullBecauseOfAGroup, FailsWhereThatIsAskedFor) {
  StreamOptions options = group_stream(4);
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 4);
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full);
  EXPECT_EQ(drain(*a), Numbers{1});
  publish(link, 5, 5);
  EXPECT_EQ(publish_number(link.publisher(), 6), Outcome::full);
}

TEST(FullBecauseOfAGroup, EvictsAllOfItWhenAllAreTooSlow) {
  StreamOptions options = group_stream(4);
  options.on_full = OnFull::evict;
  LocalLink link(options);
  const ReaderPtr a = link.attach(worker(1));
  const ReaderPtr b = link.attach(worker(1));
  const ReaderPtr other = link.attach({});
  publish(link, 1, 5);
  EXPECT_EQ(a->take().outcome(), Outcome::evicted);
  EXPECT_EQ(b->take().outcome(), Outcome::evicted);
  EXPECT_EQ(lost(*a, LossCause::evicted) + lost(*b, LossCause::evicted), 2u);
  EXPECT_EQ(value(link.publisher().counters().evicted), 2u);
  EXPECT_EQ(number_of(other->take()), 2u);
}

TEST(FullBecauseOfAGroup, WaitsForTheMemberThatHoldsTheOldest) {
  StreamOptions options = group_stream(4);
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  const ReaderPtr a = link.attach(worker(2));
  const ReaderPtr b = link.attach(worker(2));
  std::jthread one{[&] {
    while (a->wait(soon()) == Outcome::ok) drain(*a);
  }};
  std::jthread two{[&] {
    while (b->wait(soon()) == Outcome::ok) drain(*b);
  }};
  publish(link, 1, 2000);
  link.publisher().end();
  while (link.publisher().tend()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  while (value(a->counters().acknowledged) + value(b->counters().acknowledged) < 2000) {
    link.publisher().tend();
  }
  link.publisher().tend();
  one.join();
  two.join();
  EXPECT_EQ(taken(*a) + taken(*b), 2000u);
  EXPECT_EQ(value(link.publisher().counters().full), 0u);
}

// --- an idle publisher
// ----------------------------------------------------------------------------

TEST(IdlePublisher, IsToldThroughTheEventThatACreditIsBack) {
  LocalLink link(group_stream());
  link.use_room_event(UniqueFd{::eventfd(0, EFD_CLOEXEC)});
  const ReaderPtr a = link.attach(worker(2));
  publish(link, 1, 2);
  EXPECT_EQ(drain(*a), (Numbers{1, 2}));
  eventfd_t count = 0;
  EXPECT_NE(::eventfd_read(link.room_event(), &count), 0) << "nothing waited";
  publish(link, 3, 5);
  for (std::uint64_t i = 3; i <= 5; ++i) {
    Sample sample = a->take();
    ASSERT_EQ(number_of(sample), i);
    a->acknowledge(std::move(sample));
    if (i == 5) break;
    ASSERT_EQ(::eventfd_read(link.room_event(), &count), i == 3 ? 0 : -1);
    EXPECT_FALSE(link.publisher().tend());
  }
}

TEST(IdlePublisher, WakesTheMemberThatSleepsAndNoOther) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker(1));
  const ReaderPtr b = link.attach(worker(1));
  a->prepare_sleep(false);
  b->prepare_sleep(false);
  publish(link, 1, 1);
  EXPECT_EQ(value(link.publisher().counters().wakes), 1u);
  EXPECT_TRUE(a->ready());
  EXPECT_FALSE(b->ready());
  publish(link, 2, 2);
  EXPECT_EQ(value(link.publisher().counters().wakes), 2u);
  publish(link, 3, 4);
  EXPECT_EQ(value(link.publisher().counters().wakes), 2u) << "nobody has a credit";
}

// --- the end
// --------------------------------------------------------------------------------------

TEST(EndOfAGroup, ComesWhenAllIsAcknowledged) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker(1));
  const ReaderPtr b = link.attach(worker(1));
  publish(link, 1, 3);
  link.publisher().end();
  std::vector<Sample> held = take_all(*a);
  EXPECT_EQ(drain(*b), Numbers{2});
  EXPECT_EQ(b->take().outcome(), Outcome::empty) << "3 is to come";
  link.publisher().tend();
  EXPECT_EQ(drain(*b), Numbers{3});
  link.publisher().tend();
  EXPECT_EQ(b->take().outcome(), Outcome::empty) << "1 may come, if the other one dies";
  a->acknowledge(held[0]);
  link.publisher().tend();
  EXPECT_EQ(a->take().outcome(), Outcome::ended);
  EXPECT_EQ(b->wait(soon()), Outcome::ended);
}

TEST(EndOfAGroup, IsAskedFor) {
  LocalLink link(group_stream());
  link.use_room_event(UniqueFd{::eventfd(0, EFD_CLOEXEC)});
  const ReaderPtr a = link.attach(worker(2));
  publish(link, 1, 1);
  link.publisher().end();
  EXPECT_TRUE(link.publisher().tend());
  EXPECT_EQ(drain(*a), Numbers{1});
  eventfd_t count = 0;
  EXPECT_EQ(::eventfd_read(link.room_event(), &count), 0);
  EXPECT_FALSE(link.publisher().tend());
  EXPECT_EQ(a->wait(soon()), Outcome::ended);
}

TEST(EndOfAGroup, ComesWithThePublishers) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 3);
  link.close_publisher();
  EXPECT_EQ(drain(*a), Numbers{1});
  EXPECT_EQ(a->wait(soon()), Outcome::ended);
}

TEST(EndOfAGroup, AKnownDeathOfThePublisherIsOne) {
  LocalLink link(group_stream());
  const ReaderPtr a = link.attach(worker(1));
  publish(link, 1, 3);
  a->mark_publisher_dead();
  EXPECT_EQ(drain(*a), Numbers{1});
  EXPECT_EQ(a->wait(soon()), Outcome::ended);
}

// --- what a member may write
// ----------------------------------------------------------------------

TEST(ForgedMember, IsEvictedForWhatNoMemberWrites) {
  for (const auto& [before, settled] : {std::pair{0u, 3u}, {2u, 1u}, {0u, 0xffff'ffffu}}) {
    LocalLink link(group_stream());
    ForgedReader forged(link.publisher(), worker(4));
    const ReaderPtr honest = link.attach(worker(4));
    publish(link, 1, 4);
    ForgedReader::put(forged.page().cursor[0], before);
    link.publisher().collect();
    ASSERT_EQ(forged.state(), AdmissionState::attached);
    ForgedReader::put(forged.page().cursor[0], settled);
    if (settled == 3) {
      EXPECT_FALSE(link.publisher().tend());
    } else {
      link.publisher().collect();
    }
    EXPECT_EQ(forged.state(), AdmissionState::evicted);
    EXPECT_EQ(forged.cause(), EvictionCause::invalid);
    const std::size_t expected = before == 2 ? 2 : 4;
    EXPECT_EQ(drain(*honest).size(), expected) << "the others get what it had not settled";
  }
}

TEST(ForgedMember, WhoIsNotActiveIsGivenNothing) {
  LocalLink link(group_stream());
  ForgedReader forged(link.publisher(), worker(4));
  const ReaderPtr honest = link.attach(worker(4));
  ForgedReader::put(forged.page().sleeping.state, 77);
  publish(link, 1, 2);
  EXPECT_EQ(drain(*honest), (Numbers{1, 2}));
  EXPECT_EQ(value(forged.group_wake().assignments.assigned), 0u);
}

TEST(ForgedMember, ItsOtherCursorsMeanNothing) {
  LocalLink link(group_stream());
  ForgedReader forged(link.publisher(), worker(4));
  for (std::size_t i = 1; i < kMaxLanes; ++i) {
    ForgedReader::put(forged.page().cursor[i], ~std::uint64_t{0});
  }
  publish(link, 1, 4);
  link.publisher().collect();
  EXPECT_EQ(forged.state(), AdmissionState::attached);
  EXPECT_EQ(value(forged.group_wake().assignments.assigned), 4u);
  EXPECT_EQ(value(forged.group_wake().ring[3]), assignment_word(0, 0, 4));
}

TEST(Membership, IsRefusedWithoutANameOrCredits) {
  LocalLink link(group_stream());
  const auto why = [&](const SubscriptionOptions& options) {
    const auto result = link.try_attach(options);
    return result ? "(admitted)" : result.error().message;
  };
  EXPECT_NE(why(worker(8, "")).find("name of a group"), std::string::npos);
  const std::string too_long(32, 'x');
  EXPECT_NE(why(worker(8, too_long.c_str())).find("31 bytes"), std::string::npos);
  EXPECT_NE(why(worker(0)).find("credits = 0"), std::string::npos);
  EXPECT_NE(why(worker(257)).find("1 to 256"), std::string::npos);
  EXPECT_EQ(why(worker(256)), "(admitted)");
}

TEST(Membership, GroupsThatNobodyIsInMakeRoomForOthers) {
  StreamOptions options = group_stream();
  options.max_readers = 2;
  LocalLink link(options);
  for (int i = 0; i < 10; ++i) {
    const std::string name = "group " + std::to_string(i);
    const ReaderPtr reader = link.attach(worker(8, name.c_str()));
    publish(link, 1, 1);
    EXPECT_EQ(drain(*reader), Numbers{1});
    link.publisher().detach(link.last_reader_id());
  }
  ReaderPtr last = link.attach(worker(8, "group 9"));
  EXPECT_FALSE(last->ready()) << "it is where it was";
}

TEST(Membership, AFullRingOfCreditsGoesRound) {
  LocalLink link(group_stream(512));
  SubscriptionOptions options = worker(256);
  options.max_held = 256;
  const ReaderPtr a = link.attach(options);
  std::uint64_t published = 0;
  std::uint64_t expected = 0;
  for (int round = 0; round < 5; ++round) {
    publish(link, published + 1, published + 300);
    published += 300;
    while (expected < published) {
      std::vector<Sample> held = take_all(*a);
      ASSERT_FALSE(held.empty());
      EXPECT_LE(held.size(), 256u);
      for (Sample& sample : held) {
        ASSERT_EQ(number_of(sample), ++expected);
        a->acknowledge(std::move(sample));
      }
      link.publisher().tend();
    }
  }
}

// --- at random
// ------------------------------------------------------------------------------------

struct Worker {
  ReaderPtr reader;
  std::uint32_t id = 0;
  std::deque<Sample> held;
};

// Workers come, take, acknowledge and reject in any order, and go, with members and lanes at
// random. With `deaths` they also vanish with what they hold.
void at_random(unsigned seed, bool deaths) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const auto one_of = [&](std::uint64_t n) { return random() % n; };
  StreamOptions options = group_stream();
  options.on_full = OnFull::fail;
  options.lanes.clear();
  for (std::uint64_t i = 0; i <= one_of(3); ++i) {
    options.lanes.push_back({static_cast<std::uint32_t>(1 + one_of(20)), 0});
  }
  LocalLink link(options);
  std::vector<Worker> workers;
  const auto come = [&] {
    SubscriptionOptions o = worker(static_cast<std::uint32_t>(1 + one_of(6)));
    auto reader = link.try_attach(o);
    ASSERT_TRUE(reader);
    workers.push_back({std::move(*reader), link.last_reader_id(), {}});
  };
  come();
  std::map<std::uint64_t, unsigned> acknowledged;
  std::map<std::uint64_t, unsigned> seen;
  std::uint64_t published = 0;
  bool finishing = false;
  const auto step = [&](Worker& w) {
    if (w.held.size() < 6 && one_of(2) == 0) {
      if (Sample sample = w.reader->take()) {
        const std::uint64_t n = number_of(sample);
        ASSERT_NE(n, kBroken);
        EXPECT_EQ(acknowledged[n] == 0 || deaths, true) << n;
        EXPECT_EQ(sample.info().deliveries_before, std::min(seen[n], 255u)) << n;
        EXPECT_EQ(sample.info().redelivered, seen[n] != 0) << n;
        ++seen[n];
        w.held.push_back(std::move(sample));
      }
    } else if (!w.held.empty()) {
      std::swap(w.held.front(), w.held[one_of(w.held.size())]);
      if (!finishing && one_of(4) == 0) {
        w.reader->reject(std::move(w.held.front()));
        w.held.pop_front();
        return;
      }
      ++acknowledged[number_of(w.held.front())];
      w.reader->acknowledge(std::move(w.held.front()));
      w.held.pop_front();
    }
  };
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t what = one_of(10);
    if (what < 3) {
      const auto lane = static_cast<Priority>(one_of(options.lanes.size()));
      if (publish_number(link.publisher(), published + 1, 64, lane) == Outcome::ok) ++published;
    } else if (what == 3 && workers.size() < 4) {
      come();
    } else if (what == 4 && deaths && workers.size() > 1 && one_of(4) == 0) {
      const std::size_t at = one_of(workers.size());
      link.publisher().detach(workers[at].id);
      workers[at].held.clear();
      workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(at));
    } else if (what == 5) {
      link.publisher().tend();
    } else if (what == 6 && one_of(4) == 0) {
      link.publisher().collect();
    } else {
      step(workers[one_of(workers.size())]);
    }
    if (testing::Test::HasFatalFailure()) return;
  }
  finishing = true;
  for (int idle = 0; idle < 1000; ++idle) {
    for (Worker& w : workers) step(w);
    link.publisher().tend();
  }
  ASSERT_EQ(acknowledged.size(), published) << "every entry";
  for (const auto& [n, times] : acknowledged) {
    if (!deaths) {
      EXPECT_EQ(times, 1u) << n;
    }
  }
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u);
}

TEST(GroupAtRandom, EachEntryIsAcknowledgedOnceWhenNobodyDies) {
  for (unsigned seed = 1; seed <= 40; ++seed) at_random(seed, false);
}
TEST(GroupAtRandom, EachEntryIsAcknowledgedAtLeastOnceWhenMembersDie) {
  for (unsigned seed = 1; seed <= 40; ++seed) at_random(seed, true);
}

}  // namespace
}  // namespace sluice::shm
