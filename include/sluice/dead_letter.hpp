// Messages that nobody could handle: kept on `$dlq/<topic>` for people to look at and to send
// again.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

enum class DeadLetterReason : std::uint32_t {
  rejected = 1,      ///< The handler said that no retry helps.
  expired = 2,       ///< Its time to live or deadline passed first.
  max_attempts = 3,  ///< The last attempt failed.
  no_subscriber = 4,
  evicted = 5,
  peer_died = 6,     ///< It was delivered so often to workers that died.
  decode_error = 7,  ///< Its payload is not what its codec and type say.
  no_budget = 8,     ///< Too many others fail as well; not retried.
  full = 9,          ///< There was no room for it.
};
SLUICE_EXPORT const char* to_string(DeadLetterReason reason) noexcept;
SLUICE_EXPORT std::optional<DeadLetterReason> parse_dead_letter_reason(
    std::string_view text) noexcept;

/// What a dead letter says beside the message: the extension ExtensionId::reason, in place.
struct DeadLetterRecord {
  DeadLetterReason reason = DeadLetterReason::rejected;
  std::uint32_t attempts = 0;     ///< Deliveries that failed.
  std::uint64_t first_ns = 0;     ///< First failure, CLOCK_REALTIME.
  std::uint64_t last_ns = 0;      ///< Last failure.
  std::uint64_t failed_node = 0;  ///< Id of the node that gave up.
  std::uint32_t times =
      1;  ///< How often this message became a dead letter: retries of people count.
  std::uint32_t reserved = 0;
  std::array<char, 128> error{};  ///< The last one, UTF-8, ends with NUL.
};
static_assert(sizeof(DeadLetterRecord) == 168, "DeadLetterRecord is part of the shared layout");

/// The record of a message of kind dead_letter, checked; nothing if it is none.
SLUICE_EXPORT std::optional<DeadLetterRecord> dead_letter_of(const Message& message) noexcept;
/// The topic that it was for.
SLUICE_EXPORT std::string_view original_topic(const Message& message) noexcept;
SLUICE_EXPORT std::string dead_letter_topic(std::string_view topic);

/// Publishes dead letters of one node, a stream for each of up to 256 topics, made when first
/// needed, which takes up to a second if a reader is slow to attach, and for 100 s after that no
/// more than 10 ms; the newest 1,024 of each are kept in its memory, for recorders and `sluice
/// dlq`, fewer of messages beyond 16 KiB. Waits for nobody who reads them. Move-only; one thread at
/// a time.
class SLUICE_EXPORT DeadLetters {
 public:
  static constexpr std::uint32_t kKept = 1'024;
  explicit DeadLetters(Node& node);
  DeadLetters(DeadLetters&&) noexcept;
  DeadLetters& operator=(DeadLetters&&) noexcept;
  ~DeadLetters();

  /// The whole message, with its id, correlation, trace, codec, type and extensions. An error says
  /// why it could not be kept; the message then should not be acknowledged. A message with a record
  /// was sent again: `times` goes on from there, and its first failure stays the first.
  Result<void> put(const Message& message, const DeadLetterRecord& why);
  /// A message that its publisher could not publish, or that did not arrive (`why`: no_subscriber,
  /// full, evicted): as it would have been on `topic`.
  Result<void> put(std::string_view topic, std::span<const std::byte> payload,
                   const MessageOptions& options, Codec codec, const DeadLetterRecord& why);
  [[nodiscard]] std::uint64_t count() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
