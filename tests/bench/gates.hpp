// What the figures have to be: the targets that docs/requirements.md and README.md name, each
// beside the figure that it is about. A target is a number, or a multiple of another peer's figure
// in the same run, so that the machine's own speed falls out.
#pragma once

#include "tests/bench/figures.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::bench {

enum class Must { be_below, be_at_most, be_at_least };

/// In `than`: the best of the reference peers that took part.
inline constexpr std::string_view kBestReference = "the best of the others";

struct Gate {
  std::string_view workload;
  std::string_view peer;
  std::string_view key;  // of the cell's result, in its unit
  Must must;
  double limit;
  std::string_view than = {};      // limit × the same figure of that peer; empty: limit itself
  std::string_view than_key = {};  // limit × that other figure of the same peer
};

/// A gate, held against a run.
struct Verdict {
  const Gate* gate;
  std::optional<double> value;  // the figure, or its ratio; none when a cell failed
  bool met;                     // never without a value
};

std::span<const Gate> gates();

/// In the order of the gates; left out is what the run did not measure: the peer, or the one that
/// it is compared with. A figure that is missing from what was measured misses its target.
std::vector<Verdict> judge(const std::vector<Series>& all, std::span<const Gate> gates);

/// "sluice p50_us ≤ 0.16 × iceoryx: 0.23, missed"
std::string sentence(const Verdict& verdict);
nlohmann::json to_json(const Verdict& verdict);

}  // namespace sluice::bench
