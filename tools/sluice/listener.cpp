// A message does not carry the name of its type, its stream's registration does: the monitor tells
// it, asked once for each stream. It also knows which streams would not have this subscription, and
// why.
#include "tools/sluice/listener.hpp"

#include "tools/sluice/text.hpp"

#include <algorithm>

namespace sluice::tools {

Result<Listener> Listener::create(const Reach& reach, const std::string& verb,
                                  const std::string& filter, const SubscriptionOptions& options) {
  Listener listener;
  listener.filter_ = filter;
  auto node = connect(reach, verb);
  if (!node) return node.error();
  listener.node_.emplace(std::move(*node));
  auto monitor = listener.node_->monitor(filter);
  if (!monitor) return monitor.error();
  listener.monitor_.emplace(std::move(*monitor));
  auto subscriber = listener.node_->subscribe(filter, options);
  if (!subscriber) return subscriber.error();
  listener.subscriber_.emplace(std::move(*subscriber));
  return listener;
}

Sample Listener::next(Deadline deadline) {
  for (;;) {
    Sample sample = subscriber_->take();
    if (sample || sample.outcome() == Outcome::evicted ||
        sample.outcome() == Outcome::not_allowed || interrupted()) {
      return sample;
    }
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return sample;
    // In pieces, for interrupts.
    subscriber_->wait(std::min<Deadline>(deadline, now + std::chrono::milliseconds{200}));
  }
}

const std::string& Listener::type_of(const Sample& sample) {
  static const std::string kNone;
  const std::uint64_t stream = sample.reference().stream_id;
  auto at = types_.find(stream);
  if (at == types_.end()) {
    for (StreamInfo& info : monitor_->snapshot().streams) types_[info.id] = info.type_name;
    at = types_.find(stream);
  }
  return at != types_.end() ? at->second : kNone;
}

std::string Listener::topic_of(const Sample& sample) const {
  return std::string(subscriber_->topic(sample));
}

std::string Listener::why_nothing() const {
  const Snapshot snapshot = monitor_->snapshot();
  for (const UnfitInfo& unfit : snapshot.unfit) {
    for (const SubscriptionInfo& subscription : snapshot.subscriptions) {
      if (subscription.id == unfit.subscription_id && subscription.node_id == node_->id()) {
        return clean(unfit.sentence);
      }
    }
  }
  if (!snapshot.broker_connected) return "the broker is down, and nothing new can be attached";
  const std::string filter = clean(filter_);
  if (snapshot.streams.empty()) {
    return joined({"nobody publishes '", filter, "'; `sluice ls` shows what there is"});
  }
  return joined({"nothing was published on '", filter, "'"});
}

}  // namespace sluice::tools
