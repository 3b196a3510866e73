#include "transport/memory_cache.hpp"

#include <sys/stat.h>

namespace sluice::transport {

Result<OwnArena> OwnArenas::for_user(uid_t uid, const shm::Arena* full) {
  const auto known = newest_.find(uid);
  if (known != newest_.end() && known->second.arena.get() != full) return known->second;
  auto created = shm::Arena::create(name_);
  if (!created) return std::move(created).error();
  auto fd = (*created)->share();
  if (!fd) return std::move(fd).error();
  return newest_[uid] = OwnArena{std::move(*created), share(std::move(*fd))};
}

Result<std::shared_ptr<const shm::View>> ForeignArenas::open(const shm::UniqueFd& fd,
                                                             const char* what,
                                                             std::uint64_t bytes) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return shm::system_error(what);
  std::erase_if(views_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<const shm::View>& known = views_[{status.st_dev, status.st_ino}];
  if (auto view = known.lock(); view && view->size() == bytes) return view;
  auto view = shm::View::open(fd.get(), what, bytes);
  if (!view) return std::move(view).error();
  auto shared = std::make_shared<const shm::View>(std::move(*view));
  known = shared;
  return shared;
}

}  // namespace sluice::transport
