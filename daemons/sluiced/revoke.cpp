// A changed policy takes away what it no longer allows. It looks at what there is as if it were
// asked for now: who may not connect loses the connection, the rest what it may not have.
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/log.hpp"

#include <utility>

namespace sluice::broker {

void Broker::tell_revoked(Session& session, Id stream, Id subscription,
                          const std::string& sentence) {
  audit("revoked", "node '" + session.node_name() + "': " + sentence);
  note(session, "revoked", sentence);
  protocol::RevokedT revoked;
  revoked.stream_id = stream;
  revoked.subscription_id = subscription;
  revoked.sentence = sentence;
  session.tell(std::move(revoked));
}

void Broker::replace(Policy policy, LimitTable limits, std::vector<TopicRule> topics) {
  policy_ = std::move(policy);
  topics_ = std::move(topics);
  ledger_.set_limits(std::move(limits));
  for (const auto& [number, session] : sessions_) {
    if (session->node() == 0 || session->over() || session->own()) continue;
    if (const Verdict verdict = policy_.may_connect(session->who()); !verdict) {
      audit("revoked", "node '" + session->node_name() + "': " + verdict.reason);
      note(*session, "revoked", verdict.reason);
      session->close({Errc::refused, 0, verdict.reason});
      continue;
    }
    revoke_watches(*session);
    revoke_subscriptions(*session);
    revoke_streams(*session);
  }
}

// Copies of the ids, since ending one changes the node's list.
void Broker::revoke_streams(Session& session) {
  for (const Id id : std::set<Id>(registry_.node(session.node())->streams)) {
    const Stream& stream = *registry_.stream(id);
    auto verdict = allowed(session, Action::publish, stream.topic);
    if (verdict && stream.lends) verdict = allowed(session, Action::lend, stream.topic);
    if (verdict) continue;
    tell_revoked(session, id, 0, verdict.error().message);
    registry_.end_stream(id, protocol::Cause::denied);
  }
}

void Broker::revoke_subscriptions(Session& session) {
  for (const Id id : std::set<Id>(registry_.node(session.node())->subscriptions)) {
    const Subscription& subscription = *registry_.subscription(id);
    for (const std::string& filter : subscription.filters) {
      const auto verdict = may_subscribe(session, subscription.want, filter);
      if (verdict) continue;
      tell_revoked(session, 0, id, verdict.error().message);
      registry_.end_subscription(id);
      break;
    }
  }
}

void Broker::revoke_watches(Session& session) {
  for (const Id id : std::set<Id>(registry_.node(session.node())->watches)) {
    const auto verdict = may_watch(session, *registry_.watch(id));
    if (verdict) continue;
    tell_revoked(session, 0, 0, verdict.error().message);
    registry_.end_watch(id);
  }
}

}  // namespace sluice::broker
