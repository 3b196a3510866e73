// Prints who publishes what to whom, and how much, without taking part: the monitor reads the
// counters where their writers keep them.
//
//   watch_everything [FILTER]
#include <cinttypes>
#include <cstdio>
#include <sluice/node.hpp>

int main(int argc, char** argv) {
  auto node = sluice::Node::create({.name = "watch_everything"});
  if (!node) return std::fprintf(stderr, "%s\n", node.error().message.c_str()), 1;
  auto monitor = node->monitor(argc > 1 ? argv[1] : "#");
  if (!monitor) return std::fprintf(stderr, "%s\n", monitor.error().message.c_str()), 1;

  const sluice::Snapshot now = monitor->snapshot();
  for (const sluice::NodeInfo& n : now.nodes) {
    std::printf("node %s, pid %" PRIu32 "%s\n", n.name.c_str(), n.pid, n.stuck ? ", stuck" : "");
  }
  for (const sluice::StreamInfo& s : now.streams) {
    std::printf("stream %s: %" PRIu64 " messages, %" PRIu64 " bytes\n", s.topic.c_str(),
                s.stats.published, s.stats.bytes);
  }
  for (const sluice::SubscriptionInfo& s : now.subscriptions) {
    std::printf("subscription %s:\n", s.filter.c_str());
    for (const sluice::AttachmentInfo& a : s.attachments) {
      std::printf("  %" PRIu64 " taken, %" PRIu64 " lost, %" PRIu64 " waiting\n", a.stats.taken,
                  a.stats.lost(), a.stats.waiting);
    }
  }
  return 0;
}
