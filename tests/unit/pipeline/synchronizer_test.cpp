#include "sluice/synchronizer.hpp"

#include "tests/support/local_link.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace sluice {
namespace {

class SynchronizerTest : public testing::Test {
 protected:
  static StreamOptions options() {
    StreamOptions o;
    o.pools = {{8}};
    o.max_held = 256;
    return o;
  }
  Sample message(const Headers& headers) {
    Loan loan = link_.publisher().loan(8);
    loan.headers = headers;
    EXPECT_EQ(link_.publisher().publish(std::move(loan)), Outcome::ok);
    Sample sample = reader_->take();
    EXPECT_TRUE(sample);
    return sample;
  }
  Sample about(std::uint64_t id) {
    Headers headers;
    headers.correlation = {1, id};
    return message(headers);
  }
  Sample at(std::uint64_t origin_ns) {
    Headers headers;
    headers.origin_ns = origin_ns;
    return message(headers);
  }
  static std::vector<std::uint64_t> origins(const std::optional<std::vector<Sample>>& set) {
    std::vector<std::uint64_t> all;
    if (set) {
      for (const Sample& sample : *set) all.push_back(sample.info().origin_ns);
    }
    return all;
  }
  using Origins = std::vector<std::uint64_t>;

  test::LocalLink link_{options()};
  shm::ReaderPtr reader_ = link_.attach({.max_held = 256});
};

TEST_F(SynchronizerTest, EqualIdsBelongTogetherInTheOrderOfTheInputs) {
  Synchronizer join{{.inputs = 3}};
  EXPECT_FALSE(join.add(2, about(7)));
  EXPECT_FALSE(join.add(0, about(8)));
  EXPECT_FALSE(join.add(0, about(7)));
  Sample middle = about(7);
  const std::uint64_t sequence = middle.info().sequence;
  const auto set = join.add(1, std::move(middle));
  ASSERT_TRUE(set);
  ASSERT_EQ(set->size(), 3u);
  for (const Sample& sample : *set) EXPECT_EQ(sample.info().correlation, (CorrelationId{1, 7}));
  EXPECT_EQ((*set)[1].info().sequence, sequence);
  EXPECT_EQ(join.stats().joined, 1u);
  EXPECT_EQ(join.waiting(), 1u) << "number 8";
}

TEST_F(SynchronizerTest, WhatHasNoIdBelongsToNothing) {
  Synchronizer join{{}};
  EXPECT_FALSE(join.add(0, message({})));
  EXPECT_FALSE(join.add(1, message({})));
  EXPECT_EQ(join.waiting(), 2u);
}

TEST_F(SynchronizerTest, ByTimeTheNearestIsTaken) {
  Synchronizer join{{.tolerance_ns = 10}};
  EXPECT_FALSE(join.add(0, at(100)));
  EXPECT_FALSE(join.add(0, at(108)));
  EXPECT_FALSE(join.add(0, at(120)));
  EXPECT_EQ(origins(join.add(1, at(107))), (Origins{108, 107}));
  EXPECT_EQ(origins(join.add(1, at(110))), (Origins{100, 110})) << "as near as 120, and older";
  EXPECT_EQ(join.waiting(), 1u);
}

TEST_F(SynchronizerTest, ASetAsAWholeLiesWithinTheTolerance) {
  Synchronizer join{{.inputs = 3, .tolerance_ns = 10}};
  EXPECT_FALSE(join.add(0, at(95)));   // 5 before what comes last
  EXPECT_FALSE(join.add(1, at(106)));  // 6 after it, and 11 after the first
  EXPECT_FALSE(join.add(2, at(100))) << "each is near to it, but not to the other";
  EXPECT_EQ(origins(join.add(0, at(103))), (Origins{103, 106, 100}));
}

TEST_F(SynchronizerTest, ANearerPairIsGivenUpForASetThatIsPossible) {
  Synchronizer join{{.inputs = 3, .tolerance_ns = 10}};
  EXPECT_FALSE(join.add(0, at(96)));
  EXPECT_FALSE(join.add(1, at(108)));
  EXPECT_FALSE(join.add(1, at(91)));
  // 96 and 108 are too far apart; 91 and 96 are not.
  EXPECT_EQ(origins(join.add(2, at(100))), (Origins{96, 91, 100}));
}

TEST_F(SynchronizerTest, TheToleranceIsInclusiveAndNothingWrapsAround) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  Synchronizer join{{.tolerance_ns = 10}};
  EXPECT_FALSE(join.add(0, at(100)));
  EXPECT_FALSE(join.add(1, at(111)));
  EXPECT_EQ(origins(join.add(0, at(121))), (Origins{121, 111}));
  EXPECT_FALSE(join.add(1, at(kMost)));
  EXPECT_FALSE(join.add(0, at(1)));
  EXPECT_EQ(origins(join.add(1, at(11))), (Origins{1, 11}));
}

TEST_F(SynchronizerTest, TheOldestMakesPlaceForTheNewest) {
  Synchronizer join{{.capacity = 2}};
  for (std::uint64_t id = 1; id <= 3; ++id) EXPECT_FALSE(join.add(0, about(id)));
  EXPECT_EQ(join.stats().given_up, 1u);
  EXPECT_EQ(join.waiting(), 2u);
  EXPECT_EQ(reader_->held(), 2u) << "what is given up is released";
  EXPECT_FALSE(join.add(1, about(1)));
  EXPECT_TRUE(join.add(1, about(3)));
}

TEST_F(SynchronizerTest, WhatWaitsForTooLongIsGivenUp) {
  Synchronizer join{{.patience_ns = 1'000'000'000'000}};
  EXPECT_FALSE(join.add(0, about(1)));
  EXPECT_FALSE(join.add(1, about(2)));
  join.expire(shm::now_ns());
  EXPECT_EQ(join.waiting(), 2u);
  join.expire(0);
  EXPECT_EQ(join.waiting(), 2u) << "a clock that lags";
  join.expire(shm::now_ns() + 2'000'000'000'000);
  EXPECT_EQ(join.waiting(), 0u);
  EXPECT_EQ(join.stats().given_up, 2u);
}

TEST_F(SynchronizerTest, PatienceEndsWhenSomethingElseComes) {
  Synchronizer join{{.patience_ns = 1}};
  EXPECT_FALSE(join.add(0, about(1)));
  const std::uint64_t before = shm::now_ns();
  while (shm::now_ns() <= before + 1) {
  }
  EXPECT_FALSE(join.add(1, about(1))) << "its partner was given up just before";
  EXPECT_EQ(join.stats().given_up, 1u);
}

TEST_F(SynchronizerTest, OptionsOutOfRangeAreBroughtIntoIt) {
  Synchronizer few{{.inputs = 0, .capacity = 0}};
  EXPECT_FALSE(few.add(0, about(1)));
  EXPECT_TRUE(few.add(1, about(1))) << "two inputs, one place each";
  EXPECT_FALSE(few.add(2, about(2))) << "there is no third";
  EXPECT_EQ(few.stats().given_up, 1u);
  EXPECT_FALSE(few.add(0, Sample{})) << "nothing is nothing";
  EXPECT_EQ(few.waiting(), 0u);
  Synchronizer many{{.inputs = 1'000}};
  EXPECT_FALSE(many.add(15, about(1)));
  EXPECT_FALSE(many.add(16, about(1)));
  EXPECT_EQ(many.waiting(), 1u);
}

}  // namespace
}  // namespace sluice
