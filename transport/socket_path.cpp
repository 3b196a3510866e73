#include "transport/socket_path.hpp"

#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

namespace sluice::transport {
namespace {

constexpr const char* kSystemSocket = "/run/sluice/sluiced.sock";

Result<std::string> checked(std::string path) {
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Error{Errc::invalid_argument, 0,
                 "the broker's socket path '" + path + "' is longer than " +
                     std::to_string(sizeof(sockaddr_un::sun_path) - 1) +
                     " bytes; choose a shorter one with SLUICE_SOCKET"};
  }
  return path;
}

std::string environment(const char* name) {
  const char* value = ::secure_getenv(name);
  return value != nullptr ? value : "";
}

// The user's own, or nothing.
std::string user_socket() {
  const std::string runtime = environment("XDG_RUNTIME_DIR");
  return runtime.empty() ? runtime : runtime + "/sluice/sluiced.sock";
}

}  // namespace

Result<std::string> broker_socket_path(const std::string& given) {
  if (!given.empty()) return checked(given);
  if (std::string path = environment("SLUICE_SOCKET"); !path.empty()) return checked(path);
  if (::geteuid() == 0) return std::string(kSystemSocket);
  if (std::string path = user_socket(); !path.empty()) return checked(path);
  return Error{Errc::invalid_argument, 0,
               "no place for the broker's socket is known: set SLUICE_SOCKET, or XDG_RUNTIME_DIR"};
}

Result<std::string> client_socket_path(const std::string& given) {
  if (!given.empty()) return checked(given);
  if (std::string path = environment("SLUICE_SOCKET"); !path.empty()) return checked(path);
  const std::string own = ::geteuid() == 0 ? "" : user_socket();
  if (own.empty() || ::access(own.c_str(), F_OK) != 0) {
    if (own.empty() || ::access(kSystemSocket, F_OK) == 0) return std::string(kSystemSocket);
  }
  return checked(own);
}

}  // namespace sluice::transport
