// Payloads of a sensitive stream are zeros as soon as nobody holds them.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace sluice::shm {
namespace {

using namespace test;

constexpr std::byte kSecret{0xa5};
constexpr std::uint64_t kSlotBytes = 128;

StreamOptions stream(std::uint32_t depth = 4) {
  StreamOptions options;
  options.lanes = {{depth, 0}};
  options.pools = {{kSlotBytes, 0}};
  options.max_held = 16;
  options.full_timeout_ns = 0;
  options.sensitive = true;
  return options;
}

// All pools of a stream, as everybody who was handed them sees them.
class Pools {
 public:
  explicit Pools(const Publisher& publisher) {
    const StreamDescriptors stream = must(publisher.share());
    for (const UniqueFd& pool : stream.pools) {
      views_.push_back(must(View::open(pool.get(), "a pool")));
    }
  }
  [[nodiscard]] std::ptrdiff_t secrets() const {
    std::ptrdiff_t count = 0;
    for (const View& view : views_) {
      count += std::count(view.data(), view.data() + view.size(), kSecret);
    }
    return count;
  }

 private:
  std::vector<View> views_;
};

void write_secret(Loan& loan) { std::memset(loan.data(), static_cast<int>(kSecret), loan.size()); }

Outcome publish_secret(Publisher& publisher, std::uint64_t bytes = 100) {
  Loan loan = publisher.loan(bytes);
  if (!loan) return loan.outcome();
  write_secret(loan);
  return publisher.publish(std::move(loan));
}

TEST(Sensitive, SaysSoToWhoeverMapsIt) {
  LocalLink link(stream());
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::next});
  EXPECT_TRUE(reader->geometry().sensitive);
  StreamOptions plain = stream();
  plain.sensitive = false;
  LocalLink other(plain);
  EXPECT_FALSE(other.attach({.mode = DeliveryMode::next})->geometry().sensitive);
}

TEST(Sensitive, AMessageIsWipedWhenItWasReleased) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  Sample sample = reader->take();
  reader->acknowledge(sample);
  link.publisher().collect();
  EXPECT_EQ(pools.secrets(), 100) << "somebody reads it";
  sample.release();
  link.publisher().collect();
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, TheNextLoanLooks) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::next});
  ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  reader->take();
  const Loan loan = link.publisher().loan(8);
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, ALoanThatIsGivenBackIsWiped) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  {
    Loan loan = link.publisher().loan(kSlotBytes);
    write_secret(loan);
    EXPECT_EQ(pools.secrets(), static_cast<std::ptrdiff_t>(kSlotBytes));
    ASSERT_TRUE(loan.resize(1)) << "what was written stays written";
  }
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, WhatWasWrittenBeyondTheMessageIsWipedToo) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  Loan loan = link.publisher().loan(kSlotBytes);
  write_secret(loan);
  ASSERT_TRUE(loan.resize(8));
  ASSERT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
  link.publisher().collect();
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, ALoanThatOutlivesItsPublisherIsWiped) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  Loan loan = link.publisher().loan(10);
  write_secret(loan);
  link.close_publisher();
  EXPECT_EQ(pools.secrets(), 10);
  loan = Loan{};
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, WhatAnEvictedReaderHeldIsWiped) {
  StreamOptions options = stream();
  options.on_full = OnFull::evict;
  LocalLink link(options);
  const Pools pools(link.publisher());
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  const Sample held = reader->take();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(publish_number(link.publisher(), 1, 8), Outcome::ok);
  EXPECT_FALSE(held.intact());
  link.publisher().collect();
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, WhatAnotherMessageHoldsIsKeptAndThenWiped) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
  StreamOptions results = small_stream(4);
  results.max_references = 1;
  LocalLink chained(results);
  ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  Sample sample = reader->take();
  reader->acknowledge(sample);
  Loan loan = chained.publisher().loan(8);
  ASSERT_EQ(loan.attach(std::move(sample)), Outcome::ok);
  const ReaderPtr end = chained.attach({.mode = DeliveryMode::reliable});
  ASSERT_EQ(chained.publisher().publish(std::move(loan)), Outcome::ok);
  link.publisher().collect();
  chained.publisher().collect();
  EXPECT_EQ(pools.secrets(), 100);
  EXPECT_EQ(drain(*end).size(), 1u);
  chained.publisher().collect();
  link.publisher().collect();
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, AtTheEndOfTheStreamWhatNobodyWillReadIsWiped) {
  StreamOptions options = stream();
  options.lanes = {{4, 4}};  // a history that nobody will ask for any more
  LocalLink link(options);
  const Pools pools(link.publisher());
  const ReaderPtr reader = link.attach({.mode = DeliveryMode::next});
  for (int i = 0; i < 3; ++i) ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  reader->take();
  const Sample held = reader->take();
  link.close_publisher();
  EXPECT_EQ(pools.secrets(), 200) << "one is held, and one still to be drained";
  EXPECT_EQ(held.data()[0], kSecret);
  const Sample last = reader->take();
  ASSERT_TRUE(last);
  EXPECT_EQ(last.data()[0], kSecret);
}

TEST(Sensitive, AStreamWithoutReadersLeavesNothing) {
  LocalLink link(stream());
  const Pools pools(link.publisher());
  for (int i = 0; i < 3; ++i) ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  link.close_publisher();
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, MayBecomeSoLater) {
  StreamOptions options = stream();
  options.sensitive = false;
  LocalLink link(options);
  const Pools pools(link.publisher());
  ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  link.publisher().make_sensitive();
  link.publisher().collect();
  EXPECT_EQ(pools.secrets(), 0);
}

TEST(Sensitive, OtherStreamsAreNotWiped) {
  StreamOptions options = stream();
  options.sensitive = false;
  LocalLink link(options);
  const Pools pools(link.publisher());
  ASSERT_EQ(publish_secret(link.publisher()), Outcome::ok);
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
  EXPECT_EQ(pools.secrets(), 100) << "or the tests above show nothing";
}

TEST(Sensitive, RecordersAreRefused) {
  LocalLink link(stream());
  SubscriptionOptions options{.mode = DeliveryMode::reliable};
  options.recorder = true;
  const auto result = link.try_attach(options);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("sensitive"), std::string::npos);
}

}  // namespace
}  // namespace sluice::shm
