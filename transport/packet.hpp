// Packets with descriptors over a SOCK_SEQPACKET socket.
//
// One packet carries a few bytes, some descriptors and, from the kernel, who sent it. What arrives is
// input: sizes and counts are bounded, descriptors that are not wanted are closed.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "shm/fd.hpp"
#include "sluice/result.hpp"

namespace sluice::transport {

inline constexpr std::size_t kMaxPacketBytes = 1024;
inline constexpr std::size_t kMaxPacketDescriptors = 16;

struct Packet {
  std::vector<std::byte> bytes;
  std::vector<shm::UniqueFd> descriptors;
  pid_t pid = 0;  ///< Sender, as the kernel says; 0 when it lives in another pid namespace.
  uid_t uid = static_cast<uid_t>(-1);
};

/// Asks the kernel to name the sender of each packet. Call before the other side may send.
Result<void> want_credentials(int socket);

/// Sends one packet if that is possible now: false when the socket's buffer is full.
Result<bool> try_send_packet(int socket, std::span<const std::byte> bytes,
                             std::span<const int> descriptors);

/// The next packet, or nothing when none has arrived. `buffer` is scratch; a packet that does not fit
/// is an error. Errors as for receive_packet.
Result<std::optional<Packet>> try_receive_packet(int socket, std::span<std::byte> buffer);

/// Sends one packet. Blocks until `deadline_ns` (CLOCK_MONOTONIC) at most.
Result<void> send_packet(int socket, std::span<const std::byte> bytes,
                         std::span<const int> descriptors, std::uint64_t deadline_ns);

/// Receives one packet. Errors: system (socket failed, or nothing came in time), untrusted (too
/// large, too many descriptors), refused (the other side closed).
Result<Packet> receive_packet(int socket, std::uint64_t deadline_ns);

/// A pidfd of the sender, or an invalid one when the kernel gives none.
shm::UniqueFd process_of(const Packet& packet);

}  // namespace sluice::transport
