#include "tests/bench/gates.hpp"

#include <array>

namespace sluice::bench {
namespace {

using enum Must;

constexpr Gate at_most(std::string_view workload, std::string_view peer, std::string_view key,
                       double limit, std::string_view than = {}) {
  return {workload, peer, key, be_at_most, limit, than, {}};
}
constexpr Gate at_least(std::string_view workload, std::string_view peer, std::string_view key,
                        double limit, std::string_view than = {}) {
  return {workload, peer, key, be_at_least, limit, than, {}};
}
constexpr Gate below(std::string_view workload, std::string_view peer, std::string_view key,
                     double limit) {
  return {workload, peer, key, be_below, limit, {}, {}};
}

constexpr std::array kGates{
    // Frames and small messages beside iceoryx.
    at_most("pingpong64-poll", "sluice", "p50_us", 0.16, "iceoryx"),
    at_most("pingpong4k-poll", "sluice", "p50_us", 0.45, "iceoryx"),
    at_most("pingpong64-block-1core", "sluice", "p50_us", 0.70, "iceoryx"),
    at_most("pingpong64-block-2cores", "sluice", "p50_us", 1.05, "raw-futex"),
    at_least("stream64", "sluice", "per_second", 12, "iceoryx"),
    at_least("frames-touched", "sluice", "per_second", 1.25, "iceoryx"),
    at_least("frames-untouched", "sluice", "per_second", 8, "iceoryx"),
    at_most("fanout4", "sluice", "cpu_us", 0.60, "iceoryx"),
    at_most("fanout4", "sluice", "p50_us", 0.80, "iceoryx"),
    at_most("fanout4", "sluice", "p99_us", 1.1, "iceoryx"),
    at_most("fanout4", "sluice", "memory_mb", 0.30, "iceoryx"),
    at_most("camera3", "sluice-node", "cpu_us", 0.7, kBestReference),
    at_most("camera3", "sluice-node", "p99_us", 0.7, kBestReference),
    at_most("camera3", "sluice-node", "lost", 0),
    at_most("camera3-touched", "sluice-node", "lost", 0),
    Gate{"publish-readers", "sluiced", "busy64_ns", be_below, 2, {}, "busy1_ns"},
    // The bus beside iceoryx.
    at_most("request64-poll", "sluice-bus", "p50_us", 0.5, "iceoryx"),
    at_most("request64-block-1core", "sluice-bus", "p50_us", 0.5, "iceoryx"),
    at_most("request64-block-2cores", "sluice-bus", "p50_us", 0.5, "iceoryx"),
    at_least("bus64", "sluice-bus", "per_second", 3, "iceoryx"),
    at_least("bus256", "sluice-bus", "per_second", 3, "iceoryx"),
    at_least("bus64x8", "sluice-bus", "per_second", 3, "iceoryx"),
    at_least("bus256x8", "sluice-bus", "per_second", 3, "iceoryx"),
    // The numbers to hold: latency, asleep and under back-pressure.
    below("pingpong64-block-2cores", "sluice", "p50_us", 100),
    below("pingpong64-block-2cores", "sluice", "p95_us", 1'000),
    below("pingpong64-block-2cores", "sluice", "p99_us", 10'000),
    below("priority", "sluiced", "flood_us_p50", 100),
    below("priority", "sluiced", "flood_us_p95", 1'000),
    below("priority", "sluiced", "flood_us_p99", 10'000),
    below("priority", "sluiced", "flood_us_max", 100'000),
    below("priority", "sluiced", "full_us_max", 100'000),
    // Throughput.
    at_least("bus64", "sluice-bus", "per_second", 1e6),
    at_least("routed-requests", "sluiced", "one_per_second", 100e3),
    at_least("routed-requests", "sluiced", "four_per_second", 100e3),
    at_least("state", "sluiced", "get_per_second", 10e3),
    at_least("state", "sluiced", "set_per_second", 10e3),
    at_least("state", "sluiced", "watch_per_second", 10e3),
    // Memory, processor, and nothing lost without a broker.
    below("nodes100", "sluiced", "mesh_mb", 50),
    below("bus100", "sluiced", "mesh_mb", 50),
    below("cpu10k", "sluiced", "even_percent", 5),
    below("cpu10k", "sluiced", "bursts_percent", 5),
    below("cpu10k", "sluiced", "typical_percent", 1),
    at_most("broker-restart", "sluiced", "lost", 0),
    below("deaths", "sluiced", "reader_noticed_ms_p50", 10),
    below("deaths", "sluiced", "writer_noticed_ms_p50", 10),
    below("deaths", "sluiced", "slots_free_ms_max", 50),
};

/// What the figure is measured in; none when that peer was not measured.
struct Unit {
  bool measured;
  std::optional<double> value;
};
Unit unit_of(const Gate& gate, const Series& own, const std::vector<Series>& all) {
  const auto median = [](const std::optional<Spread>& spread) {
    return spread ? std::optional{spread->median} : std::nullopt;
  };
  if (!gate.than_key.empty()) return {true, median(spread_of(own, gate.than_key))};
  if (gate.than.empty()) return {true, 1.0};
  if (gate.than == kBestReference) {
    bool any = false;
    for (const std::string_view peer : kReferencePeers) {
      any = any || find_series(all, gate.workload, peer) != nullptr;
    }
    return {any, best_reference(all, gate.workload, gate.key, gate.must == Must::be_at_least)};
  }
  const Series* const other = find_series(all, gate.workload, gate.than);
  if (other == nullptr) return {false, std::nullopt};
  return {true, median(spread_of(*other, gate.key))};
}

bool is_met(const Gate& gate, double value) {
  switch (gate.must) {
    case be_below:
      return value < gate.limit;
    case be_at_most:
      return value <= gate.limit;
    case be_at_least:
      return value >= gate.limit;
  }
  return false;
}

std::string_view sign_of(Must must) {
  if (must == be_below) return "<";
  return must == be_at_most ? "≤" : "≥";
}

}  // namespace

std::span<const Gate> gates() { return kGates; }

std::vector<Verdict> judge(const std::vector<Series>& all, std::span<const Gate> gates) {
  std::vector<Verdict> verdicts;
  for (const Gate& gate : gates) {
    const Series* const own = find_series(all, gate.workload, gate.peer);
    if (own == nullptr) continue;
    const Unit unit = unit_of(gate, *own, all);
    if (!unit.measured) continue;
    Verdict verdict{.gate = &gate, .value = std::nullopt, .met = false};
    const std::optional<Spread> spread = spread_of(*own, gate.key);
    if (spread && unit.value && *unit.value > 0) {
      verdict.value = spread->median / *unit.value;
      verdict.met = is_met(gate, *verdict.value);
    }
    verdicts.push_back(verdict);
  }
  return verdicts;
}

std::string sentence(const Verdict& verdict) {
  const Gate& gate = *verdict.gate;
  std::string text = std::string(gate.peer) + " " + std::string(gate.key) + " " +
                     std::string(sign_of(gate.must)) + " " + number(gate.limit);
  const std::string_view than = gate.than.empty() ? gate.than_key : gate.than;
  if (!than.empty()) text.append(" × ").append(than);
  text += ": " + (verdict.value ? number(*verdict.value) : std::string("no figure"));
  return text + (verdict.met ? ", met" : ", MISSED");
}

nlohmann::json to_json(const Verdict& verdict) {
  const Gate& gate = *verdict.gate;
  nlohmann::json object{{"peer", gate.peer},
                        {"figure", gate.key},
                        {"must_be", sign_of(gate.must)},
                        {"limit", gate.limit},
                        {"met", verdict.met}};
  if (!gate.than.empty()) object["times_peer"] = gate.than;
  if (!gate.than_key.empty()) object["times_figure"] = gate.than_key;
  if (verdict.value) object["value"] = *verdict.value;
  return object;
}

}  // namespace sluice::bench
