// Between the two processes of the gateway.
//
// The keeper has the Sluice streams, the worker has iceoryx. A worker opens a channel for each
// topic that it brings, and offers samples by where they lie; the keeper publishes them, and says
// when nobody needs a sample any more. Packets are of one program at both ends, and as plain as
// that allows. Payloads never pass here.
//
//   worker to keeper   segment (descriptor; text: its path)   open (text: the topic)   sample close
//                      counts (every kBeat, which also says that it lives)
//   keeper to worker   opened (or text: why not)   released   stream (an id that is the gateway's)
#pragma once

#include "shm/fd.hpp"
#include "sluice/message.hpp"
#include "sluice/result.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sluice::iceoryx {

inline constexpr std::chrono::milliseconds kBeat{200};
inline constexpr std::size_t kMaxText = 2'048;  ///< A topic, a path, a sentence.

enum class Say : std::uint32_t { segment, open, sample, close, counts, opened, released, stream };

/// What the worker has done; all of its life.
struct WorkerCounts {
  std::uint64_t received = 0;   ///< Samples that came from iceoryx.
  std::uint64_t missed = 0;     ///< By gaps in the numbers of their publishers.
  std::uint64_t published = 0;  ///< Samples that went to iceoryx.
  std::uint64_t lost = 0;       ///< On their way there: no chunk, too large, torn.
  std::uint64_t own = 0;        ///< Not carried, since the gateway itself had published it.
  std::uint64_t hops = 0;       ///< Not carried, since it had come too far.
  std::uint64_t calls = 0;      ///< Requests, both ways.
  std::uint64_t failed_calls = 0;
  std::uint64_t pending = 0;  ///< Requests that wait for their answer now.
};

struct Packet {
  Say say = Say::counts;
  std::uint32_t channel = 0;
  std::uint32_t token = 0;    ///< Of a sample; comes back when it is released.
  std::uint32_t segment = 0;  ///< Number of a segment of this worker.
  std::uint64_t offset = 0;
  std::uint64_t size = 0;  ///< Of its payload.
  std::uint64_t header_offset = 0;
  std::uint64_t header_size = 0;  ///< Of a user header; 0: none.
  std::uint64_t stream_id = 0;
  std::uint64_t gaps = 0;  ///< Of the channel, in all.
  std::uint64_t origin_ns = 0;
  CorrelationId correlation;
  std::uint32_t hops = 0;
  std::uint32_t route = 0;
  WorkerCounts counts;
};
static_assert(std::is_trivially_copyable_v<Packet>);

struct Received {
  Packet packet;
  std::string text;
  shm::UniqueFd fd;
};

/// One end. Move-only; thread-compatible.
class Link {
 public:
  Link() = default;
  explicit Link(shm::UniqueFd socket) noexcept : socket_(std::move(socket)) {}
  /// Two ends: ours, which never blocks, and the worker's, which may be inherited.
  static Result<std::pair<Link, shm::UniqueFd>> pair();

  [[nodiscard]] int fd() const noexcept { return socket_.get(); }
  [[nodiscard]] bool open() const noexcept { return socket_.valid(); }
  void close() noexcept;

  /// False when the other end is gone. Where the socket does not block, what does not fit waits for
  /// flush().
  bool send(const Packet& packet, std::string_view text = {}, int fd = -1);
  bool flush();
  [[nodiscard]] bool has_waiting() const noexcept { return !waiting_.empty(); }

  /// The next packet; nothing when there is none now, or when the other end is gone: open() says.
  std::optional<Received> receive();

 private:
  struct Waiting {
    Packet packet;
    std::string text;
  };
  enum class Sent { done, full, gone };
  Sent try_send(const Packet& packet, std::string_view text, int fd);
  shm::UniqueFd socket_;
  std::deque<Waiting> waiting_;
};

}  // namespace sluice::iceoryx
