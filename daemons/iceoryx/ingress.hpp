// From iceoryx towards Sluice: finds services that routes want, takes their samples, offers them to
// the keeper, and holds each until it is released.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/link.hpp"
#include "daemons/iceoryx/segments.hpp"
#include "daemons/iceoryx/shared.hpp"

#include <iceoryx_posh/popo/listener.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/runtime/service_discovery.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace sluice::iceoryx {

/// Bound to one thread. Needs the runtime.
class Ingress {
 public:
  Ingress(const Config& config, Link& link, Shared& shared);
  Ingress(const Ingress&) = delete;
  Ingress& operator=(const Ingress&) = delete;
  ~Ingress();

  /// Readable when samples have come, or services have come or gone.
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  /// Looks which services there are.
  void discover();
  /// Takes what has come, as far as it may be held.
  void take();
  /// Of the keeper's: opened, released.
  void handle(const Received& received);

 private:
  class Channel;
  using Channels = std::map<std::string, std::unique_ptr<Channel>>;  // by to_string(ids)
  Channels::iterator leave(Channels::iterator at);
  void on_found(const ServiceIds& ids);
  void subscribe(const ServiceIds& ids, std::uint32_t route);
  void take_from(Channel& channel);
  bool offer(Channel& channel, const void* payload);
  /// Number of the segment that the address lies in; nothing where it lies in none.
  std::optional<std::uint32_t> segment_of(const void* address);
  std::optional<std::uint32_t> add_segment(const void* address);

  const Config& config_;
  Link& link_;
  Shared& shared_;
  shm::UniqueFd event_;
  int event_fd_;  // the same; what callbacks are given
  std::vector<MappedFile> segments_;
  Channels channels_;
  std::vector<std::unique_ptr<Channel>> leaving_;  // gone, but something of them is still held
  std::unordered_map<std::uint32_t, Channel*> by_number_;
  std::uint32_t next_number_ = 1;
  std::uint64_t round_ = 0;  // of discovery
  bool told_full_ = false;
  iox::runtime::ServiceDiscovery discovery_;
  iox::popo::Listener listener_;  // the first to end: it calls back in a thread of its own
};

}  // namespace sluice::iceoryx
