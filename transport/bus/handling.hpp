// What becomes of a message that a handler was, or is to be, given: a state machine without
// messages, clocks and memory, so that its tests reach every corner.
//
//              before()                       after()
//   taken ---------------> handle ----------------------------> acknowledge
//     |                      ^ |                  |
//     | expired, peer_died   | | retry            | rejected, max_attempts, no_budget
//     |                      | v                  v
//     |        handle again or pass on, later   bury ----> acknowledged
//     +--------------------------------------->   |  ^ not_buried(): later
//                                                 +--+
//   Where dead letters are not wanted `drop` stands for `bury`.
#pragma once

#include "sluice/dead_letter.hpp"
#include "sluice/dispatcher.hpp"
#include "sluice/retry.hpp"

#include <cstdint>

namespace sluice::bus {

enum class Then : std::uint8_t {
  handle,
  pass_on,  ///< Reject it, so that another member of the group gets it.
  acknowledge,
  bury,  ///< Publish it as a dead letter, then acknowledge.
  drop,  ///< Acknowledge and count.
};

struct Decision {
  Then then = Then::handle;
  std::uint64_t at_ns = 0;  ///< Not before; 0: now.
  DeadLetterReason reason = DeadLetterReason::rejected;
};

/// How a subscription handles its messages.
struct HandlingRules {
  RetryOptions retry{};
  bool dead_letters = true;
  /// DeliveryMode::reliable, group: what is not acknowledged is not lost.
  bool acknowledges = true;
  /// DeliveryMode::group: failures go to another member.
  bool pass_on = false;
};

/// What is known of one message.
struct Attempts {
  std::uint32_t before = 0;      ///< Deliveries before it came here.
  std::uint32_t failed = 0;      ///< Calls here that failed.
  std::uint64_t expires_ns = 0;  ///< 0: never.
};

class Handling {
 public:
  Handling(const HandlingRules& rules, std::uint64_t seed) noexcept;

  /// The message was taken, or its time has come again: handle, bury or drop.
  Decision before(const Attempts& attempts, std::uint64_t now_ns) noexcept;
  /// The handler has returned; `attempts.failed` counts this call too, if it failed.
  Decision after(const Attempts& attempts, Handled handled, DeadLetterReason reason,
                 std::uint64_t now_ns) noexcept;
  /// The dead letter could not be published for the `times`-th time.
  [[nodiscard]] Decision not_buried(std::uint32_t times, DeadLetterReason reason,
                                    std::uint64_t now_ns) const noexcept;

 private:
  [[nodiscard]] Decision give_up(DeadLetterReason reason) const noexcept;
  double chance() noexcept;

  HandlingRules rules_;
  RetryPolicy policy_;
  std::uint64_t random_;
};

}  // namespace sluice::bus
