#include "transport/backoff.hpp"

#include <gtest/gtest.h>

namespace sluice::transport {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

TEST(Backoff, DoublesUpToTheLongest) {
  Backoff backoff;
  for (const std::uint64_t ms : {5, 10, 20, 40, 80, 160, 250, 250, 250}) {
    EXPECT_EQ(backoff.next_ns(0.5), ms * kMs);
  }
  for (int i = 0; i < 1'000; ++i) EXPECT_EQ(backoff.next_ns(0.5), 250 * kMs);
}

TEST(Backoff, BeginsAnewAfterSuccess) {
  Backoff backoff;
  for (int i = 0; i < 5; ++i) (void)backoff.next_ns(0);
  backoff.reset();
  EXPECT_EQ(backoff.next_ns(0.5), 5 * kMs);
}

TEST(Backoff, IsSpreadByChance) {
  EXPECT_EQ(Backoff{}.next_ns(0), 2'500'000u);
  EXPECT_EQ(Backoff{}.next_ns(0.25), 3'750'000u);
  EXPECT_LT(Backoff{}.next_ns(0.999'999), 7'500'000u);
}

TEST(Backoff, FindsABrokerWithinASecondThatComesBackAfterALongTime) {
  Backoff backoff;
  for (int i = 0; i < 100; ++i) EXPECT_LT(backoff.next_ns(0.999'999), 400 * kMs);
}

}  // namespace
}  // namespace sluice::transport
