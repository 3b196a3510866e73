// Opening, starting, waiting, leaving.
#include "shm/reader.hpp"

#include "shm/histogram.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/process_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

class Opening : public testing::Test {
 protected:
  Opening() : arena_(must(Arena::create("readers"))) {
    StreamOptions options = small_stream();
    options.label = "lane keeper";
    options.pools = {{64, 0}, {page_bytes(), 0}};  // of different size, whatever a page is
    options.type_hash = 5;
    publisher_ = must(Publisher::create(options));
    stream_ = must(publisher_->share());
  }
  Error failure(const SubscriptionOptions& options = {}) {
    auto reader = Reader::open(stream_, options, arena_);
    EXPECT_FALSE(reader);
    EXPECT_EQ(arena_->used(), 0u) << "nothing stays behind";
    return reader ? Error{} : std::move(reader).error();
  }

  std::shared_ptr<Arena> arena_;
  PublisherPtr publisher_;
  StreamDescriptors stream_;
};

TEST_F(Opening, NeedsTheRightNumberOfPools) {
  stream_.pools.pop_back();
  const Error error = failure();
  EXPECT_EQ(error.code, Errc::untrusted);
  EXPECT_NE(error.message.find("lane keeper"), std::string::npos);
}

TEST_F(Opening, RefusesPoolsOfAnotherSize) {
  std::swap(stream_.pools[0], stream_.pools[1]);
  EXPECT_EQ(failure().code, Errc::untrusted);
}

TEST_F(Opening, RefusesAPoolInPlaceOfTheControlSegment) {
  std::swap(stream_.pools[0], stream_.control);
  EXPECT_EQ(failure().code, Errc::untrusted);
}

TEST_F(Opening, RefusesDescriptorsThatAreNotOpen) {
  stream_.control.reset();
  EXPECT_EQ(failure().code, Errc::untrusted);
}

TEST_F(Opening, RefusesAnotherPayloadType) {
  const Error error = failure({.type_hash = 6});
  EXPECT_EQ(error.code, Errc::refused);
  EXPECT_NE(error.message.find("lane keeper"), std::string::npos);
}

TEST_F(Opening, FailsWhenTheArenaIsFull) {
  const auto tiny = must(Arena::create("tiny", page_bytes()));
  while (tiny->allocate(64)) {
  }
  const auto reader = Reader::open(stream_, {}, tiny);
  ASSERT_FALSE(reader);
  EXPECT_EQ(reader.error().code, Errc::exhausted);
}

TEST_F(Opening, WritesAPageThatSaysWhoReads) {
  const ReaderPtr reader =
      must(Reader::open(stream_, {.mode = DeliveryMode::reliable, .max_held = 7}, arena_));
  const UniqueFd fd = must(arena_->share());
  const View view = must(View::open(fd.get(), "an arena"));
  const auto& page = *reinterpret_cast<const ReaderPage*>(view.data() + reader->page_offset());
  const IdentityLine& id = page.identity;
  EXPECT_EQ(page.sleeping.state.load(), static_cast<std::uint32_t>(ReaderState::active));
  EXPECT_EQ(id.mode.load(), static_cast<std::uint32_t>(DeliveryMode::reliable));
  EXPECT_EQ(id.max_held.load(), 7u);
  EXPECT_EQ(id.pid.load(), static_cast<std::uint32_t>(::getpid()));
  EXPECT_EQ(id.stream_id.load(), publisher_->geometry().stream_id);
  EXPECT_EQ(id.claim_pairs.load(), claim_pairs(publisher_->geometry().slot_limit));
}

TEST_F(Opening, RefusesToStartWithAWakePageOutsideOrNotAdmitted) {
  const auto wakes = must(Arena::create("wakes", page_bytes()));
  const UniqueFd fd = must(wakes->share());
  const auto view = std::make_shared<const View>(must(View::open(fd.get(), "wakes")));
  for (const std::uint64_t offset : {std::uint64_t{8}, std::uint64_t{page_bytes()},
                                     std::uint64_t{page_bytes() - 64}, ~std::uint64_t{63}}) {
    const ReaderPtr reader = must(Reader::open(stream_, {}, arena_));
    const auto started = reader->start(view, offset);
    ASSERT_FALSE(started) << offset;
    EXPECT_EQ(started.error().code, Errc::untrusted);
  }
  const ReaderPtr reader = must(Reader::open(stream_, {}, arena_));
  const auto started = reader->start(view, 0);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("admitted"), std::string::npos);
}

