// The figures of a run: all rounds of every peer in every workload, and what is made of them. A
// figure is the median over the rounds, its spread the smallest and the largest round.
#pragma once

#include "tests/bench/peers.hpp"
#include "tests/bench/workload.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::bench {

/// All rounds of one peer in one workload.
struct Series {
  const Workload* workload;
  const PeerInfo* peer;
  std::vector<nlohmann::json> rounds;
};

struct Spread {
  double median;
  double min;
  double max;
};

/// Of the rounds that passed their verification and have that figure; none when there is no such
/// round.
std::optional<Spread> spread_of(const Series& series, std::string_view key);

/// nullptr when that peer was not measured in that workload.
const Series* find_series(const std::vector<Series>& all, std::string_view workload,
                          std::string_view peer);

/// The best median among the reference peers that took part in that workload.
std::optional<double> best_reference(const std::vector<Series>& all, std::string_view workload,
                                     std::string_view key, bool more_is_better);

/// Three significant digits, more before the point when there are.
std::string number(double value);

}  // namespace sluice::bench
