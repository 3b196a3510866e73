#include "tests/bench/peers.hpp"

#include <array>

namespace sluice::bench {
namespace {

bool always(const Workload&) { return true; }
bool small_poll(const Workload& workload) {
  return workload.kind == Kind::kPingPong && workload.waiting == Waiting::kPoll &&
         workload.message_bytes == 64;
}
bool small(const Workload& workload) { return workload.message_bytes == 64; }
bool when_polling(const Workload& workload) { return workload.waiting == Waiting::kPoll; }
bool when_blocking(const Workload& workload) { return workload.waiting == Waiting::kBlock; }

constexpr std::array kPeers{
    PeerInfo{"raw-line", "raw", "in place",
             "floor: one shared cache line whose first word is the flag; no queue, no protection",
             small_poll},
    PeerInfo{"raw-ring", "raw", "in place",
             "floor: a shared ring, head and tails; no discovery, no protection", when_polling},
    PeerInfo{"raw-futex", "raw", "in place",
             "floor: the same ring, one futex per reader, no spinning", when_blocking},
    PeerInfo{"sluice", "sluice", "in place",
             "as installed, defaults: every message stamped; reliable and acknowledged when lossless",
             always},
    PeerInfo{"sluice-bare", "sluice", "in place", "the same without time stamps", small},
    PeerInfo{
        "iceoryx", "iceoryx", "in place",
        "untyped loan and take; WaitSet when blocking; WAIT_FOR_CONSUMER + BLOCK_PRODUCER when "
        "lossless; RouDi counted",
        always},
    PeerInfo{"unix", "socket", "2 copies",
             "Unix socket: SEQPACKET for small messages, STREAM for frames; a pair per reader",
             always},
    PeerInfo{"zmq", "zmq", "2 copies",
             "ZeroMQ ipc: PUSH/PULL, XPUB/SUB for several readers; a receive always blocks",
             always},
};

}  // namespace

std::span<const PeerInfo> peers() { return kPeers; }

}  // namespace sluice::bench
