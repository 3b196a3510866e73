// The gateway's own user header: what a Sluice message says of itself and an iceoryx chunk has no
// place for.
//
//      0  magic "SLGW"    version (1)   hops   reserved
//      8  stream id       of the Sluice stream that it came from
//     16  sequence        in that stream and lane
//     24  publish time    CLOCK_MONOTONIC ns, 0: not stamped
//     32  origin time     CLOCK_MONOTONIC ns
//     40  correlation id  two words
//     56  reserved, 0
//
// Little-endian, 64 bytes, aligned to 8. A reader takes it for one when the chunk's user header has
// at least that size, and magic and version are these; then it carries on origin, correlation and
// hops. Whoever else has a user header of its own must not begin it so.
#pragma once

#include "sluice/message.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

namespace sluice::iceoryx {

inline constexpr std::uint32_t kUserHeaderMagic = 0x5747'4c53;  // "SLGW" in memory
inline constexpr std::uint8_t kUserHeaderVersion = 1;

struct UserHeader {
  std::uint32_t magic = kUserHeaderMagic;
  std::uint8_t version = kUserHeaderVersion;
  std::uint8_t hops = 0;
  std::uint16_t reserved0 = 0;
  std::uint64_t stream_id = 0;
  std::uint64_t sequence = 0;
  std::uint64_t publish_ns = 0;
  std::uint64_t origin_ns = 0;
  CorrelationId correlation;
  std::uint64_t reserved1 = 0;
};
static_assert(sizeof(UserHeader) == 64 && offsetof(UserHeader, correlation) == 40);
static_assert(std::is_trivially_copyable_v<UserHeader>);

/// A copy: another process may write to where it lies.
inline std::optional<UserHeader> read_user_header(std::span<const std::byte> bytes) noexcept {
  UserHeader header;
  if (bytes.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kUserHeaderMagic || header.version != kUserHeaderVersion) return std::nullopt;
  return header;
}

}  // namespace sluice::iceoryx
