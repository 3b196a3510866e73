// From Sluice towards iceoryx: one copy of each sample into a chunk.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/shared.hpp"
#include "sluice/node.hpp"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace sluice::iceoryx {

/// Has a thread of its own, which waits for samples. Needs the runtime. Not movable.
class Egress {
 public:
  /// The broker's refusal of a subscription.
  static Result<std::unique_ptr<Egress>> create(Node& node, const Config& config, Shared& shared);
  Egress(const Egress&) = delete;
  Egress& operator=(const Egress&) = delete;
  ~Egress();

 private:
  class Outlet;
  class Lane;
  Egress(Shared& shared, WaitSet set) noexcept;
  void run();

  Shared& shared_;
  WaitSet set_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // a route each
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace sluice::iceoryx
