// A message is worked on to its end before the next one is looked at, and the registry tells its
// audience in the middle of that. So nothing that is told may change the registry: a session whose
// socket fails is only marked, and removed when the loop comes round.
#include "daemons/sluiced/broker.hpp"

#include "daemons/sluiced/handed_over.hpp"
#include "daemons/sluiced/log.hpp"
#include "sluice/version.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <bit>
#include <utility>

namespace sluice::broker {
namespace {

using protocol::Body;

Id random_id() {
  Id id = 0;
  while (id == 0) {
    if (::getrandom(&id, sizeof id, 0) != static_cast<ssize_t>(sizeof id)) id = 0;
  }
  return id;
}

// Refusals of one session that are logged each; then every time that their number has doubled, so
// that nobody fills the log.
constexpr std::uint64_t kLogged = 16;

std::string describe(const Session& session) {
  return "node '" + session.node_name() + "' (pid " + std::to_string(session.who().pid) + ", uid " +
         std::to_string(session.who().uid) + ")";
}

}  // namespace

Broker::Broker(EventLoop& loop, Policy policy, LimitTable limits, std::vector<TopicRule> topics)
    : loop_(loop),
      policy_(std::move(policy)),
      topics_(std::move(topics)),
      ledger_(std::move(limits)),
      id_(random_id()) {
  look_timer_ = loop_.at(loop_.now_ns() + kHeartbeatNs, [this] { look_around(); });
}

Broker::~Broker() {
  for (const auto timer : {look_timer_, farewell_timer_, stats_timer_}) loop_.cancel(timer);
}

void Broker::adopt(shm::UniqueFd socket) {
  auto peer = peer_of(socket.get());
  if (!peer) return log_error(peer.error().message);
  const uid_t uid = peer->who.uid;
  const bool scarce = descriptors_are_scarce(socket.get());
  auto session =
      std::make_unique<Session>(++last_session_, transport::Connection{std::move(socket)},
                                std::move(*peer), loop_, static_cast<Service&>(*this));
  if (chronicle_ != nullptr && session->who().pid == ::getpid()) session->set_own();
  auto charged =
      scarce ? Result<void>{too_few_descriptors()} : charge(*session, Resource::connections, 1);
  if (!charged) {
    audit("refused", "a connection of uid " + std::to_string(uid) + ": " + charged.error().message);
    note_refusal(*session, {}, charged.error());
    return session->reject(charged.error());
  }
  Session& kept = *session;
  sessions_.emplace(kept.number(), std::move(session));
  if (auto started = kept.start(); !started) kept.close(started.error());
}

// One connection gets half of what its user may send, so that a process that runs wild leaves the
// other half to its siblings.
Result<void> Broker::pace(Session& session, std::uint64_t now_ns) {
  if (session.own()) return {};
  ++messages_;
  const LimitTable& table = ledger_.limits();
  const auto own = table.users.find(session.who().uid);
  const Limits& limits = own == table.users.end() ? table.each_user : own->second.limits;
  const std::uint64_t share_hz = (limits.requests_per_second + 1) / 2;
  if (session.bucket().take(now_ns, share_hz)) return ledger_.request(session.who().uid, now_ns);
  return Error{Errc::exhausted, 0,
               "this connection sends more than " + std::to_string(share_hz) +
                   " messages a second, half of what its user may; slow down, or raise "
                   "requests_per_second in the broker's configuration"};
}

Result<void> Broker::allowed(const Session& session, Action action,
                             const std::string& filter) const {
  if (session.own()) return {};
  const Identity& who = session.who();
  Verdict verdict = action == Action::publish     ? policy_.may_publish(who, filter)
                    : action == Action::subscribe ? policy_.may_subscribe(who, filter)
                                                  : policy_.may(who, action, filter);
  if (verdict) return {};
  return Error{Errc::refused, 0, std::move(verdict.reason)};
}

Result<protocol::WelcomeT> Broker::welcome(Session& session, const protocol::HelloT& hello) {
  const Verdict verdict = session.own() ? Verdict{true, ""} : policy_.may_connect(session.who());
  if (!verdict) {
    audit("refused", describe(session) + ": " + verdict.reason);
    note_refusal(session, {}, {Errc::refused, 0, verdict.reason});
    return Error{Errc::refused, 0, verdict.reason};
  }
  if (auto free = displace(session, hello.node_id); !free) return std::move(free).error();
  Node node;
  node.id = hello.node_id;
  node.name = hello.node;
  node.pid = session.who().pid;
  node.uid = session.who().uid;
  node.version = hello.version;
  node.capabilities = hello.capabilities;
  node.own = session.own();
  if (auto added = registry_.add_node(std::move(node)); !added) return std::move(added).error();
  by_node_[hello.node_id] = &session;
  audit("connected", describe(session));
  note(session, "connected", "");
  greet(session, *registry_.node(hello.node_id));

  protocol::WelcomeT welcome;
  welcome.protocol = transport::kProtocolVersion;
  welcome.broker_id = id_;
  welcome.heartbeat_ms = static_cast<std::uint32_t>(kHeartbeatNs / 1'000'000);
  welcome.library = std::to_string(kVersionMajor) + "." + std::to_string(kVersionMinor) + "." +
                    std::to_string(kVersionPatch);
  return welcome;
}

Result<void> Broker::displace(const Session& newcomer, Id node) {
  Session* old = session_of(node);
  if (old == nullptr) return {};
  const bool same = old->who().uid == newcomer.who().uid && old->who().pid == newcomer.who().pid &&
                    old->who().pid != 0;
  if (!same && !old->over() && !old->has_died()) {
    return Error{Errc::refused, 0, "another process is connected with this node's id"};
  }
  old->close({Errc::refused, 0, "this node has connected again"});
  finish(*old);
  return {};
}

Result<void> Broker::charge(const Session& session, Resource resource, std::uint64_t amount) {
  return session.own() ? Result<void>{} : ledger_.charge(session.who().uid, resource, amount);
}

void Broker::give_back(Id node, Resource resource, std::uint64_t amount) {
  const Node& owner = *registry_.node(node);
  if (!owner.own) ledger_.give_back(owner.uid, resource, amount);
}

Session* Broker::session_of(Id node) {
  const auto it = by_node_.find(node);
  return it == by_node_.end() ? nullptr : it->second;
}

void Broker::finish(Session& session) {
  const auto it = by_node_.find(session.node());
  if (it == by_node_.end() || it->second != &session) return;
  bid_farewell(session, *registry_.node(session.node()));
  by_node_.erase(it);
  registry_.remove_node(session.node(), protocol::Cause::died);
  attaching_.end_publisher(session.node());
  audit("disconnected", describe(session) + ": " + session.reason());
  note(session, "disconnected", session.reason());
}

void Broker::closed(Session& session) {
  finish(session);
  if (session.node() == 0) {
    log_debug("a connection of uid " + std::to_string(session.who().uid) +
              " ended: " + session.reason());
  }
  if (!session.own()) ledger_.give_back(session.who().uid, Resource::connections, 1);
  sessions_.erase(session.number());
}

Result<void> Broker::handle(Session& session, transport::Received& received) {
  registry_.set_stuck(session.node(), false);
  auto result = dispatch(session, received);
  if (result) return {};
  const Error& error = result.error();
  if (error.code == Errc::system) {
    log_error(describe(session) + ": " + error.message);
  } else if (const auto n = session.count_refusal(); n <= kLogged || std::has_single_bit(n)) {
    audit("refused", describe(session) + ": " + error.message +
                         (n > kLogged ? " (refusal " + std::to_string(n) + ")" : ""));
  }
  note_refusal(session, received.message, error);
  session.refuse(received.message.request, error);
  if (error.code == Errc::untrusted) return result;
  return {};
}

Result<void> Broker::dispatch(Session& session, transport::Received& received) {
  auto& body = received.message.body;
  auto& fds = received.descriptors;
  const std::uint32_t request = received.message.request;
  switch (body.type) {
    case Body::Ping:
      return {};
    case Body::Goodbye:
      session.leave();
      return {};
    case Body::Advertise:
      return advertise(session, *body.AsAdvertise(), request, fds);
    case Body::AddPool:
      return add_pool(session, *body.AsAddPool(), request, fds);
    case Body::Withdraw:
      return withdraw(session, body.AsWithdraw()->stream_id, request);
    case Body::Subscribe:
      return subscribe(session, *body.AsSubscribe(), request);
    case Body::HeldArena:
      return hold_arena(session, *body.AsHeldArena(), fds);
    case Body::Unsubscribe:
      return unsubscribe(session, body.AsUnsubscribe()->subscription_id, request);
    case Body::Attach:
      return attach(session, *body.AsAttach(), request, fds);
    case Body::Detach:
      return detach(session, *body.AsDetach());
    case Body::Evicted:
      return evicted(session, *body.AsEvicted());
    case Body::Watch:
      return watch(session, *body.AsWatch(), request);
    case Body::Unwatch:
      return unwatch(session, body.AsUnwatch()->watch_id, request);
    case Body::Admitted:
      return admitted(session, *body.AsAdmitted(), request, fds);
    case Body::Failed:
      return not_admitted(session, *body.AsFailed(), request);
    default:
      return Error{Errc::untrusted, 0, "a client may not send this message"};
  }
}

void Broker::look_around() {
  const std::uint64_t now = loop_.now_ns();
  for (const auto& [node, session] : by_node_) {
    registry_.set_stuck(node, now - session->last_heard_ns() > 3 * kHeartbeatNs);
  }
  for (const Question& question : attaching_.take_late(now)) {
    registry_.detach(question.stream, question.subscription, true);
    refuse_question(question, {Errc::refused, 0,
                               "the publisher has not answered for 10 seconds; it may be stuck"});
  }
  look_timer_ = loop_.at(loop_.now_ns() + kHeartbeatNs, [this] { look_around(); });
}

}  // namespace sluice::broker
