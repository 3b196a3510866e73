// One client: its connection, who it is, and how far it has come.
#pragma once

#include "daemons/sluiced/event_loop.hpp"
#include "daemons/sluiced/limits.hpp"
#include "daemons/sluiced/peer.hpp"
#include "daemons/sluiced/registry.hpp"
#include "daemons/sluiced/session_state.hpp"
#include "transport/connection.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace sluice::broker {

class Session;

/// What stands behind the sessions: the broker. An error of the first two closes the session with
/// its sentence.
class Service {
 public:
  virtual ~Service() = default;
  /// The version fits; whether this node may come in is for the service to say.
  virtual Result<protocol::WelcomeT> welcome(Session& session, const protocol::HelloT& hello) = 0;
  /// A message that clients may send, of a session that was welcomed.
  virtual Result<void> handle(Session& session, transport::Received& received) = 0;
  /// Whether the client may send one more message now.
  virtual Result<void> pace(Session& session, std::uint64_t now_ns) = 0;
  /// The session is over; this is the last that is heard of it, and it may be destroyed.
  virtual void closed(Session& session) = 0;
};

/// hello -> open -> over (session_state.hpp). What does not belong into a state, or is no message,
/// ends the session; what a client sends too fast is read later. Sending never ends a session at
/// once, but only when all that runs now has returned: so nobody's tables change while a message is
/// being worked on. Thread-bound.
class Session {
 public:
  Session(std::uint64_t number, transport::Connection connection, Peer peer, EventLoop& loop,
          Service& service);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  /// Instead of start(): tells why not, at once.
  void reject(const Error& why);
  /// Begins to listen. Hello must come within 2 seconds.
  Result<void> start();

  void send(const transport::Message& message, std::span<const SharedFd> descriptors = {});
  template <class Body>
  void tell(Body body, std::span<const SharedFd> descriptors = {}) {
    send(transport::make_message(std::move(body)), descriptors);
  }
  /// The answer to a request; nothing when it has no number.
  template <class Body>
  void answer(std::uint32_t request, Body body, std::span<const SharedFd> descriptors = {}) {
    if (request != 0) send(transport::make_message(std::move(body), request), descriptors);
  }
  void refuse(std::uint32_t request, const Error& error);
  /// The client has said good-bye.
  void leave();
  /// Ends the session; the client is told why, if its socket takes that.
  void close(const Error& why);

  /// One descriptor for all the pages that lie in an arena, though each came with its own.
  SharedFd arena(shm::UniqueFd fd);

  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  [[nodiscard]] const Peer& peer() const noexcept { return peer_; }
  [[nodiscard]] const Identity& who() const noexcept { return peer_.who; }
  [[nodiscard]] Id node() const noexcept { return node_; }  ///< 0 before it was welcomed.
  [[nodiscard]] const std::string& node_name() const noexcept { return peer_.who.node_name; }
  [[nodiscard]] const std::string& last_words() const noexcept { return last_words_; }
  /// The broker's own node is at the other end.
  [[nodiscard]] bool own() const noexcept { return own_; }
  void set_own() noexcept { own_ = true; }
  [[nodiscard]] bool left_in_order() const noexcept { return left_in_order_; }
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }
  [[nodiscard]] std::uint64_t last_heard_ns() const noexcept { return last_heard_ns_; }
  /// What this connection has used of its share; the user's is the ledger's matter.
  [[nodiscard]] TokenBucket& bucket() noexcept { return bucket_; }
  /// Counts what it was refused.
  std::uint64_t count_refusal() noexcept { return ++refusals_; }
  [[nodiscard]] bool over() const noexcept { return state_.stage() == SessionState::Stage::over; }
  /// Whether its process is known to have ended.
  [[nodiscard]] bool has_died() const noexcept {
    return peer_.process != nullptr && shm::has_died(*peer_.process);
  }

 private:
  void on_socket(std::uint32_t events);
  void on_death();
  void read(std::size_t at_most);
  void take(transport::Received& received);
  Result<void> on_hello(transport::Received& received);
  void on_time();
  void set_timer();
  void look_for_goodbye();
  void end(std::string reason);
  void update_interest();

  const std::uint64_t number_;
  transport::Connection connection_;
  Peer peer_;
  EventLoop& loop_;
  Service& service_;

  SessionState state_;
  Id node_ = 0;
  std::string reason_;
  std::string last_words_;
  bool left_in_order_ = false;
  bool own_ = false;
  std::uint64_t last_heard_ns_;
  TokenBucket bucket_;
  std::uint64_t refusals_ = 0;
  std::uint32_t interest_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<const shm::UniqueFd>> arenas_;
  EventLoop::Token socket_token_ = 0, process_token_ = 0, timer_ = 0;
};

}  // namespace sluice::broker
