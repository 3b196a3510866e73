// NodeImpl: what a node does.
//
// One lock guards all of it: the connection to the broker, publications, subscriptions, watches.
// The node's thread (or the program's, in dispatch()) sleeps in epoll without it and works with it;
// other threads take it to make, end or look at something, and wait on changed_. Nothing here is on
// the path of a message: publishers and subscribers use their streams without this object.
#pragma once

#include "shm/clock.hpp"
#include "shm/fd.hpp"
#include "sluice/node.hpp"
#include "transport/link.hpp"
#include "transport/memory_cache.hpp"
#include "transport/publication.hpp"
#include "transport/subscription.hpp"
#include "transport/watch.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace sluice {

class NodeImpl final : private transport::LinkOwner {
 public:
  static Result<std::shared_ptr<NodeImpl>> create(NodeOptions options);
  ~NodeImpl() override;

  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] const std::string& version() const noexcept { return options_.version; }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] bool connected();
  [[nodiscard]] std::uint64_t published();
  [[nodiscard]] int fd() const noexcept { return epoll_.get(); }
  /// Waits up to `timeout_ms` (-1: without end) and does what is due.
  void step(int timeout_ms);

  /// `stream` must live until withdraw(). Who does not wait for the broker's answer gets one that
  /// is made known as soon as there is a broker, and is revoked if that refuses it.
  enum class Answer : std::uint8_t { wait, later };
  Result<std::shared_ptr<transport::Publication>> advertise(std::string topic,
                                                            shm::Publisher& stream,
                                                            const StreamOptions& options,
                                                            Answer answer);
  void withdraw(std::uint64_t stream_id);
  /// Hands a pool that was added to the stream to all its readers.
  Result<void> announce_pool(std::uint64_t stream_id, std::uint32_t pool, shm::UniqueFd fd);

  Result<std::shared_ptr<transport::Subscription>> subscribe(std::vector<std::string> filters,
                                                             const SubscriptionOptions& options,
                                                             std::function<void()> interrupt,
                                                             shm::UniqueFd event);
  void unsubscribe(std::uint64_t subscription_id);
  /// The subscriber has retired readers.
  void bury_later() noexcept;

  Result<std::uint64_t> watch(std::string filter);
  Result<Monitor> monitor(std::string filter, std::shared_ptr<NodeImpl> self);
  Snapshot snapshot(std::uint64_t watch_id);
  void unwatch(std::uint64_t watch_id);

 private:
  // What epoll reports of peers; what is below, node_impl.cpp says.
  static constexpr std::uint64_t kFirstPeer = 16;
  // The answer to what was registered last; nothing while it is outstanding or the broker is away.
  using Registered = std::optional<Result<void>>;
  struct Published {
    std::shared_ptr<transport::Publication> publication;
    std::shared_ptr<Registered> registered = std::make_shared<Registered>();
  };
  struct Subscribed {
    std::shared_ptr<transport::Subscription> subscription;
    transport::SharedFd event;
    std::shared_ptr<Registered> registered = std::make_shared<Registered>();
  };
  struct Watched {
    std::shared_ptr<transport::Watch> watch;
    std::shared_ptr<Registered> registered = std::make_shared<Registered>();
  };
  struct Peer {
    shm::UniqueFd process;
    std::uint64_t key = 0;
  };

  NodeImpl(NodeOptions options, std::string path);
  Result<void> set_up();
  Result<void> connect();
  void run();
  /// False, with errno, where the kernel has no room for it.
  bool watch_fd(int fd, std::uint64_t key, std::uint32_t events, int operation);
  void arm_timer(std::uint64_t due_ns);
  void signal() noexcept;
  void log(LogLevel level, const std::string& sentence) const;

  bool await(std::unique_lock<std::mutex>& lock, std::uint64_t deadline_ns,
             const std::function<bool()>& done);
  [[nodiscard]] std::uint64_t deadline() const;
  Result<void> await_registered(std::unique_lock<std::mutex>& lock,
                                const std::shared_ptr<Registered>& registered);
  transport::Link::Answer noting(const std::shared_ptr<Registered>& registered,
                                 std::function<void(const Error&)> refused_later,
                                 std::function<void(const transport::Message&)> accepted = {});

  void link_up(bool again) override;
  void link_down(const Error& why) override;
  void link_received(transport::Received received) override;
  void link_changed() override;

  void drop_publication(std::uint64_t stream_id);
  void drop_subscription(std::uint64_t subscription_id);
  void send(const Published& published);
  void send(const Subscribed& subscribed);
  void send(const Watched& watched);
  void found(const protocol::FoundT& found, std::vector<shm::UniqueFd> descriptors);
  void admitted(transport::Subscription& subscription, std::uint64_t stream_id,
                std::uint64_t node_id, Result<transport::Received> answer);
  void admit(const protocol::AdmitT& admit, std::uint32_t request,
             std::vector<shm::UniqueFd> descriptors);
  void revoked(const protocol::RevokedT& revoked);
  void know_peer(std::uint64_t node_id, const shm::UniqueFd& process);
  void peer_died(std::uint64_t key);
  void forget_strangers();
  void bury();
  std::uint64_t nudge(std::uint64_t now_ns);
  std::uint64_t tend(bool asked, std::uint64_t now_ns);

  NodeOptions options_;
  std::uint64_t id_ = 0;
  shm::UniqueFd epoll_;
  shm::UniqueFd wake_;
  shm::UniqueFd timer_;
  int watched_fd_ = -1;
  bool watched_for_writing_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  transport::Link link_;
  std::map<std::uint64_t, Published> publications_;  // by stream
  std::uint64_t published_before_ = 0;               // on streams that have ended
  std::map<std::uint64_t, Subscribed> subscriptions_;
  std::map<std::uint64_t, Watched> watches_;
  std::map<std::uint64_t, Peer> peers_;  // by node
  std::uint64_t next_key_ = 0;
  std::uint64_t nudge_due_ns_ = 0;
  transport::OwnArenas pages_{"sluice-readers"};
  transport::OwnArenas wakes_{"sluice-wakes"};
  transport::RoomEvents rooms_;
  std::uint64_t tend_due_ns_ = shm::kNever;
  transport::ForeignArenas foreign_;
  std::thread thread_;
};

/// A random number that is not 0.
std::uint64_t random_id();

}  // namespace sluice
