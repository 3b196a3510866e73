// From the bus into the store.
//
// Two subscriptions. What is durable comes through the group "$recorder", and is acknowledged when
// it is on the disk: its publishers keep what is not, wait for it
// (MessagePublisher::wait_recorded), and keep the group's place while the recorder is away.
// Everything else comes in mode next: nobody waits for it; what this process is too slow for is
// lost, and counted.
#pragma once

#include "daemons/recorder/identities.hpp"
#include "daemons/recorder/mailbox.hpp"
#include "daemons/recorder/store.hpp"
#include "sluice/envelope.hpp"
#include "sluice/node.hpp"
#include "sluice/subscriber.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice::recorder {

struct RecordingOptions {
  std::vector<std::string> durable;  ///< Filters of topics that survive a power cut; at most 64.
  /// Of what else is recorded; at most 61. `$sys/access`, `$sys/nodes` and `$dlq/#` always are.
  std::vector<std::string> filters;
  /// What is larger is skipped: frames, by accident. Durable messages may have kMaxRecordedBytes.
  std::uint64_t max_message_bytes = 65'536;
};

struct RecordingCounts {
  std::uint64_t taken = 0;
  std::uint64_t sensitive = 0;  ///< Skipped: marked not to be recorded.
  std::uint64_t raw = 0;        ///< Skipped: no messages of the bus, such as frames.
  std::uint64_t large = 0;      ///< Skipped: larger than it may be.
  std::uint64_t lost = 0;       ///< Not durable, and we were too slow.
};

/// Bound to one thread but interrupt() and counts().
class Recording {
 public:
  /// `mailbox` gets what the store has settled.
  static Result<std::unique_ptr<Recording>> create(Node& node, Store& store, Mailbox& mailbox,
                                                   const RecordingOptions& options);
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording();

  /// Takes what there is and acknowledges what is on the disk, waiting for either until the
  /// deadline.
  void step(Deadline deadline);
  /// Takes nothing more; waits some seconds until what was taken is on the disk, and acknowledges.
  void finish();
  void interrupt() noexcept { set_.interrupt(); }
  [[nodiscard]] RecordingCounts counts() const;

 private:
  Recording(Node& node, Store& store, Mailbox& mailbox, const RecordingOptions& options,
            WaitSet set)
      : store_(store),
        mailbox_(mailbox),
        options_(options),
        identities_(node),
        set_(std::move(set)) {}
  Result<void> subscribe(Node& node);
  void acknowledge();
  std::size_t take(Subscriber& subscriber, bool durable);
  bool record(Subscriber& subscriber, const Sample& sample, bool durable);
  bool is_wanted(const Sample& sample, const std::optional<Envelope>& envelope, bool durable);
  [[nodiscard]] bool is_durable(std::string_view topic) const noexcept;
  bool put_held();

  Store& store_;
  Mailbox& mailbox_;
  RecordingOptions options_;
  Identities identities_;
  WaitSet set_;
  std::optional<Subscriber> durable_, other_;
  std::unordered_map<std::uint64_t, Receipt> waiting_;  ///< By ticket: not on the disk yet.
  std::uint64_t next_ticket_ = 1;
  std::optional<Record> held_;  ///< Taken, and the store has no room for it now.
  std::uint64_t held_ticket_ = 0;
  std::vector<Settled> settled_;
  std::atomic<std::uint64_t> taken_{0}, sensitive_{0}, raw_{0}, large_{0}, lost_{0};
};

}  // namespace sluice::recorder
