// Whether this program runs emulated (docs/cross_compiling.md): some ten times slower, without some
// system calls, and of a size that says nothing.
#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

namespace sluice::test {

/// What a shell, or another program of this machine, is to put before a program of ours; empty
/// where nothing is needed.
inline std::string emulator() {
  const char* path = std::getenv("SLUICE_EMULATOR");
  return path != nullptr ? path : "";
}
inline bool emulated() { return !emulator().empty(); }

/// How long something is waited for that comes within `duration` on a machine that is not slow.
template <class Duration>
Duration patient(Duration duration) {
  return emulated() ? duration * 6 : duration;
}

/// Whether madvise() does anything: a kernel refuses advice that it does not know, qemu-user takes
/// any and does nothing.
inline bool heeds_advice(void* memory, std::size_t bytes) {
  return ::madvise(memory, bytes, 0x7fff) != 0;
}

/// Whether descriptors for which the receiver has no room are closed. The kernel does that; qemu-user
/// gives the kernel more room than the program has, and keeps what it cannot hand on.
inline bool closes_descriptors_without_room() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return false;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(4 * sizeof(int))> control{};
  char byte = 0;
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = CMSG_SPACE(4 * sizeof(int));
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(4 * sizeof(int));
  const std::array<int, 4> sent{ends[0], ends[0], ends[0], ends[0]};
  std::memcpy(CMSG_DATA(header), sent.data(), sizeof sent);
  bool closes = ::sendmsg(ends[0], &message, MSG_NOSIGNAL) == 1;
  const auto two_lowest_free = [&] {
    const std::array<int, 2> fds{::dup(ends[0]), ::dup(ends[0])};
    for (const int fd : fds) ::close(fd);
    return fds;
  };
  const auto before = two_lowest_free();
  message.msg_controllen = CMSG_LEN(sizeof(int));
  closes = closes && ::recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC) == 1;
  header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    int received = -1;
    std::memcpy(&received, CMSG_DATA(header), sizeof received);
    ::close(received);
  }
  closes = closes && two_lowest_free() == before;
  for (const int fd : ends) ::close(fd);
  return closes;
}

}  // namespace sluice::test
