// A thread that takes results as they come, so that it holds nobody's frames, and looks at all
// counters four times a second, so that little is missed of a process that dies.
#include "daemons/run/observer.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace sluice::run {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookEvery = 250ms;
constexpr std::size_t kMostNames = 10'000;  // what claims to be more people is counted as one

}  // namespace

Result<std::unique_ptr<Observer>> Observer::create(const std::string& socket) {
  NodeOptions options;
  options.name = "run";
  options.socket = socket;
  auto node = Node::create(std::move(options));
  if (!node) return std::move(node).error();
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  auto monitor = node->monitor("#");
  if (!monitor) return std::move(monitor).error();
  std::vector<Subscriber> results;
  for (const auto& [filter, type] : {std::pair{"detect/+/objects", kDetectionsType},
                                     std::pair{"recognize/+/identities", kIdentitiesType}}) {
    auto subscriber =
        node->subscribe(filter, {.max_held = 1, .type_hash = type_hash_of(type)}, *set);
    if (!subscriber) return std::move(subscriber).error();
    results.push_back(std::move(*subscriber));
  }
  auto health = node->subscribe(
      "health/#", {.max_held = 1, .history = 1, .type_hash = type_fingerprint<Health>()}, *set);
  if (!health) return std::move(health).error();
  return std::unique_ptr<Observer>(new Observer(std::move(*node), std::move(*set),
                                                std::move(*monitor), std::move(results),
                                                std::move(*health)));
}

Observer::Observer(Node node, WaitSet set, Monitor monitor, std::vector<Subscriber> results,
                   Subscriber health)
    : node_(std::move(node)),
      set_(std::move(set)),
      monitor_(std::move(monitor)),
      results_(std::move(results)),
      health_(std::move(health)),
      thread_([this] { watch(); }) {}

Observer::~Observer() { (void)finish(); }

Observations Observer::finish() {
  if (thread_.joinable()) {
    stopping_.store(true);
    set_.interrupt();
    thread_.join();
    take_all();
    look();
    for (const Subscriber& subscriber : results_) {
      seen_.results_missed += subscriber.stats().lost();
    }
  }
  return seen_;
}

void Observer::watch() {
  auto next = std::chrono::steady_clock::now();
  while (!stopping_) {
    if (std::chrono::steady_clock::now() >= next) {
      look();
      next = std::chrono::steady_clock::now() + kLookEvery;
    }
    (void)set_.wait(next);
    take_all();
  }
}

void Observer::take_all() {
  for (Subscriber& subscriber : results_) {
    while (const Sample sample = subscriber.take()) {
      take_result(sample, std::string(subscriber.topic(sample)));
    }
  }
  while (const SampleOf<Health> record{health_.take()}) {
    Health health = *record;  // a copy: its writer cannot change it any more
    if (!valid(health)) continue;
    seen_.health[{std::string(text_of(health.node)), health.since_ns}] = health;
  }
}

void Observer::take_result(const Sample& sample, const std::string& topic) {
  ResultsSeen& seen = seen_.results[topic];
  ++seen.messages;
  if (topic.rfind("detect/", 0) == 0) {
    const auto detections = decode_detections(sample.bytes());
    if (!detections) {
      ++seen.unreadable;
    } else {
      seen.results += detections->detections.size();
    }
    return;
  }
  const auto identities = decode_identities(sample.bytes());
  if (!identities) {
    ++seen.unreadable;
    return;
  }
  for (const Identity& identity : identities->identities) {
    ++seen.results;
    const bool known = seen.names.size() < kMostNames || seen.names.count(identity.name) != 0;
    ResultsSeen::Name& name = seen.names[known ? identity.name : "others"];
    ++name.count;
    name.best_confidence = std::max(name.best_confidence, identity.confidence);
  }
}

void Observer::look() {
  const Snapshot now = monitor_.snapshot();
  std::map<std::uint64_t, std::string> nodes;
  for (const NodeInfo& node : now.nodes) nodes[node.id] = node.name;
  std::map<std::uint64_t, std::string> topics;
  for (const StreamInfo& stream : now.streams) {
    topics[stream.id] = stream.topic;
    seen_.streams[stream.id] = {nodes[stream.node_id], stream};
  }
  for (const SubscriptionInfo& subscription : now.subscriptions) {
    for (const AttachmentInfo& attachment : subscription.attachments) {
      const auto key = std::pair{subscription.id, attachment.stream_id};
      const auto before = seen_.attachments.find(key);
      std::string topic = topics[attachment.stream_id];
      // Its stream may have gone first.
      if (topic.empty() && before != seen_.attachments.end()) topic = before->second.topic;
      seen_.attachments.insert_or_assign(
          key, AttachmentSeen{nodes[subscription.node_id], std::move(topic), subscription.mode,
                              attachment});
    }
  }
}

}  // namespace sluice::run
