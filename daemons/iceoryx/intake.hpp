// One Sluice stream that is filled from iceoryx.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/node.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace sluice::iceoryx {

/// One sample as it lies in an iceoryx segment.
struct Incoming {
  std::span<const std::byte> payload;
  CorrelationId correlation;
  std::uint64_t origin_ns = 0;  ///< 0: unknown.
  std::uint8_t hops = 0;
};

/// Bound to the keeper's thread; never blocks.
class Intake {
 public:
  /// The broker's refusal, or what of the route cannot be met.
  static Result<std::unique_ptr<Intake>> create(Node& node, const Route& route,
                                                const std::string& topic);

  /// Publishes a copy; what it could not, it counts.
  Outcome publish(const Incoming& sample) noexcept;
  /// What its publishers there lost before it came to us; a count of one of the services that feed
  /// this stream.
  void add_gaps(std::uint64_t count) noexcept { source_.gaps += count; }
  /// The worker that fills it is another one from now on.
  void count_reconnect() noexcept { ++source_.reconnects; }
  /// Lets go of what everybody has passed, and tells monitors the counts.
  void tend() noexcept;

  [[nodiscard]] std::uint64_t stream_id() noexcept { return stream().stream_id(); }
  [[nodiscard]] const std::string& topic() const noexcept { return topic_; }
  [[nodiscard]] std::uint64_t dropped() const noexcept { return source_.dropped; }

 private:
  Intake(const Route& route, std::string topic) : route_(route), topic_(std::move(topic)) {}
  Result<void> open(Node& node);
  [[nodiscard]] StreamOptions options() const;
  [[nodiscard]] std::uint32_t slots() const noexcept;
  [[nodiscard]] Publisher& stream() noexcept { return raw_ ? *raw_ : messages_->stream(); }
  bool make_room(std::uint64_t bytes) noexcept;
  Outcome publish_raw(const Incoming& sample) noexcept;
  Outcome publish_message(const Incoming& sample) noexcept;

  const Route route_;
  const std::string topic_;
  std::optional<Publisher> raw_;
  std::optional<MessagePublisher> messages_;  // where the route wants envelopes
  std::uint64_t slot_bytes_ = 0;              // of the largest pool
  bool told_no_room_ = false;
  SourceInfo source_;
};

}  // namespace sluice::iceoryx
