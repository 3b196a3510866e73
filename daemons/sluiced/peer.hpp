// Who is at the other end of a socket, as the kernel says.
#pragma once

#include "daemons/sluiced/policy.hpp"
#include "sluice/result.hpp"
#include "transport/connection.hpp"

namespace sluice::broker {

struct Peer {
  /// Its pid is 0 when it lives in a pid namespace that we do not see. The node's name comes later.
  Identity who;
  transport::SharedFd process;  ///< Its pidfd, or null.
};

/// The process that connected the socket, with what it was at that moment.
Result<Peer> peer_of(int socket);

}  // namespace sluice::broker
