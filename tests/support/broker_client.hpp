// A client of the broker that does what a test tells it to, and nothing else.
#pragma once

#include "shm/clock.hpp"
#include "shm/geometry.hpp"
#include "shm/layout.hpp"
#include "tests/support/emulated.hpp"
#include "tests/support/must.hpp"
#include "transport/connection.hpp"
#include "transport/wire.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

using transport::SharedFd;

/// Memory as a publisher has it, without a publisher.
struct FakeStream {
  std::uint64_t id = 0;
  shm::Segment control, pool;

  explicit FakeStream(std::uint64_t slot_bytes = 256) {
    StreamOptions options;
    options.pools = {{slot_bytes}};
    const shm::Geometry geometry = must(shm::plan(options));
    id = geometry.stream_id;
    control = must(shm::Segment::create("control", geometry.control_bytes));
    shm::write_header(geometry, control.data());
    pool = must(shm::Segment::create("pool", geometry.pools[0].pool_bytes));
  }
  [[nodiscard]] std::vector<SharedFd> descriptors() const {
    return {transport::share(must(control.share())), transport::share(must(pool.share()))};
  }
  [[nodiscard]] std::uint64_t bytes() const { return control.size() + pool.size(); }
};

/// An arena of one page.
struct FakeArena {
  shm::Segment memory = must(shm::Segment::create("arena", 4096));
  [[nodiscard]] SharedFd descriptor() const { return transport::share(must(memory.share())); }
  [[nodiscard]] std::uint64_t bytes() const { return memory.size(); }
};

inline shm::UniqueFd connect_to(const std::string& path) {
  shm::UniqueFd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    socket.reset();
  }
  return socket;
}

class BrokerClient {
 public:
  /// Lets the broker run for a moment, where it runs in this thread.
  using Turn = std::function<void()>;

  explicit BrokerClient(shm::UniqueFd socket, Turn turn = {})
      : connection_(std::move(socket)), turn_(std::move(turn)) {}

  template <class Body>
  std::uint32_t send(Body body, const std::vector<SharedFd>& fds = {}, bool numbered = true) {
    const std::uint32_t request = numbered ? ++last_ : 0;
    (void)connection_.send(transport::make_message(std::move(body), request), fds);
    return request;
  }
  template <class Body>
  void answer(std::uint32_t request, Body body, const std::vector<SharedFd>& fds = {}) {
    (void)connection_.send(transport::make_message(std::move(body), request), fds);
  }

  /// Sends, and waits for the answer; what else comes is kept for next(). Nothing: the broker
  /// closed.
  template <class Body>
  std::optional<transport::Received> call(Body body, const std::vector<SharedFd>& fds = {}) {
    const std::uint32_t request = send(std::move(body), fds);
    return wait([&](const transport::Message& m) { return m.request == request; });
  }
  /// Whether the answer was Done or Advertised; `why` gets the sentence if it was Failed.
  template <class Body>
  bool done(Body body, const std::vector<SharedFd>& fds = {}) {
    auto got = call(std::move(body), fds);
    if (got && got->message.body.type == protocol::Body::Failed) {
      failure = *got->message.body.AsFailed();
    }
    if (got && got->message.body.type == protocol::Body::Advertised) {
      advertised = *got->message.body.AsAdvertised();
      return true;
    }
    return got && got->message.body.type == protocol::Body::Done;
  }

  /// The next message of this type.
  template <class Body>
  std::optional<transport::Received> next(int timeout_ms = 5000) {
    return wait(
        [](const transport::Message& m) {
          return m.body.type == protocol::BodyUnionTraits<Body>::enum_value;
        },
        timeout_ms);
  }
  /// Whether a message of this type came, or comes now.
  template <class Body>
  bool has(int timeout_ms = 20) {
    return next<Body>(timeout_ms).has_value();
  }

