// Unix sockets: one pair per reader. Messages that fit into a datagram use SOCK_SEQPACKET, which
// keeps their boundaries; frames use SOCK_STREAM, since a datagram of six megabytes does not exist.
//
// The kernel copies every message in and out, for every reader anew, whether the payload is touched
// or not. Polling is recv with MSG_DONTWAIT in a loop. Socket buffers keep the system's size: from
// 64 KiB to 4 MiB none was faster than another.
#include "tests/bench/cell.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace sluice::bench {
namespace {

constexpr std::size_t kMaxPacketBytes = 65'536;

struct Pair {
  int sender = -1;
  int receiver = -1;
};

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

class SocketSender {
 public:
  SocketSender(std::vector<int> sockets, std::size_t bytes)
      : sockets_(std::move(sockets)), message_(bytes) {}
  void connect() {}
  std::span<std::byte> prepare(std::size_t) { return message_; }
  void send() {
    for (const int socket : sockets_) {
      for (std::size_t sent = 0; sent < message_.size();) {
        const ssize_t n =
            ::send(socket, message_.data() + sent, message_.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) throw_errno("send");
        if (n > 0) sent += static_cast<std::size_t>(n);
      }
    }
  }

 private:
  const std::vector<int> sockets_;
  std::vector<std::byte> message_;
};

class SocketReceiver {
 public:
  SocketReceiver(int socket, std::size_t bytes) : socket_(socket), message_(bytes) {}
  void connect() {}
  std::span<const std::byte> poll() { return receive(MSG_DONTWAIT); }
  std::span<const std::byte> wait() { return receive(0); }
  void release() {}

 private:
  /// Goes on with a message that has come in parts.
  std::span<const std::byte> receive(int flags) {
    const ssize_t n =
        recv(socket_, message_.data() + received_, message_.size() - received_, flags);
    if (n == 0) throw std::runtime_error("the sender is gone");
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) return {};
      throw_errno("recv");
    }
    received_ += static_cast<std::size_t>(n);
    if (received_ < message_.size()) return {};
    received_ = 0;
    return message_;
  }

  const int socket_;
  std::vector<std::byte> message_;
  std::size_t received_ = 0;
};

/// Sends and receives at one end of a pair.
class SocketRequests {
 public:
  SocketRequests(int socket, std::size_t bytes) : tx_({socket}, bytes), rx_(socket, bytes) {}
  void connect() {}
  std::span<std::byte> prepare(std::size_t bytes) { return tx_.prepare(bytes); }
  void send() { tx_.send(); }
  std::span<const std::byte> poll() { return rx_.poll(); }
  std::span<const std::byte> wait() { return rx_.wait(); }
  void release() {}

 private:
  SocketSender tx_;
  SocketReceiver rx_;
};

class UnixSocket {
 public:
  explicit UnixSocket(const CellContext& cell) {
    for (const Channel& channel : cell.channels) {
      std::vector<Pair>& pairs = pairs_.emplace_back();
      for (unsigned i = 0; i < channel.readers; ++i) pairs.push_back(make_pair(channel));
    }
  }
  void enter(unsigned) {}
  auto sender(const Channel& channel) {
    std::vector<int> sockets;
    for (const Pair& pair : pairs_[channel.index]) sockets.push_back(pair.sender);
    return std::make_unique<SocketSender>(std::move(sockets), channel.message_bytes);
  }
  auto receiver(const Channel& channel, unsigned reader) {
    return std::make_unique<SocketReceiver>(pairs_[channel.index][reader].receiver,
                                            channel.message_bytes);
  }
  auto asker(const Channel& channel) {
    return std::make_unique<SocketRequests>(pairs_[channel.index][0].sender, channel.message_bytes);
  }
  auto answerer(const Channel& channel) {
    return std::make_unique<SocketRequests>(pairs_[channel.index][0].receiver,
                                            channel.message_bytes);
  }
  std::vector<pid_t> daemons() { return {}; }

 private:
  static Pair make_pair(const Channel& channel) {
    const int type = channel.message_bytes <= kMaxPacketBytes ? SOCK_SEQPACKET : SOCK_STREAM;
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends.data()) != 0) throw_errno("socketpair");
    return {.sender = ends[0], .receiver = ends[1]};
  }

  std::vector<std::vector<Pair>> pairs_;  // by channel, by reader
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  return cell_main(argc, argv, {{"unix", make_peer<UnixSocket>()}});
}