TEST(Waiting, EndsAtOnceWhenThereIsSomething) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  EXPECT_EQ(reader->wait(0), Outcome::ok);
  EXPECT_EQ(value(reader->counters().sleeps), 0u);
}

TEST(Waiting, EndsAtItsDeadline) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.spin_ns = 0});
  EXPECT_EQ(reader->wait(0), Outcome::timeout);
  const std::uint64_t deadline = deadline_in(3'000'000);
  EXPECT_EQ(reader->wait(deadline), Outcome::timeout);
  EXPECT_GE(now_ns(), deadline);
  EXPECT_EQ(value(reader->counters().sleeps), 2u);
}

TEST(Waiting, EndsWithAMessageFromAnotherThread) {
  for (const std::uint64_t spin_ns : {0, 20'000, 5'000'000}) {
    LocalLink link(small_stream());
    const ReaderPtr reader = link.attach({.spin_ns = spin_ns});
    std::jthread writer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      publish_number(link.publisher(), 1);
    });
    EXPECT_EQ(reader->wait(soon()), Outcome::ok);
    writer.join();
    EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{1});
  }
}

TEST(Waiting, EndsWithTheStream) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.spin_ns = 0});
  std::jthread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    link.publisher().end();
  });
  EXPECT_EQ(reader->wait(soon()), Outcome::ended);
  writer.join();
}

TEST(Waiting, EndsWithTheEviction) {
  StreamOptions options = small_stream(2);
  options.on_full = OnFull::evict;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable, .spin_ns = 0});
  std::vector<Sample> unacknowledged(2);
  for (std::uint64_t i = 0; i < 2; ++i) publish_number(link.publisher(), i);
  for (Sample& sample : unacknowledged) sample = reader->take();
  std::jthread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    Loan loan = link.publisher().loan(8);  // evicts, and publishes nothing
    EXPECT_TRUE(loan);
  });
  EXPECT_EQ(reader->wait(soon()), Outcome::evicted);
  writer.join();
}

TEST(Waiting, EndsWithTheDeathOfThePublishersProcess) {
  if (!pidfd_open(::getpid()).valid()) GTEST_SKIP() << "this kernel has no pidfd_open";
  Child child = Child::run([](int socket) {
    const PublisherPtr publisher = must(Publisher::create(small_stream()));
    const auto wakes = must(Arena::create("wakes"));
    must(admit_over(socket, *publisher, wakes));
    for (std::uint64_t i = 1; i <= 3; ++i) publish_number(*publisher, i);
    must(send_value(socket, 1));
    (void)receive_message(socket);
    return 0;
  });
  const auto arena = must(Arena::create("readers"));
  const ReaderPtr reader = must(attach_over(child.socket(), {.spin_ns = 0}, arena));
  must(receive_value<int>(child.socket()));
  EXPECT_EQ(number_of(reader->take()), 1u);
  child.kill();
  EXPECT_EQ(child.join(), 128 + SIGKILL);
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(reader->wait(soon()), Outcome::ended);
  EXPECT_EQ(reader->take().outcome(), Outcome::ended);
}

TEST(Waiting, EndsWhenAnotherThreadInterrupts) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.spin_ns = 0});
  for (int i = 0; i < 5; ++i) {
    std::jthread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
      reader->interrupt();
    });
    EXPECT_EQ(reader->wait(soon()), Outcome::interrupted);
  }
  EXPECT_EQ(reader->wait(0), Outcome::timeout) << "each interruption ends one wait";
  reader->interrupt();
  EXPECT_EQ(reader->wait(soon()), Outcome::interrupted) << "also one that begins later";
  reader->interrupt();
  EXPECT_EQ(reader->wait(0), Outcome::interrupted) << "even one whose deadline has passed";
}

TEST(Waiting, PrefersAMessageToAnInterruption) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  reader->interrupt();
  EXPECT_EQ(reader->wait(soon()), Outcome::ok);
  drain(*reader);
  EXPECT_EQ(reader->wait(0), Outcome::timeout);
}

