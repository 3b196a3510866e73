#include "transport/room_events.hpp"

#include "shm/memory.hpp"

#include <sys/eventfd.h>

#include <utility>

namespace sluice::transport {

Result<SharedFd> RoomEvents::for_user(uid_t uid) {
  if (const auto at = events_.find(uid); at != events_.end()) return at->second;
  shm::UniqueFd event{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!event.valid()) return shm::system_error("eventfd for the members of groups");
  if (watch_ && !watch_(event.get())) {
    return shm::system_error("watching the eventfd for the members of groups");
  }
  return events_[uid] = share(std::move(event));
}

void RoomEvents::clear() noexcept {
  for (const auto& [uid, event] : events_) {
    eventfd_t ignored = 0;
    (void)::eventfd_read(event->get(), &ignored);
  }
}

}  // namespace sluice::transport
