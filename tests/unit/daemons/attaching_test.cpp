#include "daemons/sluiced/attaching.hpp"

#include <gtest/gtest.h>

namespace sluice::broker {
namespace {

Question question(Id stream, Id subscription, std::uint64_t deadline_ns = 100) {
  return {stream, subscription, 1, 2, 7, deadline_ns};
}

TEST(Attaching, AnAnswerFindsItsQuestionOnce) {
  Attaching attaching;
  const auto number = attaching.ask(question(10, 20));
  ASSERT_TRUE(number);
  EXPECT_FALSE(attaching.answer(9, *number)) << "only who was asked may answer";
  const auto answered = attaching.answer(1, *number);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->subscription, 20u);
  EXPECT_EQ(answered->request, 7u);
  EXPECT_FALSE(attaching.answer(1, *number));
}

TEST(Attaching, WhatWasCancelledMayStillBeAnswered) {
  Attaching attaching;
  const auto number = attaching.ask(question(10, 20));
  ASSERT_EQ(attaching.cancel(10, 20).size(), 1u);
  EXPECT_TRUE(attaching.cancel(10, 20).empty());
  EXPECT_EQ(attaching.answer(1, *number)->subscriber, 0u);
}

TEST(Attaching, AnEndedStreamAndLatenessAreToldToTheSubscriberOnce) {
  Attaching attaching;
  attaching.ask(question(10, 20));
  attaching.ask(question(11, 20, 200));
  EXPECT_EQ(attaching.end_stream(10).size(), 1u);
  EXPECT_TRUE(attaching.take_late(150).empty());
  ASSERT_EQ(attaching.take_late(200).size(), 1u);
  EXPECT_TRUE(attaching.take_late(200).empty());
}

TEST(Attaching, APublisherThatDoesNotAnswerIsNotAskedForEver) {
  Attaching attaching;
  std::uint32_t last = 0;
  for (std::size_t i = 0; i < Attaching::kMaxPerPublisher; ++i) {
    last = attaching.ask(question(10, i + 1)).value();
    attaching.cancel(10, i + 1);
  }
  EXPECT_FALSE(attaching.ask(question(10, 9999)));
  ASSERT_TRUE(attaching.answer(1, last));
  EXPECT_TRUE(attaching.ask(question(10, 9999)));
  attaching.end_publisher(1);
  EXPECT_FALSE(attaching.answer(1, last));
  EXPECT_TRUE(attaching.ask(question(10, 20)));
}

}  // namespace
}  // namespace sluice::broker
