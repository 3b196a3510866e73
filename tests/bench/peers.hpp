// Who is compared. The harness knows names and properties only; the code is in peer_<family>.cpp.
#pragma once

#include "tests/bench/workload.hpp"

#include <array>
#include <span>
#include <string_view>

namespace sluice::bench {

struct PeerInfo {
  std::string_view name;
  std::string_view family;   // its program is bench_peer_<family>
  std::string_view payload;  // column of the table: what happens to the payload on its way
  std::string_view note;     // how it is used, one sentence
  bool (*takes_part)(const Workload&);
};

/// In the order in which they run.
std::span<const PeerInfo> peers();

/// All ratios refer to the best of those that took part, figure by figure.
inline constexpr std::array<std::string_view, 3> kReferencePeers{"iceoryx", "gstreamer",
                                                                 "gstreamer-direct"};

}  // namespace sluice::bench
