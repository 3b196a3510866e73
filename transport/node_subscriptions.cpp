// NodeImpl: what it does for subscribers.
#include "shm/clock.hpp"
#include "sluice/topic.hpp"
#include "transport/node_impl.hpp"

#include <unistd.h>

#include <new>
#include <utility>

namespace sluice {
namespace {

using transport::SharedFd;

constexpr std::uint64_t kNudgeNs = 10'000'000;

Result<void> check_filters(const std::vector<std::string>& filters) {
  if (filters.empty() || filters.size() > transport::kMaxFilters) {
    return Error{Errc::invalid_argument, 0,
                 "a subscription has 1 to " + std::to_string(transport::kMaxFilters) + " filters"};
  }
  std::size_t bytes = 0;
  for (const std::string& filter : filters) {
    if (auto valid = check_filter(filter); !valid) return valid;
    bytes += filter.size();
  }
  if (bytes <= transport::kMaxFilterBytes) return {};
  return Error{Errc::invalid_argument, 0,
               "the filters of a subscription have " + std::to_string(bytes) +
                   " bytes together; at most " + std::to_string(transport::kMaxFilterBytes) +
                   " are possible, make two subscriptions"};
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

}  // namespace

Result<std::shared_ptr<transport::Subscription>> NodeImpl::subscribe(
    std::vector<std::string> filters, const SubscriptionOptions& options,
    std::function<void()> interrupt, shm::UniqueFd event) {
  if (auto valid = check_filters(filters); !valid) return std::move(valid).error();
  if (options.mode == DeliveryMode::group) {
    if (auto valid = check_group(options); !valid) return std::move(valid).error();
  } else if (options.durable) {
    return transport::only_groups_last();
  }
  std::unique_lock lock{mutex_};
  Subscribed subscribed;
  subscribed.subscription = std::make_shared<transport::Subscription>(
      random_id(), std::move(filters), options, std::move(interrupt));
  if (event.valid()) subscribed.event = transport::share(std::move(event));
  const std::uint64_t id = subscribed.subscription->id();
  subscriptions_[id] = subscribed;
  try {
    if (link_.state() == transport::Link::State::up) send(subscribed);
    auto registered = await_registered(lock, subscribed.registered);
    if (registered) return subscribed.subscription;
    if (subscribed.registered->has_value()) {
      subscriptions_.erase(id);
    } else {
      drop_subscription(id);  // no answer: the broker may have taken it after all
    }
    return std::move(registered).error();
  } catch (const std::bad_alloc&) {
    drop_subscription(id);
    throw;
  }
}

void NodeImpl::send(const Subscribed& subscribed) {
  link_.request(
      subscribed.subscription->message(), {},
      noting(subscribed.registered, [this, s = subscribed.subscription](const Error& why) {
        log(LogLevel::error, s->name() + ": " + why.message);
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
  const auto at = subscriptions_.find(subscription_id);
  if (at == subscriptions_.end()) return;
  at->second.subscription->abandon();
  subscriptions_.erase(at);
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
    protocol::DetachT message;  // so that it is not counted any more
    message.subscription_id = found.subscription_id;
    message.stream_id = found.stream_id;
    return link_.tell(message);
  }
  link_.request(std::move(request->attach), request->descriptors,
                [this, subscription = at->second.subscription, stream = found.stream_id,
                 node = found.node_id](Result<transport::Received> answer) {
                  admitted(*subscription, stream, node, std::move(answer));
                });
}

// Also for a subscription that has ended meanwhile: only the answer tells what becomes of the page
// that was offered.
void NodeImpl::admitted(transport::Subscription& subscription, std::uint64_t stream_id,
                        std::uint64_t node_id, Result<transport::Received> answer) {
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
    if (subscriptions_.contains(subscription.id())) {
      log(LogLevel::warning, subscription.name() + ": not attached: " + started.error().message);
    }
    if (link_.state() != transport::Link::State::up) return subscription.forsake_all();
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

}  // namespace sluice
