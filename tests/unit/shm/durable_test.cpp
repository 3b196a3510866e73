// Groups whose place is kept while they have no member.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace sluice::shm {
namespace {

using namespace test;
using Numbers = std::vector<std::uint64_t>;

SubscriptionOptions durable(std::uint32_t credits = 8, const char* group = "kept") {
  SubscriptionOptions options{
      .mode = DeliveryMode::group, .max_held = 8, .group = group, .credits = credits};
  options.durable = true;
  return options;
}

StreamOptions stream(OnFull on_full = OnFull::fail, std::uint32_t depth = 4) {
  StreamOptions options = small_stream(depth);
  options.max_held = 64;
  options.on_full = on_full;
  return options;
}

Outcome publish(LocalLink& link, std::uint64_t number) {
  return publish_number(link.publisher(), number);
}

// What was published last, as far as handled_by() asks for it.
Reference last(LocalLink& link) {
  return {link.publisher().geometry().stream_id, link.publisher().last_sequence(0), 0, 0};
}

void come_and_go(LocalLink& link, const SubscriptionOptions& options = durable()) {
  const ReaderPtr member = link.attach(options);
  link.publisher().detach(link.last_reader_id());
}

std::uint64_t dropped(LocalLink& link) { return value(link.publisher().counters().dropped); }

TEST(Durable, KeepsEverythingUntilTheNextMemberComes) {
  LocalLink link(stream());
  {
    const ReaderPtr first = link.attach(durable());
    EXPECT_EQ(publish(link, 1), Outcome::ok);
    EXPECT_EQ(publish(link, 2), Outcome::ok);
    Sample taken = first->take();
    ASSERT_EQ(number_of(taken), 1u);
    link.publisher().detach(link.last_reader_id());
  }
  EXPECT_TRUE(link.publisher().tend()) << "it wants to be looked at";
  EXPECT_EQ(publish(link, 3), Outcome::ok);
  EXPECT_EQ(publish(link, 4), Outcome::ok);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(publish(link, 5), Outcome::full);
  EXPECT_EQ(link.publisher().backlog(Priority::critical), 4u);
  const ReaderPtr next = link.attach(durable());
  for (std::uint64_t n = 1; n <= 4; ++n) {
    Sample sample = next->take();
    ASSERT_EQ(number_of(sample), n);
    EXPECT_EQ(sample.info().redelivered, n == 1) << n;
    next->acknowledge(std::move(sample));
  }
  EXPECT_EQ(publish(link, 5), Outcome::ok);
  EXPECT_EQ(drain(*next), Numbers{5});
  EXPECT_EQ(dropped(link), 0u);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u);
}

TEST(Durable, StartsWithItsFirstMember) {
  LocalLink link(stream());
  EXPECT_EQ(publish(link, 1), Outcome::ok);
  come_and_go(link);
  EXPECT_EQ(publish(link, 2), Outcome::ok);
  const ReaderPtr member = link.attach(durable());
  EXPECT_EQ(drain(*member), Numbers{2});
}

