// take: the delivery modes, every outcome, every cause of loss, and the life of a sample.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

TEST(Samples, ShowThePublishersBytesInPlace) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 42, 48);
  Sample sample = reader->take();
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample.outcome(), Outcome::ok);
  EXPECT_EQ(sample.size(), 48u);
  EXPECT_EQ(sample.bytes().size(), 48u);
  EXPECT_EQ(number_of(sample), 42u);
  EXPECT_EQ(reader->held(), 1u);
  Sample moved = std::move(sample);
  EXPECT_FALSE(sample);
  EXPECT_FALSE(sample.intact());
  EXPECT_EQ(reader->held(), 1u);
  moved.release();
  EXPECT_FALSE(moved);
  EXPECT_EQ(moved.outcome(), Outcome::empty);
  EXPECT_EQ(moved.data(), nullptr);
  EXPECT_EQ(reader->held(), 0u);
  moved.release();  // nothing happens
  EXPECT_EQ(reader->held(), 0u);
}

TEST(Samples, ReleaseWhatTheyHeldWhenAssigned) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  publish_number(link.publisher(), 2);
  Sample sample = reader->take();
  sample = reader->take();
  EXPECT_EQ(reader->held(), 1u);
  EXPECT_EQ(number_of(sample), 2u);
}

TEST(Samples, OutliveTheirReader) {
  StreamOptions options = small_stream(2);
  options.pools = {{64, 4}};
  LocalLink link(options);
  ReaderPtr reader = link.attach({.max_held = 2});
  publish_number(link.publisher(), 1);
  publish_number(link.publisher(), 2);
  Sample one = reader->take();
  Sample two = reader->take();
  reader.reset();
  for (std::uint64_t i = 3; i < 30; ++i)
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(number_of(one), 1u);
  one.release();
  EXPECT_EQ(number_of(two), 2u);
}

TEST(Samples, OutliveReaderAndPublisher) {
  Sample sample;
  {
    LocalLink link(small_stream());
    ReaderPtr reader = link.attach({});
    publish_number(link.publisher(), 7);
    sample = reader->take();
  }
  EXPECT_EQ(number_of(sample), 7u);
}

TEST(Samples, AreReleasedInAnyThread) {
  StreamOptions options = small_stream(16);
  options.max_held = 16;
  LocalLink link(options);
  ReaderPtr reader = link.attach({.max_held = 16});
  for (int round = 0; round < 50; ++round) {
    std::array<std::vector<Sample>, 2> piles;
    for (std::uint64_t i = 0; i < 16; ++i) {
      ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
      piles[i % 2].push_back(reader->take());
    }
    std::jthread other([&] { piles[0].clear(); });
    piles[1].clear();
    other.join();
    ASSERT_EQ(reader->held(), 0u);
  }
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
}

TEST(Taking, FromAnEmptyStreamGivesNothing) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  EXPECT_EQ(reader->over(), Outcome::ok);
}

TEST(Taking, StopsAtTheQuota) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.max_held = 2});
  for (std::uint64_t i = 1; i <= 4; ++i) publish_number(link.publisher(), i);
  Sample one = reader->take();
  Sample two = reader->take();
  EXPECT_EQ(reader->take().outcome(), Outcome::quota);
  EXPECT_EQ(value(reader->counters().quota), 1u);
  one.release();
  EXPECT_EQ(number_of(reader->take()), 3u);
  EXPECT_EQ(lost(*reader), 0u);
}

TEST(Taking, GoesThroughTheLanesByPriority) {
  StreamOptions options = small_stream();
  options.lanes = {{4, 0}, {4, 0}, {4, 0}, {4, 0}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  for (const Priority p : {Priority::low, Priority::normal, Priority::high, Priority::critical}) {
    publish_number(link.publisher(), static_cast<std::uint64_t>(p), 64, p);
  }
  EXPECT_EQ(number_of(reader->take()), 0u);
  EXPECT_EQ(number_of(reader->take()), 1u);
  publish_number(link.publisher(), 100, 64, Priority::critical);
  EXPECT_EQ(number_of(reader->take()), 100u);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{2, 3}));
}

