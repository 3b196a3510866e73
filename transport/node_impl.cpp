// The node's connection, its thread and its waiting. What it does for its publications,
// subscriptions, watches and peers stands in files of their own, node_*.cpp.
#include "transport/node_impl.hpp"

#include "shm/clock.hpp"
#include "shm/memory.hpp"
#include "sluice/version.hpp"
#include "transport/introduction.hpp"
#include "transport/socket_path.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace sluice {
namespace {

// What epoll reports; peers count from kFirstPeer.
constexpr std::uint64_t kWake = 0;
constexpr std::uint64_t kTimer = 1;
constexpr std::uint64_t kLink = 2;
constexpr std::uint64_t kRoom = 3;
constexpr std::uint64_t kAnswerNs = 2'000'000'000;  // for a broker that is there

protocol::HelloT hello(const NodeOptions& options, std::uint64_t id) {
  protocol::HelloT hello;
  hello.protocol = transport::kProtocolVersion;
  hello.layout = shm::kLayoutVersion;
  hello.node_id = id;
  hello.node = options.name;
  hello.library = SLUICE_VERSION_STRING;
  hello.version = options.version;
  hello.capabilities = options.capabilities;
  hello.last_words = options.last_words;
  return hello;
}

// The program's name where none is given, without what a policy would take for more than a name.
NodeOptions with_name(NodeOptions options) {
  if (!options.name.empty()) return options;
  options.name = ::program_invocation_short_name;
  for (char& c : options.name) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= ' ' || u >= 127 || c == '/' || c == '+' || c == '#' || c == '$') c = '-';
  }
  if (options.name.empty()) options.name = "node";
  return options;
}

Error not_registered(const Error& link) {
  return Error{Errc::system, link.sys_errno, "the broker did not answer in time: " + link.message};
}

}  // namespace

std::uint64_t random_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    if (::getrandom(&id, sizeof id, 0) != sizeof id) id = shm::now_ns();
  }
  return id;
}

NodeImpl::NodeImpl(NodeOptions options, std::string path)
    : options_(with_name(std::move(options))),
      id_(random_id()),
      link_(*this, std::move(path), hello(options_, id_)) {}

Result<std::shared_ptr<NodeImpl>> NodeImpl::create(NodeOptions options) {
  auto path = transport::client_socket_path(options.socket);
  if (!path) return std::move(path).error();
  if (auto valid = transport::check_introduction(hello(options, 0)); !valid) {
    return std::move(valid).error();
  }
  std::shared_ptr<NodeImpl> node{new NodeImpl(std::move(options), std::move(*path))};
  if (auto done = node->set_up(); !done) return std::move(done).error();
  if (auto done = node->connect(); !done) return std::move(done).error();
  return node;
}

Result<void> NodeImpl::set_up() {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!epoll_.valid() || !wake_.valid() || !timer_.valid()) {
    return shm::system_error("the descriptors of a node");
  }
  // Whoever cannot be woken could not be stopped either.
  if (!watch_fd(wake_.get(), kWake, EPOLLIN, EPOLL_CTL_ADD) ||
      !watch_fd(timer_.get(), kTimer, EPOLLIN, EPOLL_CTL_ADD)) {
    return shm::system_error("the descriptors of a node");
  }
  rooms_.on_new([this](int fd) { return watch_fd(fd, kRoom, EPOLLIN, EPOLL_CTL_ADD); });
  signal();  // the first step connects
  if (options_.background_thread) thread_ = std::thread([this] { run(); });
  return {};
}

Result<void> NodeImpl::connect() {
  std::unique_lock lock{mutex_};
  const bool at_once = options_.connect_timeout.count() <= 0;
  const auto settled = [&] {
    if (link_.state() != transport::Link::State::down) {
      return link_.state() == transport::Link::State::up;
    }
    return link_.failures() != 0 && (at_once || link_.refused());
  };
  await(lock, deadline(), settled);
  if (link_.state() == transport::Link::State::up) return {};
  return link_.error();
}

