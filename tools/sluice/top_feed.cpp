// A monitor that was made once goes on while the broker is down. Only before the first connection
// is there nothing to show, and the feed tries again each time it is asked.
#include "tools/sluice/top_feed.hpp"

#include "tools/sluice/session.hpp"

#include <algorithm>
#include <string_view>

namespace sluice::tools {

bool is_report_topic(std::string_view topic) {
  return topic.starts_with("trace/") || topic.starts_with("health/") || topic.starts_with("$");
}

Result<void> TopFeed::connect(std::chrono::milliseconds patience) {
  if (!node_) {
    auto node = tools::connect({socket_, static_cast<double>(patience.count()) / 1000}, "top");
    if (!node) return node.error();
    node_.emplace(std::move(*node));
  }
  if (!monitor_) {
    auto monitor = node_->monitor(filter_);
    if (!monitor) return monitor.error();
    monitor_.emplace(std::move(*monitor));
  }
  return {};
}

Snapshot TopFeed::snapshot() const {
  Snapshot snapshot = monitor_->snapshot();
  if (!all_) {
    std::erase_if(snapshot.streams, [](const StreamInfo& s) { return is_report_topic(s.topic); });
  }
  return snapshot;
}

}  // namespace sluice::tools
