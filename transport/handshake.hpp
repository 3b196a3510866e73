// The hand-shake by which two processes that share a socket share a stream.
//
//   subscriber                               publisher
//   Hello {options}                     ->
//                                       <-   Offer {}        + control segment, pools
//   Page {offset, arena size}           ->                   + reader arena [, eventfd]
//                                       <-   Admitted {id, offset, arena size}  + wake arena
//
// Instead of an Offer or Admitted the publisher may answer Refusal {sentence}. Every packet starts
// with a Header; native byte order, since both ends run on one machine, fixed-width types, since
// they may differ in word size. After the hand-shake the socket is not needed any more.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "shm/publisher.hpp"
#include "shm/reader.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"

namespace sluice::transport {

/// The wake arena for readers of one user.
using WakeArenaOf = std::function<Result<std::shared_ptr<shm::Arena>>(uid_t)>;

/// The publisher's side. What goes wrong is also told to the subscriber, where it can be.
Result<void> serve(int socket, shm::Publisher& publisher, const WakeArenaOf& wake_arena_of,
                   std::uint64_t deadline_ns);

/// The subscriber's side. `event` is given to the publisher when valid.
Result<shm::ReaderPtr> subscribe(int socket, const SubscriptionOptions& options,
                                 shm::UniqueFd event, std::uint64_t deadline_ns);

}  // namespace sluice::transport
