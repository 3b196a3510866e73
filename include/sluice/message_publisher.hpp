// Publishing messages with an envelope.
#pragma once

#include "sluice/context.hpp"
#include "sluice/envelope.hpp"
#include "sluice/export.hpp"
#include "sluice/interceptor.hpp"
#include "sluice/node.hpp"
#include "sluice/rate_limit.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// A stream for messages of up to `message_bytes`: four lanes, normal priority with room for
/// `depth` messages, the others for an eighth of that, at least 8. Commits memory as it is used.
SLUICE_EXPORT StreamOptions message_stream(std::uint64_t message_bytes = 1'024,
                                           std::uint32_t depth = 64);

/// Called in the publisher's or subscriber's thread, once when the backlog has risen to `high` of
/// what there is room for, and once when it has fallen back to `low`. A publisher has a backlog and
/// room in each lane, and tells of each by itself: when something is published, and when a loan is
/// refused because the lane is full. A subscriber looks now and then when it takes. What is called
/// must not throw.
struct Watermarks {
  double high = 0.8;  ///< A share of the room: above 0; above 1: never.
  double low = 0.5;   ///< At most `high`.
  std::function<void(bool above, std::uint64_t backlog)> changed{};
  /// The same, of publishers only, with the lane: of fewer than four the last one is all the
  /// others.
  std::function<void(Priority lane, bool above, std::uint64_t backlog)> lane_changed{};
};

struct MessagePublisherOptions {
  StreamOptions stream = message_stream();  ///< `pools` without the envelope, which is added.
  Codec codec = Codec::bytes;
  /// Of what goes to the fallback topic too. The broker's limit for this user holds as well.
  RateLimitOptions rate{};
  Watermarks watermarks{};
  Interceptors interceptors{};
  /// Keep the last message for who subscribes later with `retained`; an empty one clears it.
  bool retained = false;
  /// publish() says no_subscriber, and publishes nothing, where nobody is there.
  bool need_subscriber = false;
  /// Where it goes instead then (implies need_subscriber); its own subscribers can be missing too.
  std::string fallback_topic{};
};

/// Payload of a message that a recorder takes, at most.
inline constexpr std::uint64_t kMaxRecordedBytes = std::uint64_t{16} << 20;

/// What is said about one message; the rest comes from the thread's context.
struct MessageOptions {
  Priority priority = Priority::normal;
  std::uint64_t ttl_ns = 0;       ///< From its publication on; 0: for ever.
  std::uint64_t destination = 0;  ///< A node's id; 0: everybody.
  std::uint64_t type_hash = 0;    ///< 0: the stream's.
  std::uint64_t origin_ns = 0;    ///< 0: the context's.
  MessageId id{};  ///< Zero: a new one. The same one again, when something is sent again.
  CorrelationId correlation{};  ///< Zero: the context's, else the message's own id.
};

/// What publish() tells about a message: enough to ask later how far it has come.
struct Published {
  MessageId id;
  Reference reference;
  std::uint64_t bytes = 0;     ///< Of its payload.
  std::uint32_t queued = 0;    ///< Subscriptions attached when it was published.
  std::uint32_t matching = 0;  ///< Subscriptions that there were by the broker's word.
};

/// A slot with an envelope in it: write the payload, then publish. The message belongs to the
/// context in which it is published; a tracestate has its place only where the loan was made with
/// that one, and is left out otherwise.
class SLUICE_EXPORT MessageLoan {
 public:
  MessageLoan() = default;
  explicit operator bool() const noexcept { return static_cast<bool>(loan_); }
  [[nodiscard]] Outcome outcome() const noexcept { return loan_.outcome(); }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept {
    return loan_.bytes().subspan(header_bytes_);
  }
  /// Changes how many bytes of payload are published; false (and no change) beyond what fits.
  bool resize(std::uint64_t bytes) noexcept { return loan_.resize(header_bytes_ + bytes); }
  Outcome attach(Sample&& sample) noexcept { return loan_.attach(std::move(sample)); }

 private:
  friend class MessagePublisher;
  Loan loan_;
  const void* from_ = nullptr;  // whose
  std::uint32_t header_bytes_ = 0;
  bool has_tracestate_ = false;  // the last extension
  bool sealed_ = false;          // the envelope is written: a batch could not publish it
  MessageOptions options_{};
};

/// Publishes to one topic. Move-only; one thread at a time. Correlation, trace, origin and deadline
/// are those of the thread's context (context.hpp), with one hop more; a message that would make
/// more than kMaxHops is rejected.
class SLUICE_EXPORT MessagePublisher {
 public:
  static Result<MessagePublisher> create(Node& node, std::string_view topic,
                                         MessagePublisherOptions options = {});
  MessagePublisher(MessagePublisher&&) noexcept;
  MessagePublisher& operator=(MessagePublisher&&) noexcept;
  ~MessagePublisher();

  /// As Publisher::loan; also not_allowed, rejected (too many hops).
  MessageLoan loan(std::uint64_t payload_bytes, const MessageOptions& options = {}) noexcept;
  /// ok; no_subscriber, rate_limited, rejected (too many hops), what an interceptor says; what
  /// Publisher::publish says. The loan is empty afterwards in any case.
  Outcome publish(MessageLoan&& loan) noexcept;
  Outcome publish(MessageLoan&& loan, Published& published) noexcept;
  /// Loan, copy, publish.
  Outcome publish(std::span<const std::byte> payload, const MessageOptions& options = {}) noexcept;
  Outcome publish(std::span<const std::byte> payload, const MessageOptions& options,
                  Published& published) noexcept;
  Outcome publish(std::string_view text, const MessageOptions& options = {}) noexcept;
  /// All of them, in order, each as by itself; stops at the first that cannot be, returns its
  /// outcome, and leaves it and the ones behind it.
  Outcome publish(std::span<MessageLoan> loans) noexcept;
  /// Publishes an empty message: nothing is retained any more.
  Outcome clear() noexcept;

  [[nodiscard]] Reach reached(const Published& message) noexcept;
  /// As Publisher::wait_reached.
  Outcome wait_reached(const Published& message, ReachLevel level, Deadline deadline) noexcept;
  /// Waits until a recorder has it on the disk: ok; timeout; no_subscriber: there is no recorder
  /// for it, and none is waited for; evicted: it was given up; too_large: beyond kMaxRecordedBytes.
  Outcome wait_recorded(const Published& message, Deadline deadline) noexcept;

  struct Counts {
    std::uint64_t published = 0;
    std::uint64_t no_subscriber = 0;
    std::uint64_t rate_limited = 0;
    std::uint64_t rejected = 0;
    std::uint64_t failed = 0;  ///< Everything else: full, no slot…
    std::uint64_t fell_back = 0;
  };
  [[nodiscard]] const Counts& counts() const noexcept;
  [[nodiscard]] Publisher& stream() noexcept;
  [[nodiscard]] const std::string& topic() const noexcept;

 private:
  friend class Requester;
  friend class Responder;
  friend class DeadLetters;
  friend class StateKeeper;
  struct Impl;
  explicit MessagePublisher(std::unique_ptr<Impl> impl) noexcept;
  // `wait`: for the broker's answer. Else it can be published to at once, and is made known as soon
  // as there is a broker; one that is refused then says not_allowed.
  static Result<MessagePublisher> create(Node& node, std::string_view topic,
                                         MessagePublisherOptions options, bool wait);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