  bool hello(std::uint64_t node_id, const std::string& name = "test") {
    protocol::HelloT hello;
    hello.protocol = transport::kProtocolVersion;
    hello.layout = shm::kLayoutVersion;
    hello.node_id = node_id;
    hello.node = name;
    const std::uint32_t request = send(std::move(hello));
    auto got = wait([&](const transport::Message& m) {
      return m.request == request || m.body.type == protocol::Body::Failed;
    });
    if (!got) return false;
    if (got->message.body.type == protocol::Body::Failed) failure = *got->message.body.AsFailed();
    if (got->message.body.type == protocol::Body::Welcome) welcome = *got->message.body.AsWelcome();
    return got->message.body.type == protocol::Body::Welcome;
  }
  bool advertise(const FakeStream& stream, const std::string& topic,
                 const protocol::OfferT& offer = {}) {
    protocol::AdvertiseT body;
    body.stream_id = stream.id;
    body.topic = topic;
    body.offer = std::make_unique<protocol::OfferT>(offer);
    return done(std::move(body), stream.descriptors());
  }
  static protocol::SubscribeT subscription(std::uint64_t id, const std::string& filter,
                                           protocol::Mode mode = protocol::Mode::next) {
    protocol::SubscribeT body;
    body.subscription_id = id;
    body.filters = {filter};
    body.want = std::make_unique<protocol::WantT>();
    body.want->mode = mode;
    return body;
  }
  bool subscribe(std::uint64_t id, const std::string& filter,
                 std::vector<protocol::Held> attached = {},
                 protocol::Mode mode = protocol::Mode::next) {
    protocol::SubscribeT body = subscription(id, filter, mode);
    body.attached = std::move(attached);
    return done(std::move(body));
  }
  /// Asks to attach; the answer comes once the publisher has given it.
  std::uint32_t ask(std::uint64_t subscription, std::uint64_t stream, const FakeArena& arena) {
    protocol::AttachT body;
    body.subscription_id = subscription;
    body.stream_id = stream;
    body.arena_bytes = arena.bytes();
    return send(std::move(body), {arena.descriptor()});
  }
  /// As a publisher: says yes to the next question.
  bool admit(const FakeArena& wake) {
    auto question = next<protocol::AdmitT>();
    if (!question) return false;
    protocol::AdmittedT yes;
    yes.reader_id = 1;
    yes.arena_bytes = wake.bytes();
    answer(question->message.request, std::move(yes), {wake.descriptor()});
    return true;
  }
  bool watch(std::uint64_t id, const std::string& filter, bool counters = false) {
    protocol::WatchT body;
    body.watch_id = id;
    body.filter = filter;
    body.counters = counters;
    return done(std::move(body));
  }

  /// Whether the broker closes the connection within some seconds.
  bool is_closed() {
    (void)wait([](const transport::Message&) { return false; }, 5000);
    return closed_;
  }
  [[nodiscard]] transport::Connection& connection() { return connection_; }

  protocol::WelcomeT welcome;
  protocol::AdvertisedT advertised;
  protocol::FailedT failure;

 private:
  template <class Choose>
  std::optional<transport::Received> wait(Choose choose, int timeout_ms = 5000) {
    for (auto it = kept_.begin(); it != kept_.end(); ++it) {
      if (!choose(it->message)) continue;
      std::optional<transport::Received> found{std::move(*it)};
      kept_.erase(it);
      return found;
    }
    const std::uint64_t deadline =
        shm::deadline_in(patient(static_cast<std::uint64_t>(timeout_ms) * 1'000'000));
    while (!closed_) {
      if (turn_) turn_();
      auto received = connection_.receive();
      if (!received) {
        closed_ = true;
      } else if (*received) {
        if (choose((*received)->message)) return std::move(*received);
        kept_.push_back(std::move(**received));
      } else if (shm::now_ns() > deadline) {
        break;
      } else {
        pollfd p{connection_.fd(), POLLIN, 0};
        ::poll(&p, 1, turn_ ? 1 : 20);
      }
    }
    return std::nullopt;
  }

  transport::Connection connection_;
  Turn turn_;
  std::deque<transport::Received> kept_;
  std::uint32_t last_ = 0;
  bool closed_ = false;
};

}  // namespace sluice::test
