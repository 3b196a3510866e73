// NodeImpl: what it does for monitors.
#include "sluice/topic.hpp"
#include "transport/node_impl.hpp"

#include <utility>

namespace sluice {

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

}  // namespace sluice
