// RoomEvents: the eventfds by which members of groups tell a process that they have a credit again.
//
// One for each user: whoever holds an eventfd can read it empty, and so disturbs nobody but its own
// user. The node's thread watches all of them. Not thread-safe: under the node's lock.
#pragma once

#include "transport/connection.hpp"

#include <sys/types.h>

#include <functional>
#include <map>

namespace sluice::transport {

class RoomEvents {
 public:
  /// `watch` is called with each descriptor when it is made; false, with errno: it cannot be watched.
  void on_new(std::function<bool(int fd)> watch) { watch_ = std::move(watch); }
  Result<SharedFd> for_user(uid_t uid);
  /// Reads all of them empty.
  void clear() noexcept;

 private:
  std::function<bool(int fd)> watch_;
  std::map<uid_t, SharedFd> events_;
};

}  // namespace sluice::transport
