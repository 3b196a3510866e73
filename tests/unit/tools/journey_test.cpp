#include "tools/sluice/journey.hpp"

#include "sluice/correlation.hpp"
#include "tools/sluice/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>

namespace sluice::tools {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kBegin = 1'000'000 * kMs;

TraceSpan span(const CorrelationId& id, std::string_view stage, std::uint32_t pid,
               std::uint64_t input, std::uint64_t taken, std::uint64_t output, std::uint64_t done) {
  TraceSpan s;
  s.correlation = id;
  s.origin_ns = kBegin;
  s.input_ns = input != 0 ? kBegin + input * kMs : 0;
  s.taken_ns = kBegin + taken * kMs;
  s.output_ns = output != 0 ? kBegin + output * kMs : 0;
  s.done_ns = kBegin + done * kMs;
  s.pid = pid;
  put_text(s.stage, stage);
  put_text(s.topic, "camera/front/frames");
  return s;
}

// Captured, after 5 ms there; published at 6, detected 8 to 28, recognized 29 to 40.
void add_journey(Journeys& journeys, const CorrelationId& id, std::uint64_t late = 0) {
  journeys.add(span(id, "recognize", 3, 28, 29, 39 + late, 40 + late));
  journeys.add(span(id, "capture-front", 1, 0, 5, 6, 6));
  journeys.add(span(id, "detect-front", 2, 6, 8, 28, 28));
}

TEST(Journey, SpansOfOneFrameStandInTheirOrderWithTheirParts) {
  Journeys journeys;
  const CorrelationId id = new_correlation_id();
  add_journey(journeys, id);
  const Journey journey = journeys.find(id);
  ASSERT_EQ(journey.hops.size(), 3u);
  EXPECT_EQ(text_of(journey.hops[0].span.stage), "capture-front");
  EXPECT_EQ(text_of(journey.hops[2].span.stage), "recognize");
  EXPECT_EQ(journey.hops[0].waiting_ns, 5 * kMs) << "from capture until the data had come";
  EXPECT_EQ(journey.hops[0].handling_ns, 1 * kMs);
  EXPECT_EQ(journey.hops[1].begin_ns, kBegin + 6 * kMs);
  EXPECT_EQ(journey.hops[1].waiting_ns, 2 * kMs);
  EXPECT_EQ(journey.hops[1].handling_ns, 20 * kMs);
  EXPECT_EQ(journey.hops[2].handling_ns, 10 * kMs);
  EXPECT_EQ(journey.hops[2].finishing_ns, 1 * kMs);
  EXPECT_EQ(journey.total_ns(), 40 * kMs);
}

TEST(Journey, TimesThatContradictEachOtherAreNoTimes) {
  Journeys journeys;
  const CorrelationId id = new_correlation_id();
  TraceSpan s = span(id, "mad", 1, 6, 5, 4, 3);
  journeys.add(s);
  s.done_ns = ~0ull;
  s.input_ns = 1;
  journeys.add(s);
  s = {};
  s.correlation = id;
  journeys.add(s);
  const Journey journey = journeys.find(id);
  EXPECT_EQ(journey.hops.size(), 3u);
  EXPECT_LT(journey.total_ns(), 3'600'000 * kMs);
  for (const Hop& hop : journey.hops) EXPECT_LT(hop.handling_ns, 3'600'000 * kMs);
  EXPECT_FALSE(waterfall(journey, 80).empty());
}

TEST(Journey, WhatIsNoSpanOrHasNoIdIsLeftOut) {
  Journeys journeys;
  journeys.add(span({}, "nobody's", 1, 0, 1, 2, 3));
  TraceSpan bad = span(new_correlation_id(), "bad", 1, 0, 1, 2, 3);
  bad.end = static_cast<SpanEnd>(99);
  journeys.add(bad);
  EXPECT_EQ(journeys.size(), 0u);
}

TEST(Journey, OnlyTheNewestAreKept) {
  Journeys journeys(10);
  CorrelationId last;
  for (int i = 0; i < 50; ++i) add_journey(journeys, last = new_correlation_id());
  EXPECT_EQ(journeys.size(), 10u);
  EXPECT_EQ(journeys.find(last).hops.size(), 3u);
}

TEST(Journey, TheSlowestComeFirst) {
  Journeys journeys;
  CorrelationId slow;
  for (std::uint64_t i = 0; i < 20; ++i) {
    const CorrelationId id = new_correlation_id();
    if (i == 7) slow = id;
    add_journey(journeys, id, i == 7 ? 500 : i);
  }
  const auto slowest = journeys.slowest(2);
  ASSERT_EQ(slowest.size(), 2u);
  EXPECT_EQ(slowest[0].correlation, slow);
  EXPECT_EQ(slowest[0].total_ns(), 540 * kMs);
  EXPECT_EQ(slowest[1].total_ns(), 59 * kMs);
  EXPECT_EQ(journeys.slowest(100).size(), 20u);
}

TEST(Journey, AWaterfallShowsEachStageWithinTheWidth) {
  Journeys journeys;
  const CorrelationId id = new_correlation_id();
  add_journey(journeys, id);
  journeys.add(span(id, "\x1b[31mname of a stage that is too long by far", 4, 28, 29, 30, 30));
  for (const std::size_t columns : {80u, 100u, 160u}) {
    std::istringstream text(waterfall(journeys.find(id), columns));
    std::size_t lines = 0;
    std::string line;
    while (std::getline(text, line)) {
      ++lines;
      EXPECT_LE(columns_of(line), columns) << line;
      EXPECT_EQ(clean(line), line);
    }
    EXPECT_EQ(lines, 6u);
  }
  const std::string text = waterfall(journeys.find(id), 100);
  EXPECT_NE(text.find("40.000 ms"), std::string::npos) << text;
  EXPECT_NE(text.find("20.000"), std::string::npos) << text;
  // A topic that is too long for the head is shortened, and what says which camera stays.
  TraceSpan first = span(id, "a", 0, 0, 1, 2, 2);
  put_text(first.topic, "camera/garden-door-2/frames");
  const std::string narrow = waterfall(Journey{id, {hop_of(first)}}, 80);
  const std::string head = narrow.substr(0, narrow.find('\n'));
  EXPECT_LE(columns_of(head), 80u) << head;
  EXPECT_NE(head.find("/garden-door-2"), std::string::npos) << head;
}

TEST(Journey, AStageSummaryFollowsTheWayOfTheFrames) {
  Journeys journeys;
  for (int i = 0; i < 5; ++i) add_journey(journeys, new_correlation_id());
  const nlohmann::json all = stage_summary_json(journeys.all());
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["stage"], "capture-front");
  EXPECT_EQ(all[1]["stage"], "detect-front");
  EXPECT_EQ(all[2]["stage"], "recognize");
  EXPECT_EQ(all[1]["spans"], 5);
  EXPECT_DOUBLE_EQ(all[1]["handling_p50_ms"].get<double>(), 20);
  EXPECT_DOUBLE_EQ(all[2]["since_capture_p99_ms"].get<double>(), 40);
}

