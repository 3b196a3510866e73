#include "transport/node_impl.hpp"

#include "shm/clock.hpp"
#include "shm/memory.hpp"
#include "sluice/topic.hpp"
#include "sluice/version.hpp"
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

using transport::SharedFd;

// What epoll reports; peers count from kFirstPeer.
constexpr std::uint64_t kWake = 0;
constexpr std::uint64_t kTimer = 1;
constexpr std::uint64_t kLink = 2;
constexpr std::uint64_t kRoom = 3;
constexpr std::uint64_t kFirstPeer = 16;
constexpr std::uint64_t kTendNs = 100'000'000;
constexpr std::uint64_t kNudgeNs = 10'000'000;
constexpr std::uint64_t kAnswerNs = 2'000'000'000;  // for a broker that is there

protocol::HelloT hello(const std::string& name, std::uint64_t id) {
  protocol::HelloT hello;
  hello.protocol = transport::kProtocolVersion;
  hello.layout = shm::kLayoutVersion;
  hello.node_id = id;
  hello.node = name;
  hello.library = SLUICE_VERSION_STRING;
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

Result<void> check_group(const SubscriptionOptions& options) {
  if (!options.group.valid()) {
    return Error{Errc::invalid_argument, 0, "the name of a group has 1 to 31 bytes"};
  }
  if (options.credits == 0 || options.credits > kMaxCredits) {
    return Error{Errc::invalid_argument, 0,
                 "a member of a group has 1 to " + std::to_string(kMaxCredits) + " credits"};
  }
  return {};
}

void watch_fd(int epoll, int fd, std::uint64_t key, std::uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = key;
  (void)::epoll_ctl(epoll, operation, fd, &event);
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
      link_(*this, std::move(path), hello(options_.name, id_)) {}

Result<std::shared_ptr<NodeImpl>> NodeImpl::create(NodeOptions options) {
  auto path = transport::client_socket_path(options.socket);
  if (!path) return std::move(path).error();
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
  watch_fd(epoll_.get(), wake_.get(), kWake, EPOLLIN, EPOLL_CTL_ADD);
  watch_fd(epoll_.get(), timer_.get(), kTimer, EPOLLIN, EPOLL_CTL_ADD);
  rooms_.on_new([this](int fd) { watch_fd(epoll_.get(), fd, kRoom, EPOLLIN, EPOLL_CTL_ADD); });
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
                                         std::function<void(const Error&)> refused_later) {
  return [this, registered, refused_later](Result<transport::Received> answer) {
    if (link_.state() != transport::Link::State::up) return;
    const bool again = registered->has_value();
    if (answer) {
      *registered = Result<void>{};
    } else {
      *registered = Result<void>{std::move(answer).error()};
      if (again) refused_later((*registered)->error());
    }
    changed_.notify_all();
  };
}

// --- publications
// ----------------------------------------------------------------------------------

Result<std::shared_ptr<transport::Publication>> NodeImpl::advertise(std::string topic,
                                                                    shm::Publisher& stream,
                                                                    const StreamOptions& options) {
  if (auto valid = check_topic(topic); !valid) return std::move(valid).error();
  std::unique_lock lock{mutex_};
  Published published;
  published.publication =
      std::make_shared<transport::Publication>(std::move(topic), stream, options);
  const std::uint64_t id = published.publication->stream_id();
  publications_[id] = published;
  if (link_.state() == transport::Link::State::up) send(published);
  auto registered = await_registered(lock, published.registered);
  if (registered) return published.publication;
  drop_publication(id);  // the broker may have taken it after all
  return std::move(registered).error();
}

void NodeImpl::send(const Published& published) {
  auto descriptors = published.publication->descriptors();
  if (!descriptors) {
    *published.registered = Result<void>{std::move(descriptors).error()};
    return;
  }
  link_.request(published.publication->advertisement(), *descriptors,
                noting(published.registered, [this, p = published.publication](const Error& why) {
                  log(LogLevel::error, "topic '" + p->topic() + "': " + why.message);
                  p->revoke();
                }));
}

void NodeImpl::withdraw(std::uint64_t stream_id) {
  const std::lock_guard lock{mutex_};
  drop_publication(stream_id);
}

void NodeImpl::drop_publication(std::uint64_t stream_id) {
  if (publications_.erase(stream_id) == 0) return;
  protocol::WithdrawT message;
  message.stream_id = stream_id;
  link_.request(std::move(message), {}, [](const Result<transport::Received>&) {});
}

// While the broker is away there is nobody to tell: a new one is told all pools.
Result<void> NodeImpl::announce_pool(std::uint64_t stream_id, std::uint32_t pool,
                                     shm::UniqueFd fd) {
  std::unique_lock lock{mutex_};
  protocol::AddPoolT message;
  message.stream_id = stream_id;
  message.pool = pool;
  const auto registered = std::make_shared<Registered>();
  const auto away = [&] { return link_.state() != transport::Link::State::up; };
  if (away()) return {};
  link_.request(std::move(message), {transport::share(std::move(fd))},
                noting(registered, [](const Error&) {}));
  await(lock, deadline(), [&] { return registered->has_value() || away(); });
  return registered->value_or(Result<void>{});
}

void NodeImpl::admit(const protocol::AdmitT& admit, std::uint32_t request,
                     std::vector<shm::UniqueFd> descriptors) {
  const auto at = publications_.find(admit.stream_id);
  if (at == publications_.end()) {
    return link_.reply(request, transport::to_failed({Errc::refused, 0, "the stream has ended"}));
  }
  if (admit.has_process && !descriptors.empty()) know_peer(admit.node_id, descriptors.back());
  auto admission =
      at->second.publication->admit(admit, std::move(descriptors), wakes_, foreign_, rooms_);
  if (!admission) {
    log(LogLevel::warning, "topic '" + at->second.publication->topic() + "': node '" + admit.node +
                               "' is not admitted: " + admission.error().message);
    forget_strangers();
    return link_.reply(request, transport::to_failed(admission.error()));
  }
  link_.reply(request, std::move(admission->answer), admission->descriptors);
}

// --- subscriptions
// ---------------------------------------------------------------------------------

Result<std::shared_ptr<transport::Subscription>> NodeImpl::subscribe(
    std::string filter, const SubscriptionOptions& options, std::function<void()> interrupt,
    shm::UniqueFd event) {
  if (auto valid = check_filter(filter); !valid) return std::move(valid).error();
  if (options.mode == DeliveryMode::group) {
    if (auto valid = check_group(options); !valid) return std::move(valid).error();
  }
  std::unique_lock lock{mutex_};
  Subscribed subscribed;
  subscribed.subscription = std::make_shared<transport::Subscription>(
      random_id(), std::move(filter), options, std::move(interrupt));
  if (event.valid()) subscribed.event = transport::share(std::move(event));
  const std::uint64_t id = subscribed.subscription->id();
  subscriptions_[id] = subscribed;
  if (link_.state() == transport::Link::State::up) send(subscribed);
  auto registered = await_registered(lock, subscribed.registered);
  if (registered) return subscribed.subscription;
  drop_subscription(id);  // the broker may have taken it after all
  return std::move(registered).error();
}

void NodeImpl::send(const Subscribed& subscribed) {
  link_.request(
      subscribed.subscription->message(), {},
      noting(subscribed.registered, [this, s = subscribed.subscription](const Error& why) {
        log(LogLevel::error, "filter '" + s->filter() + "': " + why.message);
        s->revoke();
      }));
  for (auto& [message, arena] : subscribed.subscription->held_arenas()) {
    link_.tell(message, {arena});
  }
}

void NodeImpl::unsubscribe(std::uint64_t subscription_id) {
  const std::lock_guard lock{mutex_};
  drop_subscription(subscription_id);
}

void NodeImpl::drop_subscription(std::uint64_t subscription_id) {
  if (subscriptions_.erase(subscription_id) == 0) return;
  protocol::UnsubscribeT message;
  message.subscription_id = subscription_id;
  link_.request(std::move(message), {}, [](const Result<transport::Received>&) {});
}

void NodeImpl::found(const protocol::FoundT& found, std::vector<shm::UniqueFd> descriptors) {
  const auto at = subscriptions_.find(found.subscription_id);
  if (at == subscriptions_.end()) return;  // it has just ended
  // Who holds an eventfd can read it empty: only our own user gets it.
  const SharedFd event = found.uid == ::geteuid() ? at->second.event : nullptr;
  auto request = at->second.subscription->open(found, std::move(descriptors), pages_, event);
  if (!request) {
    log(LogLevel::warning, "topic '" + found.topic + "' of node '" + found.node +
                               "' cannot be attached: " + request.error().message);
    return;
  }
  link_.request(std::move(request->attach), request->descriptors,
                [this, subscription = found.subscription_id, stream = found.stream_id,
                 node = found.node_id](Result<transport::Received> answer) {
                  admitted(subscription, stream, node, std::move(answer));
                });
}

void NodeImpl::admitted(std::uint64_t subscription_id, std::uint64_t stream_id,
                        std::uint64_t node_id, Result<transport::Received> answer) {
  const auto at = subscriptions_.find(subscription_id);
  if (at == subscriptions_.end()) return;
  transport::Subscription& subscription = *at->second.subscription;
  const auto start = [&]() -> Result<void> {
    if (!answer) return answer.error();
    const protocol::AdmittedT* admitted = answer->message.body.AsAdmitted();
    const std::size_t expected =
        admitted ? std::size_t{1} + admitted->has_room_event + admitted->has_process : 0;
    if (admitted == nullptr || answer->descriptors.size() != expected) {
      return Error{Errc::untrusted, 0, "the broker passed on an invalid admission"};
    }
    auto wakes = foreign_.open(answer->descriptors[0], "a wake arena", admitted->arena_bytes);
    if (!wakes) return std::move(wakes).error();
    shm::UniqueFd process;
    if (admitted->has_process) {
      know_peer(node_id, answer->descriptors.back());
      process = std::move(answer->descriptors.back());
    }
    shm::UniqueFd room;
    if (admitted->has_room_event) room = std::move(answer->descriptors[1]);
    return subscription.start(stream_id, *admitted, std::move(*wakes), std::move(process),
                              std::move(room));
  };
  if (auto started = start(); !started) {
    log(LogLevel::warning,
        "filter '" + subscription.filter() + "': not attached: " + started.error().message);
    subscription.give_up(stream_id);
  }
}

void NodeImpl::bury() {
  bool any = false;
  for (auto& [id, subscribed] : subscriptions_) {
    for (const std::uint64_t stream : subscribed.subscription->bury()) {
      protocol::DetachT message;
      message.subscription_id = id;
      message.stream_id = stream;
      link_.tell(std::move(message));
      any = true;
    }
  }
  if (any) forget_strangers();
}

// Entries that wait for a group's credit, while the publishers' threads may do something else. Who
// has a credit again says so by an event; while some wait we also look by ourselves, since others
// of that user could have read the event. So we do while the broker is away, and nobody tells that
// a member has left.
std::uint64_t NodeImpl::tend(bool asked, std::uint64_t now_ns) {
  bool look_again = link_.state() != transport::Link::State::up &&
                    std::any_of(publications_.begin(), publications_.end(), [](const auto& entry) {
                      return entry.second.publication->has_groups();
                    });
  if (asked || now_ns >= tend_due_ns_) {
    rooms_.clear();  // before we look: what comes then is another event
    for (const auto& [id, published] : publications_) {
      if (published.publication->tend()) look_again = true;
    }
    tend_due_ns_ = shm::kNever;
  }
  if (look_again) tend_due_ns_ = std::min(tend_due_ns_, now_ns + kTendNs);
  return tend_due_ns_;
}

// Who polls for streams of other users looks every ten milliseconds.
std::uint64_t NodeImpl::nudge(std::uint64_t now_ns) {
  const bool due = now_ns >= nudge_due_ns_;
  bool any = false;
  for (const auto& [id, subscribed] : subscriptions_) {
    if (!subscribed.subscription->poll_is_blind()) continue;
    if (due) subscribed.subscription->nudge();
    any = true;
  }
  if (!any) return shm::kNever;
  if (due) nudge_due_ns_ = now_ns + kNudgeNs;
  return nudge_due_ns_;
}

// --- watches
// ---------------------------------------------------------------------------------------

Result<std::uint64_t> NodeImpl::watch(std::string filter) {
  if (auto valid = check_filter(filter); !valid) return std::move(valid).error();
  std::unique_lock lock{mutex_};
  Watched watched;
  const std::uint64_t id = random_id();
  watched.watch = std::make_shared<transport::Watch>(id, std::move(filter));
  watches_[id] = watched;
  if (link_.state() == transport::Link::State::up) send(watched);
  auto registered = await_registered(lock, watched.registered);
  if (registered) {
    await(lock, deadline(), [&] { return watched.watch->complete(); });
    return id;
  }
  watches_.erase(id);
  return std::move(registered).error();
}

void NodeImpl::send(const Watched& watched) {
  link_.request(watched.watch->message(), {}, noting(watched.registered, [this](const Error& why) {
                  log(LogLevel::error, "monitoring: " + why.message);
                }));
}

Snapshot NodeImpl::snapshot(std::uint64_t watch_id) {
  const std::lock_guard lock{mutex_};
  const auto at = watches_.find(watch_id);
  Snapshot all = at != watches_.end() ? at->second.watch->snapshot() : Snapshot{};
  all.broker_connected = link_.state() == transport::Link::State::up;
  return all;
}

void NodeImpl::unwatch(std::uint64_t watch_id) {
  const std::lock_guard lock{mutex_};
  if (watches_.erase(watch_id) == 0) return;
  protocol::UnwatchT message;
  message.watch_id = watch_id;
  link_.request(std::move(message), {}, [](const Result<transport::Received>&) {});
}

// --- what the broker says
// --------------------------------------------------------------------------

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
  for (const auto& [id, subscribed] : subscriptions_) subscribed.subscription->give_up_all();
}

void NodeImpl::link_changed() {
  const int fd = link_.fd();
  const bool writing = link_.wants_to_write();
  if (fd == watched_fd_ && (fd < 0 || writing == watched_for_writing_)) return;
  const int operation = fd == watched_fd_ ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;  // closed ones are gone
  watched_fd_ = fd;
  watched_for_writing_ = writing;
  if (fd < 0) return signal();  // so that the timer is set for the next attempt
  watch_fd(epoll_.get(), fd, kLink, EPOLLIN | (writing ? EPOLLOUT : 0u), operation);
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
    log(LogLevel::error, "filter '" + at->second.subscription->filter() + "': " + revoked.sentence);
    at->second.subscription->revoke();
  }
}

