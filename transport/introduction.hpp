// What a node says of itself when it comes.
#pragma once

#include "shm/private_export.hpp"
#include "transport/wire.hpp"

namespace sluice::transport {

/// Whether version, capabilities and last words are UTF-8 within their limits; `invalid_argument`
/// with the limit otherwise. Asked at both ends.
SLUICE_PRIVATE_EXPORT Result<void> check_introduction(const protocol::HelloT& hello);

}  // namespace sluice::transport