TEST(Latest, SeesTheNewestAndCountsWhatItSkipped) {
  LocalLink link(small_stream(8));
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::latest});
  publish_number(link.publisher(), 1);
  EXPECT_EQ(number_of(reader->take()), 1u);
  for (std::uint64_t i = 2; i <= 6; ++i) publish_number(link.publisher(), i);
  EXPECT_EQ(number_of(reader->take()), 6u);
  EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  for (std::uint64_t i = 7; i <= 100; ++i) publish_number(link.publisher(), i);
  EXPECT_EQ(number_of(reader->take()), 100u);
  EXPECT_EQ(taken(*reader), 3u);
  EXPECT_EQ(lost(*reader, LossCause::policy), 97u);
  EXPECT_EQ(lost(*reader), 97u);
}

TEST(Next, SeesEveryEntryWhileItKeepsUp) {
  LocalLink link(small_stream(4));
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 0; i < 400; i += 4) {
    for (std::uint64_t k = 0; k < 4; ++k) publish_number(link.publisher(), i + k);
    EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{i, i + 1, i + 2, i + 3}));
  }
  EXPECT_EQ(lost(*reader), 0u);
}

TEST(Next, JumpsToTheOldestStillThereAndCountsTheRest) {
  for (const std::uint32_t depth : {1u, 2u, 3u, 4u, 5u, 8u}) {
    for (std::uint64_t published = 1; published <= 40; ++published) {
      LocalLink link(small_stream(depth));
      const ReaderPtr reader = link.attach({});
      for (std::uint64_t i = 1; i <= published; ++i) publish_number(link.publisher(), i);
      const auto numbers = drain(*reader);
      const std::uint64_t kept = std::min<std::uint64_t>(depth, published);
      ASSERT_EQ(numbers.size(), kept);
      EXPECT_EQ(numbers.front(), published - kept + 1);
      EXPECT_EQ(numbers.back(), published);
      EXPECT_EQ(lost(*reader, LossCause::full), published - kept);
      EXPECT_EQ(taken(*reader) + lost(*reader), published);
    }
  }
}

TEST(Next, IsNotOvertakenWhileItHolds) {
  StreamOptions options = small_stream(2);
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.max_held = 1});
  publish_number(link.publisher(), 1);
  const Sample held = reader->take();
  for (std::uint64_t i = 2; i <= 50; ++i) publish_number(link.publisher(), i);
  EXPECT_EQ(number_of(held), 1u);
}

TEST(Reliable, KeepsEntriesUntilTheyAreAcknowledged) {
  StreamOptions options = small_stream(3);
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 3; ++i) publish_number(link.publisher(), i);
  Sample one = reader->take();
  EXPECT_EQ(publish_number(link.publisher(), 4), Outcome::full);
  reader->acknowledge(one);
  EXPECT_EQ(publish_number(link.publisher(), 4), Outcome::ok);
  EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full);
  EXPECT_EQ(number_of(one), 1u) << "an acknowledged sample may still be held";
  EXPECT_EQ(value(reader->counters().acknowledged), 1u);
}

TEST(Reliable, AcceptsAcknowledgementsInAnyOrder) {
  StreamOptions options = small_stream(4);
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 4; ++i) publish_number(link.publisher(), i);
  std::array<Sample, 4> samples;
  ASSERT_EQ(reader->take(samples), 4u);
  for (const std::size_t i : {3u, 1u, 2u}) {
    reader->acknowledge(samples[i]);
    EXPECT_EQ(publish_number(link.publisher(), 5), Outcome::full);
  }
  reader->acknowledge(samples[0]);
  for (Sample& sample : samples) sample.release();
  for (std::uint64_t i = 5; i <= 8; ++i)
    EXPECT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  EXPECT_EQ(publish_number(link.publisher(), 9), Outcome::full);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{5, 6, 7, 8}));
  EXPECT_EQ(lost(*reader), 0u);
}