// --- the death of others, also while the broker is down
// ---------------------------------------------

void NodeImpl::know_peer(std::uint64_t node_id, const shm::UniqueFd& process) {
  if (node_id == id_ || peers_.contains(node_id)) return;
  Peer peer;
  peer.process.reset(::fcntl(process.get(), F_DUPFD_CLOEXEC, 0));
  if (!peer.process.valid()) return;
  peer.key = kFirstPeer + next_key_++;
  watch_fd(epoll_.get(), peer.process.get(), peer.key, EPOLLIN, EPOLL_CTL_ADD);
  peers_[node_id] = std::move(peer);
}

void NodeImpl::peer_died(std::uint64_t key) {
  const auto at = std::find_if(peers_.begin(), peers_.end(),
                               [&](const auto& entry) { return entry.second.key == key; });
  if (at == peers_.end()) return;
  const std::uint64_t node_id = at->first;
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, at->second.process.get(), nullptr);
  peers_.erase(at);
  for (const auto& [id, p] : publications_) p.publication->leave_node(node_id);
  for (const auto& [id, s] : subscriptions_) s.subscription->node_gone(node_id);
}

// Lets go of processes that nothing ties us to any more.
void NodeImpl::forget_strangers() {
  std::erase_if(peers_, [this](const auto& entry) {
    const std::uint64_t node_id = entry.first;
    for (const auto& [id, p] : publications_) {
      if (p.publication->has_reader_of(node_id)) return false;
    }
    for (const auto& [id, s] : subscriptions_) {
      if (s.subscription->attached_to_node(node_id)) return false;
    }
    (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry.second.process.get(), nullptr);
    return true;
  });
}

}  // namespace sluice
