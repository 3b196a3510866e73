// Watch: what a Monitor has been told by the broker, and the counters that it has mapped. Under the
// node's lock.
#pragma once

#include "shm/geometry.hpp"
#include "shm/memory.hpp"
#include "sluice/monitor.hpp"
#include "transport/connection.hpp"
#include "transport/memory_cache.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sluice::transport {

class Watch {
 public:
  Watch(std::uint64_t id, std::string filter) : id_(id), filter_(std::move(filter)) {}

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] protocol::WatchT message() const;
  /// A broker begins to tell everything anew.
  void clear();
  /// What the broker says, with what it hands over. Memory that fails verification is left out.
  void event(const protocol::EventT& event, std::vector<shm::UniqueFd> descriptors,
             ForeignArenas& arenas);
  /// The snapshot that the broker begins with is complete.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  [[nodiscard]] Snapshot snapshot();

 private:
  struct Stream {
    StreamInfo info;
    shm::View control;      // none: not to be seen
    shm::Geometry geometry;  // of it, verified
  };
  struct Attached {
    std::uint64_t page_offset = 0;
    std::shared_ptr<const shm::View> arena;
  };
  using Pair = std::pair<std::uint64_t, std::uint64_t>;  // subscription, stream
  void stream_event(const protocol::EventT& event, std::vector<shm::UniqueFd> descriptors);
  void attachment_event(const protocol::EventT& event, std::vector<shm::UniqueFd> descriptors,
                        ForeignArenas& arenas);

  std::uint64_t id_;
  std::string filter_;
  bool complete_ = false;
  std::map<std::uint64_t, NodeInfo> nodes_;
  std::map<std::uint64_t, Stream> streams_;
  std::map<std::uint64_t, SubscriptionInfo> subscriptions_;
  std::map<Pair, Attached> attachments_;
  std::map<Pair, std::string> unfit_;
};

}  // namespace sluice::transport
