// Subscription: what a node knows of one of its subscribers, and the place where the node's thread
// hands streams over to the subscriber's.
//
//   node's thread                                       subscriber's thread
//   Found: open the stream, make a reader page
//   Admitted: start, put it into the inbox, interrupt -> collect(): readers that are new
//   destroy what was retired                          <- retire(): readers that have ended
//
// A reader is used by the subscriber's thread only, from collect() to retire(). Each side locks for
// a few instructions, and the subscriber's only when has_news() says that there is something.
#pragma once

#include "shm/reader.hpp"
#include "transport/connection.hpp"
#include "transport/memory_cache.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace sluice::transport {

/// SubscriptionOptions::durable without mode group.
Error only_groups_last();

/// One stream that a subscription is attached to.
struct Attachment {
  std::uint64_t stream_id = 0;
  std::unique_ptr<const std::string> topic;  // stays where it is; null: no node's
  std::string node;
  shm::ReaderPtr reader;
  std::uint64_t node_id = 0;    // by the broker's word
  bool publisher_gone = false;  // no pool will come any more
  bool resolved_from = false;   // since the last Subscriber::forget_ended()
  bool forgettable = false;     // it had ended at the last one
};

/// A pool that a stream has grown by.
struct GrownPool {
  std::uint64_t stream_id = 0;
  std::uint32_t pool = 0;
  shm::UniqueFd fd;
};

class Subscription {
 public:
  Subscription(std::uint64_t id, std::vector<std::string> filters, SubscriptionOptions options,
               std::function<void()> interrupt);

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// For messages: its filters.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] const SubscriptionOptions& options() const noexcept { return options_; }

  // --- the subscriber's thread ---

  [[nodiscard]] bool has_news() const noexcept {
    // relaxed: only says that the inbox is worth a look, which takes its lock
    return news_.load(std::memory_order_relaxed);
  }
  struct News {
    std::vector<Attachment> attachments;
    std::vector<GrownPool> pools;
    std::vector<std::uint64_t> gone;  // streams whose publisher is no more
    bool revoked = false;
  };
  /// Adds what has come in to `news`; what does not fit in memory stays here.
  void collect(News& news);
  /// There is still something to collect, or to do with what was.
  void remind() noexcept {
    // relaxed: as above
    news_.store(true, std::memory_order_relaxed);
  }
  /// What streams that come from now on are told of the load here; the others, the readers tell.
  void tell_load(WorkerState state, std::uint32_t backlog) noexcept {
    // relaxed: a word that stands alone
    load_.store(shm::load_word(static_cast<std::uint32_t>(state), backlog),
                std::memory_order_relaxed);
  }
  /// Whether the next retire() has the memory that it needs.
  bool can_retire() noexcept;
  void retire(Attachment attachment) noexcept;

  // --- the node's thread, under its lock ---

  /// Opens the stream that was found and makes what the broker is asked with.
  struct Request {
    protocol::AttachT attach;
    std::vector<SharedFd> descriptors;
  };
  Result<Request> open(const protocol::FoundT& found, std::vector<shm::UniqueFd> descriptors,
                       OwnArenas& pages, SharedFd event);
  /// The publisher has admitted the reader page.
  Result<void> start(std::uint64_t stream_id, const protocol::AdmittedT& admitted,
                     std::shared_ptr<const shm::View> wakes, shm::UniqueFd process,
                     shm::UniqueFd room_event);
  /// It has not.
  void give_up(std::uint64_t stream_id);
  /// The connection was lost, and with it the answers: the publishers may have admitted the pages
  /// that were offered.
  void forsake_all();
  /// The subscriber has gone. What is still being asked for is kept until it is answered: start()
  /// or give_up() say what becomes of the page.
  void abandon();

  /// The publisher of this stream has died or ended it; what it has published can still be taken.
  void stream_gone(std::uint64_t stream_id);
  /// All streams of that process have lost it.
  void node_gone(std::uint64_t node_id);
  void grown(GrownPool pool);
  void revoke();
  /// Somebody polls fd(), and a publisher of another user cannot make it readable: whoever has an
  /// eventfd can also read it empty. Then nudge() is due now and then.
  [[nodiscard]] bool poll_is_blind() const;
  void nudge();
  [[nodiscard]] bool attached_to_node(std::uint64_t node_id) const;

  /// Destroys what was retired; the streams that were.
  std::vector<std::uint64_t> bury();

  /// As the broker is told after the connection was lost.
  [[nodiscard]] protocol::SubscribeT message() const;
  [[nodiscard]] std::vector<std::pair<protocol::HeldArenaT, SharedFd>> held_arenas() const;

 private:
  struct Pending {
    Attachment attachment;
    std::uint64_t node_id = 0;
    protocol::Held held;
    SharedFd arena;
    bool blind = false;  // its publisher has no eventfd of ours
  };
  struct Held {
    shm::Reader* reader = nullptr;  // alive until it was retired and buried
    std::uint64_t node_id = 0;
    protocol::Held held;
    SharedFd arena;
    bool blind = false;
  };
  void notify();
  void lose(std::uint64_t stream_id, const Held& held);

  std::uint64_t id_;
  std::vector<std::string> filters_;
  SubscriptionOptions options_;
  std::function<void()> interrupt_;

  std::map<std::uint64_t, Pending> pending_;  // by stream
  std::map<std::uint64_t, Held> held_;

  std::mutex mutex_;  // of what follows
  News inbox_;
  std::vector<Attachment> graveyard_;
  std::atomic<bool> news_{false};
  std::atomic<std::uint64_t> load_{0};  // shm::load_word()
};

}  // namespace sluice::transport
