#include "daemons/iceoryx/link.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::iceoryx {
namespace {

// Room for what all channels may have under way.
constexpr int kBufferBytes = 4 << 20;

}  // namespace

Result<std::pair<Link, shm::UniqueFd>> Link::pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return Error{Errc::system, errno,
                 std::string("cannot make a socket pair: ") + std::strerror(errno)};
  }
  shm::UniqueFd ours{ends[0]}, theirs{ends[1]};
  for (const int end : ends) {
    (void)::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kBufferBytes, sizeof kBufferBytes);
  }
  if (::fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0) {
    return Error{Errc::system, errno, std::string("fcntl: ") + std::strerror(errno)};
  }
  return std::pair{Link{std::move(ours)}, std::move(theirs)};
}

void Link::close() noexcept {
  socket_.reset();
  waiting_.clear();
}

Link::Sent Link::try_send(const Packet& packet, std::string_view text, int fd) {
  std::array<iovec, 2> parts{{{const_cast<Packet*>(&packet), sizeof packet},
                              {const_cast<char*>(text.data()), text.size()}}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) >= 0) return Sent::done;
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == ENOBUFS ? Sent::full : Sent::gone;
  }
}

bool Link::send(const Packet& packet, std::string_view text, int fd) {
  if (!open()) return false;
  text = text.substr(0, kMaxText);
  if (!waiting_.empty()) {
    waiting_.push_back({packet, std::string(text)});
    return flush();
  }
  const Sent sent = try_send(packet, text, fd);
  if (sent == Sent::full) waiting_.push_back({packet, std::string(text)});
  return sent != Sent::gone;
}

bool Link::flush() {
  while (!waiting_.empty()) {
    const Sent sent = try_send(waiting_.front().packet, waiting_.front().text, -1);
    if (sent != Sent::done) return sent == Sent::full;
    waiting_.pop_front();
  }
  return true;
}

std::optional<Received> Link::receive() {
  Received received;
  std::array<char, kMaxText> text{};
  std::array<iovec, 2> parts{
      {{&received.packet, sizeof received.packet}, {text.data(), text.size()}}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size = 0;
  do {
    size = open() ? ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) : 0;
  } while (size < 0 && errno == EINTR);
  if (size < 0 && errno == EAGAIN) return std::nullopt;
  if (const cmsghdr* head = size > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
      head != nullptr && head->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
    received.fd.reset(fd);
  }
  if (size < static_cast<ssize_t>(sizeof(Packet))) {
    close();
    return std::nullopt;
  }
  received.text.assign(text.data(), static_cast<std::size_t>(size) - sizeof(Packet));
  return received;
}

}  // namespace sluice::iceoryx
