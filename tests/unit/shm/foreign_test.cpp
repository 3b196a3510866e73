// Payloads in another system's memory, and user headers.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::shm {
namespace {

using namespace test;

constexpr std::uint64_t kBytes = 16 * 1024;

// What an iceoryx segment is to us: a file in memory that somebody else writes.
class OtherSystem {
 public:
  OtherSystem() : file_(::memfd_create("another-systems", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(file_.get(), kBytes), 0);
    data_ = static_cast<std::byte*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
    EXPECT_NE(data_, MAP_FAILED);
  }
  ~OtherSystem() { ::munmap(data_, kBytes); }
  OtherSystem(const OtherSystem&) = delete;
  OtherSystem& operator=(const OtherSystem&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] UniqueFd open(int flags = O_RDONLY) const {
    return UniqueFd{::open(("/proc/self/fd/" + std::to_string(file_.get())).c_str(), flags)};
  }

 private:
  UniqueFd file_;
  std::byte* data_ = nullptr;
};

StreamOptions lending(std::uint32_t depth = 4) {
  StreamOptions options = small_stream(depth);
  options.pools = {{64, 0}};
  options.max_held = 4;
  return options;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Foreign : public testing::Test {
 protected:
  explicit Foreign(const StreamOptions& options = lending()) : link_(options) { pool_ = add(); }

  std::uint32_t add() {
    const UniqueFd fd = other_.open();
    return must(link_.publisher().add_foreign_pool(
        {fd.get(), kBytes, [this](std::uint64_t token) { released_.push_back(token); }}));
  }
  void give_pool(Reader& reader, std::uint32_t pool) {
    must(reader.add_pool(pool, must(link_.publisher().share_pool(pool))));
  }
  // Message `number` at `offset`, which is its token as well.
  Outcome lend(std::uint64_t number, std::uint64_t offset, std::uint64_t bytes = 256) {
    write_number(other_.data() + offset, bytes, number);
    Loan loan = link_.publisher().lend({pool_, offset, bytes, offset}, Priority::critical);
    if (!loan) return loan.outcome();
    return link_.publisher().publish(std::move(loan));
  }

  OtherSystem other_;
  std::vector<std::uint64_t> released_;  // outlives the publisher
  LocalLink link_;
  std::uint32_t pool_ = 0;
};

TEST_F(Foreign, APayloadIsReadWhereItLies) {
  const ReaderPtr reader = link_.attach({.max_held = 2});
  ASSERT_EQ(lend(7, 1024, 300), Outcome::ok);
  const Sample sample = reader->take();
  ASSERT_EQ(sample.size(), 300u);
  EXPECT_EQ(number_of(sample), 7u);
  EXPECT_TRUE(sample.intact());
  write_number(other_.data() + 1024, 300, 8);
  EXPECT_EQ(number_of(sample), 8u) << "no copy: its system may change it";
  // relaxed: of one thread
  EXPECT_EQ(reader->counters().bytes.load(std::memory_order_relaxed), 300u);
}

TEST_F(Foreign, ItGoesBackWhenNobodyHoldsIt) {
  const ReaderPtr one = link_.attach({.max_held = 2});
  const ReaderPtr two = link_.attach({.max_held = 2});
  ASSERT_EQ(lend(1, 512), Outcome::ok);
  Sample a = one->take();
  Sample b = two->take();
  link_.publisher().collect();
  EXPECT_TRUE(released_.empty());
  a.release();
  link_.publisher().collect();
  EXPECT_TRUE(released_.empty()) << "the other reader holds it";
  b.release();
  link_.publisher().collect();
  EXPECT_EQ(released_, (std::vector<std::uint64_t>{512}));
}

TEST_F(Foreign, HistoryKeepsIt) {
  StreamOptions options = lending();
  options.lanes[0].history = 1;
  std::vector<std::uint64_t> released;
  LocalLink link{options};
  const UniqueFd fd = other_.open();
  Publisher& publisher = link.publisher();
  const std::uint32_t pool = must(publisher.add_foreign_pool(
      {fd.get(), kBytes, [&](std::uint64_t token) { released.push_back(token); }}));
  for (std::uint64_t i = 0; i < 3; ++i) {
    write_number(other_.data() + i * 64, 64, i);
    ASSERT_EQ(publisher.publish(publisher.lend({pool, i * 64, 64, i}, Priority::critical)),
              Outcome::ok);
  }
  publisher.collect();
  EXPECT_EQ(released, (std::vector<std::uint64_t>{0, 1}));
  const ReaderPtr late = link.attach({.max_held = 1, .history = 1});
  EXPECT_EQ(number_of(late->take()), 2u);
}

TEST_F(Foreign, EveryOneGoesBackOnce) {
  const ReaderPtr reader = link_.attach({.max_held = 1});
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(lend(i, i * 64, 64), Outcome::ok) << i;
    if (i % 3 == 0) reader->take();
  }
  {
    Loan unpublished = link_.publisher().lend({pool_, 100 * 64, 64, 100 * 64}, Priority::critical);
  }
  EXPECT_EQ(released_.back(), 100u * 64) << "nor what was never published";
  link_.close_publisher();
  std::sort(released_.begin(), released_.end());
  ASSERT_EQ(released_.size(), 101u);
  for (std::uint64_t i = 0; i <= 100; ++i) EXPECT_EQ(released_[i], i * 64);
}

TEST_F(Foreign, WhatDoesNotLieThereIsNotLent) {
  Publisher& publisher = link_.publisher();
  const auto outcome = [&](const ForeignPayload& payload) {
    return publisher.lend(payload, Priority::critical).outcome();
  };
  EXPECT_EQ(outcome({pool_, kBytes, 1}), Outcome::mismatch);
  EXPECT_EQ(outcome({pool_, kBytes - 8, 9}), Outcome::mismatch);
  EXPECT_EQ(outcome({pool_, UINT64_MAX, 2}), Outcome::mismatch);
  EXPECT_EQ(outcome({pool_, 0, 0}), Outcome::mismatch);
  EXPECT_EQ(outcome({0, 0, 8}), Outcome::mismatch) << "an ordinary pool";
  EXPECT_EQ(outcome({7, 0, 8}), Outcome::mismatch) << "none";
  EXPECT_EQ(outcome({pool_, 0, 8, 0, 1'000}), Outcome::too_large) << "for the user header";
  EXPECT_EQ(outcome({pool_, kBytes - 8, 8}), Outcome::ok);
  EXPECT_EQ(released_.size(), 1u) << "the last one, which was not published";
}

TEST_F(Foreign, OnlyMemoryThatReadersCannotWriteIsTaken) {
  const auto refusal = [&](int fd, std::uint64_t bytes) {
    return link_.publisher().add_foreign_pool({fd, bytes, nullptr}).error().code;
  };
  EXPECT_EQ(refusal(other_.open(O_RDWR).get(), kBytes), Errc::invalid_argument);
  EXPECT_EQ(refusal(other_.open().get(), kBytes + 1), Errc::invalid_argument);
  EXPECT_EQ(refusal(other_.open().get(), 0), Errc::invalid_argument);
  EXPECT_EQ(refusal(UniqueFd{::open("/dev/null", O_RDONLY)}.get(), 1), Errc::invalid_argument);
  EXPECT_EQ(refusal(-1, 1), Errc::system);
}

TEST_F(Foreign, OfWhatIsRevokedNothingIsTaken) {
  const ReaderPtr reader = link_.attach({.max_held = 4});
  ASSERT_EQ(lend(1, 0), Outcome::ok);
  ASSERT_EQ(lend(2, 512), Outcome::ok);
  const Sample held = reader->take();
  EXPECT_TRUE(held.intact());
  link_.publisher().revoke_pool(pool_);
  std::sort(released_.begin(), released_.end());
  EXPECT_EQ(released_, (std::vector<std::uint64_t>{0, 512})) << "at once";
  EXPECT_FALSE(held.intact());
  EXPECT_FALSE(reader->take());
  // relaxed: of one thread
  EXPECT_EQ(reader->counters().lost[static_cast<std::size_t>(LossCause::invalid)].load(
                std::memory_order_relaxed),
            1u);
  EXPECT_EQ(lend(3, 0), Outcome::mismatch);
  pool_ = add();
  give_pool(*reader, pool_);
  ASSERT_EQ(lend(4, 1024), Outcome::ok) << "its successor";
  const Sample next = reader->take();
  EXPECT_EQ(number_of(next), 4u);
  EXPECT_TRUE(next.intact());
  EXPECT_FALSE(held.intact());
}

TEST_F(Foreign, ThePublishersEndEndsIt) {
  const ReaderPtr reader = link_.attach({.max_held = 4});
  ASSERT_EQ(lend(1, 0), Outcome::ok);
  const Sample held = reader->take();
  link_.close_publisher();
  EXPECT_EQ(released_.size(), 1u);
  EXPECT_FALSE(held.intact());
}

TEST_F(Foreign, MemoryThatComesLaterIsWaitedFor) {
  const ReaderPtr reader = link_.attach({.max_held = 2});
  ASSERT_EQ(lend(1, 0), Outcome::ok);
  pool_ = add();
  ASSERT_EQ(lend(2, 512), Outcome::ok);
  EXPECT_EQ(number_of(reader->take()), 1u);
  EXPECT_EQ(reader->take().outcome(), Outcome::empty);
  ASSERT_EQ(reader->missing_pool(), pool_);
  EXPECT_EQ(reader->held(), 0u);
  give_pool(*reader, pool_);
  EXPECT_EQ(number_of(reader->take()), 2u);
}

TEST_F(Foreign, MemoryThatNeverComesIsALoss) {
  const ReaderPtr reader = link_.attach({.max_held = 2});
  pool_ = add();
  ASSERT_EQ(lend(1, 0), Outcome::ok);
  EXPECT_FALSE(reader->take());
  reader->forgo_pool(pool_);
  EXPECT_FALSE(reader->take());
  link_.publisher().collect();
  EXPECT_EQ(released_.size(), 1u);
}

TEST_F(Foreign, StandsBesideOrdinaryMessages) {
  const ReaderPtr reader = link_.attach({.max_held = 2});
  ASSERT_EQ(publish_number(link_.publisher(), 1), Outcome::ok);
  ASSERT_EQ(lend(2, 512), Outcome::ok);
  ASSERT_EQ(publish_number(link_.publisher(), 3), Outcome::ok);
  for (std::uint64_t i = 1; i <= 3; ++i) EXPECT_EQ(number_of(reader->take()), i);
}

TEST_F(Foreign, ALentPayloadIsNotAmended) {
  const ReaderPtr reader = link_.attach({.max_held = 2});
  ASSERT_EQ(lend(1, 0), Outcome::ok);
  const Sample sample = reader->take();
  EXPECT_EQ(link_.publisher().amend(sample.reference()), nullptr);
}

TEST_F(Foreign, HasAUserHeader) {
  const ReaderPtr reader = link_.attach({.max_held = 2});
  write_number(other_.data(), 64, 5);
  Loan loan = link_.publisher().lend({pool_, 0, 64, 0, 11}, Priority::critical);
  ASSERT_TRUE(loan);
  EXPECT_EQ(loan.data(), nullptr);
  EXPECT_TRUE(loan.bytes().empty());
  EXPECT_FALSE(loan.resize(8));
  EXPECT_TRUE(loan.set_user_header(bytes_of("hello world")));
  EXPECT_FALSE(loan.set_user_header(bytes_of("again")));
  ASSERT_EQ(link_.publisher().publish(std::move(loan)), Outcome::ok);
  const Sample sample = reader->take();
  EXPECT_EQ(number_of(sample), 5u);
  EXPECT_EQ(text_of(sample.user_header()), "hello world");
}

// A place that its writer changed after it was published, or that was never one.
TEST_F(Foreign, APlaceOutsideIsALoss) {
  for (const ForeignPlace place :
       {ForeignPlace{1, 0, kBytes, 1}, ForeignPlace{1, 0, kBytes - 4, 8},
        ForeignPlace{1, 0, UINT64_MAX - 3, 8}, ForeignPlace{1, 0, 0, 0}, ForeignPlace{0, 0, 0, 8},
        ForeignPlace{5, 0, 0, 8}, ForeignPlace{UINT32_MAX, 0, 0, 8}}) {
    link_.publisher().collect();  // forgets the reader before
    const ReaderPtr reader = link_.attach({.max_held = 2});
    Publisher& publisher = link_.publisher();
    Loan loan = publisher.loan(sizeof place);
    std::memcpy(loan.data(), &place, sizeof place);
    ASSERT_EQ(publisher.publish(std::move(loan)), Outcome::ok);
    const LaneGeometry& lane = publisher.geometry().lanes[0];
    auto* const ring =
        reinterpret_cast<Entry*>(const_cast<std::byte*>(publisher.control()) + lane.ring_offset);
    // relaxed: of one thread
    ring[publisher.last_sequence(0) & (lane.ring_entries - 1)].meta.fetch_or(
        kEntryForeign, std::memory_order_relaxed);  // relaxed: as above
    EXPECT_FALSE(reader->take());
    // relaxed: of one thread
    EXPECT_EQ(reader->counters().lost[static_cast<std::size_t>(LossCause::invalid)].load(
                  std::memory_order_relaxed),
              1u)
        << place.pool << ' ' << place.offset << ' ' << place.bytes;
    EXPECT_EQ(reader->held(), 0u);
  }
}

class UserHeaders : public testing::Test {
 protected:
  static StreamOptions options() {
    StreamOptions options = small_stream(4);
    options.pools = {{128, 0}};
    options.max_references = 2;
    return options;
  }
  LocalLink link_{options()};
  ReaderPtr reader_ = link_.attach({.max_held = 3});
};

TEST_F(UserHeaders, StandBesideThePayload) {
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{8}, std::uint64_t{41}}) {
    const std::string header(static_cast<std::size_t>(size) + 1, 'h');
    Loan loan = link_.publisher().loan(size + user_header_bytes(size, header.size()));
    ASSERT_TRUE(loan.resize(size));
    std::memset(loan.data(), 'p', static_cast<std::size_t>(size));
    ASSERT_TRUE(loan.set_user_header(bytes_of(header)));
    EXPECT_FALSE(loan.resize(0)) << "it would be left behind";
    ASSERT_EQ(link_.publisher().publish(std::move(loan)), Outcome::ok);
    const Sample sample = reader_->take();
    EXPECT_EQ(text_of(sample.bytes()), std::string(static_cast<std::size_t>(size), 'p'));
    EXPECT_EQ(text_of(sample.user_header()), header);
    EXPECT_EQ(sample.reference_count(), 0u);
  }
}

TEST_F(UserHeaders, MostMessagesHaveNone) {
  ASSERT_EQ(publish_number(link_.publisher(), 1), Outcome::ok);
  EXPECT_TRUE(reader_->take().user_header().empty());
  EXPECT_TRUE(Sample{}.user_header().empty());
  EXPECT_FALSE(Loan{}.set_user_header({}));
}

TEST_F(UserHeaders, MustFitTheSlot) {
  Loan loan = link_.publisher().loan(64);
  const std::string header(static_cast<std::size_t>(loan.capacity()) - 64 - 8, 'h');
  EXPECT_FALSE(loan.set_user_header(bytes_of(header + 'x')));
  EXPECT_TRUE(loan.set_user_header(bytes_of(header)));
}

TEST_F(UserHeaders, StandBetweenPayloadAndReferences) {
  ASSERT_EQ(publish_number(link_.publisher(), 1), Outcome::ok);
  Sample first = reader_->take();
  const Reference reference = first.reference();
  Loan loan = link_.publisher().loan(40);
  ASSERT_TRUE(loan.resize(9));
  ASSERT_TRUE(loan.set_user_header(bytes_of("hello")));
  ASSERT_EQ(loan.attach(std::move(first)), Outcome::ok);
  ASSERT_EQ(link_.publisher().publish(std::move(loan)), Outcome::ok);
  const Sample second = reader_->take();
  EXPECT_EQ(text_of(second.user_header()), "hello");
  ASSERT_EQ(second.reference_count(), 1u);
  EXPECT_EQ(second.reference_at(0).sequence, reference.sequence);
  EXPECT_EQ(number_of(reader_->resolve(second.reference_at(0))), 1u);
  const Sample again = reader_->resolve(second.reference());
  EXPECT_EQ(text_of(again.user_header()), "hello") << "also of what is resolved";
}

}  // namespace
}  // namespace sluice::shm
