// What the recorder keeps of a message, and how it is asked for: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace sluice::recorder {

struct RecordId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  explicit operator bool() const noexcept { return (high | low) != 0; }
  friend bool operator==(const RecordId&, const RecordId&) = default;
};

/// As it stands in the file.
enum class RecordClass : std::uint8_t {
  message = 0,
  access = 1,      ///< Who connected, attached, was refused.
  life_cycle = 2,  ///< Nodes that came and went.
  dead_letter = 3,
  purged = 4,  ///< Was a dead letter; its payload is gone.
};

struct Record {
  std::int64_t row = 0;      ///< Given by the store, in the order of arrival; never twice.
  std::int64_t time_ns = 0;  ///< When it was published, CLOCK_REALTIME.
  std::string topic;
  std::string node;           ///< Name of its publisher; empty: not known.
  std::uint64_t node_id = 0;  ///< Of its publisher.
  std::int64_t pid = -1;      ///< -1: not known.
  std::int64_t uid = -1;
  std::uint64_t type_hash = 0;
  std::uint8_t codec = 0;
  std::uint8_t kind = 0;   ///< MessageKind.
  std::uint8_t flags = 0;  ///< Envelope::flags.
  RecordClass what = RecordClass::message;
  bool durable = false;
  /// Tells copies with the same id and topic apart that are not duplicates of each other: a
  /// message that was sent again on purpose, a dead letter that became one again.
  std::uint64_t copy = 0;
  RecordId id;
  RecordId correlation;
  std::array<std::uint8_t, 16> trace{};
  std::array<std::uint8_t, 8> span{};
  std::uint8_t trace_flags = 0;
  std::uint8_t priority = 2;
  std::string extensions;  ///< As they stand between envelope and payload.
  std::string payload;
};

/// Which records; all that is said must hold.
struct Query {
  std::int64_t since_ns = std::numeric_limits<std::int64_t>::min();
  std::int64_t until_ns = std::numeric_limits<std::int64_t>::max();
  std::string filter;  ///< Of topics; empty: all.
  std::optional<RecordId> correlation;
  std::optional<RecordId> id;
  std::optional<RecordClass> what;
  bool durable = false;  ///< Only what is durable.
  std::int64_t after_row = 0;
  std::int64_t before_row = std::numeric_limits<std::int64_t>::max();
  bool newest_first = false;
  std::uint32_t limit = 500;
  std::uint64_t max_bytes = std::uint64_t{4} << 20;  ///< Of payloads; one record is always given.
};

}  // namespace sluice::recorder
