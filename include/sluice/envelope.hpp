// The envelope of a message of the bus: what stands in front of its payload, in the same slot.
//
//      0  magic        version  kind  codec  flags
//      8  hops  attempt  trace flags  lane  header bytes  status
//     16  message id (UUIDv7)
//     32  trace id
//     48  span id
//     56  source (node id)
//     64  destination (node id; 0: everybody)
//     72  expires, CLOCK_MONOTONIC ns (0: never)
//     80  call
//     88  cancelled (the sender may set it later)      reserved
//     96  extensions, if header_bytes > 96; then the payload, at header_bytes (a multiple of 32)
//
// Correlation id, origin time, publish time, type hash and priority are not repeated: they are in
// the ring entry, as of every message. With 96 bytes the envelope keeps to requirement M3 (at most
// 100).
//
// An extension is {u16 id, u16 size, bytes}, padded to a multiple of 4; unknown ones are skipped.
#pragma once

#include "sluice/export.hpp"
#include "sluice/message.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace sluice {

/// UUID of version 7; see new_correlation_id, which makes these too.
using MessageId = CorrelationId;

enum class MessageKind : std::uint8_t { event = 1, request = 2, reply = 3, dead_letter = 4 };

/// How a payload is to be read.
enum class Codec : std::uint8_t {
  bytes = 0,
  flat = 1,        ///< A trivially copyable struct, in place; see typed.hpp.
  flatbuffer = 2,  ///< FlatBuffers, in place after verification.
  json = 3,        ///< UTF-8.
  text = 4,        ///< UTF-8.
};

/// Short lower-case names, for people; never null.
SLUICE_EXPORT const char* to_string(MessageKind kind) noexcept;
SLUICE_EXPORT const char* to_string(Codec codec) noexcept;

inline constexpr std::uint8_t kMaxHops = 10;
inline constexpr std::uint32_t kEnvelopeMagic = 0x564e'4553;  // "SENV" in memory
inline constexpr std::uint8_t kEnvelopeVersion = 1;
inline constexpr std::uint8_t kFlagIdempotent = 1;  ///< A request may be handled more than once.
inline constexpr std::uint8_t kFlagRetained = 2;    ///< The topic's value until the next one.
inline constexpr std::uint8_t kFlagSensitive = 4;   ///< Not to be recorded.
inline constexpr std::uint8_t kFlagRedelivered =
    8;  ///< Was sent before: by a retry or from dead letters.

struct Envelope {
  std::uint32_t magic = kEnvelopeMagic;
  std::uint8_t version = kEnvelopeVersion;
  MessageKind kind = MessageKind::event;
  Codec codec = Codec::bytes;
  std::uint8_t flags = 0;
  std::uint8_t hops = 0;
  std::uint8_t attempt = 1;  ///< Of delivery, from 1.
  std::uint8_t trace_flags = 0;
  std::uint8_t reserved0 = 0;
  std::uint16_t header_bytes = 96;
  std::uint16_t status = 0;  ///< Of a reply: StatusCode. Of a request: RequesterOptions::max_calls.
  MessageId id;
  std::array<std::uint8_t, 16> trace_id{};
  std::array<std::uint8_t, 8> span_id{};
  std::uint64_t source = 0;
  std::uint64_t destination = 0;
  std::uint64_t expires_ns = 0;
  std::uint64_t call = 0;  ///< Of a request: the requester's number; of its reply: the same.
  std::uint32_t cancelled =
      0;  ///< Of a request: 1 as soon as nobody wants the reply. Atomic in place.
  std::uint32_t reserved1 = 0;
};
static_assert(sizeof(Envelope) == 96, "requirement M3: a header of at most 100 bytes");
static_assert(offsetof(Envelope, id) == 16 && offsetof(Envelope, expires_ns) == 72 &&
                  offsetof(Envelope, cancelled) == 88,
              "Envelope is part of the shared layout");

enum class ExtensionId : std::uint16_t {
  tracestate = 1,  ///< As in W3C Trace Context; at most 512 bytes.
  reply_to = 2,    ///< The topic for replies, where programs agree on one; a Requester's need none.
  error = 3,       ///< Of a reply that is not ok: a sentence.
  topic = 4,       ///< Of a dead letter or of what is sent again: the topic it was for.
  reason = 5,      ///< Of a dead letter: DeadLetterReason, count, first and last time.
  key = 6,         ///< Of state: the revision.
};
inline constexpr std::size_t kMaxHeaderBytes = 4'096;

/// Copies the envelope out of what another process wrote and checks it: magic, version,
/// enumerators, hops, sizes within `payload`. Nothing if it is none.
SLUICE_EXPORT std::optional<Envelope> read_envelope(std::span<const std::byte> slot) noexcept;
/// The extension's bytes, in place; empty when there is none. `envelope` was read from this slot.
SLUICE_EXPORT std::span<const std::byte> find_extension(std::span<const std::byte> slot,
                                                        const Envelope& envelope,
                                                        ExtensionId id) noexcept;
/// Bytes in front of a payload with extensions of these sizes.
SLUICE_EXPORT std::size_t header_bytes_for(std::span<const std::size_t> extension_sizes) noexcept;

}  // namespace sluice