TEST(Reliable, ReleasesASampleThatIsHandedOverBeforeItIsAcknowledged) {
  StreamOptions options = small_stream(2);
  options.pools = {{64, 2}};
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable, .max_held = 2});
  const ReaderPtr other = link.attach({.max_held = 1});
  for (std::uint64_t i = 0; i < 20; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    Sample sample = reader->take();
    ASSERT_EQ(number_of(sample), i);
    reader->acknowledge(std::move(sample));
    EXPECT_FALSE(sample);
    EXPECT_EQ(reader->held(), 0u);
    ASSERT_EQ(value(reader->counters().acknowledged), i + 1);
    // One that is not ours is released all the same.
    Sample foreign = other->take();
    reader->acknowledge(std::move(foreign));
    EXPECT_EQ(other->held(), 0u);
    ASSERT_EQ(value(reader->counters().acknowledged), i + 1);
  }
}

TEST(Reliable, CountsAnAcknowledgementOnce) {
  LocalLink link(small_stream(4));
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (std::uint64_t i = 1; i <= 2; ++i) publish_number(link.publisher(), i);
  Sample one = reader->take();
  Sample two = reader->take();
  for (int i = 0; i < 3; ++i) reader->acknowledge(two);
  for (int i = 0; i < 3; ++i) reader->acknowledge(one);
  EXPECT_EQ(value(reader->counters().acknowledged), 2u);
}

TEST(Reliable, WrapsRoundTheRingOutOfOrder) {
  StreamOptions options = small_stream(5);
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  std::uint64_t expected = 0;
  std::uint64_t next = 0;
  for (int round = 0; round < 60; ++round) {
    while (publish_number(link.publisher(), next) == Outcome::ok) ++next;
    std::array<Sample, 3> samples;
    const std::size_t n = reader->take(samples);
    ASSERT_GT(n, 0u);
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(number_of(samples[i]), expected++);
    for (std::size_t i = n; i-- > 0;) reader->acknowledge(samples[i]);
  }
  EXPECT_EQ(lost(*reader), 0u);
}

TEST(Acknowledging, DoesNothingInOtherModesOrForOthersSamples) {
  LocalLink link(small_stream());
  const ReaderPtr next = link.attach({});
  const ReaderPtr reliable = link.attach({.mode = DeliveryMode::reliable});
  publish_number(link.publisher(), 1);
  const Sample sample = next->take();
  next->acknowledge(sample);
  reliable->acknowledge(sample);
  next->acknowledge(Sample{});
  EXPECT_EQ(value(next->counters().acknowledged), 0u);
  EXPECT_EQ(value(reliable->counters().acknowledged), 0u);
}

TEST(Expiry, DropsMessagesThatAreTooOld) {
  LocalLink link(small_stream());
  for (const DeliveryMode mode :
       {DeliveryMode::next, DeliveryMode::reliable, DeliveryMode::latest}) {
    const ReaderPtr reader = link.attach({.mode = mode, .max_held = 1});
    for (std::uint64_t i = 1; i <= 3; ++i) {
      Loan loan = link.publisher().loan(64);
      write_number(loan.data(), 64, i);
      loan.headers.ttl_ms = i == 2 ? 0 : 1;
      link.publisher().publish(std::move(loan));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (mode == DeliveryMode::latest) {
      EXPECT_EQ(reader->take().outcome(), Outcome::empty);
      EXPECT_EQ(lost(*reader, LossCause::policy), 2u);
      EXPECT_EQ(lost(*reader, LossCause::expired), 1u);
    } else {
      EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{2});
      EXPECT_EQ(lost(*reader, LossCause::expired), 2u);
    }
    EXPECT_EQ(taken(*reader) + lost(*reader), 3u);
    EXPECT_EQ(reader->held(), 0u);
  }
}

