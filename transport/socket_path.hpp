// Where the broker listens.
#pragma once

#include "shm/private_export.hpp"
#include "sluice/result.hpp"

#include <string>

namespace sluice::transport {

/// `given` if not empty, else SLUICE_SOCKET, else /run/sluice/sluiced.sock for root, else
/// $XDG_RUNTIME_DIR/sluice/sluiced.sock. A client of another user than root also finds the system's
/// broker, when its own user runs none. `invalid_argument`: none of these is known, or the path
/// does not fit into a socket address (107 bytes).
SLUICE_PRIVATE_EXPORT Result<std::string> client_socket_path(const std::string& given);
/// The same for the broker, which listens where it is told and never where another one is.
SLUICE_PRIVATE_EXPORT Result<std::string> broker_socket_path(const std::string& given);

}  // namespace sluice::transport
