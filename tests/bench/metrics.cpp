#include "tests/bench/metrics.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::bench {
namespace {

constexpr std::array kPingPongMetrics{
    Metric{"p50_us", "p50 µs", true},      Metric{"p90_us", "p90", false},
    Metric{"p95_us", "p95", false},        Metric{"p99_us", "p99", false},
    Metric{"p999_us", "p99.9", false},     Metric{"max_us", "max", false},
    Metric{"cpu_us", "cpu µs/msg", false},
};
constexpr std::array kStreamMetrics{
    Metric{.key = "per_second", .title = "messages/s", .headline = true, .more_is_better = true},
    Metric{"cpu_us", "cpu µs/msg", false},
};
constexpr std::array kFanOutMetrics{
    Metric{"cpu_us", "cpu ms/frame", true, 1e-3},
    Metric{"p50_us", "p50 µs", true},
    Metric{"p99_us", "p99 µs", true},
    Metric{"memory_mb", "memory MB", true},
    Metric{"p90_us", "p90", false},
    Metric{"p95_us", "p95", false},
    Metric{"p999_us", "p99.9", false},
    Metric{"max_us", "max", false},
    Metric{"lost", "lost", false},
};
constexpr std::array kStartMetrics{
    Metric{"first_ms_p50", "first sample ms", true},       Metric{"first_ms_max", "max", false},
    Metric{"exec_ms_p50", "of that: until main()", false}, Metric{"node_ms_p50", "node", false},
    Metric{"subscribe_ms_p50", "subscribe()", false},      Metric{"sample_ms_p50", "sample", false},
};
constexpr std::array kAttachMetrics{
    Metric{"attach_us_p50", "attach µs", true},
    Metric{"with_node_us_p50", "with node µs", true},
    Metric{"found_us_p50", "found µs", true},
    Metric{"attach_us_p99", "attach p99", false},
    Metric{"with_node_us_p99", "with node p99", false},
    Metric{"found_us_p99", "found p99", false},
    Metric{"advertise_us_p50", "advertise()", false},
};
constexpr std::array kPublishMetrics{
    Metric{"idle1_ns", "1 ns", true},       Metric{"idle4_ns", "4 ns", true},
    Metric{"idle16_ns", "16 ns", true},     Metric{"idle64_ns", "64 ns", true},
    Metric{"busy1_ns", "taking: 1", false}, Metric{"busy4_ns", "4", false},
    Metric{"busy16_ns", "16", false},       Metric{"busy64_ns", "64", false},
};
constexpr std::array kRestartMetrics{
    Metric{"lost", "lost", true},
    Metric{"outage_ms", "largest interval ms", true},
    Metric{"reconnected_ms_p50", "reconnected ms", true},
    Metric{"quiet_ms", "largest before", false},
    Metric{"noticed_ms_p50", "noticed", false},
    Metric{"reconnected_ms_max", "reconnected max", false},
    Metric{"newcomer_ms_p50", "newcomer", false},
};
constexpr std::array kDeathMetrics{
    Metric{"reader_noticed_ms_p50", "reader noticed ms", true},
    Metric{"writer_noticed_ms_p50", "writer noticed ms", true},
    Metric{"slots_free_ms_p50", "slots free ms", true},
    Metric{"slots_free_ms_max", "slots free max", true},
    Metric{"reader_noticed_ms_max", "reader noticed max", false},
    Metric{"writer_noticed_ms_max", "writer noticed max", false},
};
constexpr std::array kConnectionsMetrics{
    Metric{"setup_ms", "set-up ms", true},
    Metric{"broker_mb", "broker MB", true},
    Metric{"idle_broker_mb", "idle broker MB", true},
    Metric{"broker_fds", "broker fds", false},
    Metric{"client_fds", "fds of 100 nodes", false},
    Metric{"nodes_mb", "all nodes MB", false},
    Metric{"idle_broker_fds", "idle broker fds", false},
    Metric{"idle_shared_mb", "idle shared MB", false},
};
constexpr std::array kMeshMetrics{
    Metric{"setup_ms", "set-up ms", true},
    Metric{"together_mb", "together MB", true},
    Metric{"mesh_mb", "of that: Sluice MB", true},
    Metric{"empty_mb", "empty processes", false},
    Metric{"fresh_mb", "Sluice before messages", false},
    Metric{"broker_mb", "broker resident", false},
    Metric{"broker_fds", "broker fds", false},
    Metric{"client_fds", "client fds", false},
};

constexpr std::array kRequestsMetrics{
    Metric{.key = "one_per_second",
           .title = "1 worker, requests/s",
           .headline = true,
           .more_is_better = true},
    Metric{.key = "four_per_second",
           .title = "4 workers, requests/s",
           .headline = true,
           .more_is_better = true},
    Metric{"one_cpu_us", "1 worker, cpu µs/request", false},
    Metric{"four_cpu_us", "4 workers, cpu µs/request", false},
    Metric{"least_share", "least busy of 4, %", false, 100},
};
constexpr std::array kStateMetrics{
    Metric{.key = "get_per_second", .title = "get/s", .headline = true, .more_is_better = true},
    Metric{.key = "set_per_second", .title = "set/s", .headline = true, .more_is_better = true},
    Metric{
        .key = "watch_per_second", .title = "watched/s", .headline = true, .more_is_better = true},
    Metric{"seen_share", "seen of what was set, %", false, 100},
};
constexpr std::array kPriorityMetrics{
    Metric{"alone_us_p50", "alone p50 µs", true},   Metric{"flood_us_p50", "flood p50 µs", true},
    Metric{"ratio_p50", "flood / alone p50", true}, Metric{"ratio_p99", "flood / alone p99", true},
    Metric{"alone_us_p90", "alone p90", false},     Metric{"alone_us_p95", "p95", false},
    Metric{"alone_us_p99", "p99", false},           Metric{"alone_us_p999", "p99.9", false},
    Metric{"alone_us_max", "max", false},           Metric{"flood_us_p90", "flood p90", false},
    Metric{"flood_us_p95", "p95", false},           Metric{"flood_us_p99", "p99", false},
    Metric{"flood_us_p999", "p99.9", false},        Metric{"flood_us_max", "max", false},
    Metric{"full_us_p50", "full lane p50", false},  Metric{"full_us_max", "max", false},
    Metric{"flood_per_second", "flood/s", false},
};
constexpr std::array kLoadMetrics{
    Metric{"even_percent", "one by one, % of a core", true},
    Metric{"bursts_percent", "10 each ms, % of a core", true},
    Metric{"typical_percent", "1,000/s, % of a core", true},
    Metric{"even_publisher_percent", "one by one: publisher", false},
    Metric{"even_subscriber_percent", "subscriber", false},
    Metric{"bursts_publisher_percent", "10 each ms: publisher", false},
    Metric{"bursts_subscriber_percent", "subscriber", false},
    Metric{"timer_percent", "timer alone", false},
};
constexpr std::array kDurableMetrics{
    Metric{.key = "many_per_second",
           .title = "many at a time, messages/s",
           .headline = true,
           .more_is_better = true},
    Metric{"single_ms_p50", "one by one, p50 ms", true},
    Metric{"paused_ms_p50", "after a pause, p50 ms", true},
    Metric{"floor_ms_p50", "write + fdatasync, p50 ms", true},
    Metric{"single_ms_p99", "one by one: p99", false},
    Metric{"floor_ms_p99", "write + fdatasync: p99", false},
    Metric{"recorder_cpu_us", "recorder, cpu µs/message", false},
};

constexpr std::array kGatewayMetrics{
    Metric{"direct_us_p50", "beside: p50 µs", true},
    Metric{"gateway_us_p50", "behind: p50 µs", true},
    Metric{"copies", "copies/frame", true},
    Metric{.key = "flood_gateway_per_second",
           .title = "flood: behind, frames/s",
           .headline = true,
           .more_is_better = true},
    Metric{"gateway_cpu_ms", "gateway, cpu ms/frame", false},
    Metric{"direct_us_p99", "beside: p99", false},
    Metric{"gateway_us_p99", "behind: p99", false},
    Metric{"gateway_share", "arrived behind, %", false, 100},
    Metric{"flood_sent_per_second", "flood: published/s", false},
    Metric{"flood_direct_per_second", "beside/s", false},
};

struct BrokerWorkload {
  std::string_view id;
  std::span<const Metric> metrics;
  const char* explanation;
};
const std::array kBrokerWorkloads{
    BrokerWorkload{"first-sample", kStartMetrics, "from before the fork, median over processes"},
    BrokerWorkload{"attach", kAttachMetrics,
                   "subscribe() to first sample; the same with Node::create; advertise() until a "
                   "subscriber is attached"},
    BrokerWorkload{
        "publish-readers", kPublishMetrics,
        "loan, 16 bytes, publish; readers attached and not taking, then one process that "
        "takes for all"},
    BrokerWorkload{"broker-restart", kRestartMetrics,
                   "kill -9 and a new one under 1,000 messages/s"},
    BrokerWorkload{"deaths", kDeathMetrics,
                   "kill -9 of a reader that holds all slots, and of a publisher; a fresh process "
                   "each time"},
    BrokerWorkload{"connections1000", kConnectionsMetrics, "10 processes with 100 nodes each"},
    BrokerWorkload{"nodes100", kMeshMetrics,
                   "every node 10 streams and 10 subscriptions; private and shared memory of 100 "
                   "processes and the broker"},
    BrokerWorkload{"bus100", kMeshMetrics,
                   "every node 10 MessagePublishers and 10 MessageSubscribers; private and shared "
                   "memory of 100 processes and the broker"},
    BrokerWorkload{"routed-requests", kRequestsMetrics,
                   "16 B requests and replies, workers in processes of their own, all blocking"},
    BrokerWorkload{"state", kStateMetrics,
                   "one client after its last answer; watched: what one watcher of all keys saw "
                   "while they were set"},
    BrokerWorkload{
        "priority", kPriorityMetrics,
        "from publish to taken; the flood fills the low lane of the same publisher; full lane: "
        "the flood's own messages"},
    BrokerWorkload{"cpu10k", kLoadMetrics, "processor time of publisher and subscriber, 64 B"},
    BrokerWorkload{
        "durable", kDurableMetrics,
        "through sluice-recorder, all by default; floor: one file, one write of 64 B and "
        "one sync at a time"},
    BrokerWorkload{"gateway-in", kGatewayMetrics,
                   "30 frames/s, the same ones at both; then a flood"},
    BrokerWorkload{"gateway-out", kGatewayMetrics, "the same"},
};

const BrokerWorkload& of(const Workload& workload) {
  return *std::ranges::find(kBrokerWorkloads, workload.id, &BrokerWorkload::id);
}

}  // namespace

std::span<const Metric> metrics_of(const Workload& workload) {
  switch (workload.kind) {
    case Kind::kPingPong:
    case Kind::kRequest:
      return kPingPongMetrics;
    case Kind::kStream:
    case Kind::kBus:
      return kStreamMetrics;
    case Kind::kBroker:
    case Kind::kGateway:
      return of(workload).metrics;
    case Kind::kFanOut:
    case Kind::kCamera:
      break;
  }
  return kFanOutMetrics;
}

const char* explanation_of(const Workload& workload) {
  switch (workload.kind) {
    case Kind::kPingPong:
      return "one way = half a round trip; lower is better";
    case Kind::kRequest:
      return "from before the request is written until its reply is checked; lower is better";
    case Kind::kBus:
      return "sum over all readers; higher is better";
    case Kind::kStream:
      return "higher is better";
    case Kind::kBroker:
    case Kind::kGateway:
      return of(workload).explanation;
    case Kind::kFanOut:
    case Kind::kCamera:
      break;
  }
  return "latency from publish to taken; lower is better";
}

}  // namespace sluice::bench
