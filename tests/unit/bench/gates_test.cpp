// Whether a run's figures meet what is asked of them, and that every target is about something that
// can be measured.
#include "tests/bench/gates.hpp"

#include "tests/bench/figures.hpp"
#include "tests/bench/metrics.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace sluice::bench {
namespace {

using nlohmann::json;

const PeerInfo& peer(std::string_view name) {
  return *std::ranges::find(peers(), name, &PeerInfo::name);
}

Series measured(std::string_view workload, std::string_view who, std::vector<json> rounds) {
  for (json& round : rounds) {
    if (!round.contains("ok")) round["ok"] = true;
  }
  return {find_workload(workload), &peer(who), std::move(rounds)};
}

Verdict only(const std::vector<Series>& all, const Gate& gate) {
  const std::vector<Verdict> verdicts = judge(all, {&gate, 1});
  EXPECT_EQ(verdicts.size(), 1U);
  return verdicts.empty() ? Verdict{} : verdicts.front();
}

TEST(Gates, CompareTheMedianOfTheRoundsThatPassed) {
  const std::vector<Series> all{measured("bus64", "sluice-bus",
                                         {{{"per_second", 5.0}},
                                          {{"per_second", 1.0}},
                                          {{"per_second", 3.0}},
                                          {{"per_second", 1000.0}, {"ok", false}}})};
  const Gate reached{"bus64", "sluice-bus", "per_second", Must::be_at_least, 3};
  const Gate beyond{"bus64", "sluice-bus", "per_second", Must::be_at_least, 3.1};
  EXPECT_TRUE(only(all, reached).met);
  EXPECT_EQ(only(all, reached).value, 3);
  EXPECT_FALSE(only(all, beyond).met);
}

TEST(Gates, KnowWhetherTheLimitItselfIsAllowed) {
  const std::vector<Series> all{measured("priority", "sluiced", {{{"flood_us_p50", 100.0}}})};
  Gate gate{"priority", "sluiced", "flood_us_p50", Must::be_at_most, 100};
  EXPECT_TRUE(only(all, gate).met);
  gate.must = Must::be_at_least;
  EXPECT_TRUE(only(all, gate).met);
  gate.must = Must::be_below;
  EXPECT_FALSE(only(all, gate).met);
  gate.limit = 100.5;
  EXPECT_TRUE(only(all, gate).met);
}

TEST(Gates, AreMultiplesOfAPeersFigureInTheSameRun) {
  const std::vector<Series> all{measured("request64-poll", "sluice-bus", {{{"p50_us", 2.0}}}),
                                measured("request64-poll", "iceoryx", {{{"p50_us", 4.5}}}),
                                measured("bus64", "iceoryx", {{{"p50_us", 1.0}}})};
  Gate gate{"request64-poll", "sluice-bus", "p50_us", Must::be_at_most, 0.5, "iceoryx"};
  EXPECT_TRUE(only(all, gate).met);
  EXPECT_DOUBLE_EQ(*only(all, gate).value, 2 / 4.5);
  gate.limit = 0.4;
  EXPECT_FALSE(only(all, gate).met);
}

TEST(Gates, MeetTheBestOfTheReferencePeers) {
  const std::vector<Series> all{measured("camera3", "sluice-node", {{{"cpu_us", 60.0}}}),
                                measured("camera3", "iceoryx", {{{"cpu_us", 120.0}}}),
                                measured("camera3", "gstreamer", {{{"cpu_us", 80.0}}}),
                                measured("camera3", "raw-futex", {{{"cpu_us", 10.0}}})};
  const Gate gate{"camera3", "sluice-node", "cpu_us", Must::be_at_most, 0.7, kBestReference};
  EXPECT_DOUBLE_EQ(*only(all, gate).value, 0.75);
  EXPECT_FALSE(only(all, gate).met);
}

TEST(Gates, MayCompareTwoFiguresOfOnePeer) {
  const std::vector<Series> all{
      measured("publish-readers", "sluiced", {{{"busy1_ns", 50.0}, {"busy64_ns", 99.0}}})};
  const Gate gate{"publish-readers", "sluiced", "busy64_ns", Must::be_below, 2, {}, "busy1_ns"};
  EXPECT_TRUE(only(all, gate).met);
}

TEST(Gates, LeaveOutWhatWasNotMeasured) {
  const std::vector<Series> all{measured("bus64", "sluice-bus", {{{"per_second", 5.0}}})};
  const std::array gates{
      Gate{"bus256", "sluice-bus", "per_second", Must::be_at_least, 1},
      Gate{"bus64", "zmq", "per_second", Must::be_at_least, 1},
      Gate{"bus64", "sluice-bus", "per_second", Must::be_at_least, 1, "iceoryx"},
      Gate{"bus64", "sluice-bus", "per_second", Must::be_at_least, 1, kBestReference}};
  EXPECT_TRUE(judge(all, gates).empty());
}

TEST(Gates, AreMissedByWhatFailed) {
  const std::vector<Series> all{
      measured("bus64", "sluice-bus", {{{"per_second", 5.0}, {"ok", false}}}),
      measured("bus256", "sluice-bus", {{{"per_second", 5.0}}}),
      measured("bus256", "iceoryx", {{{"error", "hangs"}, {"ok", false}}})};
  const Gate own{"bus64", "sluice-bus", "per_second", Must::be_at_least, 1};
  const Gate reference{"bus256", "sluice-bus", "per_second", Must::be_at_least, 1, "iceoryx"};
  for (const Gate& gate : {own, reference}) {
    EXPECT_FALSE(only(all, gate).met);
    EXPECT_FALSE(only(all, gate).value.has_value());
  }
}

TEST(Gates, SayWhatTheyAskedAndWhatTheyGot) {
  const std::vector<Series> all{measured("pingpong64-poll", "sluice", {{{"p50_us", 0.35}}}),
                                measured("pingpong64-poll", "iceoryx", {{{"p50_us", 1.5}}})};
  const Gate gate{"pingpong64-poll", "sluice", "p50_us", Must::be_at_most, 0.16, "iceoryx"};
  const Verdict verdict = only(all, gate);
  EXPECT_EQ(sentence(verdict), "sluice p50_us ≤ 0.160 × iceoryx: 0.233, MISSED");
  const json object = to_json(verdict);
  EXPECT_EQ(object["met"], false);
  EXPECT_EQ(object["limit"], 0.16);
  EXPECT_EQ(object["times_peer"], "iceoryx");
  EXPECT_NEAR(object["value"].get<double>(), 0.2333, 1e-3);
}

TEST(Gates, AreAboutWhatIsMeasured) {
  for (const Gate& gate : gates()) {
    SCOPED_TRACE(std::string(gate.workload) + " " + std::string(gate.key));
    const Workload* const workload = find_workload(gate.workload);
    ASSERT_NE(workload, nullptr);
    const auto takes_part = [&](std::string_view name) {
      const auto found = std::ranges::find(peers(), name, &PeerInfo::name);
      return found != peers().end() && found->takes_part(*workload);
    };
    EXPECT_TRUE(takes_part(gate.peer));
    EXPECT_TRUE(gate.than.empty() || gate.than == kBestReference || takes_part(gate.than));
    for (const std::string_view key : {gate.key, gate.than_key}) {
      if (key.empty()) continue;
      EXPECT_TRUE(std::ranges::any_of(metrics_of(*workload), [&](const Metric& metric) {
        return metric.key == key;
      })) << key;
    }
  }
}

}  // namespace
}  // namespace sluice::bench
