// Pools that are added while a stream runs, and readers that meet them.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sluice::shm {
namespace {

using namespace test;

constexpr std::uint64_t kBig = 4096;

// 64-byte slots for all, and room for 20 more.
StreamOptions growing_stream(std::uint32_t depth = 4) {
  StreamOptions options = small_stream(depth);
  options.max_slots = depth + options.max_loans + options.max_held + 20;
  return options;
}

std::string failure(Publisher& publisher, const PoolOptions& pool) {
  const auto result = publisher.add_pool(pool);
  if (result) return "(added)";
  EXPECT_EQ(result.error().code, Errc::invalid_argument);
  return result.error().message;
}

TEST(Growing, SaysWhichOptionIsInTheWay) {
  StreamOptions options = small_stream(4);  // 4 + 2 + 16 slots
  const PublisherPtr fixed = must(Publisher::create(options));
  EXPECT_NE(failure(*fixed, {kBig, 3}).find("max_slots = 25"), std::string::npos)
      << failure(*fixed, {kBig, 3});
  EXPECT_NE(failure(*fixed, {kBig, 0}).find("max_slots = 44"), std::string::npos);
  EXPECT_NE(failure(*fixed, {0, 3}).find("slot_bytes"), std::string::npos);
  EXPECT_NE(failure(*fixed, {kMaxSlotBytes + 1, 3}).find("slot_bytes"), std::string::npos);
  EXPECT_NE(failure(*fixed, {kBig, kMaxSlots + 1}).find("slot_count"), std::string::npos);
  options.max_slots = kMaxSlots + 1;
  EXPECT_FALSE(Publisher::create(options));

  const PublisherPtr publisher = must(Publisher::create(growing_stream()));
  for (std::uint32_t i = 1; i < kMaxPools; ++i) {
    EXPECT_EQ(must(publisher->add_pool({kBig, 1})), i);
  }
  EXPECT_NE(failure(*publisher, {kBig, 1}).find("kMaxPools"), std::string::npos);
  publisher->end();
  EXPECT_EQ(publisher->add_pool({kBig, 1}).error().code, Errc::refused);
}

TEST(Growing, LeavesAStreamAsItWasWhenItFails) {
  LocalLink link(small_stream());
  EXPECT_FALSE(link.publisher().add_pool({kBig, 3}));
  EXPECT_EQ(link.publisher().geometry().pool_count, 1u);
  EXPECT_EQ(must(link.publisher().share()).pools.size(), 1u);
  EXPECT_FALSE(link.publisher().share_pool(1));
  const ReaderPtr reader = link.attach({});
  publish_number(link.publisher(), 1);
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{1});
}

TEST(Growing, MakesRoomForLargerMessages) {
  LocalLink link(growing_stream());
  EXPECT_EQ(publish_number(link.publisher(), 1, kBig), Outcome::too_large);
  EXPECT_EQ(must(link.publisher().add_pool({kBig, 3})), 1u);
  const ReaderPtr reader = link.attach({.max_held = 2});
  for (std::uint64_t i = 1; i < 50; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i, i % 2 == 0 ? kBig : 64), Outcome::ok);
    ASSERT_EQ(drain(*reader), std::vector<std::uint64_t>{i});
  }
  EXPECT_EQ(reader->missing_pool(), std::nullopt);
}

