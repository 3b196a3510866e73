// What the broker tells on `$sys`, beside its log.
//
// Whether a node died or left cannot be seen by its socket alone, which closes either way, and some
// moments before the kernel says that the process has ended. So who went without Goodbye is looked
// at again for a short while; only then is it known to live on (its connection was lost, or the
// broker closed it).
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/log.hpp"
#include "shm/clock.hpp"

#include <algorithm>
#include <utility>

namespace sluice::broker {
namespace {

constexpr std::uint64_t kStatsNs = 10'000'000'000;
constexpr std::uint64_t kLookNs = 5'000'000;
constexpr std::uint64_t kDyingNs = 100'000'000;

std::string joined(const std::vector<std::string>& filters) {
  std::string all;
  for (const std::string& filter : filters) all += (all.empty() ? "" : ", ") + filter;
  return all;
}

}  // namespace

void Broker::tell_to(Chronicle* chronicle) {
  chronicle_ = chronicle;
  started_ns_ = shm::now_ns();
  loop_.cancel(stats_timer_);
  if (chronicle != nullptr) tell_stats();
}

void Broker::tell(const char* what) {
  if (chronicle_ == nullptr) return;
  SystemEvent event;
  event.what = what;
  event.time_ns = wall_clock_ns();
  chronicle_->tell(std::move(event));
}

SystemEvent Broker::event_of(const Session& session, const char* what) {
  SystemEvent event;
  event.what = what;
  event.time_ns = wall_clock_ns();
  event.has_user = true;
  event.uid = session.who().uid;
  event.user = session.who().user_name;
  event.node = session.node_name();
  event.node_id = session.who().node_id;
  event.pid = session.who().pid;
  return event;
}

void Broker::pass_on(EventGate& gate, SystemEvent event) {
  if (chronicle_ == nullptr) return;
  std::uint64_t left_out = 0;
  if (!gate.pass(event.uid, shm::now_ns(), left_out)) return;
  if (left_out != 0) tell_left_out(event.topic, event.uid, left_out);
  chronicle_->tell(std::move(event));
}

void Broker::tell_left_out(SystemTopic topic, uid_t uid, std::uint64_t count) {
  SystemEvent event;
  event.topic = topic;
  event.what = "left_out";
  event.time_ns = wall_clock_ns();
  event.has_user = true;
  event.uid = uid;
  event.count = count;
  chronicle_->tell(std::move(event));
}

void Broker::note(const Session& session, SystemEvent event) {
  if (!session.own()) pass_on(access_gate_, std::move(event));
}

void Broker::note(const Session& session, const char* what, const std::string& sentence) {
  if (chronicle_ == nullptr) return;
  SystemEvent event = event_of(session, what);
  event.sentence = sentence;
  note(session, std::move(event));
}

void Broker::note_refusal(const Session& session, const transport::Message& message,
                          const Error& error) {
  ++refused_;
  if (chronicle_ == nullptr) return;
  SystemEvent event = event_of(session, error.code == Errc::exhausted ? "limit" : "refused");
  event.sentence = error.message;
  if (const auto* advertise = message.body.AsAdvertise()) event.topic_name = advertise->topic;
  if (const auto* subscribe = message.body.AsSubscribe()) event.filter = joined(subscribe->filters);
  if (const auto* watch = message.body.AsWatch()) event.filter = watch->filter;
  note(session, std::move(event));
}

void Broker::note_stream(const Session& session, const Stream& stream) {
  if (chronicle_ == nullptr) return;
  SystemEvent event = event_of(session, "advertised");
  event.topic_name = stream.topic;
  note(session, std::move(event));
}

void Broker::note_subscription(const Session& session, const Subscription& subscription) {
  if (chronicle_ == nullptr) return;
  SystemEvent event = event_of(session, "subscribed");
  event.filter = joined(subscription.filters);
  note(session, std::move(event));
}

void Broker::note_attachment(const char* what, const Stream& stream,
                             const Subscription& subscription, const std::string& sentence) {
  const Session* subscriber = session_of(subscription.node);
  const Node* publisher = registry_.node(stream.node);
  if (chronicle_ == nullptr || subscriber == nullptr || publisher == nullptr) return;
  SystemEvent event = event_of(*subscriber, what);
  event.topic_name = stream.topic;
  event.other = publisher->name;
  event.sentence = sentence;
  note(*subscriber, std::move(event));
}

void Broker::greet(const Session& session, const Node& node) {
  if (chronicle_ == nullptr || session.own()) return;
  settle_farewells(node.id);
  SystemEvent event = event_of(session, "online");
  event.topic = SystemTopic::nodes;
  event.version = node.version;
  event.capabilities = node.capabilities;
  pass_on(nodes_gate_, std::move(event));
}

void Broker::bid_farewell(const Session& session, const Node& node) {
  if (chronicle_ == nullptr || session.own()) return;
  Farewell farewell{session.peer().process, event_of(session, "offline"), session.last_words(),
                    shm::deadline_in(kDyingNs)};
  farewell.event.topic = SystemTopic::nodes;
  farewell.event.version = node.version;
  farewell.event.capabilities = node.capabilities;
  farewell.event.sentence = session.reason();
  if (session.left_in_order()) return pass_on(nodes_gate_, std::move(farewell.event));
  farewells_.push_back(std::move(farewell));
  look_at_farewells();
}

// Where there is no pidfd, a connection that was lost is all that is known.
bool Broker::has_died(const Farewell& farewell) {
  return farewell.process == nullptr || shm::has_died(*farewell.process);
}

void Broker::settle(Farewell farewell) {
  if (has_died(farewell)) {
    farewell.event.what = "died";
    farewell.event.last_words = std::move(farewell.last_words);
  }
  pass_on(nodes_gate_, std::move(farewell.event));
}

void Broker::settle_farewells(Id node) {
  for (auto at = farewells_.begin(); at != farewells_.end();) {
    if (at->event.node_id == node) {
      settle(std::move(*at));
      at = farewells_.erase(at);
    } else {
      ++at;
    }
  }
}

void Broker::look_at_farewells() {
  loop_.cancel(std::exchange(farewell_timer_, 0));
  const std::uint64_t now = shm::now_ns();
  for (auto at = farewells_.begin(); at != farewells_.end();) {
    if (has_died(*at) || at->deadline_ns <= now) {
      settle(std::move(*at));
      at = farewells_.erase(at);
    } else {
      ++at;
    }
  }
  if (farewells_.empty()) return;
  farewell_timer_ = loop_.at(shm::deadline_in(kLookNs), [this] { look_at_farewells(); });
}

void Broker::tell_stats() {
  for (const auto& [uid, count] : access_gate_.take_left_out()) {
    tell_left_out(SystemTopic::access, uid, count);
  }
  for (const auto& [uid, count] : nodes_gate_.take_left_out()) {
    tell_left_out(SystemTopic::nodes, uid, count);
  }
  SystemEvent event;
  event.topic = SystemTopic::stats;
  event.what = "stats";
  event.time_ns = wall_clock_ns();
  const auto figure = [&](const char* name, auto value) {
    event.figures.emplace_back(name, static_cast<double>(value));
  };
  figure("sluice_broker_uptime_seconds", (shm::now_ns() - started_ns_) / 1'000'000'000);
  figure("sluice_broker_connections", sessions_.size());
  figure("sluice_broker_nodes", registry_.nodes().size());
  figure("sluice_broker_streams", registry_.streams().size());
  figure("sluice_broker_subscriptions", registry_.subscriptions().size());
  figure("sluice_broker_attachments", registry_.attachment_count());
  figure("sluice_broker_watches", registry_.watches().size());
  figure("sluice_broker_stream_bytes", ledger_.used_in_all(Resource::bytes));
  figure("sluice_broker_messages_total", messages_);
  figure("sluice_broker_refused_total", refused_);
  chronicle_->tell(std::move(event));
  stats_timer_ = loop_.at(shm::deadline_in(kStatsNs), [this] { tell_stats(); });
}

}  // namespace sluice::broker
