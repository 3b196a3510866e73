// Who is at the other end of a socket, as the kernel says.
#pragma once

#include "sluice/result.hpp"
#include "transport/connection.hpp"

#include <sys/types.h>

#include <vector>

namespace sluice::broker {

struct Peer {
  pid_t pid = 0;  ///< 0 when it lives in a pid namespace that we do not see.
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::vector<gid_t> groups;    ///< Supplementary ones.
  transport::SharedFd process;  ///< Its pidfd, or null.
};

/// The process that connected the socket, with what it was at that moment.
Result<Peer> peer_of(int socket);

}  // namespace sluice::broker
