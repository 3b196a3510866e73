// What stands behind a sluice::Publisher.
#pragma once

#include "shm/publisher.hpp"
#include "sluice/publisher.hpp"
#include "transport/memory_cache.hpp"
#include "transport/node_impl.hpp"
#include "transport/publication.hpp"

#include <memory>

namespace sluice {

struct Publisher::Impl {
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  [[nodiscard]] bool revoked() const noexcept {
    // relaxed: a flag that stands alone
    return publication && publication->revoked().load(std::memory_order_relaxed);
  }

  Result<void> announce(std::uint32_t pool);

  shm::PublisherPtr stream;
  transport::OwnArenas wakes{"sluice-wakes"};           // for accept()
  std::shared_ptr<transport::Publication> publication;  // with a node
  std::shared_ptr<NodeImpl> node;
  bool sensitive = false;  // without a node
};

}  // namespace sluice
