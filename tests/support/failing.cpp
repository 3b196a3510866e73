// The system calls that a library like ours makes and a kernel may refuse: for want of memory or
// descriptors, or since a sandbox says so. The functions here stand in front of libc's and make the
// calls themselves. Left out is what no kernel refuses a caller that asks for something sensible:
// timerfd_settime, fstat and madvise of what is there.
#include "tests/support/failing.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
int connect(int fd, const sockaddr* address, socklen_t bytes) {
  if (refused(ECONNREFUSED)) return -1;
  return static_cast<int>(::syscall(SYS_connect, fd, address, bytes));
}
int setsockopt(int fd, int level, int name, const void* value, socklen_t bytes) noexcept {
  if (refused(ENOMEM)) return -1;
  return static_cast<int>(::syscall(SYS_setsockopt, fd, level, name, value, bytes));
}
ssize_t recvmsg(int fd, msghdr* message, int flags) {
  if (refused(ENOMEM)) return -1;
  return ::syscall(SYS_recvmsg, fd, message, flags);
}
int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (refused(EMFILE)) return -1;
  return static_cast<int>(::syscall(SYS_fcntl, fd, command, argument));
}
int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const int mode = (flags & O_CREAT) != 0 ? va_arg(arguments, int) : 0;
  va_end(arguments);
  if (refused(EMFILE)) return -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
int fchmod(int fd, mode_t mode) noexcept {
  if (refused(EPERM)) return -1;
  return static_cast<int>(::syscall(SYS_fchmod, fd, mode));
}
int poll(pollfd* fds, nfds_t count, int timeout_ms) {
  if (refused(ENOMEM)) return -1;
  timespec time{timeout_ms / 1'000, timeout_ms % 1'000 * 1'000'000L};
  return static_cast<int>(
      ::syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? nullptr : &time, nullptr, _NSIG / 8));
}
int epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms) {
  if (refused(EINTR)) return -1;
  return static_cast<int>(
      ::syscall(SYS_epoll_pwait, epoll, events, most, timeout_ms, nullptr, _NSIG / 8));
}
ssize_t read(int fd, void* to, std::size_t bytes) {
  if (refused(EINTR)) return -1;
  return ::syscall(SYS_read, fd, to, bytes);
}
ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  if (refused(ENOBUFS)) return -1;
  return ::syscall(SYS_sendmsg, fd, message, flags);
}

}  // extern "C"
