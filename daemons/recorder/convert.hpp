// Between messages of the bus and records.
#pragma once

#include "daemons/recorder/record.hpp"
#include "sluice/dead_letter.hpp"
#include "sluice/envelope.hpp"
#include "sluice/message.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::recorder {

/// One message as it lies in a slot: `envelope` was read from `slot`. `offset_ns` is CLOCK_REALTIME
/// minus CLOCK_MONOTONIC. Names and numbers of its process are not filled in.
Record record_of(std::span<const std::byte> slot, const Envelope& envelope, const MessageInfo& info,
                 std::string_view topic, std::int64_t offset_ns);

/// The bytes of an extension among those that stand behind an envelope; empty: there is none.
std::string_view extension_in(std::string_view extensions, ExtensionId id) noexcept;
/// The same extensions with this one in place of the one with its id, if there is any.
std::string with_extension(std::string_view extensions, ExtensionId id, std::string_view bytes);

/// What a dead letter says about itself; nothing if it is none.
std::optional<DeadLetterRecord> dead_letter_of(const Record& record) noexcept;
/// The topic that a dead letter was for; else the message's own.
std::string original_topic(const Record& record);

/// Envelope, extensions and padding, as they go in front of the payload when the message is sent
/// again: the same id, trace and source, with more `flags`. Does not expire.
std::string header_of(const Record& record, std::string_view extensions, MessageKind kind,
                      std::uint8_t flags);

inline CorrelationId to_id(const RecordId& id) noexcept { return {id.high, id.low}; }
inline RecordId to_record_id(const CorrelationId& id) noexcept { return {id.high, id.low}; }

}  // namespace sluice::recorder
