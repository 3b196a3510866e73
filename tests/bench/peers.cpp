#include "tests/bench/peers.hpp"

#include <array>

namespace sluice::bench {
namespace {

bool gateway(const Workload& workload) { return workload.kind == Kind::kGateway; }
bool broker(const Workload& workload) { return workload.kind == Kind::kBroker; }
bool camera(const Workload& workload) { return workload.kind == Kind::kCamera; }
bool on_bus(const Workload& workload) { return workload.is_on_bus(); }
bool publishing(const Workload& workload) { return workload.kind == Kind::kBus; }
bool all(const Workload& workload) { return workload.is_compared(); }
bool all_but_camera(const Workload& workload) { return all(workload) && !camera(workload); }
bool bare(const Workload& workload) { return all(workload) && !on_bus(workload); }
bool bare_but_camera(const Workload& workload) { return bare(workload) && !camera(workload); }
bool small_poll(const Workload& workload) {
  return workload.kind == Kind::kPingPong && workload.waiting == Waiting::kPoll &&
         workload.message_bytes == 64;
}
bool small(const Workload& workload) { return bare(workload) && workload.message_bytes == 64; }
bool when_polling(const Workload& workload) {
  return bare(workload) && workload.waiting == Waiting::kPoll;
}
bool when_blocking(const Workload& workload) {
  return bare(workload) && workload.waiting == Waiting::kBlock;
}

constexpr std::array kPeers{
    PeerInfo{"raw-line", "raw", "in place",
             "floor: one shared cache line whose first word is the flag; no queue, no protection",
             small_poll},
    PeerInfo{"raw-ring", "raw", "in place",
             "floor: a shared ring, head and tails; no discovery, no protection", when_polling},
    PeerInfo{"raw-futex", "raw", "in place",
             "floor: the same ring, one futex per reader, no spinning", when_blocking},
    PeerInfo{
        "sluice", "sluice", "in place",
        "as installed, defaults: every message stamped; reliable and acknowledged when lossless",
        bare_but_camera},
    PeerInfo{"sluice-bare", "sluice", "in place", "the same without time stamps", small},
    PeerInfo{"sluice-node", "node", "in place",
             "Node::advertise and Node::subscribe through a sluiced, which is counted; stamped",
             camera},
    PeerInfo{"sluice-bus", "bus", "in place",
             "MessagePublisher and MessageSubscriber, reliable and acknowledged, Requester and "
             "Responder; envelope and all; through a sluiced, which is counted",
             on_bus},
    PeerInfo{"sluice-bus-batch", "bus", "in place", "the same, 16 messages published at a time",
             publishing},
    PeerInfo{"iceoryx", "iceoryx", "in place",
             "untyped loan and take, client and server; WaitSet when blocking; WAIT_FOR_CONSUMER + "
             "BLOCK_PRODUCER when lossless; RouDi counted",
             all},
    PeerInfo{"gstreamer", "gstreamer", "in place",
             "appsrc ! shmsink, frames from its allocator; shmsrc ! appsink; never drops", camera},
    PeerInfo{"gstreamer-direct", "gstreamer", "in place",
             "the same without the hops between threads that appsrc and appsink bring", camera},
    PeerInfo{"unix", "socket", "2 copies",
             "Unix socket: SEQPACKET for small messages, STREAM for frames; a pair per reader",
             all_but_camera},
    PeerInfo{
        "zmq", "zmq", "2 copies",
        "ZeroMQ ipc: PUSH/PULL, XPUB/SUB for several readers, REQ/REP; a receive always blocks",
        all_but_camera},
    PeerInfo{"sluiced", "broker", "",
             "nodes in several processes through a sluiced, all by default", broker},
    PeerInfo{"sluice-iceoryx", "gateway", "",
             "one frame at both: a reader beside its publisher, and one behind the gateway", gateway},
};

}  // namespace

std::span<const PeerInfo> peers() { return kPeers; }

}  // namespace sluice::bench
