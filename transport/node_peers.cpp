// NodeImpl: the death of others, which it sees also while the broker is down.
#include "transport/node_impl.hpp"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

namespace sluice {

void NodeImpl::know_peer(std::uint64_t node_id, const shm::UniqueFd& process) {
  if (node_id == id_ || peers_.contains(node_id)) return;
  Peer peer;
  peer.process.reset(::fcntl(process.get(), F_DUPFD_CLOEXEC, 0));
  if (!peer.process.valid()) return;
  peer.key = kFirstPeer + next_key_++;
  // Not known then; the broker tells of its death, too.
  if (!watch_fd(peer.process.get(), peer.key, EPOLLIN, EPOLL_CTL_ADD)) return;
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
