// A stream keeps its owner for life, so that each is looked up once; a look takes in all that there
// are. One that is not found is looked for again a second later.
#include "daemons/recorder/identities.hpp"

#include <chrono>
#include <map>
#include <thread>
#include <utility>

namespace sluice::recorder {
namespace {

constexpr std::size_t kMost = 10'000;

}  // namespace

Identities::Identities(Node& node) {
  if (auto monitor = node.monitor("#")) monitor_ = std::move(monitor).value();
}

void Identities::name(std::uint64_t stream_id, Record& record) {
  auto found = owners_.find(stream_id);
  if (found == owners_.end()) {
    meet(stream_id);
    found = owners_.find(stream_id);
    if (found == owners_.end()) return;
  }
  record.node = found->second.node;
  record.pid = found->second.pid;
  record.uid = found->second.uid;
}

// What the broker tells the monitor and what it tells the subscription come by two ways: the first
// message of a stream may be a little early.
void Identities::meet(std::uint64_t stream_id) {
  constexpr int kLooks = 5;
  if (!monitor_) return;
  Deadline& next = next_look_[stream_id];
  if (std::chrono::steady_clock::now() < next) return;
  for (int n = 0; n < kLooks; ++n) {
    if (n != 0) std::this_thread::sleep_for(std::chrono::milliseconds{2});
    look();
    if (owners_.contains(stream_id)) {
      next_look_.erase(stream_id);
      return;
    }
  }
  next = std::chrono::steady_clock::now() + std::chrono::seconds{1};
  if (next_look_.size() > kMost) next_look_.clear();
}

void Identities::look() {
  const Snapshot all = monitor_->snapshot();
  std::map<std::uint64_t, const NodeInfo*> nodes;
  for (const NodeInfo& node : all.nodes) nodes[node.id] = &node;
  std::unordered_map<std::uint64_t, Owner> owners;
  for (const StreamInfo& stream : all.streams) {
    const auto node = nodes.find(stream.node_id);
    if (node == nodes.end()) continue;
    owners[stream.id] = {node->second->name, node->second->pid, node->second->uid};
  }
  // Messages of a stream that has ended may still be on their way.
  if (owners_.size() < kMost) owners.merge(owners_);
  owners_ = std::move(owners);
}

}  // namespace sluice::recorder
