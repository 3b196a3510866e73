// What stands behind a MessagePublisher, and what requests, replies and dead letters need of it
// beyond its public side: other kinds of messages, with extensions of their own.
#pragma once

#include "sluice/message_publisher.hpp"
#include "sluice/rate_limit.hpp"
#include "transport/bus/envelope_writer.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace sluice {

namespace bus {

/// Looks at a backlog now and then, and says when it has crossed a mark.
class WatermarkGauge {
 public:
  /// After `steps` more: whether it is time to look; while above the high mark every time.
  bool due(std::uint32_t steps = 1) noexcept {
    until_look_ -= std::min(until_look_, steps);
    return above_ || until_look_ == 0;
  }
  /// Whether a mark was crossed; above() says which.
  bool crosses(const Watermarks& marks, std::uint64_t backlog, std::uint64_t room) noexcept {
    const auto share = static_cast<double>(backlog) / static_cast<double>(room != 0 ? room : 1);
    const bool was = std::exchange(above_, above_ ? share > marks.low : share >= marks.high);
    return above_ != was;
  }
  void look_after(std::uint64_t steps) noexcept {
    until_look_ = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(steps, 1, kLookEvery));
  }
  [[nodiscard]] bool above() const noexcept { return above_; }

 private:
  static constexpr std::uint32_t kLookEvery = 16;  // at least: a look reads the readers' pages
  bool above_ = false;
  std::uint32_t until_look_ = 0;
};

/// The smallest header that an event can do with, and some room for a tracestate.
inline constexpr std::uint64_t kHeaderRoom = 128;
/// `options` with room for headers of `header_bytes` in every slot.
StreamOptions with_headers(StreamOptions options, std::uint64_t header_bytes);
std::uint64_t to_ns(Deadline deadline) noexcept;
Deadline to_deadline(std::uint64_t ns) noexcept;

}  // namespace bus

struct MessagePublisher::Impl {
  static constexpr std::size_t kBatch = 32;

  Impl(Publisher stream, MessagePublisherOptions with, std::uint64_t node_id);

  /// What an event does not have.
  struct Special {
    MessageKind kind = MessageKind::event;
    std::uint8_t flags = 0;
    std::uint8_t attempt = 1;
    std::uint16_t status = 0;
    std::uint64_t call = 0;
    std::uint64_t expires_ns = 0;
    std::optional<Codec> codec{};
  };

  /// A slot with the extensions written; an event's are its tracestate. Where the slots are too
  /// small for both, the tracestate is left out, as its recommendation allows.
  MessageLoan loan(std::uint64_t bytes, const MessageOptions& options,
                   const bus::Extensions& extensions) noexcept;
  /// Whether there was a slot for it.
  bool loan_behind(const bus::Extensions& extensions, std::uint64_t bytes,
                   MessageLoan& to) noexcept;
  /// Writes the envelope and publishes. The loan is empty afterwards in any case.
  Outcome send(MessageLoan&& loan, const Special& special, Published& published) noexcept;
  /// The same without publishing: ok, or why it must not be.
  Outcome seal(MessageLoan& loan, const Special& special, MessageId& id) noexcept;

  Outcome publish(MessageLoan&& loan, Published& published) noexcept;
  Outcome publish(std::span<MessageLoan> loans) noexcept;
  /// At most kBatch; `done`: how many were published.
  Outcome publish_batch(std::span<MessageLoan> loans, std::size_t& done) noexcept;
  /// Nobody is there, and somebody has to be.
  [[nodiscard]] bool unwanted() const noexcept;
  Outcome fall_back(const MessageLoan& loan, Published& published) noexcept;
  bool admitted() noexcept;
  Outcome count(Outcome outcome) noexcept;

  [[nodiscard]] std::size_t lane_of(Priority priority) const noexcept;
  /// Looks where it is due: at lanes in which so many were published, and at those that are above.
  void watch(std::span<const std::uint32_t, kMaxLanes> published) noexcept;
  void look_at(std::size_t lane) noexcept;

  Publisher stream;
  MessagePublisherOptions options;
  std::uint64_t node_id;
  TokenBucket rate;
  TokenBucket broker_rate;
  std::unique_ptr<MessagePublisher> fallback;
  Counts counts;
  bool watches = false;
  std::array<bus::WatermarkGauge, kMaxLanes> gauges;  // one for each lane
};

}  // namespace sluice
