// Correlation ids: one for everything that stems from one frame or request.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace sluice {

/// A new id, a UUID of version 7 (RFC 9562): 48 bits of milliseconds since 1970, then bits that no
/// other call in any process repeats. Ids made by one thread sort in the order they were made.
/// Thread-safe; allocates nothing; a system call once per thread.
SLUICE_EXPORT CorrelationId new_correlation_id() noexcept;

/// "0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c", 36 characters.
SLUICE_EXPORT std::string to_string(const CorrelationId& id);

/// The inverse, upper or lower case, with or without the dashes; nothing for any other text.
SLUICE_EXPORT std::optional<CorrelationId> parse_correlation_id(std::string_view text) noexcept;

}  // namespace sluice
