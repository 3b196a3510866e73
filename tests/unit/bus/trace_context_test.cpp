// Level 1, the Recommendation of 23 November 2021. The vectors are those of its text and of the
// W3C's own test suite, by meaning; where that suite asks for Level 2 (the flag `random`) it is not
// followed.
#include "sluice/trace_context.hpp"

#include "sluice/correlation.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

namespace sluice {
namespace {

const std::string kTrace = "12345678901234567890123456789012";
const std::string kSpan = "1234567890123456";

std::string parent(const std::string& version, const std::string& rest = "-01") {
  return version + "-" + kTrace + "-" + kSpan + rest;
}

TEST(Traceparent, TheRecommendationsExampleIsReadAndPrintedAgain) {
  const std::string text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const auto context = parse_traceparent(text);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->trace_id[0], 0x0a);
  EXPECT_EQ(context->trace_id[15], 0x9c);
  EXPECT_EQ(context->span_id[0], 0xb7);
  EXPECT_EQ(context->span_id[7], 0x31);
  EXPECT_EQ(context->flags, kTraceSampled);
  EXPECT_EQ(to_traceparent(*context), text);
}

TEST(Traceparent, WhatIsRead) {
  struct Case {
    std::string text;
    std::string printed;  // as what it is passed on
  };
  const std::vector<Case> cases{
      {parent("00"), parent("00")},
      {parent("00", "-00"), parent("00", "-00")},
      {parent("00", "-02"), parent("00", "-00")},  // other flags are set to zero
      {parent("00", "-03"), parent("00", "-01")},
      {parent("00", "-ff"), parent("00", "-01")},
      {parent("01"), parent("00")},
      {parent("cc"), parent("00")},
      {parent("fe", "-fe"), parent("00", "-00")},
      {parent("cc", "-01-"), parent("00")},
      {parent("cc", "-01-what-the-future-will-be-like"), parent("00")},
      {parent("cc", "-01-" + std::string(1'000, '.')), parent("00")},
      {"00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01",
       "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01"},
      {"00-00000000000000000000000000000001-0000000000000001-00",
       "00-00000000000000000000000000000001-0000000000000001-00"},
  };
  for (const Case& c : cases) {
    const auto context = parse_traceparent(c.text);
    ASSERT_TRUE(context) << c.text;
    EXPECT_TRUE(context->valid());
    EXPECT_EQ(to_traceparent(*context), c.printed) << c.text;
  }
}

TEST(Traceparent, WhatIsNotRead) {
  const std::vector<std::string> cases{
      "",
      "-",
      "00",
      "---",
      kTrace,
      // Version.
      parent("ff"),
      parent("ff", "-01-x"),
      parent(".0"),
      parent("0."),
      parent("0"),
      parent("000"),
      parent("0000"),
      parent("CC"),
      parent("fF"),
      // What version 00 ends with.
      parent("00", "-01."),
      parent("00", "-01-"),
      parent("00", "-01-what-the-future-will-be-like"),
      parent("cc", "-01.what-the-future-will-be-like"),
      parent("cc", "-011"),
      parent("cc", "-0"),
      // Flags.
      parent("00", "-.0"),
      parent("00", "-0."),
      parent("00", "-001"),
      parent("00", "-1"),
      parent("00", "-"),
      parent("00", ""),
      parent("00", "-0A"),
      parent("00", "_01"),
      parent("cc", "-x1-"),
      // Trace.
      "00-00000000000000000000000000000000-" + kSpan + "-01",
      "cc-00000000000000000000000000000000-" + kSpan + "-01",
      "00-.2345678901234567890123456789012-" + kSpan + "-01",
      "00-1234567890123456789012345678901.-" + kSpan + "-01",
      "00-1234567890123456789012345678901A-" + kSpan + "-01",
      "00-" + kTrace + "3-" + kSpan + "-01",
      "00-" + kTrace.substr(1) + "-" + kSpan + "-01",
      "00_" + kTrace + "-" + kSpan + "-01",
      // Span.
      "00-" + kTrace + "-0000000000000000-01",
      "00-" + kTrace + "-.234567890123456-01",
      "00-" + kTrace + "-123456789012345.-01",
      "00-" + kTrace + "-123456789012345F-01",
      "00-" + kTrace + "-12345678901234567-01",
      "00-" + kTrace + "-123456789012345-01",
      "00-" + kTrace + "_" + kSpan + "-01",
      // White space is the transport's.
      " " + parent("00"),
      parent("00") + " ",
      parent("00") + "\n",
      parent("00") + std::string(1, '\0'),
  };
  for (const std::string& text : cases) EXPECT_FALSE(parse_traceparent(text)) << text;
}

TEST(Traceparent, ZerosAreNoContext) {
  EXPECT_FALSE(TraceContext{}.valid());
  TraceContext context;
  context.trace_id[3] = 1;
  EXPECT_FALSE(context.valid());
  context.span_id[7] = 1;
  EXPECT_TRUE(context.valid());
  context.trace_id = {};
  EXPECT_FALSE(context.valid());
}

TEST(Traceparent, ANewTraceIsNamedAfterTheCorrelation) {
  const auto id = parse_correlation_id("0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c");
  ASSERT_TRUE(id);
  const TraceContext trace = new_trace(*id);
  EXPECT_EQ(to_traceparent(trace).substr(0, 36), "00-0193a5d25c1e7a3b9f102d4c6e8a0b1c-");
  EXPECT_TRUE(trace.valid());
  EXPECT_EQ(trace.flags, kTraceSampled);
  EXPECT_EQ(new_trace(*id, false).flags, 0);

  const TraceContext other = new_trace({});
  EXPECT_TRUE(other.valid());
  EXPECT_NE(other.trace_id, new_trace({}).trace_id);
}

TEST(Traceparent, AChildKeepsTheTraceAndHasASpanOfItsOwn) {
  TraceContext trace = new_trace({}, false);
  trace.flags = 0x81;
  std::set<std::array<std::uint8_t, 8>> spans{trace.span_id};
  for (int i = 0; i < 1'000; ++i) {
    const TraceContext child = child_span(trace);
    EXPECT_TRUE(child.valid());
    EXPECT_EQ(child.trace_id, trace.trace_id);
    EXPECT_EQ(child.flags, trace.flags);
    spans.insert(child.span_id);
  }
  EXPECT_EQ(spans.size(), 1'001u);
}

std::string letters() { return "abcdefghijklmnopqrstuvwxyz0123456789_-*/"; }

std::string printable() {
  std::string text;
  for (char c = 0x20; c <= 0x7e; ++c) {
    if (c != ',' && c != '=') text += c;
  }
  return text;
}

std::string numbered(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += (i == 0 ? "k" : ",k") + std::to_string(i) + "=" + std::to_string(i);
  }
  return text;
}

TEST(Tracestate, WhatIsRead) {
  struct Case {
    std::string text;
    std::string printed;
  };
  const std::string z256(256, 'z');
  const std::string tenant(241, 't');
  const std::vector<Case> cases{
      {"", ""},
      {" \t ", ""},
      {",", ""},
      {"foo=1", "foo=1"},
      {"foo=1,bar=2", "foo=1,bar=2"},
      {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
      {"foo=1,", "foo=1"},
      {",foo=1", "foo=1"},
      {"foo=1,,,bar=2", "foo=1,bar=2"},
      {"foo=1, \t ,bar=2", "foo=1,bar=2"},
      {"foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"},
      {"foo=1\t \t,\t \tbar=2,\t \tbaz=3", "foo=1,bar=2,baz=3"},
      {" foo=1", "foo=1"},
      {"\tfoo=1\t", "foo=1"},
      {"foo=  1  ", "foo=  1"},  // spaces in front belong to the value
      {letters() + "=" + printable() + ",b=2", letters() + "=" + printable() + ",b=2"},
      {letters() + "@az0_-*/=" + printable(), letters() + "@az0_-*/=" + printable()},
      {"1a@b=1", "1a@b=1"},  // a tenant may begin with a digit
      {z256 + "=1", z256 + "=1"},
      {tenant + "@" + std::string(14, 'v') + "=1", tenant + "@" + std::string(14, 'v') + "=1"},
      {"foo=" + z256, "foo=" + z256},
      {"foo=!", "foo=!"},
      {"foo=~", "foo=~"},
      {numbered(32), numbered(32)},
  };
  for (const Case& c : cases) {
    const auto state = TraceState::parse(c.text);
    ASSERT_TRUE(state) << c.text;
    EXPECT_EQ(state->print(), c.printed);
  }
}

TEST(Tracestate, WhatIsNotRead) {
  const std::vector<std::string> cases{
      "foobarbaz",
      "foo=1,bar",
      "=",
      "=1",
      "foo=",
      "foo= ",
      "foo=\t",
      "foo=,bar=2",
      "foo =1",
      "foo= \t1",
      "FOO=1",
      "fOo=1",
      "foo.bar=1",
      "0foo=1",  // only a tenant begins with a digit
      "_foo=1",
      "{foo=1",
      "foo@=1,bar=2",
      "@foo=1,bar=2",
      "foo@@bar=1,bar=2",
      "foo@bar@baz=1,bar=2",
      "foo@1bar=1",
      "-foo@bar=1",
      "foo=1=2",
      "foo=bar=baz",
      "foo=a\tb",
      "foo=a\x7f",
      "foo=\x1f"
      "a",
      "foo=\xc3\xa4",
      std::string("foo=a\0b", 7),
      "foo=1,foo=1",
      "foo=1,foo=2",
      "foo=1,bar=2,foo=3",
      std::string(257, 'z') + "=1",
      std::string(242, 't') + "@v=1",
      "t@" + std::string(15, 'v') + "=1",
      "foo=" + std::string(257, 'x'),
      numbered(33),
      numbered(32) + ",",  // an empty member is a member
      std::string(32, ','),
  };
  for (const std::string& text : cases) EXPECT_FALSE(TraceState::parse(text)) << text;
}

TEST(Tracestate, IsCutOffAtWholeMembersLongOnesFirst) {
  const std::string a = "a=" + std::string(126, '1');  // 128 bytes: not long
  const std::string b = "b=" + std::string(127, '2');  // 129 bytes: long
  const std::string c = "c=" + std::string(126, '3');
  const std::string d = "d=" + std::string(126, '4');
  const auto print = [](const std::string& text) {
    const auto state = TraceState::parse(text);
    return state ? state->print() : "refused";
  };
  EXPECT_EQ(print(a + "," + b + "," + c + ",e=5"), a + "," + b + "," + c + ",e=5");
  EXPECT_EQ(print(a + "," + b + "," + c + "," + d), a + "," + c + "," + d);
  // Of the long ones the oldest goes first, and no more of them than must.
  const std::string f = "f=" + std::string(200, '6');
  EXPECT_EQ(print(f + "," + b + "," + a + "," + c), f + "," + a + "," + c);
  // Nothing long is left: from the end.
  std::string many = a;
  for (const char* key : {"g", "h", "i", "j"}) many += "," + std::string(key) + a.substr(1);
  EXPECT_EQ(print(many), many.substr(0, 3 * 129 - 1));
  // Exactly 512 bytes travel, 513 do not.
  const std::string full =
      a + ",g" + a.substr(1) + ",h" + a.substr(1) + ",i=" + std::string(123, '9');
  ASSERT_EQ(full.size(), 512u);
  EXPECT_EQ(print(full), full);
  EXPECT_EQ(print(full + "9"), full.substr(0, 3 * 129 - 1));
}

TEST(Tracestate, WhatIsSetComesFirst) {
  auto state = TraceState::parse("bar=0,foo=1");
  ASSERT_TRUE(state);
  EXPECT_TRUE(state->set("baz", "3"));
  EXPECT_TRUE(state->set("foo", "4"));
  EXPECT_EQ(state->print(), "foo=4,baz=3,bar=0");
  EXPECT_EQ(state->get("baz"), "3");
  EXPECT_EQ(state->get("ba"), std::nullopt);
  EXPECT_TRUE(state->set("system@vendor", " x"));
  EXPECT_EQ(state->members().front().second, " x");
  EXPECT_TRUE(state->erase("baz"));
  EXPECT_FALSE(state->erase("baz"));
  EXPECT_EQ(state->print(), "system@vendor= x,foo=4,bar=0");
}

TEST(Tracestate, WhatIsWrongIsNotSet) {
  TraceState state;
  EXPECT_TRUE(state.set("foo", "1"));
  for (const char* key : {"", "FOO", "@vendor", "special.vendor", "a b"}) {
    EXPECT_FALSE(state.set(key, "1")) << key;
  }
  for (const char* value : {"", " ", "a=b", "a,b", "a "}) EXPECT_FALSE(state.set("foo", value));
  EXPECT_EQ(state.print(), "foo=1");
}

TEST(Tracestate, OneMoreThanFitPushesOutTheOldest) {
  auto state = TraceState::parse(numbered(32));
  ASSERT_TRUE(state);
  EXPECT_TRUE(state->set("k5", "again"));
  EXPECT_EQ(state->members().size(), 32u);
  EXPECT_TRUE(state->get("k31"));
  EXPECT_TRUE(state->set("new", "1"));
  EXPECT_EQ(state->members().size(), 32u);
  EXPECT_FALSE(state->get("k31"));
  EXPECT_EQ(state->members().front().first, "new");
}

// A value in the state itself, which is moved while it is set.
TEST(Tracestate, CanBeSetFromItself) {
  auto state = TraceState::parse("foo=1,bar=2");
  ASSERT_TRUE(state);
  EXPECT_TRUE(state->set(state->members()[1].first, *state->get("bar")));
  EXPECT_EQ(state->print(), "bar=2,foo=1");
}

}  // namespace
}  // namespace sluice
