#include "tests/bench/workload.hpp"

#include <algorithm>
#include <array>

namespace sluice::bench {
namespace {

constexpr Workload broker_workload(std::string_view id, std::string_view title) {
  return {.id = id,
          .title = title,
          .kind = Kind::kBroker,
          .waiting = Waiting::kBlock,
          .placement = Placement::kFree,
          .message_bytes = 0,
          .touched = false,
          .depth = 0};
}

constexpr Workload gateway_workload(std::string_view id, std::string_view title) {
  Workload workload = broker_workload(id, title);
  workload.kind = Kind::kGateway;
  workload.message_bytes = kFrameBytes;
  return workload;
}

constexpr Workload request_workload(std::string_view id, std::string_view title, Waiting waiting,
                                    Placement placement, std::uint64_t warm_up_messages) {
  return {.id = id,
          .title = title,
          .kind = Kind::kRequest,
          .waiting = waiting,
          .placement = placement,
          .message_bytes = 64,
          .touched = true,
          .depth = 8,
          .warm_up_messages = warm_up_messages};
}

// The depth of small messages is the most that iceoryx's subscriber queue can hold. Frames get
// four: a camera pipeline does not queue more. Warm-ups pass through every slot of every peer more
// than once.
constexpr std::array kWorkloads{
    Workload{.id = "pingpong64-poll",
             .title = "64 B ping-pong, polling, two cores",
             .kind = Kind::kPingPong,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = 64,
             .touched = true,
             .depth = 8,
             .warm_up_messages = 2'000},
    Workload{.id = "pingpong4k-poll",
             .title = "4 KiB ping-pong, written and read, polling, two cores",
             .kind = Kind::kPingPong,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = 4096,
             .touched = true,
             .depth = 8,
             .warm_up_messages = 2'000},
    Workload{.id = "pingpong64-block-1core",
             .title = "64 B ping-pong, blocking, both on one core",
             .kind = Kind::kPingPong,
             .waiting = Waiting::kBlock,
             .placement = Placement::kOneCore,
             .message_bytes = 64,
             .touched = true,
             .depth = 8,
             .warm_up_messages = 500},
    Workload{.id = "pingpong64-block-2cores",
             .title = "64 B ping-pong, blocking, two cores",
             .kind = Kind::kPingPong,
             .waiting = Waiting::kBlock,
             .placement = Placement::kTwoCores,
             .message_bytes = 64,
             .touched = true,
             .depth = 8,
             .warm_up_messages = 500},
    Workload{.id = "stream64",
             .title = "64 B lossless stream, one way, two cores",
             .kind = Kind::kStream,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = 64,
             .touched = true,
             .depth = 256,
             .warm_up_messages = 2'000},
    Workload{.id = "frames-touched",
             .title = "6,220,800 B frames, lossless, back to back, written and read, two cores",
             .kind = Kind::kStream,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = kFrameBytes,
             .touched = true,
             .depth = 4,
             .warm_up_messages = 20},
    Workload{.id = "frames-untouched",
             .title = "6,220,800 B frames, lossless, back to back, untouched, two cores",
             .kind = Kind::kStream,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = kFrameBytes,
             .touched = false,
             .depth = 4,
             .warm_up_messages = 20},
    Workload{.id = "fanout4",
             .title = "1 publisher -> 4 blocking readers, 6,220,800 B frames at 30/s, untouched",
             .kind = Kind::kFanOut,
             .waiting = Waiting::kBlock,
             .placement = Placement::kFree,
             .message_bytes = kFrameBytes,
             .touched = false,
             .depth = 2,
             .readers = 4,
             .rate_hz = 30,
             .warm_up_messages = 10},
    // Four frames may wait: a consumer may be late by 0.1 s before it loses one.
    Workload{.id = "camera3",
             .title = "1 camera -> 3 blocking consumers, 1920x1080 BGR at 30/s, untouched",
             .kind = Kind::kCamera,
             .waiting = Waiting::kBlock,
             .placement = Placement::kFree,
             .message_bytes = kFrameBytes,
             .touched = false,
             .depth = 4,
             .readers = 3,
             .rate_hz = 30,
             .warm_up_messages = 30},
    Workload{.id = "camera3-touched",
             .title = "1 camera -> 3 blocking consumers, 1920x1080 BGR at 30/s, written and read",
             .kind = Kind::kCamera,
             .waiting = Waiting::kBlock,
             .placement = Placement::kFree,
             .message_bytes = kFrameBytes,
             .touched = true,
             .depth = 4,
             .readers = 3,
             .rate_hz = 30,
             .warm_up_messages = 30},
    request_workload("request64-poll", "64 B request and 64 B reply, polling, two cores",
                     Waiting::kPoll, Placement::kTwoCores, 2'000),
    request_workload("request64-block-1core", "64 B request and 64 B reply, blocking, on one core",
                     Waiting::kBlock, Placement::kOneCore, 500),
    request_workload("request64-block-2cores", "64 B request and 64 B reply, blocking, two cores",
                     Waiting::kBlock, Placement::kTwoCores, 500),
    Workload{.id = "bus64",
             .title = "64 B messages, lossless, 1 publisher -> 1 reader, two cores",
             .kind = Kind::kBus,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = 64,
             .touched = true,
             .depth = 256,
             .warm_up_messages = 2'000},
    Workload{.id = "bus256",
             .title = "256 B messages, lossless, 1 publisher -> 1 reader, two cores",
             .kind = Kind::kBus,
             .waiting = Waiting::kPoll,
             .placement = Placement::kTwoCores,
             .message_bytes = 256,
             .touched = true,
             .depth = 256,
             .warm_up_messages = 2'000},
    Workload{.id = "bus64x8",
             .title = "64 B messages, lossless, 1 publisher -> 8 blocking readers",
             .kind = Kind::kBus,
             .waiting = Waiting::kBlock,
             .placement = Placement::kFree,
             .message_bytes = 64,
             .touched = true,
             .depth = 256,
             .readers = 8,
             .warm_up_messages = 2'000},
    broker_workload("first-sample", "a process's start to its first sample"),
    broker_workload("attach", "attaching to a stream that is there, and to one that comes"),
    broker_workload("publish-readers", "a publish with 1, 4, 16, 64 readers, none asleep"),
    broker_workload("broker-restart", "a broker killed and started again under a stream"),
    broker_workload("connections1000", "1,000 connections"),
    broker_workload("nodes100", "100 nodes x 10 subscriptions, 1,000 message streams"),
    broker_workload("bus100", "100 nodes x 10 subscriptions of the bus, 1,000 topics"),
    broker_workload("routed-requests", "requests of one requester, 32 outstanding"),
    broker_workload("state", "a bucket of 100 keys, in another process"),
    broker_workload("priority", "100 critical messages/s, alone and beside a flood"),
    broker_workload("cpu10k", "10,000 messages/s, both sides asleep in between"),
    broker_workload("durable", "64 B messages, confirmed when they are on the disk"),
    gateway_workload("gateway-in", "1080p frames from iceoryx to Sluice"),
    gateway_workload("gateway-out", "1080p frames from Sluice to iceoryx"),
};

}  // namespace

std::span<const Workload> workloads() { return kWorkloads; }

const Workload* find_workload(std::string_view id) {
  const auto found = std::ranges::find(kWorkloads, id, &Workload::id);
  return found == kWorkloads.end() ? nullptr : &*found;
}

}  // namespace sluice::bench
