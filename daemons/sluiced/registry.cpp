// Streams and subscriptions meet when the later of the two appears: every pair whose filter matches
// its topic is then looked at once. It is found (the subscriber may attach), unfit (both ends are
// told why), or held: attached since before a restart, which nobody needs to be told.
#include "daemons/sluiced/registry.hpp"

#include "daemons/sluiced/fit.hpp"
#include "daemons/sluiced/refusal.hpp"
#include "sluice/topic.hpp"

#include <algorithm>
#include <utility>

namespace sluice::broker {
namespace {

template <class Map>
auto* find_in(Map& map, const typename std::remove_const_t<Map>::key_type& key) {
  const auto it = map.find(key);
  return it == map.end() ? nullptr : &it->second;
}

template <class Thing>
Result<void> insert(std::map<Id, Thing>& map, Thing thing, const char* what) {
  const Id id = thing.id;
  if (id == 0) return refused(std::string("a ") + what + " needs an id other than 0");
  if (!map.emplace(id, std::move(thing)).second) {
    return refused(std::string("there is a ") + what + " with the id " + std::to_string(id) +
                   " already; ids are random numbers of 64 bits");
  }
  return {};
}

}  // namespace

bool Registry::is_for(const Subscription& subscription, const Stream& stream) const {
  return any_matches(subscription.filters, stream.topic) &&
         may_meet(stream.topic, nodes_.at(subscription.node).name) &&
         !is_withheld(stream.offer, subscription.want);
}

bool Registry::fits(const Subscription& subscription, const Stream& stream) const {
  return is_for(subscription, stream) && !misfit(stream.offer, subscription.want);
}

std::uint32_t Registry::count_fitting(const Stream& stream) const {
  return static_cast<std::uint32_t>(
      std::count_if(subscriptions_.begin(), subscriptions_.end(),
                    [&](const auto& entry) { return fits(entry.second, stream); }));
}

void Registry::count(Id id, bool more) {
  Stream* stream = find_in(streams_, id);
  if (stream == nullptr) return;
  stream->matching += more ? 1u : ~0u;
  audience_.matching(*stream);
}

const Node* Registry::node(Id id) const { return find_in(nodes_, id); }
const Stream* Registry::stream(Id id) const { return find_in(streams_, id); }
const Subscription* Registry::subscription(Id id) const { return find_in(subscriptions_, id); }
const Watch* Registry::watch(Id id) const { return find_in(watches_, id); }
const Attachment* Registry::attachment(Id stream, Id subscription) const {
  return find_in(attachments_, std::pair{stream, subscription});
}

const Page* Registry::page(Id stream, Id subscription) const {
  if (const Attachment* found = attachment(stream, subscription)) return &found->page;
  const Subscription* holder = find_in(subscriptions_, subscription);
  return holder == nullptr ? nullptr : find_in(holder->held, stream);
}

Result<void> Registry::add_node(Node node) {
  const Id id = node.id;
  if (auto added = insert(nodes_, std::move(node), "node"); !added) return added;
  show_node(nodes_.at(id), protocol::Change::appeared);
  return {};
}

void Registry::set_stuck(Id id, bool stuck) {
  Node* node = find_in(nodes_, id);
  if (node == nullptr || node->stuck == stuck) return;
  node->stuck = stuck;
  show_node(*node, protocol::Change::changed);
}

void Registry::remove_node(Id id, protocol::Cause cause) {
  const Node* node = find_in(nodes_, id);
  if (node == nullptr) return;
  while (!node->watches.empty()) end_watch(*node->watches.begin());
  while (!node->subscriptions.empty()) end_subscription(*node->subscriptions.begin());
  while (!node->streams.empty()) end_stream(*node->streams.begin(), cause);
  show_node(*node, protocol::Change::gone);
  nodes_.erase(id);
}

Result<void> Registry::add(Stream stream) {
  const Id id = stream.id;
  Node* owner = find_in(nodes_, stream.node);
  if (owner == nullptr) return refused("a stream needs a node");
  if (auto added = insert(streams_, std::move(stream), "stream"); !added) return added;
  owner->streams.insert(id);
  return {};
}

void Registry::announce_stream(Id id) {
  const Stream* stream = find_in(streams_, id);
  if (stream == nullptr) return;
  show_stream(*stream, protocol::Change::appeared);
  for (auto& [key, subscription] : subscriptions_) meet(subscription, *stream);
}

void Registry::meet(Subscription& subscription, const Stream& stream) {
  auto held = subscription.held.extract(stream.id);
  if (!is_for(subscription, stream)) return;
  if (const auto sentence = misfit(stream.offer, subscription.want)) {
    audience_.unfit(subscription, stream, *sentence);
    show_unfit(stream, subscription, *sentence);
  } else if (held) {
    attach(stream, subscription, std::move(held.mapped()), true);
    // The stream may have grown while there was no broker; what is known already is no news.
    for (std::uint32_t pool = 1; pool + std::size_t{1} < stream.descriptors.size(); ++pool) {
      audience_.pool_added(subscription.node, stream, pool);
    }
  } else {
    subscription.found.insert(stream.id);
    count(stream.id, true);
    audience_.found(subscription, stream);
  }
}

Result<void> Registry::add_pool(Id id, std::uint32_t pool, SharedFd descriptor, bool foreign) {
  Stream* stream = find_in(streams_, id);
  if (stream == nullptr) return refused("there is no such stream");
  if (pool + std::size_t{1} != stream->descriptors.size()) {
    return refused("the next pool of this stream has the number " +
                   std::to_string(stream->descriptors.size() - 1));
  }
  stream->descriptors.push_back(std::move(descriptor));
  stream->lends = stream->lends || foreign;
  for (const Id node : interested_nodes(*stream)) audience_.pool_added(node, *stream, pool);
  return {};
}

std::set<Id> Registry::interested_nodes(const Stream& stream) const {
  std::set<Id> nodes;
  for (const auto& [id, subscription] : subscriptions_) {
    if (subscription.attached.contains(stream.id) || fits(subscription, stream)) {
      nodes.insert(subscription.node);
    }
  }
  return nodes;
}

void Registry::end_stream(Id id, protocol::Cause cause) {
  const Stream* stream = find_in(streams_, id);
  if (stream == nullptr) return;
  for (const Id node : interested_nodes(*stream)) audience_.gone(node, id, cause);
  for (auto it = attachments_.lower_bound({id, 0});
       it != attachments_.end() && it->first.first == id; it = attachments_.erase(it)) {
    Subscription& subscription = subscriptions_.at(it->first.second);
    if (it->second.admitted) {
      show_attachment(*stream, it->first.second, protocol::Change::gone);
      audience_.detached(*stream, subscription, "the stream has ended");
    }
    subscription.attached.erase(id);
  }
  for (auto& [key, subscription] : subscriptions_) subscription.found.erase(id);
  show_stream(*stream, protocol::Change::gone);
  audience_.ended(*stream);
  nodes_.at(stream->node).streams.erase(id);
  streams_.erase(id);
}

Result<void> Registry::add(Subscription subscription) {
  const Id id = subscription.id;
  Node* owner = find_in(nodes_, subscription.node);
  if (owner == nullptr) return refused("a subscription needs a node");
  if (auto added = insert(subscriptions_, std::move(subscription), "subscription"); !added) {
    return added;
  }
  owner->subscriptions.insert(id);
  return {};
}

void Registry::announce_subscription(Id id) {
  Subscription* subscription = find_in(subscriptions_, id);
  if (subscription == nullptr) return;
  show_subscription(*subscription, protocol::Change::appeared);
  for (const auto& [key, stream] : streams_) meet(*subscription, stream);
}

void Registry::end_subscription(Id id) {
  const Subscription* subscription = find_in(subscriptions_, id);
  if (subscription == nullptr) return;
  while (!subscription->attached.empty()) detach(*subscription->attached.begin(), id, true);
  // Where it never asked, too: the broker before this one may have passed on a question whose
  // answer the subscriber never got.
  while (!subscription->found.empty()) {
    if (const Stream* stream = find_in(streams_, *subscription->found.begin())) {
      audience_.leave(*stream, id);
    }
    detach(*subscription->found.begin(), id, false);
  }
  show_subscription(*subscription, protocol::Change::gone);
  audience_.ended(*subscription);
  nodes_.at(subscription->node).subscriptions.erase(id);
  subscriptions_.erase(id);
}

Result<void> Registry::ask(Id stream_id, Id subscription_id, Page page) {
  const Stream* stream = find_in(streams_, stream_id);
  Subscription* subscription = find_in(subscriptions_, subscription_id);
  if (subscription == nullptr) return refused("there is no such subscription");
  if (stream == nullptr) return refused("the stream has gone");
  if (!is_for(*subscription, *stream)) {
    return refused("the stream's topic is not among those of the subscription");
  }
  if (auto sentence = misfit(stream->offer, subscription->want)) return refused(*sentence);
  if (attachment(stream_id, subscription_id) != nullptr) {
    return refused("the subscription is attached to this stream already; detach it first");
  }
  attach(*stream, *subscription, std::move(page), false);
  return {};
}

void Registry::attach(const Stream& stream, Subscription& subscription, Page page, bool admitted) {
  attachments_[{stream.id, subscription.id}] = Attachment{std::move(page), admitted};
  subscription.attached.insert(stream.id);
  if (subscription.found.erase(stream.id) == 0) count(stream.id, true);
  if (admitted) show_attachment(stream, subscription.id, protocol::Change::appeared);
}

bool Registry::admit(Id stream, Id subscription) {
  Attachment* attachment = find_in(attachments_, std::pair{stream, subscription});
  if (attachment == nullptr || attachment->admitted) return false;
  attachment->admitted = true;
  show_attachment(streams_.at(stream), subscription, protocol::Change::appeared);
  return true;
}

void Registry::detach(Id stream_id, Id subscription_id, bool tell_publisher,
                      const std::string& why) {
  if (Subscription* subscription = find_in(subscriptions_, subscription_id)) {
    subscription->held.erase(stream_id);
    if (subscription->found.erase(stream_id) != 0) count(stream_id, false);
  }
  const auto it = attachments_.find({stream_id, subscription_id});
  if (it == attachments_.end()) return;
  const Stream& stream = streams_.at(stream_id);
  if (tell_publisher) audience_.leave(stream, subscription_id);
  if (it->second.admitted) {
    show_attachment(stream, subscription_id, protocol::Change::gone, why);
    audience_.detached(stream, subscriptions_.at(subscription_id), why);
  }
  attachments_.erase(it);
  subscriptions_.at(subscription_id).attached.erase(stream_id);
  count(stream_id, false);
}

bool Registry::set_arena(Id stream_id, Id subscription_id, SharedFd arena) {
  if (Subscription* subscription = find_in(subscriptions_, subscription_id)) {
    if (Page* page = find_in(subscription->held, stream_id)) {
      page->arena = std::move(arena);
      return true;
    }
  }
  Attachment* attachment = find_in(attachments_, std::pair{stream_id, subscription_id});
  if (attachment == nullptr || attachment->page.arena != nullptr) return false;
  attachment->page.arena = std::move(arena);
  show_attachment(streams_.at(stream_id), subscription_id, protocol::Change::changed);
  return true;
}

Result<void> Registry::add(Watch watch) {
  const Id id = watch.id;
  Node* owner = find_in(nodes_, watch.node);
  if (owner == nullptr) return refused("a watch needs a node");
  if (auto added = insert(watches_, std::move(watch), "watch"); !added) return added;
  owner->watches.insert(id);
  return {};
}

void Registry::end_watch(Id id) {
  const Watch* watch = find_in(watches_, id);
  if (watch == nullptr) return;
  audience_.ended(*watch);
  nodes_.at(watch->node).watches.erase(id);
  watches_.erase(id);
}

}  // namespace sluice::broker
