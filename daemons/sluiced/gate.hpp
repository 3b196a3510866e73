// Who may do what, and how much of it: the policy and the limits, as the broker asks for them.
#pragma once

#include "daemons/sluiced/peer.hpp"
#include "sluice/result.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <string>

namespace sluice::broker {

enum class Right : std::uint8_t { publish, subscribe, monitor };
enum class Resource : std::uint8_t { connections, streams, subscriptions, bytes };

class Gate {
 public:
  Result<void> may_connect(const Peer& peer, const std::string&) const {
    if (peer.uid == ::geteuid() || peer.gid == ::getegid()) return {};
    return Error{Errc::refused, 0,
                 "user " + std::to_string(peer.uid) + " may not connect to this broker"};
  }
  Result<void> may(const Peer&, const std::string&, Right, const std::string&) const { return {}; }
  Result<void> charge(uid_t, Resource, std::uint64_t) { return {}; }
  void give_back(uid_t, Resource, std::uint64_t) noexcept {}
};

}  // namespace sluice::broker