TEST(Growing, LetsLoansTakeTheSmallestSlotThatFits) {
  const PublisherPtr publisher = must(Publisher::create(growing_stream()));
  must(publisher->add_pool({100'000, 2}));
  must(publisher->add_pool({1000, 2}));
  must(publisher->add_pool({10'000, 2}));
  const std::uint64_t largest = round_up(100'000, page_bytes());  // large slots begin with a page
  using Sizes = std::pair<std::uint64_t, std::uint64_t>;
  for (const auto& [size, capacity] : {Sizes{1, 64}, Sizes{65, 1024}, Sizes{1025, 10'048},
                                       Sizes{10'049, largest}, Sizes{64, 64}}) {
    const Loan loan = publisher->loan(size);
    ASSERT_TRUE(loan) << size;
    EXPECT_EQ(loan.capacity(), capacity) << size;
  }
  const Loan one = publisher->loan(1000);
  EXPECT_EQ(publisher->loan(1000).capacity(), 1024u);
  EXPECT_EQ(publisher->loan(largest + 1).outcome(), Outcome::too_large);
}

// A reader that was there before the pool.
class GrowingStreams : public testing::TestWithParam<DeliveryMode> {
 protected:
  GrowingStreams() : link_(growing_stream()), reader_(link_.attach({.mode = GetParam()})) {}
  void grow(std::uint32_t pools = 1) {
    for (; pools != 0; --pools) must(link_.publisher().add_pool({kBig * pools, 3}));
  }
  void hand_over(std::uint32_t index) {
    must(reader_->add_pool(index, must(link_.publisher().share_pool(index))));
  }
  LocalLink link_;
  ReaderPtr reader_;
};
INSTANTIATE_TEST_SUITE_P(Modes, GrowingStreams,
                         testing::Values(DeliveryMode::latest, DeliveryMode::next,
                                         DeliveryMode::reliable),
                         [](const auto& param_info) {
                           return std::string(param_info.param == DeliveryMode::latest ? "Latest"
                                              : param_info.param == DeliveryMode::next
                                                  ? "Next"
                                                  : "Reliable");
                         });

TEST_P(GrowingStreams, KeepWhatLiesInAPoolThatIsNotMappedYet) {
  grow();
  ASSERT_EQ(publish_number(link_.publisher(), 1, kBig), Outcome::ok);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(reader_->take().outcome(), Outcome::empty);
    EXPECT_EQ(reader_->missing_pool(), 1u);
  }
  EXPECT_EQ(lost(*reader_), 0u);
  EXPECT_EQ(reader_->waiting(), 1u);
  EXPECT_EQ(reader_->wait(deadline_in(2'000'000)), Outcome::timeout) << "there is nothing to take";
  hand_over(1);
  EXPECT_EQ(reader_->missing_pool(), std::nullopt);
  EXPECT_EQ(reader_->wait(0), Outcome::ok);
  EXPECT_EQ(drain(*reader_), std::vector<std::uint64_t>{1});
  EXPECT_EQ(lost(*reader_), 0u);
}

TEST_P(GrowingStreams, TakePoolsInAnyOrderAndMoreThanOnce) {
  grow(3);
  ASSERT_EQ(publish_number(link_.publisher(), 1, 2 * kBig), Outcome::ok);
  EXPECT_EQ(reader_->take().outcome(), Outcome::empty);
  EXPECT_EQ(reader_->missing_pool(), 2u);
  hand_over(3);
  EXPECT_EQ(reader_->take().outcome(), Outcome::empty);
  EXPECT_EQ(reader_->missing_pool(), 2u);
  hand_over(2);
  hand_over(2);
  hand_over(1);
  EXPECT_EQ(drain(*reader_), std::vector<std::uint64_t>{1});
}

TEST_P(GrowingStreams, AreNotOverBeforeThatIsDrained) {
  grow();
  publish_number(link_.publisher(), 1, kBig);
  link_.publisher().end();
  EXPECT_EQ(reader_->take().outcome(), Outcome::empty);
  EXPECT_EQ(reader_->over(), Outcome::ok);
  hand_over(1);
  EXPECT_EQ(drain(*reader_), std::vector<std::uint64_t>{1});
  EXPECT_EQ(reader_->take().outcome(), Outcome::ended);
}

TEST_P(GrowingStreams, LoseItWhenThePoolWillNotCome) {
  grow();
  publish_number(link_.publisher(), 1, kBig);
  publish_number(link_.publisher(), 2, kBig);
  link_.publisher().end();
  EXPECT_EQ(reader_->take().outcome(), Outcome::empty);
  reader_->forgo_pool(1);
  EXPECT_EQ(reader_->take().outcome(), Outcome::ended);
  EXPECT_EQ(lost(*reader_), 2u);
  EXPECT_GE(lost(*reader_, LossCause::invalid), 1u);
}

TEST_P(GrowingStreams, AcceptOnlyThePoolThatWasAnnounced) {
  const auto other = must(Publisher::create(growing_stream()));
  must(other->add_pool({kBig + 4 * page_bytes(), 3}));
  EXPECT_FALSE(reader_->add_pool(1, must(other->share_pool(1)))) << "none was announced";
  grow();
  EXPECT_FALSE(reader_->add_pool(1, must(other->share_pool(1)))) << "of another size";
  EXPECT_FALSE(reader_->add_pool(1, UniqueFd{}));
  EXPECT_FALSE(reader_->add_pool(2, must(link_.publisher().share_pool(1))));
  EXPECT_FALSE(reader_->add_pool(kMaxPools, must(link_.publisher().share_pool(1))));
  hand_over(1);
}

TEST_P(GrowingStreams, GiveAReaderThatComesLaterWhatItIsHandedAndTheRestLater) {
  StreamDescriptors before = must(link_.publisher().share());
  grow();
  auto late = Reader::open(before, {.mode = GetParam()}, link_.reader_arena());
  ASSERT_TRUE(late) << "the pool came while the descriptors were on their way";
  StreamDescriptors all = must(link_.publisher().share());
  ASSERT_EQ(all.pools.size(), 2u);
  EXPECT_TRUE(Reader::open(all, {.mode = GetParam()}, link_.reader_arena()));
  all.pools.push_back(must(link_.publisher().share_pool(1)));
  EXPECT_FALSE(Reader::open(all, {.mode = GetParam()}, link_.reader_arena()));
}

TEST_P(GrowingStreams, WithARecordThatCannotBeTrueAreNotBelieved) {
  grow();
  auto* header =
      reinterpret_cast<ControlHeader*>(const_cast<std::byte*>(link_.publisher().control()));
  header->pools[1].slot_count = 21;
  publish_number(link_.publisher(), 1, kBig);
  publish_number(link_.publisher(), 2);
  EXPECT_EQ(drain(*reader_), std::vector<std::uint64_t>{2});
  EXPECT_EQ(lost(*reader_), 1u);
  EXPECT_FALSE(reader_->add_pool(1, must(link_.publisher().share_pool(1))));
}

TEST(GrowingStream, LosesWhatIsOverwrittenWhileThePoolIsMissing) {
  LocalLink link(growing_stream(4));
  const ReaderPtr reader = link.attach({});
  must(link.publisher().add_pool({kBig, 3}));
  publish_number(link.publisher(), 1, kBig);
  EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  for (std::uint64_t i = 2; i <= 6; ++i) publish_number(link.publisher(), i);
  EXPECT_TRUE(reader->ready());
  EXPECT_EQ(drain(*reader), (std::vector<std::uint64_t>{3, 4, 5, 6}));
  EXPECT_EQ(lost(*reader, LossCause::full), 2u);
}

TEST(GrowingStream, ShowsWhoWantsTheNewestWhatIsNewer) {
  LocalLink link(growing_stream(4));
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::latest});
  must(link.publisher().add_pool({kBig, 3}));
  publish_number(link.publisher(), 1, kBig);
  EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  EXPECT_FALSE(reader->ready());
  publish_number(link.publisher(), 2);
  EXPECT_TRUE(reader->ready());
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{2});
  EXPECT_EQ(lost(*reader, LossCause::policy), 1u);
}

TEST(GrowingStream, TakesTheOtherLanesMeanwhile) {
  StreamOptions options = growing_stream();
  options.lanes = {{4, 0}, {4, 0}};
  options.max_slots += 4;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({});
  must(link.publisher().add_pool({kBig, 3}));
  publish_number(link.publisher(), 1, kBig, Priority::critical);
  publish_number(link.publisher(), 2, 64, Priority::high);
  EXPECT_EQ(reader->wait(0), Outcome::ok);
  EXPECT_EQ(drain(*reader), std::vector<std::uint64_t>{2});
  EXPECT_EQ(reader->missing_pool(), 1u);
  EXPECT_FALSE(reader->ready());
}

TEST(GrowingStream, ResolvesAReferenceIntoAPoolThatIsNotMappedYet) {
  LocalLink link(growing_stream());
  const ReaderPtr late = link.attach({.max_held = 2});
  must(link.publisher().add_pool({kBig, 3}));
  const ReaderPtr holder = link.attach({.max_held = 2});
  publish_number(link.publisher(), 1, kBig);
  const Sample frame = holder->take();
  ASSERT_TRUE(frame);
  EXPECT_EQ(late->resolve(frame.reference()).outcome(), Outcome::timeout);
  EXPECT_EQ(late->missing_pool(), 1u);
  must(late->add_pool(1, must(link.publisher().share_pool(1))));
  EXPECT_EQ(number_of(late->resolve(frame.reference())), 1u);
  Reference beyond = frame.reference();
  beyond.slot = link.publisher().geometry().slots;
  EXPECT_EQ(late->resolve(beyond).outcome(), Outcome::expired);
}

TEST(GrowingStream, LosesAsInvalidWhatLiesBeyondAllPools) {
  LocalLink link(growing_stream());
  const ReaderPtr reader = link.attach({});
  must(link.publisher().add_pool({kBig, 3}));
  const Geometry& g = link.publisher().geometry();
  ASSERT_LT(g.slots, g.slot_limit);
  publish_number(link.publisher(), 1);
  auto* ring = reinterpret_cast<Entry*>(const_cast<std::byte*>(link.publisher().control()) +
                                        g.lanes[0].ring_offset);
  ring[1].place.store(std::uint64_t{g.slots} | 64ull << 32);
  EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  EXPECT_EQ(lost(*reader, LossCause::invalid), 1u);
  EXPECT_EQ(reader->missing_pool(), std::nullopt);
}

}  // namespace
}  // namespace sluice::shm
