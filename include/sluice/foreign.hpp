// Payloads that stay where another system has them.
#pragma once

#include <cstdint>
#include <functional>

namespace sluice {

/// Memory of another system, such as iceoryx, in which payloads stay where they are
/// (Publisher::lend).
struct ForeignMemory {
  int fd = -1;  ///< A file in memory (tmpfs, memfd), opened O_RDONLY; stays the caller's.
  std::uint64_t bytes = 0;  ///< From its start, as far as there are payloads.
  /// Nobody holds the payload any more that was lent with this token. Called by the owner's thread,
  /// within loan, lend, publish, collect or the publisher's end; must not call the publisher.
  std::function<void(std::uint64_t token)> released;
};

/// A payload that lies in ForeignMemory.
struct ForeignPayload {
  std::uint32_t pool = 0;               ///< What add_foreign_pool returned.
  std::uint64_t offset = 0;             ///< From the start of the file.
  std::uint64_t bytes = 0;              ///< 1 or more.
  std::uint64_t token = 0;              ///< For ForeignMemory::released.
  std::uint64_t user_header_bytes = 0;  ///< That Loan::set_user_header shall have room for.
};

}  // namespace sluice
