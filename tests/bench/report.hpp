// Rounds in, one table and one JSON object out.
//
// A ratio is the quotient of two medians, the peer's by that of the reference.
#pragma once

#include "tests/bench/figures.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace sluice::bench {

/// Complaints: one line for each measurement that failed.
std::vector<std::string> failures(const std::vector<Series>& all);

std::string table(const std::vector<Series>& all);

nlohmann::json summary(const std::vector<Series>& all);

}  // namespace sluice::bench