TEST(Expiry, OfEverythingDoesNotBlockAReliableStream) {
  StreamOptions options = small_stream(2);
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 2; ++i) {
      Loan loan = link.publisher().loan(64);
      ASSERT_TRUE(loan);
      loan.headers.ttl_ms = 1;
      link.publisher().publish(std::move(loan));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  }
  EXPECT_EQ(lost(*reader, LossCause::expired), 6u);
}

TEST(Expiry, NeverHappensBeforeTheTime) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  Loan loan = link.publisher().loan(64);
  loan.headers.ttl_ms = 3'600'000;
  link.publisher().publish(std::move(loan));
  EXPECT_TRUE(reader->take());
}

TEST(EvictedReaders, LearnItAndCountWhatTheyMissedByCause) {
  StreamOptions options = small_stream(4);
  options.on_full = OnFull::evict;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable, .max_held = 1});
  for (std::uint64_t i = 1; i <= 4; ++i) publish_number(link.publisher(), i);
  Sample held = reader->take();
  EXPECT_TRUE(held.intact());
  for (std::uint64_t i = 5; i <= 20; ++i) publish_number(link.publisher(), i);
  EXPECT_FALSE(held.intact());
  EXPECT_EQ(reader->over(), Outcome::evicted);
  held.release();
  EXPECT_EQ(reader->take().outcome(), Outcome::evicted);
  EXPECT_EQ(reader->take().outcome(), Outcome::evicted);
  // Four entries were published while it was admitted; it took one of them.
  EXPECT_EQ(taken(*reader), 1u);
  EXPECT_EQ(lost(*reader, LossCause::evicted), 3u);
  EXPECT_EQ(lost(*reader), 3u);
}

// The entries of an evicted reader may still lie in the ring: they are lost, not taken.
TEST(EvictedReaders, CountNothingAsTakenThatTheyDidNotGet) {
  for (const DeliveryMode mode :
       {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable}) {
    StreamOptions options = small_stream(8);
    options.lanes = {{8, 0}, {8, 0}};
    LocalLink link(options);
    const ReaderPtr reader = link.attach({.mode = mode});
    for (std::uint64_t i = 1; i <= 3; ++i) {
      publish_number(link.publisher(), i);
      publish_number(link.publisher(), i, 64, Priority::high);
    }
    // Its own page, forged: the publisher evicts it at the next look.
    auto* page = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(&reader->counters())) -
                 offsetof(ReaderPage, counters);
    reinterpret_cast<ReaderPage*>(page)->cursor[0].store(1000);
    link.publisher().collect();
    ASSERT_EQ(reader->over(), Outcome::evicted);
    for (std::uint64_t i = 4; i <= 6; ++i) publish_number(link.publisher(), i);
    EXPECT_EQ(reader->take().outcome(), Outcome::evicted);
    EXPECT_EQ(taken(*reader), 0u) << "mode " << static_cast<int>(mode);
    EXPECT_EQ(lost(*reader), 6u) << "mode " << static_cast<int>(mode);
    EXPECT_EQ(lost(*reader, LossCause::evicted), 6u) << "mode " << static_cast<int>(mode);
    EXPECT_EQ(reader->held(), 0u);
  }
}

TEST(EndedStreams, AreDrainedFirst) {
  for (const DeliveryMode mode :
       {DeliveryMode::latest, DeliveryMode::next, DeliveryMode::reliable}) {
    LocalLink link(small_stream());
    const ReaderPtr reader = link.attach({.mode = mode});
    for (std::uint64_t i = 1; i <= 5; ++i) publish_number(link.publisher(), i);
    link.publisher().end();
    EXPECT_EQ(reader->over(), Outcome::ok);
    EXPECT_EQ(reader->wait(soon()), Outcome::ok);
    const auto numbers = drain(*reader);
    EXPECT_EQ(numbers.size(), mode == DeliveryMode::latest ? 1u : 5u);
    EXPECT_EQ(numbers.back(), 5u);
    EXPECT_EQ(reader->take().outcome(), Outcome::ended);
    EXPECT_EQ(reader->wait(soon()), Outcome::ended);
    EXPECT_EQ(reader->over(), Outcome::ended);
  }
}