TEST(Waiting, EndsWhenSomebodyKnowsThatThePublisherIsDead) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({.spin_ns = 0});
  publish_number(link.publisher(), 1);
  std::jthread witness([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    reader->mark_publisher_dead();
    reader->interrupt();
  });
  EXPECT_EQ(reader->wait(soon()), Outcome::ok);
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{1}) << "what was published is drained";
  EXPECT_EQ(reader->wait(soon()), Outcome::ended);
  witness.join();
  EXPECT_TRUE(reader->publisher_died());
  EXPECT_EQ(reader->over(), Outcome::ended);
  EXPECT_EQ(reader->take().outcome(), Outcome::ended);
}

TEST(Readers, CountWhatWaits) {
  StreamOptions options = small_stream(8);
  options.lanes = {{8, 0}, {8, 0}};
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  EXPECT_EQ(reader->waiting(), 0u);
  EXPECT_FALSE(reader->ready());
  for (std::uint64_t i = 0; i < 3; ++i) publish_number(link.publisher(), i);
  publish_number(link.publisher(), 9, 64, Priority::high);
  EXPECT_EQ(reader->waiting(), 4u);
  EXPECT_TRUE(reader->ready());
  drain(*reader);
  EXPECT_EQ(reader->waiting(), 0u);
}

// One message per millisecond of the stream is measured.
TEST(Readers, MeasureAgeAndProcessing) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 0; i < 4; ++i) {
    publish_number(link.publisher(), i);
    drain(*reader);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(histogram_count(reader->page().age), 4u);
  EXPECT_EQ(histogram_count(reader->page().processing), 4u);
  EXPECT_EQ(value(reader->counters().bytes), 4 * 64u);
}

TEST(Readers, MeasureNothingInAStreamWithoutStamps) {
  StreamOptions options = small_stream();
  options.stamp_publish_time = false;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  drain(*reader);
  EXPECT_EQ(histogram_count(reader->page().age), 0u);
  EXPECT_EQ(histogram_count(reader->page().processing), 0u);
}

TEST(ReaderPages, AreUsedAgainOnlyAfterThePublisherHasForgottenThem) {
  LocalLink link(small_stream());
  ReaderPtr reader = link.attach({});
  const std::uint64_t offset = reader->page_offset();
  reader.reset();
  const ReaderPtr second = link.attach({});
  EXPECT_NE(second->page_offset(), offset);
  link.publisher().collect();
  const ReaderPtr third = link.attach({});
  EXPECT_EQ(third->page_offset(), offset);
}

TEST(ReaderPages, ThatWereNeverAdmittedAreUsedAgainAtOnce) {
  LocalLink link(small_stream());
  const StreamDescriptors stream = must(link.publisher().share());
  ReaderPtr reader = must(Reader::open(stream, {}, link.reader_arena()));
  reader.reset();
  EXPECT_EQ(link.reader_arena()->used(), 0u);
}

// The publisher has admitted the page, and the answer was lost on the way.
TEST(ReaderPages, ThatAreForsakenTellThePublisherForEverThatTheirReaderIsGone) {
  LocalLink link(small_stream(2));
  const StreamDescriptors stream = must(link.publisher().share());
  SubscriptionOptions reliable;
  reliable.mode = DeliveryMode::reliable;
  ReaderPtr reader = must(Reader::open(stream, reliable, link.reader_arena()));
  const std::uint64_t offset = reader->page_offset();
  ASSERT_TRUE(link.admit(*reader, reliable));
  for (std::uint64_t i = 0; i < 2; ++i) {
    EXPECT_EQ(publish_number(link.publisher(), i), Outcome::ok);
  }
  EXPECT_NE(publish_number(link.publisher(), 2), Outcome::ok) << "it is waited for";
  reader->forsake_page();
  reader.reset();
  const ReaderPtr second = must(Reader::open(stream, {}, link.reader_arena()));
  EXPECT_NE(second->page_offset(), offset);
  EXPECT_EQ(publish_number(link.publisher(), 2), Outcome::ok);
  EXPECT_EQ(link.publisher().reader_count(), 0u);
}

}  // namespace
}  // namespace sluice::shm
