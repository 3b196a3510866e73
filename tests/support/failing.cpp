// The system calls that a library like ours makes and a kernel may refuse: for want of memory or
// descriptors, or since a sandbox says so. The functions here stand in front of libc's and make the
// calls themselves.
#include "tests/support/failing.hpp"

#include <fcntl.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>

namespace sluice::test {
namespace {

thread_local Fails armed = Fails::nothing;
thread_local std::uint64_t left = 0;

bool fails(Fails what) noexcept {
  if (armed != what || left == 0) return false;
  return --left == 0;
}

bool refused(int why) noexcept {
  if (!fails(Fails::system_call)) return false;
  errno = why;
  return true;
}

void* allocate(std::size_t bytes) {
  if (fails(Fails::allocation)) throw std::bad_alloc{};
  void* memory = std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace

Failing::Failing(Fails what, std::uint64_t n) noexcept {
  armed = what;
  left = n;
}
Failing::~Failing() { armed = Fails::nothing; }
bool Failing::failed() const noexcept { return left == 0; }

}  // namespace sluice::test

using sluice::test::refused;

void* operator new(std::size_t bytes) { return sluice::test::allocate(bytes); }
void* operator new[](std::size_t bytes) { return sluice::test::allocate(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

extern "C" {

int memfd_create(const char* name, unsigned flags) noexcept {
  if (refused(EMFILE)) return -1;
  return static_cast<int>(::syscall(SYS_memfd_create, name, flags));
}
int eventfd(unsigned count, int flags) noexcept {
  if (refused(EMFILE)) return -1;
  return static_cast<int>(::syscall(SYS_eventfd2, count, flags));
}
int timerfd_create(int clock, int flags) noexcept {
  if (refused(ENFILE)) return -1;
  return static_cast<int>(::syscall(SYS_timerfd_create, clock, flags));
}
int epoll_create1(int flags) noexcept {
  if (refused(EMFILE)) return -1;
  return static_cast<int>(::syscall(SYS_epoll_create1, flags));
}
int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  if (refused(ENOSPC)) return -1;
  return static_cast<int>(::syscall(SYS_epoll_ctl, epoll, operation, fd, event));
}
int socket(int domain, int type, int protocol) noexcept {
  if (refused(EMFILE)) return -1;
  return static_cast<int>(::syscall(SYS_socket, domain, type, protocol));
}
int ftruncate(int fd, off_t bytes) noexcept {
  if (refused(ENOSPC)) return -1;
  return static_cast<int>(::syscall(SYS_ftruncate, fd, bytes));
}
int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (refused(ENOSPC)) return -1;
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
}
void* mmap(void* at, std::size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  if (fd >= 0 && refused(ENOMEM))
    return MAP_FAILED;  // of our segments; the allocator's are anonymous
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, bytes, protection, flags, fd, offset));
}
ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (refused(ENOBUFS)) return -1;
  return ::syscall(SYS_sendmsg, fd, message, flags);
}

}  // extern "C"
