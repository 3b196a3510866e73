#include "daemons/sluiced/session.hpp"

#include "shm/clock.hpp"
#include "shm/layout.hpp"
#include "sluice/topic.hpp"
#include "transport/introduction.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>

namespace sluice::broker {
namespace {

constexpr std::uint64_t kHelloNs = 2'000'000'000;
constexpr std::uint64_t kPauseNs = 50'000'000;
constexpr std::size_t kTurn = 64;         // messages before others have their turn
constexpr std::size_t kLastWords = 1024;  // of a process that has died

// Closing a socket with unread packets would throw away what its peer has not read, too.
void discard_unread(int socket) {
  ::shutdown(socket, SHUT_RD);
  char byte = 0;
  for (int i = 0; i < 4096 && ::recv(socket, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) > 0; ++i) {
  }
}

// A name goes into logs, policies and topics: inbox/<node>.
Result<void> check_node_name(const std::string& name) {
  const bool plain = std::none_of(name.begin(), name.end(), [](char c) {
    return c == '/' || c == 0x7f || static_cast<unsigned char>(c) < 0x20;
  });
  if (plain && name.size() <= 255 && name.rfind('$', 0) != 0 && check_topic(name)) return {};
  return Error{Errc::invalid_argument, 0,
               "a node's name is UTF-8 of 1 to 255 bytes without '/', '+', '#' and control "
               "characters, and does not begin with '$'"};
}

Result<void> check_version(const protocol::HelloT& hello) {
  if (hello.protocol == transport::kProtocolVersion && hello.layout == shm::kLayoutVersion) {
    return {};
  }
  return Error{Errc::unsupported, 0,
               "the broker speaks protocol " + std::to_string(transport::kProtocolVersion) +
                   " and knows layout " + std::to_string(shm::kLayoutVersion) + ", the client " +
                   std::to_string(hello.protocol) + " and " + std::to_string(hello.layout) +
                   "; install the same version of both"};
}

}  // namespace

Session::Session(std::uint64_t number, transport::Connection connection, Peer peer, EventLoop& loop,
                 Service& service)
    : number_(number),
      connection_(std::move(connection)),
      peer_(std::move(peer)),
      loop_(loop),
      service_(service),
      last_heard_ns_(shm::now_ns()) {}

Session::~Session() {
  loop_.forget(socket_token_);
  loop_.forget(process_token_);
  loop_.cancel(hello_timer_);
  loop_.cancel(pause_timer_);
}

Result<void> Session::start() {
  interest_ = EPOLLIN;
  auto socket =
      loop_.watch(connection_.fd(), interest_, [this](auto events) { on_socket(events); });
  if (!socket) return std::move(socket).error();
  socket_token_ = *socket;
  if (peer_.process != nullptr) {
    auto process = loop_.watch(peer_.process->get(), EPOLLIN, [this](auto) { on_death(); });
    if (!process) return std::move(process).error();
    process_token_ = *process;
  }
  hello_timer_ = loop_.at(shm::deadline_in(kHelloNs), [this] {
    if (state_ == State::hello) close({Errc::refused, 0, "no Hello came within 2 seconds"});
  });
  return {};
}

void Session::reject(const Error& why) {
  tell(transport::to_failed(why));
  discard_unread(connection_.fd());
  state_ = State::over;
}

SharedFd Session::arena(shm::UniqueFd fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return transport::share(std::move(fd));
  std::erase_if(arenas_, [](const auto& entry) { return entry.second.expired(); });
  auto& known = arenas_[{status.st_dev, status.st_ino}];
  SharedFd shared = known.lock();
  if (shared == nullptr) known = shared = transport::share(std::move(fd));
  return shared;
}

void Session::send(const transport::Message& message, std::span<const SharedFd> descriptors) {
  if (over()) return;
  auto sent = connection_.send(message, descriptors);
  if (!sent) return end(sent.error().message);
  update_interest();
}

void Session::refuse(std::uint32_t request, const Error& error) {
  answer(request, transport::to_failed(error));
}

void Session::leave() {
  left_in_order_ = true;
  end("it said good-bye");
}

void Session::close(const Error& why) {
  if (over()) return;
  tell(transport::to_failed(why));
  discard_unread(connection_.fd());
  end(why.message);
}

// Sending to who has just closed fails before his last message was read.
void Session::look_for_goodbye() {
  for (std::size_t i = 0; i < kLastWords && !left_in_order_; ++i) {
    auto received = connection_.receive();
    if (!received || !*received) return;
    left_in_order_ = (*received)->message.body.type == protocol::Body::Goodbye;
  }
}

void Session::end(std::string reason) {
  if (over()) return;
  look_for_goodbye();
  state_ = State::over;
  reason_ = std::move(reason);
  loop_.forget(std::exchange(socket_token_, 0));
  loop_.forget(std::exchange(process_token_, 0));
  loop_.post([this] { service_.closed(*this); });
}

void Session::update_interest() {
  std::uint32_t wanted = paused_ ? 0 : static_cast<std::uint32_t>(EPOLLIN);
  if (connection_.wants_to_write()) wanted |= EPOLLOUT;
  if (wanted != interest_) loop_.change(socket_token_, interest_ = wanted);
}

void Session::on_socket(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    if (auto sent = connection_.flush(); !sent) return end(sent.error().message);
    update_interest();
  }
  // Once the other side has closed there is nothing to hold back any more.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) paused_ = false;
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) read(kTurn);
}

