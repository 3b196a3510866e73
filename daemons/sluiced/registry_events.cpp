// What watchers are told: a snapshot when they begin, and each change from then on. Nodes are shown
// to all of them; streams, attachments and what is unfit by the stream's topic; subscriptions by
// whether their filter and the watcher's have a topic in common.
#include "daemons/sluiced/fit.hpp"
#include "daemons/sluiced/registry.hpp"
#include "sluice/topic.hpp"

#include <utility>

namespace sluice::broker {
namespace {

using protocol::Change;
using protocol::EventT;
using protocol::Kind;

EventT make_event(Kind kind, Change change, const Node& node) {
  EventT event;
  event.kind = kind;
  event.change = change;
  event.node_id = node.id;
  event.node = node.name;
  event.pid = static_cast<std::uint32_t>(node.pid);
  event.uid = node.uid;
  event.state = node.stuck ? protocol::NodeState::stuck : protocol::NodeState::alive;
  return event;
}

EventT stream_event(const Stream& stream, const Node& node, Change change) {
  EventT event = make_event(Kind::stream, change, node);
  event.stream_id = stream.id;
  event.topic = stream.topic;
  if (change == Change::appeared) event.offer = std::make_unique<protocol::OfferT>(stream.offer);
  return event;
}

EventT subscription_event(const Subscription& subscription, const Node& node, Change change) {
  EventT event = make_event(Kind::subscription, change, node);
  event.subscription_id = subscription.id;
  event.filters = subscription.filters;
  if (change == Change::appeared) {
    event.want = std::make_unique<protocol::WantT>(subscription.want);
  }
  return event;
}

EventT attachment_event(const Stream& stream, Id subscription, const Node& subscriber,
                        const Page& page, Change change) {
  EventT event = make_event(Kind::attachment, change, subscriber);
  event.stream_id = stream.id;
  event.subscription_id = subscription;
  event.page_offset = page.offset;
  event.arena_bytes = page.arena_bytes;
  return event;
}

EventT unfit_event(const Stream& stream, const Subscription& subscription, const Node& subscriber,
                   const std::string& sentence) {
  EventT event = make_event(Kind::unfit, Change::appeared, subscriber);
  event.stream_id = stream.id;
  event.subscription_id = subscription.id;
  event.topic = stream.topic;
  event.filters = subscription.filters;
  event.sentence = sentence;
  return event;
}

EventT node_event(const Node& node, Change change) {
  EventT event = make_event(Kind::node, change, node);
  if (change == Change::gone) return event;
  event.version = node.version;
  event.capabilities = node.capabilities;
  return event;
}

SharedFd control_of(const Stream& stream) {
  return stream.descriptors.empty() ? nullptr : stream.descriptors.front();
}

}  // namespace

void Registry::show_node(const Node& node, Change change) {
  for (const auto& [id, watch] : watches_) {
    audience_.event(watch, node_event(node, change), nullptr);
  }
}

void Registry::show_stream(const Stream& stream, Change change) {
  for (const auto& [id, watch] : watches_) {
    if (!filter_matches(watch.filter, stream.topic)) continue;
    audience_.event(watch, stream_event(stream, nodes_.at(stream.node), change),
                    change == Change::gone ? nullptr : control_of(stream));
  }
}

void Registry::show_subscription(const Subscription& subscription, Change change) {
  for (const auto& [id, watch] : watches_) {
    if (!any_overlaps(subscription.filters, watch.filter)) continue;
    audience_.event(watch, subscription_event(subscription, nodes_.at(subscription.node), change),
                    nullptr);
  }
}

void Registry::show_attachment(const Stream& stream, Id subscription, Change change,
                               const std::string& sentence) {
  const Page& page = attachments_.at({stream.id, subscription}).page;
  const Node& subscriber = nodes_.at(subscriptions_.at(subscription).node);
  for (const auto& [id, watch] : watches_) {
    if (!filter_matches(watch.filter, stream.topic)) continue;
    EventT event = attachment_event(stream, subscription, subscriber, page, change);
    event.sentence = sentence;
    audience_.event(watch, std::move(event), change == Change::gone ? nullptr : page.arena);
  }
}

void Registry::show_unfit(const Stream& stream, const Subscription& subscription,
                          const std::string& sentence) {
  for (const auto& [id, watch] : watches_) {
    if (!filter_matches(watch.filter, stream.topic)) continue;
    audience_.event(
        watch, unfit_event(stream, subscription, nodes_.at(subscription.node), sentence), nullptr);
  }
}

void Registry::announce_watch(Id id) {
  const auto it = watches_.find(id);
  if (it == watches_.end()) return;
  const Watch& watch = it->second;
  const auto tell = [&](EventT event, const SharedFd& descriptor) {
    audience_.event(watch, std::move(event), descriptor);
  };
  for (const auto& [key, node] : nodes_) {
    tell(node_event(node, Change::appeared), nullptr);
  }
  for (const auto& [key, stream] : streams_) {
    if (!filter_matches(watch.filter, stream.topic)) continue;
    tell(stream_event(stream, nodes_.at(stream.node), Change::appeared), control_of(stream));
  }
  for (const auto& [key, subscription] : subscriptions_) {
    const Node& node = nodes_.at(subscription.node);
    if (any_overlaps(subscription.filters, watch.filter)) {
      tell(subscription_event(subscription, node, Change::appeared), nullptr);
    }
    for (const auto& [stream_id, stream] : streams_) {
      if (!filter_matches(watch.filter, stream.topic)) continue;
      const Attachment* attachment = this->attachment(stream_id, key);
      if (attachment != nullptr && attachment->admitted) {
        tell(attachment_event(stream, key, node, attachment->page, Change::appeared),
             attachment->page.arena);
      } else if (is_for(subscription, stream)) {
        const auto sentence = misfit(stream.offer, subscription.want);
        if (sentence) tell(unfit_event(stream, subscription, node, *sentence), nullptr);
      }
    }
  }
  EventT end;
  end.kind = Kind::end_of_snapshot;
  tell(std::move(end), nullptr);
}

}  // namespace sluice::broker