TEST(Journey, AChromeTraceNamesProcessesAndLinksTheSlicesOfAFrame) {
  Journeys journeys;
  const CorrelationId id = new_correlation_id();
  add_journey(journeys, id);
  const nlohmann::json trace = nlohmann::json::parse(chrome_trace(journeys.all()).dump());
  std::string flow;
  int slices = 0;
  int names = 0;
  int waits = 0;
  for (const nlohmann::json& event : trace["traceEvents"]) {
    ASSERT_TRUE(event.contains("ph") && event.contains("pid"));
    const std::string ph = event["ph"];
    if (ph == "M") names += event["name"] == "process_name";
    if (ph == "X") {
      ++slices;
      EXPECT_EQ(event["args"]["correlation"], to_string(id));
      if (event["pid"] == 2) {
        EXPECT_DOUBLE_EQ(event["dur"].get<double>(), 20'000);
        EXPECT_DOUBLE_EQ(event["ts"].get<double>(), static_cast<double>(kBegin + 8 * kMs) / 1e3);
      }
    }
    if (ph == "b") ++waits;
    if (ph == "e") --waits;
    if (ph == "s" || ph == "t" || ph == "f") {
      EXPECT_EQ(event["id"], to_string(id));
      flow += ph;
    }
  }
  EXPECT_EQ(slices, 3);
  EXPECT_EQ(names, 3);
  EXPECT_EQ(waits, 0) << "each that begins ends";
  EXPECT_EQ(flow, "stf");
}

}  // namespace
}  // namespace sluice::tools
