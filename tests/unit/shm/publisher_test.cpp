// Making a stream, sharing it, ending it.
#include "shm/publisher.hpp"

#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>

namespace sluice::shm {
namespace {

using namespace test;

TEST(Streams, AreNotMadeFromBadOptions) {
  StreamOptions options = small_stream();
  options.pools.clear();
  const auto publisher = Publisher::create(options);
  ASSERT_FALSE(publisher);
  EXPECT_EQ(publisher.error().code, Errc::invalid_argument);
}

TEST(Streams, AreSharedAsReadOnlyDescriptors) {
  StreamOptions options = small_stream();
  options.pools = {{64, 0}, {4096, 0}};
  const PublisherPtr publisher = must(Publisher::create(options));
  const StreamDescriptors stream = must(publisher->share());
  ASSERT_EQ(stream.pools.size(), 2u);
  EXPECT_EQ(::fcntl(stream.control.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  const View control = must(View::open(stream.control.get(), "control"));
  EXPECT_EQ(must(verify(control)).stream_id, publisher->geometry().stream_id);
}

TEST(Streams, CommitTheirSlotsOnlyWhenTheyAreUsed) {
  StreamOptions options = small_stream();
  options.pools = {{1 << 20, 16}};
  for (const bool at_once : {false, true}) {
    options.commit_at_creation = at_once;
    const PublisherPtr publisher = must(Publisher::create(options));
    const StreamDescriptors stream = must(publisher->share());
    const auto committed = [&] {
      struct stat status {};
      EXPECT_EQ(::fstat(stream.pools[0].get(), &status), 0);
      return static_cast<std::uint64_t>(status.st_blocks) * 512 /
             publisher->geometry().pools[0].slot_bytes;
    };
    EXPECT_EQ(committed(), at_once ? 16u : 0u);
    for (std::uint64_t i = 0; i < 20; ++i) publish_number(*publisher, i, 1 << 20);
    // Nobody reads, so two slots are enough for ever.
    EXPECT_LE(committed(), at_once ? 16u : 2u);
  }
}

TEST(Streams, EndOnceAndForGood) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  Loan outstanding = link.publisher().loan(8);
  ASSERT_TRUE(outstanding);
  link.publisher().end();
  link.publisher().end();
  EXPECT_EQ(link.publisher().loan(8).outcome(), Outcome::ended);
  EXPECT_EQ(link.publisher().publish(std::move(outstanding)), Outcome::ended);
  EXPECT_EQ(link.try_attach({}).error().code, Errc::refused);
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{1});
  EXPECT_EQ(reader->take().outcome(), Outcome::ended);
}

TEST(Streams, MayBeOutlivedByLoans) {
  LocalLink link(small_stream());
  Loan loan = link.publisher().loan(64);
  Loan another = link.publisher().loan(64);
  ASSERT_TRUE(another);
  link.close_publisher();
  write_number(loan.data(), loan.size(), 3);  // the memory is still there
  loan = Loan{};
  write_number(another.data(), another.size(), 4);
}

TEST(Streams, StayReadableWhenTheirPublisherHasGone) {
  LocalLink link(small_stream());
  const ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 1; i <= 3; ++i) publish_number(link.publisher(), i);
  Sample first = reader->take();
  link.close_publisher();
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(number_of(first), 1u);
  EXPECT_TRUE(first.intact());
  EXPECT_EQ(reader->take().outcome(), Outcome::ended);
  EXPECT_EQ(reader->wait(kNever), Outcome::ended);
}

// A process that makes and drops publishers must not fill its own arena or those of its readers.
TEST(Streams, LeaveNothingBehindInTheArenasWhenAllHaveGone) {
  const auto readers = must(Arena::create("readers"));
  const auto wakes = must(Arena::create("wakes"));
  const auto view_of = [](const Arena& arena) {
    const UniqueFd fd = must(arena.share());
    return std::make_shared<const View>(must(View::open(fd.get(), "an arena")));
  };
  for (int round = 0; round < 3; ++round) {
    PublisherPtr publisher = must(Publisher::create(small_stream()));
    const StreamDescriptors stream = must(publisher->share());
    ReaderPtr reader = must(Reader::open(stream, {}, readers));
    AttachRequest request;
    request.reader_arena = view_of(*readers);
    request.page_offset = reader->page_offset();
    request.wake_arena = wakes;
    const Admission admission = must(publisher->attach(std::move(request)));
    must(reader->start(view_of(*wakes), admission.wake_offset));
    publisher.reset();
    EXPECT_EQ(reader->take().outcome(), Outcome::ended) << "it must still learn how it ended";
    reader.reset();
  }
  EXPECT_EQ(wakes->used(), 0u);
  EXPECT_EQ(readers->used(), 0u);
}

// Thousands of slots that nobody ever uses cost no memory, in the control segment neither.
TEST(Streams, CommitTheRecordsOfSlotsWithTheSlots) {
  StreamOptions options = small_stream();
  options.max_held = 10'000;
  const auto committed = [](const Publisher& publisher) {
    struct stat status {};
    const StreamDescriptors stream = must(publisher.share());
    EXPECT_EQ(::fstat(stream.control.get(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  };
  const std::uint64_t records = sizeof(SlotRecord) * options.max_held;
  {
    const PublisherPtr publisher = must(Publisher::create(options));
    const std::uint64_t before = committed(*publisher);
    EXPECT_LE(before, round_up(publisher->geometry().slots_offset, page_bytes()));
    publish_number(*publisher, 1);
    EXPECT_GT(committed(*publisher), before);
    EXPECT_LE(committed(*publisher),
              before + std::max<std::uint64_t>(records / 10, 2 * page_bytes()));
  }
  options.commit_at_creation = true;
  EXPECT_GE(committed(*must(Publisher::create(options))), records);
}

}  // namespace
}  // namespace sluice::shm
