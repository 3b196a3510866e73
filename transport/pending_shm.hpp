// Stands in for what shm/ is about to offer.
#pragma once
#include "shm/publisher.hpp"
#include "shm/reader.hpp"
#include "shm/wait_set.hpp"
namespace sluice::pending {
inline void interrupt(shm::WaitSet&) {}
inline void mark_publisher_dead(shm::Reader&) {}
inline Result<void> add_pool(shm::Reader&, std::uint32_t, shm::UniqueFd) { return Error{}; }
inline Result<std::uint32_t> add_pool(shm::Publisher&, const PoolOptions&) { return Error{}; }
inline Result<shm::UniqueFd> share_pool(shm::Publisher&, std::uint32_t) { return Error{}; }
}  // namespace sluice::pending
