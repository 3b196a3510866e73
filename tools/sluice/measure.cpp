// The node that looks is one of those it sees; it is left out, since it is gone when its user reads
// about it.
#include "tools/sluice/measure.hpp"

#include "tools/sluice/top_feed.hpp"

#include <unistd.h>

#include <chrono>
#include <cmath>

namespace sluice::tools {
namespace {

Snapshot without(Snapshot snapshot, std::uint64_t node_id) {
  std::erase_if(snapshot.nodes, [&](const NodeInfo& node) { return node.id == node_id; });
  return snapshot;
}

}  // namespace

Result<Measured> measure(const Reach& reach, const std::string& verb, const std::string& filter,
                         double seconds) {
  auto node = connect(reach, verb);
  if (!node) return node.error();
  auto monitor = node->monitor(filter);
  if (!monitor) return monitor.error();
  TopModel model(static_cast<std::uint64_t>(seconds * 1e9));
  model.add(without(monitor->snapshot(), node->id()), monotonic_ns());
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::nanoseconds{std::llround(seconds * 1e9)};
  (void)sleep_until(until);
  Snapshot snapshot = without(monitor->snapshot(), node->id());
  model.add(snapshot, monotonic_ns());
  return Measured{std::move(snapshot), model.table()};
}

Result<Snapshot> look(const Reach& reach, const std::string& verb, const std::string& filter) {
  auto node = connect(reach, verb);
  if (!node) return node.error();
  auto monitor = node->monitor(filter);
  if (!monitor) return monitor.error();
  return without(monitor->snapshot(), node->id());
}

void hide_reports(Snapshot& snapshot) {
  std::erase_if(snapshot.streams, [](const StreamInfo& s) { return is_report_topic(s.topic); });
  std::erase_if(snapshot.subscriptions,
                [](const SubscriptionInfo& s) { return is_report_topic(s.filter); });
}

}  // namespace sluice::tools
