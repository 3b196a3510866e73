// What clients ask for: streams, subscriptions, watches. Each is checked in the same order: is it
// well formed, is it allowed, is there room; then it is entered, answered, and announced.
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/fit.hpp"
#include "daemons/sluiced/handed_over.hpp"
#include "daemons/sluiced/refusal.hpp"
#include "shm/layout.hpp"
#include "sluice/topic.hpp"

#include <algorithm>
#include <utility>

namespace sluice::broker {
namespace {

constexpr std::size_t kMaxTypeNameBytes = 255;

bool scarce(const std::vector<shm::UniqueFd>& fds) {
  return std::any_of(fds.begin(), fds.end(),
                     [](const auto& fd) { return descriptors_are_scarce(fd.get()); });
}

// The thing with this id, if it belongs to this node.
template <class Thing>
Result<const Thing*> own(const Thing* thing, Id node, const char* what) {
  if (thing != nullptr && thing->node == node) return thing;
  return refused(std::string("this node has no such ") + what);
}

}  // namespace

Result<void> Broker::charge_stream(const Session& session, Id stream, std::uint64_t planned,
                                   std::uint64_t handed_over) {
  Share& share = shares_[stream];
  const std::uint64_t wanted = std::max({planned, handed_over, share.charged});
  if (wanted > share.charged) {
    auto charged = charge(session, Resource::bytes, wanted - share.charged);
    if (!charged) {
      if (share.charged == 0) shares_.erase(stream);
      return charged;
    }
  }
  share.charged = wanted;
  share.handed_over = handed_over;
  return {};
}

Result<void> Broker::check_payload(const Session& session, std::uint64_t payload_bytes) const {
  return session.own() ? Result<void>{} : ledger_.check_stream(session.who().uid, payload_bytes);
}

Result<void> Broker::advertise(Session& session, protocol::AdvertiseT& body, std::uint32_t request,
                               Fds& fds) {
  if (auto valid = check_topic(body.topic); !valid) return valid;
  if (body.offer->type_name.size() > kMaxTypeNameBytes) {
    return refused("the name of a type has at most 255 bytes");
  }
  if (auto verdict = allowed(session, Action::publish, body.topic); !verdict) {
    return verdict;
  }
  if (scarce(fds)) return too_few_descriptors();
  if (fds.size() > 1 + kMaxPools) return untrusted("a stream has at most 8 pools");
  auto size = check_stream(fds, body.stream_id, session.who().uid);
  if (!size) return std::move(size).error();
  if (registry_.stream(body.stream_id) != nullptr) {
    return refused("there is a stream with this id already");
  }
  if (size->lends) {
    if (auto verdict = allowed(session, Action::lend, body.topic); !verdict) return verdict;
  }
  if (auto room = check_payload(session, size->payload_bytes); !room) return room;
  if (auto room = charge(session, Resource::streams, 1); !room) return room;
  if (auto room = charge_stream(session, body.stream_id, body.offer->planned_bytes, size->bytes);
      !room) {
    give_back(session.node(), Resource::streams, 1);
    return room;
  }
  Stream stream;
  stream.id = body.stream_id;
  stream.node = session.node();
  stream.topic = std::move(body.topic);
  stream.offer = std::move(*body.offer);
  stream.lends = size->lends;
  for (shm::UniqueFd& fd : fds) stream.descriptors.push_back(transport::share(std::move(fd)));
  const TopicTraits traits = traits_of(topics_, stream.topic);
  stream.offer.sensitive = stream.offer.sensitive || traits.sensitive;
  stream.offer.durable = traits.durable && !stream.offer.sensitive;
  protocol::AdvertisedT answer;
  answer.sensitive = stream.offer.sensitive;
  answer.durable = stream.offer.durable;
  const std::uint64_t rate =
      session.own() ? kNoLimit : ledger_.messages_per_second(session.who().uid);
  answer.messages_per_second = rate == kNoLimit ? 0 : rate;
  answer.matching = registry_.count_fitting(stream);
  shares_[stream.id].told_matching = answer.matching;
  if (auto added = registry_.add(std::move(stream)); !added) return added;
  session.answer(request, answer);
  note_stream(session, *registry_.stream(body.stream_id));
  registry_.announce_stream(body.stream_id);
  return {};
}

Result<void> Broker::add_pool(Session& session, const protocol::AddPoolT& body,
                              std::uint32_t request, Fds& fds) {
  auto stream = own(registry_.stream(body.stream_id), session.node(), "stream");
  if (!stream) return std::move(stream).error();
  if (fds.size() != 1) return untrusted("AddPool comes with one descriptor");
  if (scarce(fds)) return too_few_descriptors();
  if ((*stream)->descriptors.size() > kMaxPools) return refused("a stream has at most 8 pools");
  auto size = check_pool(fds[0], body.pool, *(*stream)->descriptors.front(), session.who().uid);
  if (!size) return std::move(size).error();
  if (size->lends) {
    if (auto verdict = allowed(session, Action::lend, (*stream)->topic); !verdict) return verdict;
  }
  if (auto room = check_payload(session, size->payload_bytes); !room) return room;
  const std::uint64_t total = shares_[body.stream_id].handed_over + size->bytes;
  if (auto room = charge_stream(session, body.stream_id, 0, total); !room) return room;
  auto added = registry_.add_pool(body.stream_id, body.pool, transport::share(std::move(fds[0])),
                                  size->lends);
  if (added) session.answer(request, protocol::DoneT{});
  return added;
}

Result<void> Broker::withdraw(Session& session, Id id, std::uint32_t request) {
  auto stream = own(registry_.stream(id), session.node(), "stream");
  if (!stream) return std::move(stream).error();
  registry_.end_stream(id, protocol::Cause::withdrawn);
  session.answer(request, protocol::DoneT{});
  return {};
}

Result<void> Broker::subscribe(Session& session, protocol::SubscribeT& body,
                               std::uint32_t request) {
  if (auto valid = check_filters(body.filters); !valid) return valid;
  if (auto valid = check_want(*body.want); !valid) return valid;
  for (const std::string& filter : body.filters) {
    if (auto verdict = may_subscribe(session, *body.want, filter); !verdict) return verdict;
  }
  Subscription subscription;
  subscription.id = body.subscription_id;
  subscription.node = session.node();
  subscription.filters = std::move(body.filters);
  subscription.want = std::move(*body.want);
  for (const protocol::Held& held : body.attached) {
    subscription.held[held.stream_id()] = {held.page_offset(), held.arena_bytes(), nullptr};
  }
  if (auto room = charge(session, Resource::subscriptions, 1); !room) return room;
  if (auto added = registry_.add(std::move(subscription)); !added) {
    give_back(session.node(), Resource::subscriptions, 1);
    return added;
  }
  session.answer(request, protocol::DoneT{});
  note_subscription(session, *registry_.subscription(body.subscription_id));
  registry_.announce_subscription(body.subscription_id);
  return {};
}

Result<void> Broker::unsubscribe(Session& session, Id id, std::uint32_t request) {
  auto subscription = own(registry_.subscription(id), session.node(), "subscription");
  if (!subscription) return std::move(subscription).error();
  registry_.end_subscription(id);
  session.answer(request, protocol::DoneT{});
  return {};
}

Result<void> Broker::hold_arena(Session& session, const protocol::HeldArenaT& body, Fds& fds) {
  auto subscription =
      own(registry_.subscription(body.subscription_id), session.node(), "subscription");
  if (!subscription) return std::move(subscription).error();
  const Page* page = registry_.page(body.stream_id, body.subscription_id);
  if (page == nullptr) return {};  // ended meanwhile
  if (fds.size() != 1) return untrusted("HeldArena comes with one descriptor");
  if (scarce(fds)) return too_few_descriptors();
  if (auto valid = check_arena(fds[0], page->arena_bytes, session.who().uid); !valid) return valid;
  registry_.set_arena(body.stream_id, body.subscription_id, session.arena(std::move(fds[0])));
  return {};
}

// Who acknowledges as the recorder does makes publishers believe that a message is on the disk.
Result<void> Broker::may_subscribe(const Session& session, const protocol::WantT& want,
                                   const std::string& filter) const {
  auto verdict = allowed(session, Action::subscribe, filter);
  if (!verdict || want.mode != protocol::Mode::group || want.group != kRecorderGroup.view()) {
    return verdict;
  }
  return allowed(session, Action::record, filter);
}

// To see what there is, whoever may read it may; its counters are a right of their own.
Result<void> Broker::may_watch(const Session& session, const Watch& watch) const {
  auto verdict = allowed(session, Action::monitor, watch.filter);
  if (verdict || watch.counters) return verdict;
  return allowed(session, Action::subscribe, watch.filter);
}

Result<void> Broker::watch(Session& session, protocol::WatchT& body, std::uint32_t request) {
  if (auto valid = check_filter(body.filter); !valid) return valid;
  Watch watch;
  watch.id = body.watch_id;
  watch.node = session.node();
  watch.filter = std::move(body.filter);
  watch.counters = body.counters;
  if (auto verdict = may_watch(session, watch); !verdict) return verdict;
  if (auto room = charge(session, Resource::subscriptions, 1); !room) return room;
  if (auto added = registry_.add(std::move(watch)); !added) {
    give_back(session.node(), Resource::subscriptions, 1);
    return added;
  }
  session.answer(request, protocol::DoneT{});
  registry_.announce_watch(body.watch_id);
  return {};
}

Result<void> Broker::unwatch(Session& session, Id id, std::uint32_t request) {
  auto watch = own(registry_.watch(id), session.node(), "watch");
  if (!watch) return std::move(watch).error();
  registry_.end_watch(id);
  session.answer(request, protocol::DoneT{});
  return {};
}

}  // namespace sluice::broker
