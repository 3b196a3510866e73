#include "daemons/sluiced/session.hpp"

#include "shm/layout.hpp"
#include "sluice/topic.hpp"
#include "transport/introduction.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>

namespace sluice::broker {
namespace {

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
      last_heard_ns_(loop.now_ns()) {}

Session::~Session() {
  loop_.forget(socket_token_);
  loop_.forget(process_token_);
  loop_.cancel(timer_);
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
  state_.started(loop_.now_ns());
  set_timer();
  return {};
}

void Session::reject(const Error& why) {
  tell(transport::to_failed(why));
  discard_unread(connection_.fd());
  state_.ended();
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
  state_.ended();
  set_timer();
  reason_ = std::move(reason);
  loop_.forget(std::exchange(socket_token_, 0));
  loop_.forget(std::exchange(process_token_, 0));
  loop_.post([this] { service_.closed(*this); });
}

void Session::update_interest() {
  std::uint32_t wanted = state_.reads() ? static_cast<std::uint32_t>(EPOLLIN) : 0;
  if (connection_.wants_to_write()) wanted |= EPOLLOUT;
  if (wanted != interest_) loop_.change(socket_token_, interest_ = wanted);
}

void Session::on_socket(std::uint32_t events) {
  if ((events & EPOLLOUT) != 0) {
    if (auto sent = connection_.flush(); !sent) return end(sent.error().message);
    update_interest();
  }
  // Once the other side has closed there is nothing to hold back any more.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) state_.hung_up();
  if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) read(kTurn);
}

void Session::on_death() {
  // It may have said more before it died. A child that holds its socket still could go on and on.
  loop_.forget(std::exchange(process_token_, 0));
  read(kLastWords);
  end("its process has ended");
}

void Session::read(std::size_t at_most) {
  for (std::size_t i = 0; i < at_most && state_.reads(); ++i) {
    auto received = connection_.receive();
    if (!received) {
      if (received.error().code == Errc::untrusted) return close(received.error());
      return end(received.error().message);
    }
    if (!*received) return;
    last_heard_ns_ = loop_.now_ns();
    take(**received);
  }
}

void Session::take(transport::Received& received) {
  using enum SessionState::Then;
  const std::uint32_t request = received.message.request;
  const Result<void> now = service_.pace(*this, last_heard_ns_);
  const auto then = state_.received(now.has_value(), request != 0, last_heard_ns_);
  if (!now) {
    set_timer();
    update_interest();
  }
  if (then == refuse) return this->refuse(request, now.error());
  if (then != greet && then != serve) return;
  auto handled = then == greet ? on_hello(received) : service_.handle(*this, received);
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
  state_.welcomed();
  node_ = hello->node_id;
  set_timer();
  answer(received.message.request, std::move(*welcome));
  return {};
}

void Session::set_timer() {
  loop_.cancel(std::exchange(timer_, 0));
  if (state_.due_ns() != shm::kNever) timer_ = loop_.at(state_.due_ns(), [this] { on_time(); });
}

void Session::on_time() {
  timer_ = 0;
  const auto then = state_.time_passed(loop_.now_ns());
  if (then == SessionState::Then::close_silent) {
    return close({Errc::refused, 0, "no Hello came within 2 seconds"});
  }
  if (then == SessionState::Then::read_on) update_interest();
  set_timer();
}

}  // namespace sluice::broker