// A stream whose publisher writes what it wants: the control segment is changed behind its back.
class ForgedStreams : public testing::Test {
 protected:
  ForgedStreams() : link_(small_stream(8)), reader_(link_.attach({})) {
    auto* control = const_cast<std::byte*>(link_.publisher().control());
    ring_ = reinterpret_cast<Entry*>(control + link_.publisher().geometry().lanes[0].ring_offset);
    heads_ = reinterpret_cast<HeadLine*>(control + kHeadOffset);
  }
  LocalLink link_;
  ReaderPtr reader_;
  Entry* ring_;
  HeadLine* heads_;
};

TEST_F(ForgedStreams, WithASlotOutOfRangeLoseTheEntryAsInvalid) {
  for (std::uint64_t i = 1; i <= 3; ++i) publish_number(link_.publisher(), i);
  ring_[1].place.store(std::uint64_t{link_.publisher().geometry().slot_limit} | 64ull << 32);
  ring_[2].place.store(0xffff'ffff);
  EXPECT_EQ(drain(*reader_), std::vector<std::uint64_t>{3});
  EXPECT_EQ(lost(*reader_, LossCause::invalid), 2u);
}

TEST_F(ForgedStreams, WithASizeBeyondTheSlotLoseTheEntryAsInvalid) {
  for (std::uint64_t i = 1; i <= 3; ++i) publish_number(link_.publisher(), i);
  const std::uint64_t slot = ring_[2].place.load() & 0xffff'ffff;
  ring_[2].place.store(slot | std::uint64_t{65} << 32);
  EXPECT_EQ(drain(*reader_), (std::vector<std::uint64_t>{1, 3}));
  EXPECT_EQ(lost(*reader_, LossCause::invalid), 1u);
  EXPECT_EQ(reader_->held(), 0u);
}

TEST_F(ForgedStreams, OfInvalidEntriesOnlyDoNotCatchTheReader) {
  for (std::uint64_t i = 0; i < 8; ++i) {
    ring_[i].place.store(0xffff'ffff);
    ring_[i].sequence.store(i == 0 ? 8 : i);
  }
  heads_->head[0].store(UINT64_MAX);
  EXPECT_EQ(reader_->take().outcome(), Outcome::empty);
  EXPECT_EQ(lost(*reader_, LossCause::invalid), 8u);
}

TEST_F(ForgedStreams, WithRandomWordsGiveOnlyWhatLiesInside) {
  std::uint64_t state = 99;
  const auto next = [&] { return state = state * 6364136223846793005u + 1442695040888963407u; };
  for (int round = 0; round < 2000; ++round) {
    for (std::uint64_t i = 0; i < 8; ++i) {
      auto* words = reinterpret_cast<Word64*>(&ring_[i]);
      for (int k = 1; k < 8; ++k) words[k].store(next() >> (next() % 64));
      words[0].store(next() % 4 == 0 ? next() : static_cast<std::uint64_t>(round) + next() % 16);
    }
    heads_->head[0].store(next() >> (next() % 64));
    heads_->tail[0].store(next() >> (next() % 64));
    for (int i = 0; i < 4; ++i) {
      const Sample sample = reader_->take();
      if (!sample) break;
      ASSERT_LE(sample.size(), 64u);
      std::uint64_t sum = 0;
      for (const std::byte b : sample.bytes()) sum += static_cast<std::uint64_t>(b);
      ASSERT_LE(sum, 64 * 255u);
    }
    ASSERT_EQ(reader_->held(), 0u);
  }
}

}  // namespace
}  // namespace sluice::shm
