// Publication: what a node knows of one of its publishers. Lives under the node's lock; the stream
// itself belongs to the publisher's thread, and admits readers from here (shm/biased_lock.hpp).
#pragma once

#include "shm/publisher.hpp"
#include "transport/connection.hpp"
#include "transport/memory_cache.hpp"
#include "transport/room_events.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace sluice::transport {

class Publication {
 public:
  Publication(std::string topic, shm::Publisher& stream, const StreamOptions& options);

  [[nodiscard]] std::uint64_t stream_id() const noexcept { return stream_.geometry().stream_id; }
  [[nodiscard]] const std::string& topic() const noexcept { return topic_; }

  /// What the broker is told, and the descriptors that go with it.
  [[nodiscard]] protocol::AdvertiseT advertisement() const;
  [[nodiscard]] Result<std::vector<SharedFd>> descriptors() const;

  struct Admission {
    protocol::AdmittedT answer;
    std::vector<SharedFd> descriptors;
  };
  /// Admits the subscription that the broker passed on. Every field of it is input.
  Result<Admission> admit(const protocol::AdmitT& admit, std::vector<shm::UniqueFd> descriptors,
                          OwnArenas& wakes, ForeignArenas& readers, RoomEvents& rooms);
  /// The answer is on its way: the subscription that was admitted counts (told_count()).
  void told() noexcept {
    // relaxed: who asks may learn of it later
    told_at_most_.store(kNoBound, std::memory_order_relaxed);
  }
  /// This subscription is over.
  void leave(std::uint64_t subscription_id);
  /// All subscriptions of a process are over.
  void leave_node(std::uint64_t node_id);
  [[nodiscard]] bool has_reader_of(std::uint64_t node_id) const;
  [[nodiscard]] bool has_groups() const noexcept { return has_groups_; }
  /// More are attached than match: of those that left while the broker was away a new one never
  /// says so, only their pages do. Also true until all have told the new one.
  [[nodiscard]] bool has_strays() const noexcept { return stream_.reader_count() > matching(); }
  [[nodiscard]] bool wants_tending() const noexcept { return stream_.wants_tending(); }
  /// Forgets strays that have left, and gives entries that wait to members of groups that have a
  /// credit again; whether some still wait.
  bool tend() {
    if (has_strays()) stream_.reap();
    return has_groups_ && stream_.tend();
  }

  /// What the broker said to the advertisement. Said again after a restart, the stricter holds.
  void accepted(const protocol::AdvertisedT& answer);
  void set_matching(std::uint32_t count);
  /// The broker is away: what it said last says nothing of who may come.
  void forget_matching();

  // Of any thread.
  /// Subscriptions that are attached and whose answer is with the broker: what is published from
  /// now on reaches them, even if this process dies at once. Without the second a process could see
  /// a subscription, publish to it and die before anybody knew.
  [[nodiscard]] std::size_t told_count() const noexcept {
    const std::size_t attached = stream_.reader_count();
    // relaxed: whoever counts a new reader sees the bound, by reader_count
    return std::min<std::size_t>(attached, told_at_most_.load(std::memory_order_relaxed));
  }
  /// Messages.
  [[nodiscard]] std::uint64_t published() const noexcept {
    // relaxed: a count
    return stream_.counters().published.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t matching() const noexcept {
    // relaxed: a figure that stands alone
    return matching_.load(std::memory_order_relaxed);
  }
  /// Whether a broker that is there has said so.
  [[nodiscard]] bool matching_is_known() const noexcept {
    // relaxed: as above
    return matching_is_known_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool sensitive() const noexcept {
    return sensitive_.load(std::memory_order_relaxed);  // relaxed: as above
  }
  [[nodiscard]] bool durable() const noexcept {
    return durable_.load(std::memory_order_relaxed);  // relaxed: as above
  }
  /// 0: no limit.
  [[nodiscard]] std::uint64_t messages_per_second() const noexcept {
    return messages_per_second_.load(std::memory_order_relaxed);  // relaxed: as above
  }

  /// The broker has taken the right away; seen by the publisher at its next loan.
  void revoke();
  [[nodiscard]] const std::atomic<bool>& revoked() const noexcept { return revoked_; }

 private:
  static constexpr std::uint32_t kNoBound = UINT32_MAX;
  struct Attached {
    std::uint32_t reader_id = 0;
    std::uint64_t node_id = 0;
  };
  std::string topic_;
  shm::Publisher& stream_;
  protocol::OfferT offer_;
  std::map<std::uint64_t, Attached> attached_;  // by subscription
  bool has_groups_ = false;                     // there was a member of one
  std::atomic<std::uint32_t> told_at_most_{kNoBound};  // while one is admitted: without it
  std::atomic<bool> revoked_{false};
  std::atomic<std::uint32_t> matching_{0};
  std::atomic<bool> matching_is_known_{false};
  std::atomic<bool> sensitive_;
  std::atomic<bool> durable_{false};
  std::atomic<std::uint64_t> messages_per_second_{0};
};

}  // namespace sluice::transport
