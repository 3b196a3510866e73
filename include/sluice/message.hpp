// What travels beside the payload.
#pragma once

#include "sluice/options.hpp"

#include <array>
#include <cstdint>

namespace sluice {

/// Ties everything together that stems from one frame or request; all zero: none.
struct CorrelationId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const CorrelationId&, const CorrelationId&) = default;
};

/// What the publisher says about a message; all of it optional.
struct Headers {
  CorrelationId correlation;
  /// When the oldest ancestor of this data was captured, CLOCK_MONOTONIC; 0: the publish time.
  std::uint64_t origin_ns = 0;
  std::uint64_t type_hash = 0;  ///< 0: the stream's.
  std::uint32_t ttl_ms = 0;     ///< Not taken later than this after publishing; 0: for ever.
  std::uint8_t user_flags = 0;  ///< Carried, not interpreted; 4 bits.
};

/// What a subscriber learns about a message it has taken.
struct MessageInfo {
  std::uint64_t sequence = 0;    ///< Per stream and lane, from 1, without gaps.
  std::uint64_t publish_ns = 0;  ///< CLOCK_MONOTONIC; 0: the stream does not stamp.
  std::uint64_t origin_ns = 0;
  CorrelationId correlation;
  std::uint64_t type_hash = 0;
  std::uint32_t ttl_ms = 0;
  std::uint8_t user_flags = 0;
  Priority priority = Priority::critical;
  /// DeliveryMode::group: another member had it before, and perhaps worked on it.
  bool redelivered = false;
  /// DeliveryMode::group: how often a member took it before, and did not acknowledge or rejected
  /// it; 255: at least so often.
  std::uint8_t deliveries_before = 0;
};

/// What a member of a group says of itself.
enum class WorkerState : std::uint8_t {
  ready = 0,
  busy = 1,      ///< Gets new messages only when nobody else can take them.
  draining = 2,  ///< Gets none; finishes what it has.
  gone = 3,
};

/// How far a message has come. Counts reliable subscriptions, and groups as one each; those of
/// other modes promise nothing and are left out.
struct Reach {
  std::uint32_t subscriptions = 0;  ///< That it is for.
  std::uint32_t delivered = 0;      ///< Of these, who has taken it.
  std::uint32_t handled = 0;        ///< Of these, who has acknowledged it.
  /// Nobody has it any more, so that the counts are 0: all have handled it, or gave it up.
  bool retired = false;
};
enum class ReachLevel : std::uint8_t { delivered, handled };

/// Names one published frame for as long as somebody holds it. Valid inside any payload: it
/// contains no pointer, and resolving a stale one gives Outcome::expired, never another frame.
struct Reference {
  std::uint64_t stream_id = 0;
  std::uint64_t sequence = 0;
  std::uint32_t slot = 0;
  std::uint32_t lane = 0;
  friend bool operator==(const Reference&, const Reference&) = default;
};
static_assert(sizeof(Reference) == 24, "Reference is part of the shared layout");

}  // namespace sluice