NodeImpl::~NodeImpl() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  signal();
  if (thread_.joinable()) thread_.join();
  link_.tell(protocol::GoodbyeT{});  // where it does not arrive the broker takes us for dead
}

void NodeImpl::run() {
  for (;;) {
    {
      const std::lock_guard lock{mutex_};
      if (stopping_) return;
    }
    step(-1);
  }
}

void NodeImpl::step(int timeout_ms) {
  std::array<epoll_event, 32> events{};
  const int n =
      ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  const std::lock_guard lock{mutex_};
  bool room = false;
  for (int i = 0; i < n; ++i) {
    const std::uint64_t key = events[static_cast<std::size_t>(i)].data.u64;
    std::uint64_t ignored = 0;
    if (key == kWake) {
      (void)::read(wake_.get(), &ignored, sizeof ignored);
    } else if (key == kTimer) {
      (void)::read(timer_.get(), &ignored, sizeof ignored);
    } else if (key == kRoom) {
      room = true;
    } else if (key == kLink) {
      link_.ready();
    } else {
      peer_died(key);
    }
  }
  bury();
  const std::uint64_t now = shm::now_ns();
  arm_timer(std::min({link_.tick(now), nudge(now), tend(room, now)}));
  changed_.notify_all();
}

bool NodeImpl::watch_fd(int fd, std::uint64_t key, std::uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  return ::epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

void NodeImpl::arm_timer(std::uint64_t due_ns) {
  itimerspec time{};
  time.it_value.tv_sec = static_cast<time_t>(due_ns / 1'000'000'000);
  time.it_value.tv_nsec = static_cast<long>(due_ns % 1'000'000'000) + 1;
  (void)::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &time, nullptr);
}

void NodeImpl::signal() noexcept { (void)::eventfd_write(wake_.get(), 1); }
void NodeImpl::bury_later() noexcept { signal(); }

void NodeImpl::log(LogLevel level, const std::string& sentence) const {
  if (options_.log) options_.log(level, sentence);
}

bool NodeImpl::connected() {
  const std::lock_guard lock{mutex_};
  return link_.state() == transport::Link::State::up;
}

std::uint64_t NodeImpl::deadline() const {
  const auto ns = std::chrono::nanoseconds{options_.connect_timeout}.count();
  return shm::deadline_in(ns > 0 ? static_cast<std::uint64_t>(ns) : kAnswerNs);
}

// Where there is no thread, whoever waits does its work.
bool NodeImpl::await(std::unique_lock<std::mutex>& lock, std::uint64_t deadline_ns,
                     const std::function<bool()>& done) {
  while (!done()) {
    const std::uint64_t now = shm::now_ns();
    if (now >= deadline_ns) return false;
    if (options_.background_thread) {
      changed_.wait_for(lock, std::chrono::nanoseconds{deadline_ns - now});
    } else {
      lock.unlock();
      step(static_cast<int>(std::min<std::uint64_t>((deadline_ns - now) / 1'000'000 + 1, 1'000)));
      lock.lock();
    }
  }
  return true;
}

Result<void> NodeImpl::await_registered(std::unique_lock<std::mutex>& lock,
                                        const std::shared_ptr<Registered>& registered) {
  const bool at_once = options_.connect_timeout.count() <= 0;
  const bool answered = await(lock, deadline(), [&] {
    return registered->has_value() || (at_once && link_.state() == transport::Link::State::down);
  });
  if (!answered || !registered->has_value()) return not_registered(link_.error());
  return **registered;
}

// Notes what the broker says to a registration. A connection that is lost first says nothing:
// link_up() registers again.
transport::Link::Answer NodeImpl::noting(const std::shared_ptr<Registered>& registered,
                                         std::function<void(const Error&)> refused_later,
                                         std::function<void(const transport::Message&)> accepted) {
  return [this, registered, refused_later, accepted](Result<transport::Received> answer) {
    if (link_.state() != transport::Link::State::up) return;
    const bool again = registered->has_value();
    if (answer) {
      if (accepted) accepted(answer->message);
      *registered = Result<void>{};
    } else {
      *registered = Result<void>{std::move(answer).error()};
      if (again) refused_later((*registered)->error());
    }
    changed_.notify_all();
  };
}

void NodeImpl::link_up(bool again) {
  if (again) log(LogLevel::info, "the broker is back");
  for (const auto& [id, published] : publications_) send(published);
  for (const auto& [id, subscribed] : subscriptions_) send(subscribed);
  for (const auto& [id, watched] : watches_) {
    watched.watch->clear();
    send(watched);
  }
}

void NodeImpl::link_down(const Error& why) {
  log(LogLevel::warning, "the broker is away: " + why.message);
  // Who was not admitted yet asks again; the page that was offered says that its reader is gone.
  for (const auto& [id, subscribed] : subscriptions_) subscribed.subscription->forsake_all();
  for (const auto& [id, published] : publications_) published.publication->forget_matching();
}

void NodeImpl::link_changed() {
  const int fd = link_.fd();
  const bool writing = link_.wants_to_write();
  if (fd == watched_fd_ && (fd < 0 || writing == watched_for_writing_)) return;
  const int operation = fd == watched_fd_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;  // closed ones are gone
  watched_fd_ = fd;
  watched_for_writing_ = writing;
  if (fd < 0) return signal();  // so that the timer is set for the next attempt
  // Where that fails, the broker does not answer in time, and the link is opened anew.
  (void)watch_fd(fd, kLink, EPOLLIN | (writing ? EPOLLOUT : 0u), operation);
}

void NodeImpl::link_received(transport::Received received) {
  auto& body = received.message.body;
  auto& descriptors = received.descriptors;
  if (const auto* m = body.AsFound()) {
    found(*m, std::move(descriptors));
  } else if (const auto* m2 = body.AsAdmit()) {
    admit(*m2, received.message.request, std::move(descriptors));
  } else if (const auto* leave = body.AsLeave()) {
    const auto at = publications_.find(leave->stream_id);
    if (at != publications_.end()) at->second.publication->leave(leave->subscription_id);
    forget_strangers();
  } else if (const auto* gone = body.AsGone()) {
    for (const auto& [id, s] : subscriptions_) {
      s.subscription->give_up(gone->stream_id);
      s.subscription->stream_gone(gone->stream_id);
    }
  } else if (const auto* grown = body.AsPoolAdded(); grown && descriptors.size() == 1) {
    for (const auto& [id, s] : subscriptions_) {
      shm::UniqueFd copy{::fcntl(descriptors[0].get(), F_DUPFD_CLOEXEC, 0)};
      s.subscription->grown({grown->stream_id, grown->pool, std::move(copy)});
    }
  } else if (const auto* unfit = body.AsUnfit()) {
    log(LogLevel::warning,
        "topic '" + unfit->topic + "', node '" + unfit->node + "': " + unfit->sentence);
  } else if (const auto* event = body.AsEvent()) {
    const auto at = watches_.find(event->watch_id);
    if (at != watches_.end()) at->second.watch->event(*event, std::move(descriptors), foreign_);
  } else if (const auto* matching = body.AsMatching()) {
    const auto at = publications_.find(matching->stream_id);
    if (at != publications_.end()) at->second.publication->set_matching(matching->count);
  } else if (const auto* revoke = body.AsRevoked()) {
    revoked(*revoke);
  }
}

void NodeImpl::revoked(const protocol::RevokedT& revoked) {
  if (const auto at = publications_.find(revoked.stream_id); at != publications_.end()) {
    log(LogLevel::error, "topic '" + at->second.publication->topic() + "': " + revoked.sentence);
    at->second.publication->revoke();
  }
  if (const auto at = subscriptions_.find(revoked.subscription_id); at != subscriptions_.end()) {
    log(LogLevel::error, at->second.subscription->name() + ": " + revoked.sentence);
    at->second.subscription->revoke();
  }
}

}  // namespace sluice
