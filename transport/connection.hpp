// Connection: one end of a SOCK_SEQPACKET socket that carries Messages, for a thread that must not block.
//
// What cannot be sent at once is queued, with its descriptors, up to a limit: who does not read what it
// is sent loses its connection, and nobody waits for it. Bound to one thread. Move-only.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "shm/fd.hpp"
#include "shm/private_export.hpp"
#include "sluice/result.hpp"
#include "transport/wire.hpp"

namespace sluice::transport {

/// A descriptor that several messages or tables have in common.
using SharedFd = std::shared_ptr<const shm::UniqueFd>;
inline SharedFd share(shm::UniqueFd fd) {
  return std::make_shared<const shm::UniqueFd>(std::move(fd));
}

struct Received {
  Message message;
  std::vector<shm::UniqueFd> descriptors;
};

class SLUICE_PRIVATE_EXPORT Connection {
 public:
  /// What may wait to be read by the other side.
  static constexpr std::size_t kMaxQueuedBytes = std::size_t{8} << 20;
  static constexpr std::size_t kMaxQueuedPackets = 16'384;

  Connection() = default;
  explicit Connection(shm::UniqueFd socket) noexcept : socket_(std::move(socket)) {}

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] bool valid() const noexcept { return socket_.valid(); }

  /// Sends or queues. After an error the connection is of no more use: `exhausted` when the other side
  /// does not read, `system` when the socket failed.
  Result<void> send(const Message& message, std::span<const SharedFd> descriptors = {});

  /// Sends what is queued, as far as that goes; call it when the socket is writable.
  Result<void> flush();
  [[nodiscard]] bool wants_to_write() const noexcept { return !queue_.empty(); }

  /// The next message, or nothing now. `refused`: the other side has closed; `untrusted`: what it
  /// sent is not a message.
  Result<std::optional<Received>> receive();

 private:
  struct Waiting {
    std::vector<std::byte> bytes;
    std::vector<SharedFd> descriptors;
  };
  Result<bool> try_send(const Waiting& packet);

  shm::UniqueFd socket_;
  std::deque<Waiting> queue_;
  std::size_t queued_bytes_ = 0;
};

}  // namespace sluice::transport
