#include "sluice/tracing.hpp"

#include "shm/geometry.hpp"
#include "sluice/publisher.hpp"
#include "tests/support/local_link.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>

namespace sluice {
namespace {

TEST(Tracing, TextIsPutAndRead) {
  std::array<char, 8> field;
  field.fill('x');
  put_text(field, "front");
  EXPECT_EQ(text_of(field), "front");
  EXPECT_EQ(field.back(), '\0') << "nothing of what lay there before is told";
  put_text(field, "1234567");
  EXPECT_EQ(text_of(field), "1234567");
  put_text(field, "12345678");
  EXPECT_EQ(text_of(field), "1234567");
  put_text(field, "");
  EXPECT_EQ(text_of(field), "");
}

TEST(Tracing, TextIsCutOffBetweenCharacters) {
  std::array<char, 8> field{};
  put_text(field, "123456\u00e9");  // two bytes, one of which would fit
  EXPECT_EQ(text_of(field), "123456");
  put_text(field, "12345\u00e9");
  EXPECT_EQ(text_of(field), "12345\u00e9");
  put_text(field, "12345\u20ac");  // three bytes
  EXPECT_EQ(text_of(field), "12345");
  put_text(field, "1234\U0001f600");  // four
  EXPECT_EQ(text_of(field), "1234");
  put_text(field, "12345\u00e9z");
  EXPECT_EQ(text_of(field), "12345\u00e9");
}

TEST(Tracing, TextThatIsNoUtf8IsCutOffWhereTheFieldEnds) {
  std::array<char, 8> field{};
  put_text(field, "\x80\x80\x80\x80\x80\x80\x80\x80\x80");
  EXPECT_EQ(text_of(field).size(), 7u);
  std::array<char, 1> none{'x'};
  put_text(none, "abc");
  EXPECT_EQ(text_of(none), "");
  put_text({}, "abc");
}

TEST(Tracing, AForeignFieldWithoutAnEndEndsWithTheField) {
  std::array<char, 4> field{'a', 'b', 'c', 'd'};
  EXPECT_EQ(text_of(field), "abcd");
}

TEST(Tracing, TopicsFollowFromTheNode) {
  EXPECT_EQ(trace_topic("detect-front"), "trace/detect-front");
  EXPECT_EQ(health_topic("hall/detect"), "health/hall/detect");
}

TEST(Tracing, RecordsWithOtherEnumeratorsAreNotValid) {
  TraceSpan span;
  EXPECT_TRUE(valid(span));
  span.end = SpanEnd::no_room;
  EXPECT_TRUE(valid(span));
  span.end = static_cast<SpanEnd>(4);
  EXPECT_FALSE(valid(span));
  Health health;
  health.status = HealthStatus::stopping;
  EXPECT_TRUE(valid(health));
  health.status = static_cast<HealthStatus>(5);
  EXPECT_FALSE(valid(health));
}

TEST(Tracing, TheNewestSpansAreThereForWhoComesLate) {
  test::LocalLink link{trace_stream()};
  for (std::uint64_t i = 1; i <= 2'000; ++i) {
    Loan loan = link.publisher().loan(sizeof(TraceSpan));
    ASSERT_TRUE(loan) << to_string(loan.outcome());
    TraceSpan span;
    span.done_ns = i;
    std::memcpy(loan.data(), &span, sizeof span);
    ASSERT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
  }
  auto late = link.attach({.history = 1'024});
  std::uint64_t expected = 2'000 - 1'024;
  while (const SampleOf<TraceSpan> span{late->take()}) {
    ASSERT_TRUE(valid(*span));
    EXPECT_EQ(span->done_ns, ++expected);
  }
  EXPECT_EQ(expected, 2'000u);
}

TEST(Tracing, NobodyIsOfferedToHoldUpAStageByItsRecords) {
  for (const StreamOptions& options : {trace_stream(), health_stream()}) {
    EXPECT_FALSE(options.offered.reliable);
    EXPECT_FALSE(options.offered.group);
  }
}

}  // namespace
}  // namespace sluice
