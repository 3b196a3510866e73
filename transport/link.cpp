// Opening: connect, Hello, Welcome. Whatever goes wrong closes the connection, and the next attempt
// comes after a pause that grows (backoff.hpp).
#include "transport/link.hpp"

#include "shm/clock.hpp"
#include "shm/memory.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

namespace sluice::transport {
namespace {

constexpr std::uint64_t kGreetingNs = 2'000'000'000;

double chance() {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<double>{}(random);
}

Result<shm::UniqueFd> connect_to(const std::string& path) {
  shm::UniqueFd socket{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket.valid()) return shm::system_error("a socket to the broker");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof address.sun_path - 1));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    if (error == ENOENT || error == ECONNREFUSED) {
      return Error{
          Errc::system, error,
          "no broker at '" + path + "': start sluiced, or say with SLUICE_SOCKET where it is"};
    }
    if (error == EACCES || error == EPERM) {
      return Error{Errc::refused, error,
                   "this user may not connect to the broker at '" + path + "'"};
    }
    return shm::system_error("connecting to the broker at '" + path + "'");
  }
  return socket;
}

}  // namespace

Link::Link(LinkOwner& owner, std::string path, protocol::HelloT hello)
    : owner_(owner), path_(std::move(path)), hello_(std::move(hello)) {}

std::uint64_t Link::tick(std::uint64_t now_ns) {
  if (now_ns >= due_ns_) {
    if (state_ == State::down) {
      connect(now_ns);
    } else if (state_ == State::greeting) {
      lost(Error{Errc::system, ETIMEDOUT, "the broker at '" + path_ + "' does not answer"});
    } else {
      due_ns_ = now_ns + heartbeat_ns_;
      tell(protocol::PingT{});
    }
  }
  return due_ns_;
}

void Link::connect(std::uint64_t now_ns) {
  auto socket = connect_to(path_);
  refused_ = !socket && socket.error().code == Errc::refused;
  if (!socket) return lost(std::move(socket).error());
  connection_ = Connection{std::move(*socket)};
  state_ = State::greeting;
  due_ns_ = now_ns + kGreetingNs;
  owner_.link_changed();
  request(protocol::HelloT{hello_}, {}, [this](Result<Received> answer) {
    if (answer) return greeted(*answer);
    if (state_ == State::down) return;  // lost before it answered
    refused_ = true;
    lost(std::move(answer).error());
  });
}

void Link::greeted(const Received& received) {
  const protocol::WelcomeT* welcome = received.message.body.AsWelcome();
  if (welcome == nullptr) {
    return lost(Error{Errc::untrusted, 0, "what listens at '" + path_ + "' is no broker"});
  }
  state_ = State::up;
  backoff_.reset();
  heartbeat_ns_ = std::clamp<std::uint64_t>(welcome->heartbeat_ms, 10, 60'000) * 1'000'000;
  due_ns_ = shm::now_ns() + heartbeat_ns_;
  owner_.link_up(std::exchange(was_up_, true));
}

void Link::lost(Error why) {
  const bool told = state_ == State::up;
  ++failures_;
  state_ = State::down;
  connection_ = Connection{};
  error_ = std::move(why);
  due_ns_ = shm::now_ns() + backoff_.next_ns(chance());
  owner_.link_changed();
  for (auto& [number, answer] : std::exchange(answers_, {})) answer(error_);
  if (told) owner_.link_down(error_);
}

void Link::ready() {
  if (!connection_.valid()) return;
  if (auto flushed = connection_.flush(); !flushed) return lost(std::move(flushed).error());
  owner_.link_changed();
  while (connection_.valid()) {
    auto received = connection_.receive();
    if (!received) return lost(std::move(received).error());
    if (!*received) return;
    dispatch(std::move(**received));
  }
}

void Link::dispatch(Received received) {
  const protocol::Body type = received.message.body.type;
  const bool is_answer = type == protocol::Body::Done || type == protocol::Body::Failed ||
                         type == protocol::Body::Welcome || type == protocol::Body::Admitted ||
                         type == protocol::Body::Advertised;
  if (!is_answer) return owner_.link_received(std::move(received));
  const auto at = answers_.find(received.message.request);
  if (at == answers_.end()) {
    // Not asked: a broker that closes the connection says why first.
    if (const auto* failed = received.message.body.AsFailed()) {
      refused_ = state_ == State::greeting;
      lost(to_error(*failed));
    }
    return;
  }
  const Answer answer = std::move(at->second);
  answers_.erase(at);
  if (const auto* failed = received.message.body.AsFailed()) return answer(to_error(*failed));
  answer(std::move(received));
}

// While the link is down nothing is lost by not sending: link_up() tells everything.
void Link::send(const Message& message, const std::vector<SharedFd>& descriptors) {
  if (!connection_.valid()) {
    const auto at = answers_.find(message.request);
    if (at == answers_.end()) return;
    const Answer answer = std::move(at->second);
    answers_.erase(at);
    return answer(error_);
  }
  if (auto sent = connection_.send(message, descriptors); !sent) {
    return lost(std::move(sent).error());
  }
  if (connection_.wants_to_write()) owner_.link_changed();
}

std::uint32_t Link::next_request() noexcept {
  do {
    if (++last_request_ == 0) ++last_request_;
  } while (answers_.contains(last_request_));
  return last_request_;
}

}  // namespace sluice::transport
