// A cell is one measurement: one peer, one workload, one round, in processes and, where possible, a
// mount namespace of its own. It is the main program of every peer family:
//
//   bench_peer_<family> --peer NAME --workload ID --seconds S --result-fd N
//
// It forks the roles, leads them through the phases (control.hpp), reads processor times and memory
// at the edges of the measured window, stops everything, and writes one line of JSON to the
// descriptor.
#pragma once

#include "tests/bench/control.hpp"
#include "tests/bench/peer.hpp"
#include "tests/bench/roles.hpp"

#include <sys/types.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::bench {

/// A peer with its type erased: for the set-up, not for the loops.
struct CellPeer {
  std::function<void(const RoleContext&)> run_role;
  std::function<std::vector<pid_t>()> daemons;
};

using MakePeer = std::function<CellPeer(const CellContext&)>;

/// Chooses by the name given with --peer.
using PeerTable = std::vector<std::pair<std::string, MakePeer>>;

template <Peer P>
MakePeer make_peer() {
  return [](const CellContext& cell) {
    const auto peer = std::make_shared<P>(cell);
    return CellPeer{
        .run_role = [peer, &cell](const RoleContext& role) { run_role(*peer, cell, role); },
        .daemons = [peer] { return peer->daemons(); }};
  };
}

int cell_main(int argc, char** argv, const PeerTable& peers);

}  // namespace sluice::bench
