// What clients hand over, checked before it is kept or passed on.
#pragma once

#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <sys/types.h>

#include <cstdint>
#include <span>

namespace sluice::broker {

struct StreamSize {
  std::uint64_t bytes = 0;          ///< Of all of them, but of memory that is another system's.
  std::uint64_t payload_bytes = 0;  ///< The largest that there is a slot for.
  bool lends = false;               ///< Some of it is another system's (kPoolForeign).
};

/// A stream's control segment and pools: sealed memfds of user `owner`, the header with this
/// stream_id, the pools of the sizes that it names; memory of another system, which is not sealed,
/// at least as long, and read-only. `untrusted` otherwise. Maps and unmaps the control segment.
Result<StreamSize> check_stream(std::span<const shm::UniqueFd> descriptors, std::uint64_t stream_id,
                                uid_t owner);

/// The stream's further pool, with its number: its own size, and the payload that `control` says
/// its slots have.
Result<StreamSize> check_pool(const shm::UniqueFd& pool, std::uint32_t number,
                              const shm::UniqueFd& control, uid_t owner);

/// A reader or wake arena of exactly `bytes`. What lies in it is checked by those who map it.
Result<void> check_arena(const shm::UniqueFd& arena, std::uint64_t bytes, uid_t owner);

/// Whether so many descriptors are open that no more may be kept. `fd` is one that was opened or
/// received last: the kernel gives the lowest free number.
bool descriptors_are_scarce(int fd) noexcept;

/// What is answered then.
Error too_few_descriptors();

/// Raises the soft limit of open descriptors to the hard one.
void raise_descriptor_limit() noexcept;

}  // namespace sluice::broker
