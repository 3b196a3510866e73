#include "sluice/duplicates.hpp"

#include "sluice/correlation.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <random>
#include <utility>

namespace sluice {
namespace {

MessageId id_of(std::uint64_t number) { return {number + 1, ~number}; }

TEST(DuplicateWindow, OfNoneKnowsNothing) {
  DuplicateWindow window;
  EXPECT_TRUE(window.insert(id_of(1), 0));
  EXPECT_TRUE(window.insert(id_of(1), 0));
  EXPECT_FALSE(window.contains(id_of(1), 0));
  window.erase(id_of(1));
  EXPECT_EQ(window.size(), 0u);
}

TEST(DuplicateWindow, KnowsWhatCameBefore) {
  DuplicateWindow window{{4, 100}};
  EXPECT_FALSE(window.contains(id_of(1), 0));
  EXPECT_TRUE(window.insert(id_of(1), 0));
  EXPECT_TRUE(window.contains(id_of(1), 0));
  EXPECT_FALSE(window.insert(id_of(1), 0));
  EXPECT_FALSE(window.contains(id_of(2), 0));
  EXPECT_EQ(window.size(), 1u);
}

TEST(DuplicateWindow, TheOldestMakesRoom) {
  DuplicateWindow window{{3, 1'000}};
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(window.insert(id_of(i), i));
  EXPECT_FALSE(window.insert(id_of(0), 3));  // known, and no younger for it
  EXPECT_TRUE(window.insert(id_of(3), 4));
  EXPECT_FALSE(window.contains(id_of(0), 4));
  for (std::uint64_t i = 1; i <= 3; ++i) EXPECT_TRUE(window.contains(id_of(i), 4));
  EXPECT_EQ(window.size(), 3u);
}

TEST(DuplicateWindow, OfOneKnowsTheLast) {
  DuplicateWindow window{{1, 1'000}};
  for (std::uint64_t i = 0; i < 10; ++i) {
    EXPECT_TRUE(window.insert(id_of(i), 0));
    EXPECT_FALSE(window.insert(id_of(i), 0));
    EXPECT_EQ(window.size(), 1u);
  }
}

TEST(DuplicateWindow, WhatLeftItInTimeIsNewAgain) {
  DuplicateWindow window{{8, 100}};
  EXPECT_TRUE(window.insert(id_of(1), 1'000));
  EXPECT_TRUE(window.insert(id_of(2), 1'050));
  EXPECT_TRUE(window.contains(id_of(1), 1'100));
  EXPECT_FALSE(window.contains(id_of(1), 1'101));
  EXPECT_TRUE(window.contains(id_of(2), 1'101));
  EXPECT_FALSE(window.insert(id_of(1), 1'100));
  EXPECT_TRUE(window.insert(id_of(1), 1'101));
  EXPECT_FALSE(window.insert(id_of(1), 1'201));
  EXPECT_TRUE(window.insert(id_of(2), 1'201));
}

TEST(DuplicateWindow, DropsWhatIsOverTimeALittleAtATime) {
  DuplicateWindow window{{8, 100}};
  for (std::uint64_t i = 0; i < 6; ++i) EXPECT_TRUE(window.insert(id_of(i), 0));
  EXPECT_TRUE(window.insert(id_of(10), 500));
  EXPECT_EQ(window.size(), 5u);  // two went, one came
  EXPECT_TRUE(window.insert(id_of(11), 500));
  EXPECT_TRUE(window.insert(id_of(12), 500));
  EXPECT_EQ(window.size(), 3u);
  EXPECT_TRUE(window.insert(id_of(13), 500));
  EXPECT_EQ(window.size(), 4u);
}

TEST(DuplicateWindow, TimeMayGoBack) {
  DuplicateWindow window{{4, 100}};
  EXPECT_TRUE(window.insert(id_of(1), 10'000));
  EXPECT_TRUE(window.contains(id_of(1), 5));
  EXPECT_FALSE(window.insert(id_of(1), 5));
  EXPECT_TRUE(window.insert(id_of(2), 5));
  EXPECT_TRUE(window.contains(id_of(2), 5));
}

TEST(DuplicateWindow, ForgetsWhatItIsTold) {
  DuplicateWindow window{{3, 100}};
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_TRUE(window.insert(id_of(i), 0));
  window.erase(id_of(1));
  window.erase(id_of(7));
  EXPECT_EQ(window.size(), 2u);
  EXPECT_TRUE(window.insert(id_of(3), 0));  // takes the free place: nobody had to go
  EXPECT_TRUE(window.contains(id_of(0), 0));
  EXPECT_TRUE(window.contains(id_of(2), 0));
  EXPECT_TRUE(window.insert(id_of(1), 0));
  EXPECT_FALSE(window.contains(id_of(0), 0));
  for (const std::uint64_t i : {3u, 2u, 1u}) window.erase(id_of(i));
  EXPECT_EQ(window.size(), 0u);
  EXPECT_TRUE(window.insert(id_of(2), 0));
}

TEST(DuplicateWindow, ZerosAreNoId) {
  DuplicateWindow window{{4, 100}};
  EXPECT_TRUE(window.insert({}, 0));
  EXPECT_TRUE(window.insert({}, 0));
  EXPECT_FALSE(window.contains({}, 0));
  EXPECT_EQ(window.size(), 0u);
}

TEST(DuplicateWindow, IsBoundedByTheLargestCount) {
  DuplicateWindow window{{UINT32_MAX, UINT64_MAX}};
  constexpr std::uint64_t kMost = 1u << 20;
  for (std::uint64_t i = 0; i <= kMost; ++i) ASSERT_TRUE(window.insert(id_of(i), i));
  EXPECT_EQ(window.size(), kMost);
  EXPECT_FALSE(window.contains(id_of(0), kMost));
  EXPECT_TRUE(window.contains(id_of(1), kMost));
}

TEST(DuplicateWindow, CanBeMoved) {
  DuplicateWindow window{{4, 100}};
  EXPECT_TRUE(window.insert(id_of(1), 0));
  DuplicateWindow other{std::move(window)};
  EXPECT_FALSE(other.insert(id_of(1), 0));
  window = std::move(other);
  EXPECT_FALSE(window.insert(id_of(1), 0));
}

// Against a list that is searched from end to end. Some ids differ in one half only.
TEST(DuplicateWindow, DoesWhatAListWouldDo) {
  for (const std::uint32_t count : {1u, 2u, 5u, 16u, 100u}) {
    DuplicateWindow window{{count, 50}};
    std::deque<std::pair<MessageId, std::uint64_t>> list;
    std::mt19937_64 random{count};
    std::uint64_t now = 0;
    for (int step = 0; step < 20'000; ++step) {
      now += random() % 8 == 0 ? random() % 20 : 0;
      const MessageId id{random() % 12, random() % (count / 4 + 2) + 1};
      std::erase_if(list, [now](const auto& e) { return now - e.second > 50; });
      const auto there =
          std::find_if(list.begin(), list.end(), [&id](const auto& e) { return e.first == id; });
      ASSERT_EQ(window.contains(id, now), there != list.end()) << count << " " << step;
      if (random() % 4 == 0) {
        window.erase(id);
        if (there != list.end()) list.erase(there);
      } else {
        ASSERT_EQ(window.insert(id, now), there == list.end()) << count << " " << step;
        if (there == list.end()) list.emplace_back(id, now);
        if (list.size() > count) list.pop_front();
      }
      ASSERT_GE(window.size(), list.size());
      ASSERT_LE(window.size(), count);
    }
  }
}

}  // namespace
}  // namespace sluice
