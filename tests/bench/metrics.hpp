// Which figures of a cell's result stand in the table, and how.
#pragma once

#include "tests/bench/workload.hpp"

#include <span>

namespace sluice::bench {

/// A figure of a cell's result. Headlines get spread and ratio, the others a plain column.
struct Metric {
  const char* key;
  const char* title;
  bool headline;
  double scale = 1;  // from the result's unit to the column's
  bool more_is_better = false;
};

std::span<const Metric> metrics_of(const Workload& workload);

/// One line under the title.
const char* explanation_of(const Workload& workload);

}  // namespace sluice::bench
