// Rounds in, one table and one JSON object out.
//
// A figure is the median over the rounds, its spread the smallest and the largest round. A ratio is
// the quotient of two medians, the peer's by that of the reference.
#pragma once

#include "tests/bench/peers.hpp"
#include "tests/bench/workload.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace sluice::bench {

/// All rounds of one peer in one workload.
struct Series {
  const Workload* workload;
  const PeerInfo* peer;
  std::vector<nlohmann::json> rounds;
};

/// Complaints: one line for each measurement that failed.
std::vector<std::string> failures(const std::vector<Series>& all);

std::string table(const std::vector<Series>& all);

nlohmann::json summary(const std::vector<Series>& all);

}  // namespace sluice::bench
