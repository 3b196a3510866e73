#include "tests/bench/metrics.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::bench {
namespace {

constexpr std::array kPingPongMetrics{
    Metric{"p50_us", "p50 µs", true}, Metric{"p90_us", "p90", false},
    Metric{"p99_us", "p99", false},   Metric{"p999_us", "p99.9", false},
    Metric{"max_us", "max", false},   Metric{"cpu_us", "cpu µs/msg", false},
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
    BrokerWorkload{"connections1000", kConnectionsMetrics, "10 processes with 100 nodes each"},
    BrokerWorkload{"nodes100", kMeshMetrics,
                   "every node 10 streams and 10 subscriptions; private and shared memory of 100 "
                   "processes and the broker"},
};

const BrokerWorkload& of(const Workload& workload) {
  return *std::ranges::find(kBrokerWorkloads, workload.id, &BrokerWorkload::id);
}

}  // namespace

std::span<const Metric> metrics_of(const Workload& workload) {
  switch (workload.kind) {
    case Kind::kPingPong:
      return kPingPongMetrics;
    case Kind::kStream:
      return kStreamMetrics;
    case Kind::kBroker:
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
    case Kind::kStream:
      return "higher is better";
    case Kind::kBroker:
      return of(workload).explanation;
    case Kind::kFanOut:
    case Kind::kCamera:
      break;
  }
  return "latency from publish to taken; lower is better";
}

}  // namespace sluice::bench
