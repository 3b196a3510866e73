// A service of Sluice's that iceoryx clients call.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "daemons/iceoryx/shared.hpp"
#include "sluice/requester.hpp"

#include <iceoryx_posh/popo/untyped_server.hpp>
#include <iceoryx_posh/popo/wait_set.hpp>

#include <atomic>
#include <memory>
#include <thread>

namespace sluice::iceoryx {

/// Has a thread of its own. Needs the runtime. Not movable.
class CallsIn {
 public:
  /// The broker's refusal.
  static Result<std::unique_ptr<CallsIn>> create(Node& node, const Service& service,
                                                 Shared& shared);
  CallsIn(const CallsIn&) = delete;
  CallsIn& operator=(const CallsIn&) = delete;
  ~CallsIn();

 private:
  CallsIn(const Service& service, Shared& shared, std::unique_ptr<Requester> requester);
  void run();
  void ask(const void* request);
  void answer(const void* request, const Reply& reply);
  void refuse(const void* request, const Status& status);

  const Service& service_;
  Shared& shared_;
  std::unique_ptr<Requester> requester_;
  iox::popo::UntypedServer server_;
  iox::popo::WaitSet<1> wait_set_;
  std::size_t pending_ = 0;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace sluice::iceoryx
