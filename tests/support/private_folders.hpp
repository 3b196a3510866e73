// A mount namespace with a /tmp and a /dev/shm of its own, for programs whose names are the
// machine's: they neither meet others nor leave anything behind.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace sluice::test {

inline std::string map_users(uid_t uid, gid_t gid) {
  const auto write = [](const char* path, const std::string& text) {
    std::ofstream file{path};
    file << text << std::flush;
    return static_cast<bool>(file);
  };
  if (write("/proc/self/setgroups", "deny") &&
      write("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1") &&
      write("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1")) {
    return {};
  }
  return "the user namespace takes no mapping";
}

/// Moves this process, and what it starts from then on, there. To be called before the first thread
/// is started. `visible`: a folder that is still to be seen, wherever it lies. Empty: done; or why
/// not.
inline std::string enter_private_folders(const std::string& visible) {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
      return std::string("this system lets nobody but root have a mount namespace: ") +
             std::strerror(errno);
    }
    if (auto problem = map_users(uid, gid); !problem.empty()) return problem;
  }
  const int folder = ::open(visible.c_str(), O_PATH | O_CLOEXEC | O_DIRECTORY);
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) != 0 ||
      ::mount("tmpfs", "/dev/shm", "tmpfs", 0, nullptr) != 0) {
    return std::string("cannot mount folders of one's own: ") + std::strerror(errno);
  }
  ::umask(022);
  (void)::chmod("/tmp", 01777);
  (void)::chmod("/dev/shm", 01777);
  if (!std::filesystem::exists(visible)) {
    std::error_code code;
    std::filesystem::create_directories(visible, code);
    const std::string source = "/proc/self/fd/" + std::to_string(folder);
    if (code || ::mount(source.c_str(), visible.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return "cannot keep " + visible + " visible: " + std::strerror(errno);
    }
  }
  ::close(folder);
  return {};
}

}  // namespace sluice::test
