// sendmsg and recvmsg with SCM_RIGHTS and SCM_CREDENTIALS.
//
// The sender is named by SCM_CREDENTIALS rather than SO_PEERCRED: on a socketpair that was made
// before a fork the latter names the parent at both ends.
#include "transport/packet.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "shm/clock.hpp"
#include "shm/memory.hpp"

namespace sluice::transport {
namespace {

Result<void> wait_for(int socket, short events, std::uint64_t deadline_ns, const char* what) {
  for (;;) {
    const std::uint64_t now = shm::now_ns();
    const std::uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    pollfd p{socket, events, 0};
    const int n = ::poll(&p, 1, static_cast<int>((left + 999'999) / 1'000'000));
    if (n > 0) return {};
    if (n < 0 && errno != EINTR) return shm::system_error(what);
    if (n == 0) {
      return Error{Errc::system, ETIMEDOUT, std::string(what) + ": the other side did not answer"};
    }
  }
}

void collect_control(msghdr& message, Packet& packet) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        packet.descriptors.emplace_back(fd);
      }
    } else if (c->cmsg_type == SCM_CREDENTIALS) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(c), sizeof sender);
      packet.pid = sender.pid;
      packet.uid = sender.uid;
    }
  }
}

}  // namespace

Result<void> want_credentials(int socket) {
  const int on = 1;
  if (::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
    return shm::system_error("asking for the peer's identity on a socket (SO_PASSCRED)");
  }
  return {};
}

Result<bool> try_send_packet(int socket, std::span<const std::byte> bytes,
                             std::span<const int> descriptors) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxPacketDescriptors * sizeof(int))> control{};
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size_bytes();
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(c), descriptors.data(), size);
  }
  while (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EAGAIN) return false;
    if (errno != EINTR) return shm::system_error("sending to the other side of a socket");
  }
  return true;
}

Result<void> send_packet(int socket, std::span<const std::byte> bytes,
                         std::span<const int> descriptors, std::uint64_t deadline_ns) {
  for (;;) {
    auto sent = try_send_packet(socket, bytes, descriptors);
    if (!sent) return std::move(sent).error();
    if (*sent) return {};
    auto ready = wait_for(socket, POLLOUT, deadline_ns, "sending to the other side of a socket");
    if (!ready) return ready;
  }
}

Result<std::optional<Packet>> try_receive_packet(int socket, std::span<std::byte> buffer) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxPacketDescriptors * sizeof(int)) +
                                             CMSG_SPACE(sizeof(ucred))>
      control{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t n = -1;
  while ((n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0) {
    if (errno == EAGAIN) return std::optional<Packet>{};
    if (errno == ECONNRESET) break;
    if (errno != EINTR) return shm::system_error("receiving from the other side of a socket");
  }
  Packet packet;
  if (n >= 0) collect_control(message, packet);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
      packet.descriptors.size() > kMaxPacketDescriptors) {
    return Error{Errc::untrusted, 0, "a packet with too many bytes or descriptors was dropped"};
  }
  if (n <= 0) return Error{Errc::refused, 0, "the other side closed the connection"};
  packet.bytes.assign(buffer.begin(), buffer.begin() + n);
  return std::optional<Packet>{std::move(packet)};
}

Result<Packet> receive_packet(int socket, std::uint64_t deadline_ns) {
  std::array<std::byte, kMaxPacketBytes> buffer;
  for (;;) {
    auto packet = try_receive_packet(socket, buffer);
    if (!packet) return std::move(packet).error();
    if (*packet) return std::move(**packet);
    auto ready = wait_for(socket, POLLIN, deadline_ns, "waiting for the other side of a socket");
    if (!ready) return std::move(ready).error();
  }
}

shm::UniqueFd process_of(const Packet& packet) {
  if (packet.pid <= 0) return shm::UniqueFd{};
  return shm::UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, packet.pid, 0))};
}

}  // namespace sluice::transport
