// A broker that passed on what it had not looked at would spread one client's mistake to all
// others. So it checks what it can without trusting anybody: seals, sizes, owner, and the header of
// a control segment. Receivers check again: the broker could be of another user than they are.
#include "daemons/sluiced/handed_over.hpp"

#include "daemons/sluiced/refusal.hpp"
#include "shm/geometry.hpp"
#include "shm/memory.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <string>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace sluice::broker {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
// For accepting, for a message's descriptors, for log and configuration files.
constexpr int kSpareDescriptors = 64;

Result<std::uint64_t> check_memory(int fd, const std::string& what, uid_t owner) {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0) return untrusted(what + " is not a memfd");
  if ((seals & kSeals) != kSeals) {
    return untrusted(what + " is not sealed against shrinking, growing and writing");
  }
  struct stat status {};
  if (::fstat(fd, &status) != 0) return shm::system_error("fstat of " + what);
  if (status.st_uid != owner) {
    return untrusted(what + " belongs to user " + std::to_string(status.st_uid) + ", not to " +
                     std::to_string(owner));
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<StreamSize> check_foreign(int fd, const std::string& what, std::uint64_t bytes) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return shm::system_error("fstat of " + what);
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) < bytes) {
    return untrusted(what + " is no file in memory of " + std::to_string(bytes) + " bytes");
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY) {
    return untrusted(what + " is another system's memory and can be written through");
  }
  return StreamSize{0, 0, true};
}

// `exactly`: as long as the header says. Of a pool that is not described validly only the memory is
// looked at; nobody will find a message there.
Result<StreamSize> check_memory_of(const shm::Geometry& geometry, std::uint32_t number, int fd,
                                   bool exactly, uid_t owner) {
  const std::string what = "pool " + std::to_string(number);
  const bool known = number < geometry.pool_count;
  if (known && geometry.pools[number].foreign) {
    return check_foreign(fd, what, geometry.pools[number].pool_bytes);
  }
  auto bytes = check_memory(fd, what, owner);
  if (!bytes) return std::move(bytes).error();
  if (exactly && *bytes != geometry.pools[number].pool_bytes) {
    return untrusted(what + " has not the size that the stream's header says");
  }
  return StreamSize{*bytes, known ? geometry.capacity(number) : 0};
}

}  // namespace

Result<StreamSize> check_stream(std::span<const shm::UniqueFd> descriptors, std::uint64_t stream_id,
                                uid_t owner) {
  if (descriptors.size() < 2) return untrusted("a stream needs a control segment and a pool");
  auto total = check_memory(descriptors[0].get(), "the control segment", owner);
  if (!total) return std::move(total).error();
  const auto view = shm::View::open(descriptors[0].get(), "the control segment", *total);
  if (!view) return view.error();
  auto geometry = shm::verify(*view);
  if (!geometry) return std::move(geometry).error();
  if (geometry->stream_id != stream_id) return untrusted("the stream has another id in its header");
  const std::uint32_t created = geometry->pool_count;
  if (descriptors.size() - 1 < created) {
    return untrusted("the stream has " + std::to_string(created) + " pools, and " +
                     std::to_string(descriptors.size() - 1) + " descriptors came");
  }
  (void)shm::learn_pools(view->data(), *geometry);  // what is valid counts
  StreamSize size{*total, 0};
  for (std::uint32_t i = 0; i + 1 < descriptors.size(); ++i) {
    auto added = check_memory_of(*geometry, i, descriptors[i + 1].get(), i < created, owner);
    if (!added) return std::move(added).error();
    size.bytes += added->bytes;
    size.payload_bytes = std::max(size.payload_bytes, added->payload_bytes);
    size.lends = size.lends || added->lends;
  }
  return size;
}

Result<StreamSize> check_pool(const shm::UniqueFd& pool, std::uint32_t number,
                              const shm::UniqueFd& control, uid_t owner) {
  const auto view = shm::View::open(control.get(), "the control segment");
  if (!view) return view.error();
  auto geometry = shm::verify(*view);
  if (!geometry) return std::move(geometry).error();
  (void)shm::learn_pools(view->data(), *geometry);  // what is valid counts
  return check_memory_of(*geometry, number, pool.get(), false, owner);
}

Result<void> check_arena(const shm::UniqueFd& arena, std::uint64_t bytes, uid_t owner) {
  const auto size = check_memory(arena.get(), "the arena", owner);
  if (!size) return size.error();
  if (*size != bytes) return untrusted("the arena has not the size that was said");
  return {};
}

bool descriptors_are_scarce(int fd) noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  return static_cast<rlim_t>(fd) + kSpareDescriptors >= limit.rlim_cur;
}

Error too_few_descriptors() {
  return Error{Errc::exhausted, 0,
               "the broker has too few file descriptors left; raise its limit (LimitNOFILE= in its "
               "systemd unit, ulimit -n elsewhere)"};
}

void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace sluice::broker
