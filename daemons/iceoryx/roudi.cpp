// A datagram socket whose owner is dead is a file that nobody can connect to. RouDi makes its
// management memory before its socket.
#include "daemons/iceoryx/roudi.hpp"

#include "shm/fd.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

namespace sluice::iceoryx {

std::optional<Roudi> find_roudi(const std::string& socket, const std::string& memory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const shm::UniqueFd probe{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  struct stat socket_status {};
  struct stat memory_status {};
  if (!probe.valid() ||
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::stat(socket.c_str(), &socket_status) != 0 || ::stat(memory.c_str(), &memory_status) != 0) {
    return std::nullopt;
  }
  return Roudi{socket_status.st_ino, memory_status.st_ino};
}

}  // namespace sluice::iceoryx
