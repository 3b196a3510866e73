// What the registry has to say, put into messages.
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/log.hpp"

#include <algorithm>
#include <utility>

namespace sluice::broker {

void Broker::found(const Subscription& subscription, const Stream& stream) {
  Session* session = session_of(subscription.node);
  const Node& publisher = *registry_.node(stream.node);
  if (session == nullptr) return;
  protocol::FoundT found;
  found.subscription_id = subscription.id;
  found.stream_id = stream.id;
  found.topic = stream.topic;
  found.node_id = publisher.id;
  found.node = publisher.name;
  found.uid = publisher.uid;
  found.offer = std::make_unique<protocol::OfferT>(stream.offer);
  session->tell(std::move(found), stream.descriptors);
}

void Broker::unfit(const Subscription& subscription, const Stream& stream,
                   const std::string& sentence) {
  const auto tell = [&](Id to, Id other) {
    Session* session = session_of(to);
    if (session == nullptr) return;
    protocol::UnfitT unfit;
    unfit.subscription_id = subscription.id;
    unfit.stream_id = stream.id;
    unfit.topic = stream.topic;
    unfit.node = registry_.node(other)->name;
    unfit.sentence = sentence;
    session->tell(std::move(unfit));
  };
  tell(subscription.node, stream.node);
  tell(stream.node, subscription.node);
}

void Broker::leave(const Stream& stream, Id subscription) {
  // The publisher first: whoever is refused uses the page that it offered for something else.
  if (Session* session = session_of(stream.node)) {
    protocol::LeaveT leave;
    leave.stream_id = stream.id;
    leave.subscription_id = subscription;
    session->tell(leave);
  }
  for (const Question& question : attaching_.cancel(stream.id, subscription)) {
    refuse_question(question, {Errc::refused, 0, "the subscription ended or was detached"});
  }
}

void Broker::gone(Id node, Id stream, protocol::Cause cause) {
  if (Session* session = session_of(node)) {
    protocol::GoneT gone;
    gone.stream_id = stream;
    gone.cause = cause;
    session->tell(gone);
  }
}

// Many subscriptions may come and go in one turn of the loop: the publisher is told what came of
// it.
void Broker::matching(const Stream& stream) {
  if (recounted_.empty()) loop_.post([this] { tell_matching(); });
  recounted_.insert(stream.id);
}

void Broker::tell_matching() {
  for (const Id id : std::exchange(recounted_, {})) {
    const Stream* stream = registry_.stream(id);
    Session* session = stream == nullptr ? nullptr : session_of(stream->node);
    if (session == nullptr) continue;
    Share& share = shares_[id];
    if (std::exchange(share.told_matching, stream->matching) == stream->matching) continue;
    protocol::MatchingT matching;
    matching.stream_id = id;
    matching.count = stream->matching;
    session->tell(matching);
  }
}

void Broker::detached(const Stream& stream, const Subscription& subscription,
                      const std::string& why) {
  note_attachment("detached", stream, subscription, why);
}

void Broker::pool_added(Id node, const Stream& stream, std::uint32_t pool) {
  if (Session* session = session_of(node)) {
    protocol::PoolAddedT added;
    added.stream_id = stream.id;
    added.pool = pool;
    session->tell(added, {&stream.descriptors.back(), 1});
  }
}

void Broker::event(const Watch& watch, protocol::EventT event, const SharedFd& descriptor) {
  Session* session = session_of(watch.node);
  if (session == nullptr) return;
  event.watch_id = watch.id;
  const bool handed = watch.counters && descriptor != nullptr;
  session->tell(std::move(event), {&descriptor, handed ? std::size_t{1} : 0});
}

void Broker::ended(const Stream& stream) {
  for (const Question& question : attaching_.end_stream(stream.id)) {
    refuse_question(question, {Errc::refused, 0, "the stream has gone"});
  }
  give_back(stream.node, Resource::streams, 1);
  const auto share = shares_.find(stream.id);
  if (share == shares_.end()) return;
  give_back(stream.node, Resource::bytes, share->second.charged);
  shares_.erase(share);
}

void Broker::ended(const Subscription& subscription) {
  give_back(subscription.node, Resource::subscriptions, 1);
}

void Broker::ended(const Watch& watch) { give_back(watch.node, Resource::subscriptions, 1); }

}  // namespace sluice::broker
