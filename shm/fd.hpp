// UniqueFd: one owned file descriptor. Move-only; a moved-from one is empty (-1).
#pragma once

#include <poll.h>
#include <unistd.h>

#include <utility>

namespace sluice::shm {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

/// Whether the process behind a pidfd has ended; false without a pidfd. Asks the kernel.
inline bool has_died(const UniqueFd& process) noexcept {
  if (!process.valid()) return false;
  pollfd p{process.get(), POLLIN, 0};
  return ::poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

/// Makes an eventfd that another process handed over one that a write never blocks on. False when it
/// is none: anything else could make us block or do harm.
bool make_eventfd_safe(const UniqueFd& event) noexcept;

}  // namespace sluice::shm
