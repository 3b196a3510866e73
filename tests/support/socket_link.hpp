// A publisher and a subscriber of the public API in one process: accept and connect wait for each
// other, so one of them runs in a thread.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <thread>
#include <utility>

#include "shm/fd.hpp"
#include "sluice/publisher.hpp"
#include "sluice/subscriber.hpp"

namespace sluice::test {

struct SocketEnds {
  shm::UniqueFd publisher;
  shm::UniqueFd subscriber;
  SocketEnds() {
    std::array<int, 2> ends{-1, -1};
    (void)!::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data());
    publisher.reset(ends[0]);
    subscriber.reset(ends[1]);
  }
};

struct Connected {
  Result<void> accepted;
  Result<Subscriber> subscriber;
};

inline Connected connect_to(Publisher& publisher, const SubscriptionOptions& options,
                            WaitSet* set = nullptr) {
  const SocketEnds ends;
  Result<void> accepted;
  std::thread accepting{[&] { accepted = publisher.accept(ends.publisher.get()); }};
  auto subscriber = set != nullptr ? Subscriber::connect(ends.subscriber.get(), options, *set)
                                   : Subscriber::connect(ends.subscriber.get(), options);
  accepting.join();
  return {std::move(accepted), std::move(subscriber)};
}

}  // namespace sluice::test
