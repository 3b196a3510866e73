// What many clients cost.
//
//   connections1000   10 processes with 100 nodes each, which have nothing but their connection
//   nodes100          100 processes with a node each; every node has 10 message streams (64 B,
//                     options by default) and 10 subscriptions, to the streams of the next node:
//                     1,000 streams, 1,000 subscriptions, 1,000 attachments. When all are attached
//                     every stream carries 100 messages, which all must arrive, so that every
//                     part of it has been used.
//   bus100            the same with MessagePublishers and MessageSubscribers: four lanes, messages
//                     of up to 64 B behind their envelopes
//
// Set-up is timed from when all processes stand before their first Node::create until the last of
// them has what it wants. Then a Monitor must see exactly that. Memory is that of memory.hpp: of
// all clients and the broker. `empty` is the same of the same processes before they had a node,
// with the broker: the price of a process that has loaded the library; what the nodes, streams and
// subscriptions cost is the difference. Descriptors are those in /proc/PID/fd.
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "tests/bench/broker.hpp"
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/clock.hpp"
#include "tests/bench/memory.hpp"
#include "tests/bench/process.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace sluice::bench {
namespace {

constexpr unsigned kProcesses = 10;
constexpr unsigned kNodesEach = 100;
constexpr unsigned kMeshNodes = 100;
constexpr unsigned kStreamsEach = 10;
constexpr unsigned kStreamBytes = 64;
constexpr unsigned kRounds = 2;
constexpr unsigned kMessages = 50;  // in a round; below the depth of a stream
constexpr double kLimitSeconds = 40;

void raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

double resident_mb(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; file >> word;) {
    if (word != "VmRSS:") continue;
    double kib = 0;
    file >> kib;
    return kib * 1024 / 1e6;
  }
  throw std::runtime_error("no VmRSS");
}

