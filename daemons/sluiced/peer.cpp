// SO_PEERPIDFD names the process without a race; it is from Linux 6.5. Before that its number is
// opened, which by then may belong to another process: the connection itself, closed when its
// holder died, is then the only sign of life.
#include "daemons/sluiced/peer.hpp"

#include "shm/memory.hpp"

#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace sluice::broker {
namespace {

std::vector<gid_t> groups_of(int socket) {
  std::vector<gid_t> groups(32);
  for (;;) {
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return groups;
    }
    if (errno != ERANGE) return {};
    groups.resize(bytes / sizeof(gid_t));
  }
}

std::string name_of(uid_t uid) {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? std::string{} : std::string{found->pw_name};
}

shm::UniqueFd process_of(int socket, pid_t pid) {
  int fd = -1;
  socklen_t bytes = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &bytes) == 0) return shm::UniqueFd{fd};
  if (pid <= 0) return shm::UniqueFd{};
  return shm::UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

}  // namespace

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    return shm::system_error("asking who has connected (SO_PEERCRED)");
  }
  Peer peer;
  peer.who.pid = credentials.pid;
  peer.who.uid = credentials.uid;
  peer.who.gid = credentials.gid;
  peer.who.groups = groups_of(socket);
  peer.who.user_name = name_of(credentials.uid);
  if (auto process = process_of(socket, credentials.pid); process.valid()) {
    peer.process = transport::share(std::move(process));
  }
  return peer;
}

}  // namespace sluice::broker
