#include "pipeline/gstreamer/backoff.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::gst {
namespace {

using namespace std::chrono_literals;

TEST(Backoff, DoublesUpToItsMost) {
  Backoff backoff{{}, [] { return 0.5; }};
  std::vector<std::chrono::milliseconds> waits;
  for (int i = 0; i < 8; ++i) waits.push_back(backoff.next());
  EXPECT_EQ(waits, (std::vector<std::chrono::milliseconds>{250ms, 500ms, 1000ms, 2000ms, 4000ms,
                                                           8000ms, 10'000ms, 10'000ms}));
  backoff.reset();
  EXPECT_EQ(backoff.next(), 250ms);
}

TEST(Backoff, JitterStaysInItsBoundsAndDoesNotAddUp) {
  double random = 0;
  Backoff backoff{{1000ms, 10'000ms, 0.2}, [&] { return random; }};
  EXPECT_EQ(backoff.next(), 800ms);
  random = 1;
  EXPECT_EQ(backoff.next(), 2400ms);
  random = 0;
  EXPECT_EQ(backoff.next(), 3200ms);
  random = 1;
  EXPECT_EQ(backoff.next(), 9600ms);
  EXPECT_EQ(backoff.next(), 10'000ms) << "never more than the most";
}

TEST(Backoff, ByItselfItIsRandom) {
  bool differ = false;
  for (int i = 0; i < 50 && !differ; ++i) differ = Backoff{}.next() != Backoff{}.next();
  EXPECT_TRUE(differ);
}

}  // namespace
}  // namespace sluice::gst
