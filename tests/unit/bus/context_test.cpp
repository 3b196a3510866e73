#include "sluice/context.hpp"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace sluice {
namespace {

Context context_of(std::uint64_t number) {
  Context context;
  context.correlation = {number, number};
  context.trace = new_trace(context.correlation);
  context.tracestate = "foo=" + std::to_string(number);
  context.hops = static_cast<std::uint8_t>(number);
  return context;
}

TEST(Context, IsEmptyOutsideOfHandlers) {
  const Context& none = current_context();
  EXPECT_EQ(none.correlation, CorrelationId{});
  EXPECT_FALSE(none.trace.valid());
  EXPECT_TRUE(none.tracestate.empty());
  EXPECT_EQ(none.origin_ns + none.deadline_ns + none.hops, 0u);
}

TEST(Context, ScopesNest) {
  {
    const ScopedContext outer{context_of(1)};
    EXPECT_EQ(current_context().hops, 1);
    {
      const ScopedContext inner{context_of(2)};
      EXPECT_EQ(current_context().tracestate, "foo=2");
    }
    EXPECT_EQ(current_context().tracestate, "foo=1");
  }
  EXPECT_EQ(current_context().hops, 0);
}

TEST(Context, KeepsOfATracestateWhatMayBePassedOn) {
  Context context = context_of(1);
  const auto kept = [&context](const std::string& tracestate) {
    context.tracestate = tracestate;
    const ScopedContext scope{context};
    return current_context().tracestate;
  };
  const std::string a = "a=" + std::string(254, '1');
  const std::string b = "b=" + std::string(253, '2');
  EXPECT_EQ(kept("foo=1,bar=2"), "foo=1,bar=2");
  EXPECT_EQ(kept(" foo=1 ,,bar=2\t"), "foo=1,bar=2");
  EXPECT_EQ(kept(a + "," + b), a + "," + b);  // 512 bytes
  EXPECT_EQ(kept(a + "," + b + "2"), a);      // 513
  EXPECT_EQ(kept("foo=1,foo=1"), "");
  EXPECT_EQ(kept("foo"), "");
  EXPECT_EQ(kept(std::string(100'000, 'x')), "");
  context.trace.span_id = {};
  EXPECT_EQ(kept("foo=1"), "");
  context.trace = {};
  EXPECT_EQ(kept("foo=1"), "");
}

TEST(Context, BelongsToOneThread) {
  const ScopedContext scope{context_of(3)};
  std::thread([] { EXPECT_EQ(current_context().hops, 0); }).join();
  EXPECT_EQ(current_context().hops, 3);
}

TEST(Context, CanBeTakenAlongToAnotherThread) {
  int sum = 0;
  const auto make = [&sum] {
    const ScopedContext scope{context_of(4)};
    return with_current_context([&sum](int a, std::string text) {
      EXPECT_EQ(current_context().correlation, (CorrelationId{4, 4}));
      EXPECT_EQ(current_context().tracestate, "foo=4");
      EXPECT_EQ(text, "text");
      return sum += a;
    });
  };
  auto task = make();
  std::thread([&task] {
    EXPECT_EQ(task(5, "text"), 5);
    EXPECT_EQ(task(6, "text"), 11);
    EXPECT_EQ(current_context().hops, 0);
  }).join();
  EXPECT_EQ(sum, 11);
}

}  // namespace
}  // namespace sluice