TEST(Durable, APlaceIsKeptForWhoHasNotComeYet) {
  LocalLink link(stream());
  EXPECT_EQ(publish(link, 1), Outcome::ok);
  ASSERT_TRUE(link.publisher().keep_place("kept"));
  EXPECT_EQ(publish(link, 2), Outcome::ok);
  const Reference second = last(link);
  EXPECT_EQ(link.publisher().handled_by(second, "kept"), Outcome::empty);
  EXPECT_EQ(link.publisher().handled_by(second, "other"), Outcome::no_subscriber);
  ASSERT_TRUE(link.publisher().keep_place("kept")) << "again: nothing changes";
  for (std::uint64_t n = 3; n <= 5; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  EXPECT_EQ(publish(link, 6), Outcome::full) << "nothing of it goes";
  const ReaderPtr member = link.attach(durable());
  EXPECT_EQ(drain(*member).size(), 4u) << "all but what came before the place was kept";
  EXPECT_EQ(link.publisher().handled_by(second, "kept"), Outcome::ok);
  EXPECT_EQ(publish(link, 6), Outcome::ok);
  EXPECT_EQ(dropped(link), 0u);
}

TEST(Durable, APlaceThatNobodyComesForIsGivenUp) {
  StreamOptions options = stream();
  options.durable_keep_ns = 200'000'000;
  LocalLink link(options);
  ASSERT_TRUE(link.publisher().keep_place("kept"));
  EXPECT_EQ(publish(link, 1), Outcome::ok);
  const Reference first = last(link);
  while (link.publisher().tend()) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  EXPECT_EQ(link.publisher().handled_by(first, "kept"), Outcome::evicted);
  EXPECT_EQ(dropped(link), 1u);
  for (std::uint64_t n = 2; n <= 20; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
}

TEST(Durable, IsForgottenWhenItWasKeptLongEnough) {
  StreamOptions options = stream();
  options.durable_keep_ns = 0;
  LocalLink link(options);
  {
    const ReaderPtr first = link.attach(durable());
    for (std::uint64_t n = 1; n <= 3; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
    first->acknowledge(first->take());
    link.publisher().detach(link.last_reader_id());
  }
  EXPECT_FALSE(link.publisher().tend());
  EXPECT_EQ(dropped(link), 2u);
  for (std::uint64_t n = 4; n <= 40; ++n) EXPECT_EQ(publish(link, n), Outcome::ok) << n;
  EXPECT_EQ(dropped(link), 2u) << "once";
  const ReaderPtr next = link.attach(durable());
  EXPECT_EQ(publish(link, 41), Outcome::ok);
  EXPECT_EQ(drain(*next), Numbers{41}) << "who comes later begins anew";
  const Reference second{link.publisher().geometry().stream_id, 2, 0, 0};
  EXPECT_EQ(link.publisher().wait_reached(second, ReachLevel::handled, 0), Outcome::evicted);
}

TEST(Durable, TheTimeRunsFromItsLastMember) {
  StreamOptions options = stream();
  options.durable_keep_ns = 200'000'000;
  LocalLink link(options);
  for (int i = 0; i < 3; ++i) {
    come_and_go(link);
    EXPECT_EQ(dropped(link), 0u);
  }
  EXPECT_EQ(publish(link, 1), Outcome::ok);
  const std::uint64_t until = soon();
  while (link.publisher().tend() && now_ns() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  EXPECT_EQ(dropped(link), 1u);
}

TEST(Durable, IsNotWaitedForLongerThanItsTimeByALoan) {
  StreamOptions options = stream(OnFull::wait);
  options.durable_keep_ns = 30'000'000;
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  come_and_go(link);
  for (std::uint64_t n = 1; n <= 5; ++n) EXPECT_EQ(publish(link, n), Outcome::ok) << n;
  EXPECT_EQ(dropped(link), 4u);
}

TEST(Durable, ALoanWaitsForTheNextMember) {
  StreamOptions options = stream(OnFull::wait);
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  come_and_go(link);
  for (std::uint64_t n = 1; n <= 4; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  Numbers seen;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    const ReaderPtr member = link.attach(durable());
    const std::uint64_t until = soon();
    while (seen.size() < 5 && now_ns() < until) {
      const Numbers more = drain(*member);
      seen.insert(seen.end(), more.begin(), more.end());
      link.publisher().tend();
    }
    link.publisher().detach(link.last_reader_id());
  });
  EXPECT_EQ(publish(link, 5), Outcome::ok);
  other.join();
  EXPECT_EQ(seen, (Numbers{1, 2, 3, 4, 5}));
  EXPECT_EQ(dropped(link), 0u);
}

TEST(Durable, ALoanWaitsInVainUntilItsDeadline) {
  StreamOptions options = stream(OnFull::wait);
  options.full_timeout_ns = 20'000'000;
  LocalLink link(options);
  come_and_go(link);
  for (std::uint64_t n = 1; n <= 4; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  EXPECT_EQ(publish(link, 5), Outcome::full);
  EXPECT_EQ(value(link.publisher().counters().full_waits), 1u);
  const ReaderPtr member = link.attach(durable());
  EXPECT_EQ(drain(*member), (Numbers{1, 2, 3, 4}));
}

TEST(Durable, ItsPlaceGoesWhereThePublisherEvicts) {
  LocalLink link(stream(OnFull::evict));
  come_and_go(link);
  for (std::uint64_t n = 1; n <= 5; ++n) EXPECT_EQ(publish(link, n), Outcome::ok) << n;
  EXPECT_EQ(dropped(link), 4u);
  EXPECT_EQ(value(link.publisher().counters().evicted), 0u) << "nobody was there";
  EXPECT_FALSE(link.publisher().tend());
}

TEST(Durable, ItsOldestGoesWhereThePublisherDrops) {
  LocalLink link(stream(OnFull::drop));
  come_and_go(link);
  for (std::uint64_t n = 1; n <= 10; ++n) EXPECT_EQ(publish(link, n), Outcome::ok) << n;
  EXPECT_EQ(dropped(link), 6u);
  const ReaderPtr member = link.attach(durable());
  EXPECT_EQ(drain(*member), (Numbers{7, 8, 9, 10}));
}

TEST(Durable, AllMembersAgree) {
  LocalLink link(stream());
  const auto why = [&](const SubscriptionOptions& options) {
    const auto result = link.try_attach(options);
    return result ? "(admitted)" : result.error().message;
  };
  SubscriptionOptions other = durable();
  other.durable = false;
  const ReaderPtr first = link.attach(durable());
  EXPECT_NE(why(other).find("'kept' is durable"), std::string::npos) << why(other);
  link.publisher().detach(link.last_reader_id());
  EXPECT_NE(why(other).find("'kept' is durable"), std::string::npos) << "its place is kept";
  other.group = "loose";
  const ReaderPtr second = link.attach(other);
  const std::uint32_t id = link.last_reader_id();
  EXPECT_NE(why(durable(8, "loose")).find("'loose' is not durable"), std::string::npos);
  link.publisher().detach(id);
  EXPECT_EQ(why(durable(8, "loose")), "(admitted)") << "nobody is left who did not want it";
}

TEST(Durable, IsForGroupsOnly) {
  LocalLink link(stream());
  SubscriptionOptions options{.mode = DeliveryMode::reliable};
  options.durable = true;
  const auto result = link.try_attach(options);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("only groups"), std::string::npos);
}

TEST(Durable, AWaitForTheMessageGoesOnWhileNobodyIsThere) {
  LocalLink link(stream());
  come_and_go(link);
  EXPECT_EQ(publish(link, 1), Outcome::ok);
  const Reference message{link.publisher().geometry().stream_id, 1, 0, 0};
  EXPECT_EQ(link.publisher().wait_reached(message, ReachLevel::handled, deadline_in(5'000'000)),
            Outcome::timeout);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    const ReaderPtr member = link.attach(durable());
    const std::uint64_t until = soon();
    while (drain(*member).empty() && now_ns() < until) link.publisher().tend();
    link.publisher().detach(link.last_reader_id());
  });
  EXPECT_EQ(link.publisher().wait_reached(message, ReachLevel::handled, soon()), Outcome::ok);
  other.join();
}

// More names than there can be readers: places that are kept go last, and are counted.
TEST(Durable, PlacesMakeRoomForOthersWhenTheyAreTooMany) {
  StreamOptions options = stream();
  options.max_readers = 2;
  LocalLink link(options);
  for (const char* name : {"one", "two"}) come_and_go(link, durable(8, name));
  EXPECT_EQ(publish(link, 1), Outcome::ok);
  come_and_go(link, durable(8, "three"));
  EXPECT_EQ(dropped(link), 1u) << "the oldest place had one message";
  const ReaderPtr two = link.attach(durable(8, "two"));
  EXPECT_EQ(drain(*two), Numbers{1});
}

// --- the end of a stream
// ---------------------------------------------------------------------------

class Ending : public testing::Test {
 protected:
  // The counters outlive the publisher for who has mapped them.
  std::uint64_t dropped_at_the_end(LocalLink& link) {
    const StreamDescriptors stream = must(link.publisher().share());
    const View control = must(View::open(stream.control.get(), "a control segment"));
    link.close_publisher();
    return value(
        reinterpret_cast<const PublisherCounters*>(control.data() + kPublisherCountersOffset)
            ->dropped);
  }
};

TEST_F(Ending, CountsWhatNobodyWasGiven) {
  LocalLink link(stream());
  const ReaderPtr member = link.attach(durable(1));
  for (std::uint64_t n = 1; n <= 4; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  member->acknowledge(member->take());
  EXPECT_EQ(dropped_at_the_end(link), 3u);
}

TEST_F(Ending, CountsWhatWasKeptForADurableGroup) {
  LocalLink link(stream());
  come_and_go(link);
  for (std::uint64_t n = 1; n <= 3; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  EXPECT_EQ(dropped_at_the_end(link), 3u);
}

TEST_F(Ending, CountsWhatAGroupWithoutMembersHad) {
  LocalLink link(stream());
  SubscriptionOptions loose = durable();
  loose.durable = false;
  come_and_go(link, loose);
  for (std::uint64_t n = 1; n <= 3; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  EXPECT_EQ(dropped_at_the_end(link), 3u);
}

TEST_F(Ending, CountsNothingWhenAllIsSettled) {
  LocalLink link(stream());
  const ReaderPtr member = link.attach(durable());
  for (std::uint64_t n = 1; n <= 3; ++n) EXPECT_EQ(publish(link, n), Outcome::ok);
  EXPECT_EQ(drain(*member).size(), 3u);
  EXPECT_EQ(dropped_at_the_end(link), 0u);
}

}  // namespace
}  // namespace sluice::shm
