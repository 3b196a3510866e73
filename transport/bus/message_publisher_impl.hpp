// What stands behind a MessagePublisher, and what requests, replies and dead letters need of it
// beyond its public side: other kinds of messages, with extensions of their own.
#pragma once

#include "sluice/message_publisher.hpp"
#include "sluice/rate_limit.hpp"
#include "transport/bus/envelope_writer.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace sluice {

namespace bus {

/// Looks at a backlog now and then, and tells when it has crossed a mark.
class WatermarkGauge {
 public:
  /// Whether it is time to look; while above the high mark every time.
  bool due() noexcept { return above_ || ++since_look_ >= kLookEvery; }
  void look(const Watermarks& marks, std::uint64_t backlog, std::uint64_t room) {
    since_look_ = 0;
    const auto share = static_cast<double>(backlog) / static_cast<double>(room != 0 ? room : 1);
    const bool rose = !above_ && share >= marks.high;
    const bool fell = above_ && share <= marks.low;
    if (!rose && !fell) return;
    above_ = rose;
    marks.changed(rose, backlog);
  }

 private:
  static constexpr std::uint32_t kLookEvery = 16;
  bool above_ = false;
  std::uint32_t since_look_ = 0;
};

/// The smallest header that an event can do with, and some room for a tracestate.
inline constexpr std::uint64_t kHeaderRoom = 128;
/// `options` with room for headers of `header_bytes` in every slot.
StreamOptions with_headers(StreamOptions options, std::uint64_t header_bytes);
std::uint64_t to_ns(Deadline deadline) noexcept;
Deadline to_deadline(std::uint64_t ns) noexcept;

}  // namespace bus

struct MessagePublisher::Impl {
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
  Outcome fall_back(const MessageLoan& loan, Published& published) noexcept;
  bool admitted() noexcept;
  Outcome count(Outcome outcome) noexcept;

  Publisher stream;
  MessagePublisherOptions options;
  std::uint64_t node_id;
  TokenBucket rate;
  TokenBucket broker_rate;
  std::unique_ptr<MessagePublisher> fallback;
  Counts counts;
  std::uint64_t room = 0;  // entries of the largest lane
  bus::WatermarkGauge gauge;
};

}  // namespace sluice
