// The broker: sessions, what they ask for, and what they are told.
#pragma once

#include "daemons/sluiced/attaching.hpp"
#include "daemons/sluiced/event_loop.hpp"
#include "daemons/sluiced/limits.hpp"
#include "daemons/sluiced/policy.hpp"
#include "daemons/sluiced/registry.hpp"
#include "daemons/sluiced/session.hpp"
#include "daemons/sluiced/system_event.hpp"
#include "daemons/sluiced/topic_traits.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace sluice::broker {

/// Glues sessions, registry and rights together. Thread-bound; lives as long as its loop runs.
class Broker final : private Service, private Audience {
 public:
  static constexpr std::uint64_t kHeartbeatNs = 2'500'000'000;

  Broker(EventLoop& loop, Policy policy, LimitTable limits, std::vector<TopicRule> topics = {});
  ~Broker() override;

  /// Takes in who has connected, or tells it why not.
  void adopt(shm::UniqueFd socket);

  /// New rights and limits hold at once, for what there is too: what is no longer allowed is
  /// revoked. Who has more than a new limit keeps it, and gets no more. What topics are holds for
  /// new streams.
  void replace(Policy policy, LimitTable limits, std::vector<TopicRule> topics = {});

  /// From now on what happens is told to `chronicle`, which must outlive the broker or be replaced
  /// (by null), and who connects from this process is the broker's own node: free of rules and
  /// limits.
  void tell_to(Chronicle* chronicle);
  /// Something about the broker itself.
  void tell(const char* what);

  [[nodiscard]] const Registry& registry() const noexcept { return registry_; }
  [[nodiscard]] std::size_t session_count() const noexcept { return sessions_.size(); }

 private:
  using Fds = std::vector<shm::UniqueFd>;
  struct Share {  // of what a stream costs its user, and what its publisher was told
    std::uint64_t charged = 0;
    std::uint64_t handed_over = 0;
    std::uint32_t told_matching = 0;
  };

  // Service
  Result<protocol::WelcomeT> welcome(Session& session, const protocol::HelloT& hello) override;
  Result<void> handle(Session& session, transport::Received& received) override;
  Result<void> pace(Session& session, std::uint64_t now_ns) override;
  void closed(Session& session) override;

  Result<void> dispatch(Session& session, transport::Received& received);

  // Requests (requests.cpp). An error is the answer; one of kind `untrusted` ends the session too.
  Result<void> advertise(Session& session, protocol::AdvertiseT& body, std::uint32_t request,
                         Fds& fds);
  Result<void> add_pool(Session& session, const protocol::AddPoolT& body, std::uint32_t request,
                        Fds& fds);
  Result<void> withdraw(Session& session, Id stream, std::uint32_t request);
  Result<void> subscribe(Session& session, protocol::SubscribeT& body, std::uint32_t request);
  Result<void> unsubscribe(Session& session, Id subscription, std::uint32_t request);
  Result<void> hold_arena(Session& session, const protocol::HeldArenaT& body, Fds& fds);
  Result<void> watch(Session& session, protocol::WatchT& body, std::uint32_t request);
  Result<void> unwatch(Session& session, Id watch, std::uint32_t request);
  [[nodiscard]] Result<void> check_payload(const Session& session,
                                           std::uint64_t payload_bytes) const;
  Result<void> charge_stream(const Session& session, Id stream, std::uint64_t planned,
                             std::uint64_t handed_over);

  // Attaching (attach_requests.cpp)
  Result<void> attach(Session& session, const protocol::AttachT& body, std::uint32_t request,
                      Fds& fds);
  Result<void> detach(Session& session, const protocol::DetachT& body);
  Result<void> evicted(Session& session, const protocol::EvictedT& body);
  Result<void> admitted(Session& session, protocol::AdmittedT& body, std::uint32_t request,
                        Fds& fds);
  Result<void> not_admitted(Session& session, const protocol::FailedT& body, std::uint32_t request);
  void refuse_question(const Question& question, const Error& error);

  // Audience (audience.cpp)
  void found(const Subscription& subscription, const Stream& stream) override;
  void unfit(const Subscription& subscription, const Stream& stream,
             const std::string& sentence) override;
  void leave(const Stream& stream, Id subscription) override;
  void gone(Id node, Id stream, protocol::Cause cause) override;
  void matching(const Stream& stream) override;
  void detached(const Stream& stream, const Subscription& subscription,
                const std::string& why) override;
  void pool_added(Id node, const Stream& stream, std::uint32_t pool) override;
  void event(const Watch& watch, protocol::EventT event, const SharedFd& descriptor) override;
  void ended(const Stream& stream) override;
  void ended(const Subscription& subscription) override;
  void ended(const Watch& watch) override;

  // What is told on `$sys` (chronicle.cpp)
  struct Farewell {
    SharedFd process;
    SystemEvent event;
    std::string last_words;
    std::uint64_t deadline_ns = 0;
  };
  static SystemEvent event_of(const Session& session, const char* what);
  static bool has_died(const Farewell& farewell);
  void pass_on(EventGate& gate, SystemEvent event);
  void tell_left_out(SystemTopic topic, uid_t uid, std::uint64_t count);
  void tell_stats();
  void note(const Session& session, SystemEvent event);
  void note(const Session& session, const char* what, const std::string& sentence);
  void note_refusal(const Session& session, const transport::Message& message, const Error& error);
  void note_stream(const Session& session, const Stream& stream);
  void note_subscription(const Session& session, const Subscription& subscription);
  void note_attachment(const char* what, const Stream& stream, const Subscription& subscription,
                       const std::string& sentence);
  void greet(const Session& session, const Node& node);
  void bid_farewell(const Session& session, const Node& node);
  void settle(Farewell farewell);
  void settle_farewells(Id node);
  void look_at_farewells();

  /// As the ledger's, but for the broker's own node.
  Result<void> charge(const Session& session, Resource resource, std::uint64_t amount);
  void give_back(Id node, Resource resource, std::uint64_t amount);
  void tell_revoked(Session& session, Id stream, Id subscription, const std::string& sentence);
  [[nodiscard]] Result<void> allowed(const Session& session, Action action,
                                     const std::string& filter) const;
  [[nodiscard]] Result<void> may_subscribe(const Session& session, const protocol::WantT& want,
                                           const std::string& filter) const;
  [[nodiscard]] Result<void> may_watch(const Session& session, const Watch& watch) const;
  void revoke_streams(Session& session);
  void revoke_subscriptions(Session& session);
  void revoke_watches(Session& session);
  Result<void> displace(const Session& newcomer, Id node);
  void finish(Session& session);
  void look_around();
  void tell_matching();
  [[nodiscard]] Session* session_of(Id node);

  EventLoop& loop_;
  Policy policy_;
  std::vector<TopicRule> topics_;
  Ledger ledger_;
  Registry registry_{*this};
  Attaching attaching_;
  const Id id_;
  std::uint64_t last_session_ = 0;
  std::map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::unordered_map<Id, Session*> by_node_;
  std::unordered_map<Id, Share> shares_;  // by stream
  std::set<Id> recounted_;                // streams whose publishers are to be told
  EventLoop::Token look_timer_ = 0;

  Chronicle* chronicle_ = nullptr;
  EventGate access_gate_{100};
  EventGate nodes_gate_{1'000};
  std::vector<Farewell> farewells_;
  std::uint64_t started_ns_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t refused_ = 0;
  EventLoop::Token farewell_timer_ = 0;
  EventLoop::Token stats_timer_ = 0;
};

}  // namespace sluice::broker