void Session::on_death() {
  // It may have said more before it died. A child that holds its socket still could go on and on.
  loop_.forget(std::exchange(process_token_, 0));
  read(kLastWords);
  end("its process has ended");
}

void Session::read(std::size_t at_most) {
  for (std::size_t i = 0; i < at_most && !paused_ && !over(); ++i) {
    auto received = connection_.receive();
    if (!received) {
      if (received.error().code == Errc::untrusted) return close(received.error());
      return end(received.error().message);
    }
    if (!*received) return;
    last_heard_ns_ = shm::now_ns();
    take(**received);
  }
}

void Session::take(transport::Received& received) {
  const std::uint32_t request = received.message.request;
  if (auto now = service_.pace(*this, last_heard_ns_); !now) {
    // Read on later. What needs no answer cannot be refused, and is done all the same.
    pause();
    if (request != 0) return refuse(request, now.error());
  }
  auto handled = state_ == State::hello ? on_hello(received) : service_.handle(*this, received);
  if (!handled) close(handled.error());
}

Result<void> Session::on_hello(transport::Received& received) {
  const protocol::HelloT* hello = received.message.body.AsHello();
  if (hello == nullptr) return Error{Errc::refused, 0, "the first message must be Hello"};
  if (auto fits = check_version(*hello); !fits) return fits;
  if (auto named = check_node_name(hello->node); !named) return named;
  if (auto valid = transport::check_introduction(*hello); !valid) return valid;
  if (hello->node_id == 0) return Error{Errc::invalid_argument, 0, "a node needs an id"};
  peer_.who.node_name = hello->node;
  peer_.who.node_id = hello->node_id;
  last_words_ = hello->last_words;
  auto welcome = service_.welcome(*this, *hello);
  if (!welcome) return std::move(welcome).error();
  state_ = State::open;
  node_ = hello->node_id;
  loop_.cancel(std::exchange(hello_timer_, 0));
  answer(received.message.request, std::move(*welcome));
  return {};
}

void Session::pause() {
  if (paused_) return;
  paused_ = true;
  update_interest();
  loop_.cancel(pause_timer_);
  pause_timer_ = loop_.at(shm::deadline_in(kPauseNs), [this] {
    paused_ = false;
    if (!over()) update_interest();
  });
}

}  // namespace sluice::broker
