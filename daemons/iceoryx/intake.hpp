// One Sluice stream that is filled from iceoryx.
#pragma once

#include "daemons/iceoryx/config.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/node.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace sluice::iceoryx {

/// An iceoryx segment as the keeper knows it.
struct ForeignSegment {
  int fd = -1;              ///< O_RDONLY; stays open as long as anybody publishes from it.
  std::uint64_t bytes = 0;  ///< From its start.
};

/// One sample as it lies in an iceoryx segment.
struct Incoming {
  std::span<const std::byte> payload;
  std::span<const std::byte> user_header;
  CorrelationId correlation;
  std::uint64_t origin_ns = 0;  ///< 0: unknown.
  std::uint8_t hops = 0;
  std::uint32_t segment = 0;  ///< Its number, of this worker's.
  std::uint64_t offset = 0;   ///< Of the payload there.
  std::uint64_t token = 0;    ///< For Intake's `released`.
};

/// What became of a sample.
enum class Carried : std::uint8_t {
  copied,
  lent,  ///< Or would have been: `released` is, or was, called for it.
  dropped,
};

/// Bound to the keeper's thread; never blocks.
class Intake {
 public:
  /// The broker's refusal, or what of the route cannot be met. `released` is called with the tokens
  /// of samples that were lent, within any function of this class, as soon as nobody needs them.
  static Result<std::unique_ptr<Intake>> create(Node& node, const Route& route,
                                                const std::string& topic,
                                                std::function<void(std::uint64_t)> released);

  /// Publishes it where it lies, if the route, the broker and the stream's pools let it; else a
  /// copy. What it could not, it counts.
  Carried publish(const Incoming& sample, const ForeignSegment& segment);
  /// The worker has ended, and with it the numbers of its segments. `revoke`: iceoryx may use again
  /// what was lent of them.
  void forget_segments(bool revoke) noexcept;

  /// What its publishers there lost before it came to us.
  void add_gaps(std::uint64_t count) noexcept { source_.gaps += count; }
  /// The worker that fills it is another one from now on.
  void count_reconnect() noexcept { ++source_.reconnects; }
  /// Lets go of what everybody has passed, and tells monitors the counts.
  void tend() noexcept;

  [[nodiscard]] std::uint64_t stream_id() noexcept { return stream().stream_id(); }

 private:
  Intake(const Route& route, std::string topic, std::function<void(std::uint64_t)> released)
      : route_(route), topic_(std::move(topic)), released_(std::move(released)) {}
  Result<void> open(Node& node);
  [[nodiscard]] StreamOptions options() const;
  [[nodiscard]] std::uint32_t slots() const noexcept;
  [[nodiscard]] Publisher& stream() noexcept { return raw_ ? *raw_ : messages_->stream(); }
  bool make_room(std::uint64_t bytes) noexcept;
  std::optional<std::uint32_t> pool_of(std::uint32_t number, const ForeignSegment& segment);
  Loan lend(const Incoming& sample, std::uint32_t pool) noexcept;
  Loan copy(const Incoming& sample) noexcept;
  Carried publish_raw(Loan loan, const Incoming& sample, Carried how) noexcept;
  Carried publish_message(const Incoming& sample) noexcept;

  const Route route_;
  const std::string topic_;
  const std::function<void(std::uint64_t)> released_;
  std::map<std::uint32_t, std::optional<std::uint32_t>> pools_;  // of segments; none: copies
  std::optional<Publisher> raw_;
  std::optional<MessagePublisher> messages_;  // where the route wants envelopes
  std::uint64_t slot_bytes_ = 0;              // of the largest pool
  bool told_no_room_ = false;
  SourceInfo source_;
};

}  // namespace sluice::iceoryx
