// The arenas of one process: its own, one after the other per foreign user, and those of others
// that it has mapped. Bound to the node's lock.
#pragma once

#include "shm/arena.hpp"
#include "shm/fd.hpp"
#include "shm/memory.hpp"
#include "sluice/result.hpp"
#include "transport/connection.hpp"

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace sluice::transport {

/// Arenas that this process writes. What goes to processes of one user lies together; nothing else
/// does, since whoever can map a futex word can wake those who sleep on it.
struct OwnArena {
  std::shared_ptr<shm::Arena> arena;
  SharedFd fd;  ///< Read-only, to be handed out.
};
class OwnArenas {
 public:
  explicit OwnArenas(const char* name) : name_(name) {}

  /// The newest arena for `uid`; a new one when `full` names that one.
  Result<OwnArena> for_user(uid_t uid, const shm::Arena* full = nullptr);

 private:
  const char* name_;
  std::map<uid_t, OwnArena> newest_;
};

/// Arenas of others. Each is mapped once, however often its descriptor arrives: the kernel's number
/// of the file tells, not what its sender calls it.
class ForeignArenas {
 public:
  Result<std::shared_ptr<const shm::View>> open(const shm::UniqueFd& fd, const char* what,
                                                std::uint64_t bytes);

 private:
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<const shm::View>> views_;
};

}  // namespace sluice::transport
