// Services of iceoryx's that Sluice's requesters call.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/shared.hpp"
#include "sluice/node.hpp"

#include <iceoryx_posh/popo/listener.hpp>
#include <iceoryx_posh/runtime/service_discovery.hpp>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>

namespace sluice::iceoryx {

/// Has a thread of its own. Needs the runtime. Not movable.
class CallsOut {
 public:
  /// Does nothing where no rule asks for it.
  static Result<std::unique_ptr<CallsOut>> create(Node& node, const Config& config, Shared& shared);
  CallsOut(const CallsOut&) = delete;
  CallsOut& operator=(const CallsOut&) = delete;
  ~CallsOut();

 private:
  class Door;
  CallsOut(Node& node, const Config& config, Shared& shared, WaitSet set);
  void run();
  void discover();
  void on_found(const ServiceIds& ids);

  Node& node_;
  const Config& config_;
  Shared& shared_;
  WaitSet set_;
  std::map<std::string, std::unique_ptr<Door>> doors_;  // by to_string(ids)
  std::uint64_t round_ = 0;
  iox::runtime::ServiceDiscovery discovery_;
  iox::popo::Listener listener_;  // the first to end: it calls back in a thread of its own
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace sluice::iceoryx
