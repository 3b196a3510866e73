// What is measured, without regard to who carries it: the table of workloads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::bench {

inline constexpr std::uint32_t kFrameBytes = 1920 * 1080 * 3;  // 6,220,800: one 1080p RGB frame

enum class Kind {
  kPingPong,  // role 0 sends and waits for the answer of role 1; one way is half a round trip
  kStream,    // role 0 sends back to back, role 1 takes; nothing may get lost
  kFanOut,    // role 0 publishes at a steady rate, all other roles sleep until a frame is there
  kCamera,    // the same for longer, beside other peers
  kRequest,   // role 0 asks and waits for the reply of role 1, by the transport's own requests
  kBus,       // a stream to one or more readers, with what a message of a bus carries
  kBroker,    // about nodes, the bus and the broker, without a peer; broker_*.cpp, bus_*.cpp
  kGateway,   // about the gateway to iceoryx; peer_gateway.cpp
};

enum class Waiting { kPoll, kBlock };

enum class Placement {
  kTwoCores,  // the working thread of role 0 on one core, that of role 1 on another
  kOneCore,   // every thread of both roles on the same core
  kFree,      // wherever the kernel likes
};

struct Workload {
  std::string_view id;  // for --only and JSON
  std::string_view title;
  Kind kind;
  Waiting waiting;
  Placement placement;
  std::uint32_t message_bytes;
  bool touched;         // every byte is written and read, not only the header word
  std::uint32_t depth;  // messages that may wait between sender and receiver
  unsigned readers = 1;
  double rate_hz = 0;                  // of the publisher; 0: as fast as it goes
  std::uint64_t warm_up_messages = 0;  // before the measured window

  unsigned roles() const { return 1 + readers; }
  bool fans_out() const { return kind == Kind::kFanOut || kind == Kind::kCamera; }
  bool is_on_bus() const { return kind == Kind::kRequest || kind == Kind::kBus; }
  bool is_compared() const { return kind != Kind::kBroker && kind != Kind::kGateway; }  // with peers
  bool lossless() const { return !fans_out(); }
};

std::span<const Workload> workloads();

/// nullptr when there is none of that name.
const Workload* find_workload(std::string_view id);

}  // namespace sluice::bench
