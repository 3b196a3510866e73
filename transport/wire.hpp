// Messages of the broker protocol (protocol.fbs) as bytes, and back.
//
// What arrives is verified before anything in it is read, and copied out into plain structures;
// enums and ids in those are still only numbers that somebody sent.
#pragma once

#include "shm/private_export.hpp"
#include "sluice/result.hpp"
#include "transport/protocol_generated.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace sluice::transport {

/// Changes when one side could no longer understand the other.
inline constexpr std::uint32_t kProtocolVersion = 2;
/// The longest message: a topic of 65,535 bytes and what goes with it.
inline constexpr std::size_t kMaxMessageBytes = std::size_t{80} * 1024;

// What a subscription and a node may say of themselves.
inline constexpr std::size_t kMaxFilters = 64;
inline constexpr std::size_t kMaxFilterBytes = 65'535;  // of all filters together
inline constexpr std::size_t kMaxCapabilities = 32;
inline constexpr std::size_t kMaxCapabilityBytes = 63;
inline constexpr std::size_t kMaxVersionBytes = 63;
inline constexpr std::size_t kMaxLastWordsBytes = 1'024;

using Message = protocol::MessageT;

/// A message with this body, as it is sent.
template <class Body>
Message make_message(Body body, std::uint32_t request = 0) {
  Message message;
  message.request = request;
  message.body.Set(std::move(body));
  return message;
}

std::vector<std::byte> encode(const Message& message);

/// `untrusted` when the bytes are not one complete, valid message.
Result<Message> decode(std::span<const std::byte> bytes);

/// An Error as the other side is told it, and back.
SLUICE_PRIVATE_EXPORT protocol::FailedT to_failed(const Error& error);
SLUICE_PRIVATE_EXPORT Error to_error(const protocol::FailedT& failed);

}  // namespace sluice::transport