std::size_t descriptors(pid_t pid) {
  const std::filesystem::directory_iterator all("/proc/" + std::to_string(pid) + "/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

double together_mb(const Crew& crew, const Broker& broker) {
  std::vector<pid_t> all = crew.pids();
  all.push_back(broker.pid());
  const MemoryUse use = memory_use(all);
  return static_cast<double>(use.private_bytes + use.shared_bytes) / 1e6;
}

/// What the broker costs, and a client.
void add_sizes(nlohmann::json& result, const Crew& crew, const Broker& broker) {
  result["broker_mb"] = resident_mb(broker.pid());
  result["broker_fds"] = descriptors(broker.pid());
  std::size_t most = 0;
  for (const pid_t pid : crew.pids()) most = std::max(most, descriptors(pid));
  result["client_fds"] = most;
  result["together_mb"] = together_mb(crew, broker);
}

void require_seen(const char* what, std::size_t seen, std::size_t wanted) {
  if (seen == wanted) return;
  throw std::runtime_error("verification: the monitor sees " + std::to_string(seen) + " " + what +
                           " instead of " + std::to_string(wanted));
}

/// Without the broker's own node, and what it publishes.
Snapshot seen_by(const Monitor& monitor) {
  Snapshot seen = monitor.snapshot();
  const auto broker = std::ranges::find(seen.nodes, "sluiced", &NodeInfo::name);
  if (broker == seen.nodes.end()) return seen;
  std::erase_if(seen.streams, [id = broker->id](const auto& it) { return it.node_id == id; });
  std::erase_if(seen.subscriptions, [id = broker->id](const auto& it) { return it.node_id == id; });
  seen.nodes.erase(broker);
  return seen;
}

/// One node comes and goes: what follows is measured with a broker that has started.
void await_ready(const Broker& broker) { make_node("first", broker.socket()); }

double timed_step(Crew& crew) {
  const std::uint64_t from_ns = now_ns();
  crew.step(kLimitSeconds);
  return static_cast<double>(now_ns() - from_ns) / 1e6;
}

// ---- parts

void play_nodes(const CrewMember& me) {
  raise_descriptor_limit();
  std::vector<Node> nodes;
  me.await(1);
  me.finish();
  me.await(2);
  for (unsigned i = 0; i < kNodesEach; ++i) {
    nodes.push_back(make_node("node-" + std::to_string(me.index) + "-" + std::to_string(i),
                              me.arguments.at(0)));
  }
  me.finish();
  me.await(3);
  for (const Node& node : nodes) {
    if (!node.connected()) throw std::runtime_error("verification: a node is not connected");
  }
  me.finish();
}

/// Streams as they are.
struct Plain {
  using Out = Publisher;
  using In = Subscriber;
  static Out advertise(Node& node, const std::string& topic) {
    StreamOptions options;
    options.pools = {{kStreamBytes}};
    return must(node.advertise(topic, options));
  }
  static In subscribe(Node& node, const std::string& topic) { return must(node.subscribe(topic)); }
  static const Publisher& stream(const Out& publisher) { return publisher; }
  static const Subscriber& stream(const In& subscriber) { return subscriber; }
  static std::span<const std::byte> payload(const Sample& sample) { return sample.bytes(); }
};

/// With all that the bus adds.
struct Bus {
  using Out = MessagePublisher;
  using In = MessageSubscriber;
  static Out advertise(Node& node, const std::string& topic) {
    return must(MessagePublisher::create(node, topic, {.stream = message_stream(kStreamBytes)}));
  }
  static In subscribe(Node& node, const std::string& topic) {
    return must(MessageSubscriber::create(node, topic));
  }
  static Publisher& stream(Out& publisher) { return publisher.stream(); }
  static Subscriber& stream(In& subscriber) { return subscriber.stream(); }
  static std::span<const std::byte> payload(const Message& message) { return message.payload(); }
};

template <class Kind>
struct Neighbour {
  Node node;
  std::vector<typename Kind::Out> publishers;
  std::vector<typename Kind::In> subscribers;

  bool attached() {
    return std::ranges::all_of(publishers,
                               [](auto& p) { return Kind::stream(p).subscriber_count() == 1; }) &&
           std::ranges::all_of(subscribers,
                               [](auto& s) { return Kind::stream(s).stream_count() == 1; });
  }
  void publish(std::uint64_t number) {
    for (auto& publisher : publishers) {
      auto loan = publisher.loan(kNumberBytes);
      if (!loan) throw std::runtime_error(std::string("loan: ") + to_string(loan.outcome()));
      write_number(loan.bytes(), number);
      if (publisher.publish(std::move(loan)) != Outcome::ok) throw std::runtime_error("publish");
    }
  }
  void take(std::uint64_t number) {
    for (auto& subscriber : subscribers) {
      const auto taken = subscriber.take();
      if (!taken || read_number(Kind::payload(taken)) != number) {
        throw std::runtime_error("verification: message " + std::to_string(number) +
                                 " is not there");
      }
    }
  }
};

template <class Kind>
Neighbour<Kind> settle(const CrewMember& me) {
  const auto topic = [](std::size_t node, unsigned stream) {
    return "mesh/" + std::to_string(node) + "/" + std::to_string(stream);
  };
  Neighbour<Kind> all{make_node("mesh-" + std::to_string(me.index), me.arguments.at(0)), {}, {}};
  for (unsigned i = 0; i < kStreamsEach; ++i) {
    all.publishers.push_back(Kind::advertise(all.node, topic(me.index, i)));
  }
  for (unsigned i = 0; i < kStreamsEach; ++i) {
    all.subscribers.push_back(Kind::subscribe(all.node, topic((me.index + 1) % kMeshNodes, i)));
  }
  while (!all.attached()) sleep_until_ns(now_ns() + 10'000'000);
  return all;
}

template <class Kind>
void play_neighbour(const CrewMember& me) {
  raise_descriptor_limit();
  std::uint32_t phase = 1;
  me.await(phase);
  me.finish();
  me.await(++phase);
  Neighbour<Kind> all = settle<Kind>(me);
  me.finish();
  std::uint64_t sent = 0;
  std::uint64_t taken = 0;
  for (unsigned round = 0; round < kRounds; ++round) {
    me.await(++phase);
    for (unsigned i = 0; i < kMessages; ++i) all.publish(++sent);
    me.finish();
    me.await(++phase);
    for (unsigned i = 0; i < kMessages; ++i) all.take(++taken);
    me.finish();
  }
  me.await(++phase);
  me.finish();
}

}  // namespace

void add_many_parts(CrewParts& parts) {
  parts["nodes"] = play_nodes;
  parts["neighbour"] = play_neighbour<Plain>;
  parts["bus-neighbour"] = play_neighbour<Bus>;
}

nlohmann::json measure_connections(const BrokerCell& cell) {
  const Broker broker(cell.directory);
  await_ready(broker);
  Crew crew;
  for (unsigned i = 0; i < kProcesses; ++i) crew.add("nodes", {broker.socket()});
  crew.step(kLimitSeconds);
  nlohmann::json result{{"idle_broker_mb", resident_mb(broker.pid())},
                        {"idle_broker_fds", descriptors(broker.pid())},
                        {"empty_mb", together_mb(crew, broker)}};
  const MemoryUse idle = memory_use(std::array{broker.pid()});
  result["idle_broker_pss_mb"] = static_cast<double>(idle.private_bytes) / 1e6;
  result["idle_shared_mb"] = static_cast<double>(idle.shared_bytes) / 1e6;
  result["setup_ms"] = timed_step(crew);
  add_sizes(result, crew, broker);
  result["nodes_mb"] = result["together_mb"].get<double>() - result["empty_mb"].get<double>();
  {
    Node node = make_node("monitor", broker.socket());
    const Monitor monitor = must(node.monitor());
    require_seen("nodes", seen_by(monitor).nodes.size(), kProcesses * kNodesEach + 1);
  }
  crew.step(kLimitSeconds);
  crew.join(20);
  return result;
}

namespace {

nlohmann::json measure_neighbours(const BrokerCell& cell, const std::string& part) {
  raise_descriptor_limit();  // the monitor maps every stream
  const Broker broker(cell.directory);
  await_ready(broker);
  Crew crew;
  for (unsigned i = 0; i < kMeshNodes; ++i) crew.add(part, {broker.socket()});
  crew.step(kLimitSeconds);
  nlohmann::json result{{"empty_mb", together_mb(crew, broker)}};
  result["setup_ms"] = timed_step(crew);
  result["fresh_mb"] = together_mb(crew, broker) - result["empty_mb"].get<double>();
  for (unsigned i = 0; i < 2 * kRounds; ++i) crew.step(kLimitSeconds);
  add_sizes(result, crew, broker);
  result["mesh_mb"] = result["together_mb"].get<double>() - result["empty_mb"].get<double>();
  {
    Node node = make_node("monitor", broker.socket());
    const Monitor monitor = must(node.monitor());
    const Snapshot seen = seen_by(monitor);
    std::size_t attachments = 0;
    std::uint64_t published = 0;
    for (const StreamInfo& stream : seen.streams) published += stream.stats.published;
    for (const SubscriptionInfo& one : seen.subscriptions) attachments += one.attachments.size();
    require_seen("nodes", seen.nodes.size(), kMeshNodes + 1);
    require_seen("streams", seen.streams.size(), kMeshNodes * kStreamsEach);
    require_seen("subscriptions", seen.subscriptions.size(), kMeshNodes * kStreamsEach);
    require_seen("attachments", attachments, kMeshNodes * kStreamsEach);
    require_seen("messages", published,
                 std::size_t{kMeshNodes} * kStreamsEach * kRounds * kMessages);
  }
  crew.step(kLimitSeconds);
  crew.join(20);
  return result;
}

}  // namespace

nlohmann::json measure_mesh(const BrokerCell& cell) {
  return measure_neighbours(cell, "neighbour");
}

nlohmann::json measure_bus_mesh(const BrokerCell& cell) {
  return measure_neighbours(cell, "bus-neighbour");
}

}  // namespace sluice::bench
