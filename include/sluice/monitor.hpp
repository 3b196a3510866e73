// Looking at everything from outside.
#pragma once

#include "sluice/export.hpp"
#include "sluice/options.hpp"
#include "sluice/result.hpp"
#include "sluice/stats.hpp"
#include "sluice/subscriber.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sluice {

struct NodeInfo {
  std::uint64_t id = 0;
  std::string name;
  std::string version;                    ///< Of its program.
  std::vector<std::string> capabilities;  ///< As NodeOptions has them.
  std::uint32_t pid = 0;
  std::uint32_t uid = 0;
  bool stuck = false;  ///< Its process has not shown a sign of life for some seconds.
};

struct StreamInfo {
  std::uint64_t id = 0;
  std::uint64_t node_id = 0;
  std::string topic;
  std::string type_name;
  std::uint64_t slot_bytes = 0;     ///< Largest payload.
  std::uint64_t planned_bytes = 0;  ///< Address space that the broker's limits count.
  bool sensitive = false;           ///< As Publisher::sensitive.
  bool durable = false;             ///< As Publisher::durable.
  bool ended = false;               ///< Its publisher has ended it or died.
  std::uint32_t lanes = 1;
  std::uint32_t depth = 0;  ///< Of lane 0.
  StreamStats stats;
  SourceInfo source;
  DurationCounts intervals;  ///< Between two publications.
  DurationCounts
      publish_age;  ///< From the origin to publication, of what has an origin of its own.
};

/// One subscription's attachment to one stream.
struct AttachmentInfo {
  std::uint64_t stream_id = 0;
  SubscriptionStats stats;
  std::uint32_t max_held = 0;
  bool asleep = false;  ///< Waits for the next message.
  /// DeliveryMode::group: what the member says of itself.
  WorkerState worker = WorkerState::ready;
  std::uint32_t worker_backlog = 0;
  std::uint64_t oldest_held_ns =
      0;  ///< Publish time of the oldest message held, CLOCK_MONOTONIC; 0: holds none.
  std::uint64_t last_take_ns = 0;  ///< CLOCK_MONOTONIC, about; 0: none.
  DurationCounts age;              ///< From publish to take.
  DurationCounts processing;       ///< From take to release.
  DurationCounts end_to_end;       ///< From the origin to release.
};

struct SubscriptionInfo {
  std::uint64_t id = 0;
  std::uint64_t node_id = 0;
  std::string filter;                ///< For people: all of them, with ", " between.
  std::vector<std::string> filters;  ///< Each of them.
  DeliveryMode mode = DeliveryMode::next;
  std::vector<AttachmentInfo> attachments;
};

/// A stream and a subscription that match by topic but not otherwise.
struct UnfitInfo {
  std::uint64_t stream_id = 0;
  std::uint64_t subscription_id = 0;
  std::string sentence;
};

struct Snapshot {
  bool broker_connected = false;
  std::vector<NodeInfo> nodes;
  std::vector<StreamInfo> streams;
  std::vector<SubscriptionInfo> subscriptions;
  std::vector<UnfitInfo> unfit;
};

/// Sees what the filter that it was made with matches. Move-only, thread-safe. Counters are read
/// where their writers keep them: neither they nor the broker notice.
class SLUICE_EXPORT Monitor {
 public:
  Monitor(Monitor&&) noexcept;
  Monitor& operator=(Monitor&&) noexcept;
  ~Monitor();

  /// What there is now. While the broker is down: what there was, with counters that go on.
  [[nodiscard]] Snapshot snapshot() const;

 private:
  friend class NodeImpl;
  struct Impl;
  explicit Monitor(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
