// Link: a client's connection to the broker, opened again whenever it is lost.
//
// Holds no lock and has no thread: its owner calls it from one thread at a time, watches fd() and
// calls ready() and tick(). Who asks something gets exactly one answer: the broker's, or an error
// when the connection is lost first; none when the Link itself ends first.
#pragma once

#include "transport/backoff.hpp"
#include "transport/connection.hpp"

#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <vector>

namespace sluice::transport {

class LinkOwner {
 public:
  /// Greeted by a broker: tell it what there is. `again`: another one than the first.
  virtual void link_up(bool again) = 0;
  virtual void link_down(const Error& why) = 0;
  /// What the broker says of its own accord, or asks.
  virtual void link_received(Received received) = 0;
  /// fd() or wants_to_write() may have changed.
  virtual void link_changed() = 0;

 protected:
  virtual ~LinkOwner() = default;
};

class Link {
 public:
  using Answer = std::function<void(Result<Received>)>;
  enum class State : std::uint8_t { down, greeting, up };

  Link(LinkOwner& owner, std::string path, protocol::HelloT hello);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] int fd() const noexcept { return connection_.fd(); }
  [[nodiscard]] bool wants_to_write() const noexcept { return connection_.wants_to_write(); }
  /// Whether the broker, or the system, said no to the last attempt to open it.
  [[nodiscard]] bool refused() const noexcept { return refused_; }
  /// How many attempts have failed, and why the last one did.
  [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }
  [[nodiscard]] const Error& error() const noexcept { return error_; }

  /// Connects, or says that it still lives, when that is due; returns when to call again.
  std::uint64_t tick(std::uint64_t now_ns);
  /// The socket is readable or writable.
  void ready();

  template <class Body>
  void request(Body body, const std::vector<SharedFd>& descriptors, Answer answer) {
    const std::uint32_t number = next_request();
    guarded([&] {
      answers_.emplace(number, std::move(answer));
      send(make_message(std::move(body), number), descriptors);
    });
  }
  template <class Body>
  void tell(Body body, const std::vector<SharedFd>& descriptors = {}) {
    guarded([&] { send(make_message(std::move(body)), descriptors); });
  }
  /// Answers what the broker asked.
  template <class Body>
  void reply(std::uint32_t request, Body body, const std::vector<SharedFd>& descriptors = {}) {
    guarded([&] { send(make_message(std::move(body), request), descriptors); });
  }

 private:
  // What could not be said for want of memory is said when the link is opened again, with all the
  // rest. So a subscriber can end without memory for saying so.
  template <class Saying>
  void guarded(Saying say) {
    try {
      say();
    } catch (const std::bad_alloc&) {
      lost(Error{Errc::system, ENOMEM, "no memory"});
    }
  }
  void connect(std::uint64_t now_ns);
  void lost(Error why);
  void greeted(const Received& received);
  void dispatch(Received received);
  void send(const Message& message, const std::vector<SharedFd>& descriptors);
  std::uint32_t next_request() noexcept;

  LinkOwner& owner_;
  std::string path_;
  protocol::HelloT hello_;
  Connection connection_;
  State state_ = State::down;
  Error error_{Errc::system, 0, "not connected to the broker yet"};
  std::map<std::uint32_t, Answer> answers_;
  std::uint32_t last_request_ = 0;
  std::uint64_t due_ns_ = 0;
  std::uint64_t heartbeat_ns_ = 0;
  Backoff backoff_;
  std::uint64_t failures_ = 0;
  bool was_up_ = false;
  bool refused_ = false;
};

}  // namespace sluice::transport
