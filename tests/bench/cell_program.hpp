// What every program that measures one cell begins and ends with:
//
//   <program> --peer NAME --workload ID --seconds S --result-fd N
//
// It goes into a mount namespace of its own where that is possible, makes a folder for sockets and
// configuration, measures, removes the folder, and writes one line of JSON to the descriptor.
#pragma once

#include "tests/bench/workload.hpp"

#include <nlohmann/json.hpp>

#include <functional>
#include <string>

namespace sluice::bench {

struct CellOptions {
  std::string peer;
  std::string workload;
  double seconds = 1;
  int result_fd = 1;
};

/// Returns the figures; throws when anything went wrong, and the measurement then counts as failed.
using MeasureCell = std::function<nlohmann::json(const CellOptions&, const Workload&,
                                                 const std::string& directory)>;

/// The exit code.
int cell_program(int argc, char** argv, const MeasureCell& measure);

}  // namespace sluice::bench
