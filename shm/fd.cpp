#include "shm/fd.hpp"

#include <fcntl.h>

#include <array>
#include <cstdio>
#include <cstring>

namespace sluice::shm {

bool make_eventfd_safe(const UniqueFd& event) noexcept {
  if (!event.valid()) return false;
  std::array<char, 64> path{};
  std::array<char, 64> target{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", event.get());
  const ssize_t n = ::readlink(path.data(), target.data(), target.size() - 1);
  return n > 0 && std::strcmp(target.data(), "anon_inode:[eventfd]") == 0 &&
         ::fcntl(event.get(), F_SETFL, O_NONBLOCK) == 0;
}

}  // namespace sluice::shm
