// epoll, with a token instead of the descriptor's number in each event: within one batch a
// descriptor can be closed and its number be given to another one, whose turn it then is not.
#include "daemons/sluiced/event_loop.hpp"

#include "shm/memory.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace sluice::broker {
namespace {

constexpr int kBatch = 64;

}  // namespace

Result<EventLoop> EventLoop::create(Clock clock) {
  EventLoop loop;
  loop.clock_ = clock;
  loop.epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!loop.epoll_.valid()) return shm::system_error("epoll_create1");
  return loop;
}

Result<EventLoop::Token> EventLoop::watch(int fd, std::uint32_t events, OnReady on_ready) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = ++last_token_;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return shm::system_error("epoll_ctl");
  }
  watched_.emplace(last_token_, std::make_shared<Watched>(Watched{fd, std::move(on_ready)}));
  return last_token_;
}

void EventLoop::change(Token token, std::uint32_t events) noexcept {
  const auto it = watched_.find(token);
  if (it == watched_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, it->second->fd, &event);
}

void EventLoop::forget(Token token) noexcept {
  const auto it = watched_.find(token);
  if (it == watched_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd, nullptr);
  watched_.erase(it);
}

EventLoop::Token EventLoop::at(std::uint64_t deadline_ns, Action action) {
  const Token timer = ++last_token_;
  timers_.emplace(std::pair{deadline_ns, timer}, std::move(action));
  deadlines_.emplace(timer, deadline_ns);
  return timer;
}

void EventLoop::cancel(Token timer) noexcept {
  const auto it = deadlines_.find(timer);
  if (it == deadlines_.end()) return;
  timers_.erase({it->second, timer});
  deadlines_.erase(it);
}

int EventLoop::wait_ms(int at_most_ms) const noexcept {
  if (stopped_ || !posted_.empty()) return 0;
  if (timers_.empty()) return at_most_ms;
  constexpr std::uint64_t kNsPerMs = 1'000'000;
  const std::uint64_t now = now_ns();
  const std::uint64_t due = timers_.begin()->first.first;
  const std::uint64_t left_ms = due <= now ? 0 : (due - now + kNsPerMs - 1) / kNsPerMs;
  const int wait = static_cast<int>(std::min<std::uint64_t>(left_ms, 60'000));
  return at_most_ms < 0 ? wait : std::min(wait, at_most_ms);
}

void EventLoop::run_timers() {
  const std::uint64_t now = now_ns();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto due = timers_.extract(timers_.begin());
    deadlines_.erase(due.key().second);
    due.mapped()();
  }
}

void EventLoop::run_posted() {
  while (!posted_.empty()) {
    const Action action = std::move(posted_.front());
    posted_.pop_front();
    action();
  }
}

Result<void> EventLoop::run_once(int timeout_ms) {
  std::array<epoll_event, kBatch> events{};
  const int n = ::epoll_wait(epoll_.get(), events.data(), kBatch, wait_ms(timeout_ms));
  if (n < 0 && errno != EINTR) return shm::system_error("epoll_wait");
  for (int i = 0; i < n; ++i) {
    // Copies: the structure is packed, and a reference into it may be misaligned.
    const Token token = events[static_cast<std::size_t>(i)].data.u64;
    const std::uint32_t ready = events[static_cast<std::size_t>(i)].events;
    const auto it = watched_.find(token);
    if (it == watched_.end()) continue;
    const std::shared_ptr<Watched> watched = it->second;
    watched->on_ready(ready);
    run_posted();
  }
  // After the descriptors: who is found silent has had its chance to be heard.
  run_timers();
  run_posted();
  return {};
}

Result<void> EventLoop::run() {
  while (!stopped_) {
    if (auto done = run_once(-1); !done) return done;
  }
  return {};
}

}  // namespace sluice::broker
