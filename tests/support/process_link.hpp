// A publisher and its readers in processes of their own, with descriptors passed over a socket.
//
// Fork first, create streams afterwards (a writable mapping does not survive a fork). The order of
// messages for one subscription:
//
//   publisher                             reader
//   admit_over(socket, …) ── stream ───►  attach_over(socket, …)
//                         ◄── request ──
//                         ── admission ─►
//
//   Child reader = Child::run([](int socket) {
//     auto arena = must(shm::Arena::create("readers"));
//     auto reader = must(attach_over(socket, {.mode = DeliveryMode::next}, arena));
//     …
//     return 0;                                                      // the exit code
//   });
//   auto publisher = must(shm::Publisher::create(options));
//   must(admit_over(reader.socket(), *publisher, wake_arena));
//   EXPECT_EQ(reader.join(), 0);
//
// Every receive has a deadline; nothing here hangs.
#pragma once

#include "shm/arena.hpp"
#include "shm/clock.hpp"
#include "shm/publisher.hpp"
#include "shm/reader.hpp"
#include "tests/support/emulated.hpp"
#include "tests/support/must.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

inline constexpr std::uint64_t kPatienceNs = 20'000'000'000;

/// A pidfd of `pid`, or an invalid descriptor on kernels before 5.3.
inline shm::UniqueFd pidfd_open(pid_t pid) {
  return shm::UniqueFd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

// --- messages with descriptors
// ---------------------------------------------------------------------

struct Message {
  std::vector<std::byte> bytes;
  std::vector<shm::UniqueFd> fds;
};

inline Result<void> send_message(int socket, const void* data, std::size_t size,
                                 const std::vector<int>& fds = {}) {
  iovec part{const_cast<void*>(data), size};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent != static_cast<ssize_t>(size)) return shm::system_error("sendmsg");
  return {};
}

inline Result<Message> receive_message(int socket, std::uint64_t patience_ns = kPatienceNs) {
  pollfd p{socket, POLLIN, 0};
  if (::poll(&p, 1, static_cast<int>(patient(patience_ns) / 1'000'000)) != 1) {
    return Error{Errc::system, ETIMEDOUT, "no message arrived in time"};
  }
  Message message;
  message.bytes.resize(4096);
  iovec part{message.bytes.data(), message.bytes.size()};
  std::array<char, CMSG_SPACE(16 * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  if (got <= 0) return Error{Errc::system, got < 0 ? errno : EPIPE, "the other end has gone"};
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      message.fds.emplace_back(fd);
    }
  }
  message.bytes.resize(static_cast<std::size_t>(got));
  return message;
}

/// Sends and receives one trivially copyable value, to keep processes in step.
template <class T>
Result<void> send_value(int socket, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return send_message(socket, &value, sizeof value);
}
template <class T>
Result<T> receive_value(int socket, std::uint64_t patience_ns = kPatienceNs) {
  auto message = receive_message(socket, patience_ns);
  if (!message) return std::move(message).error();
  T value{};
  if (message->bytes.size() != sizeof value) {
    return Error{Errc::untrusted, 0, "a message of another size was expected"};
  }
  std::memcpy(&value, message->bytes.data(), sizeof value);
  return value;
}

// --- streams and subscriptions
// ---------------------------------------------------------------------

inline Result<void> send_stream(int socket, const shm::StreamDescriptors& stream) {
  std::vector<int> fds{stream.control.get()};
  for (const shm::UniqueFd& pool : stream.pools) fds.push_back(pool.get());
  return send_message(socket, "stream", 6, fds);
}

inline Result<shm::StreamDescriptors> receive_stream(int socket) {
  auto message = receive_message(socket);
  if (!message) return std::move(message).error();
  if (message->fds.empty()) return Error{Errc::untrusted, 0, "no descriptors came"};
  shm::StreamDescriptors stream;
  stream.control = std::move(message->fds[0]);
  for (std::size_t i = 1; i < message->fds.size(); ++i) {
    stream.pools.push_back(std::move(message->fds[i]));
  }
  return stream;
}

struct WireRequest {
  SubscriptionOptions options;
  std::uint64_t arena_bytes;
  std::uint64_t page_offset;
  std::uint32_t has_event;
  std::uint32_t has_process;
};

/// `event` may be -1. The sender's own pidfd goes along where the kernel has one.
inline Result<void> send_request(int socket, const SubscriptionOptions& options,
                                 const shm::Arena& arena, std::uint64_t page_offset,
                                 int event = -1) {
  auto shared = arena.share();
  if (!shared) return std::move(shared).error();
  const shm::UniqueFd self = pidfd_open(::getpid());
  const WireRequest wire{options, arena.size(), page_offset, event >= 0, self.valid()};
  std::vector<int> fds{shared->get()};
  if (event >= 0) fds.push_back(event);
  if (self.valid()) fds.push_back(self.get());
  return send_message(socket, &wire, sizeof wire, fds);
}

/// Verifies the arena; the caller adds its wake arena.
inline Result<shm::AttachRequest> receive_request(int socket) {
  auto message = receive_message(socket);
  if (!message) return std::move(message).error();
  WireRequest wire{};
  if (message->bytes.size() != sizeof wire) {
    return Error{Errc::untrusted, 0, "this is no attach request"};
  }
  std::memcpy(&wire, message->bytes.data(), sizeof wire);
  if (message->fds.size() != 1u + (wire.has_event != 0) + (wire.has_process != 0)) {
    return Error{Errc::untrusted, 0, "an attach request has other descriptors than it says"};
  }
  auto view = shm::View::open(message->fds[0].get(), "a reader arena", wire.arena_bytes);
  if (!view) return std::move(view).error();
  shm::AttachRequest request;
  request.options = wire.options;
  request.reader_arena = std::make_shared<const shm::View>(std::move(*view));
  request.page_offset = wire.page_offset;
  std::size_t next = 1;
  if (wire.has_event != 0) request.event = std::move(message->fds[next++]);
  if (wire.has_process != 0) request.process = std::move(message->fds[next++]);
  return request;
}

struct WireAdmission {
  std::uint64_t arena_bytes;
  std::uint64_t wake_offset;
  std::uint32_t reader_id;
  std::uint32_t has_process;
};

inline Result<void> send_admission(int socket, const shm::Admission& admission,
                                   const shm::Arena& wake_arena) {
  auto shared = wake_arena.share();
  if (!shared) return std::move(shared).error();
  const shm::UniqueFd self = pidfd_open(::getpid());
  const WireAdmission wire{wake_arena.size(), admission.wake_offset, admission.reader_id,
                           self.valid()};
  std::vector<int> fds{shared->get()};
  if (self.valid()) fds.push_back(self.get());
  return send_message(socket, &wire, sizeof wire, fds);
}

inline Result<void> send_refusal(int socket, const Error& error) {
  return send_message(socket, error.message.data(), error.message.size());
}

/// Receives the publisher's answer and starts the reader with it.
inline Result<void> receive_admission(int socket, shm::Reader& reader) {
  auto message = receive_message(socket);
  if (!message) return std::move(message).error();
  if (message->fds.empty()) {
    return Error{
        Errc::refused, 0,
        std::string(reinterpret_cast<const char*>(message->bytes.data()), message->bytes.size())};
  }
  WireAdmission wire{};
  if (message->bytes.size() != sizeof wire) {
    return Error{Errc::untrusted, 0, "this is no admission"};
  }
  std::memcpy(&wire, message->bytes.data(), sizeof wire);
  auto view = shm::View::open(message->fds[0].get(), "a wake arena", wire.arena_bytes);
  if (!view) return std::move(view).error();
  shm::UniqueFd process;
  if (wire.has_process != 0 && message->fds.size() == 2) process = std::move(message->fds[1]);
  return reader.start(std::make_shared<const shm::View>(std::move(*view)), wire.wake_offset,
                      std::move(process));
}

/// The publisher's side of one subscription.
inline Result<shm::Admission> admit_over(int socket, shm::Publisher& publisher,
                                         const std::shared_ptr<shm::Arena>& wake_arena) {
  auto stream = publisher.share();
  if (!stream) return std::move(stream).error();
  if (auto sent = send_stream(socket, *stream); !sent) return std::move(sent).error();
  auto request = receive_request(socket);
  if (!request) return std::move(request).error();
  request->wake_arena = wake_arena;
  auto admission = publisher.attach(std::move(*request));
  auto answered = admission ? send_admission(socket, *admission, *wake_arena)
                            : send_refusal(socket, admission.error());
  if (!answered) return std::move(answered).error();
  return admission;
}

/// The reader's side of one subscription.
inline Result<shm::ReaderPtr> attach_over(int socket, const SubscriptionOptions& options,
                                          const std::shared_ptr<shm::Arena>& arena,
                                          int event = -1) {
  auto stream = receive_stream(socket);
  if (!stream) return std::move(stream).error();
  auto reader = shm::Reader::open(*stream, options, arena);
  if (!reader) return std::move(reader).error();
  if (auto sent = send_request(socket, options, *arena, (*reader)->page_offset(), event); !sent) {
    return std::move(sent).error();
  }
  if (auto started = receive_admission(socket, **reader); !started) {
    return std::move(started).error();
  }
  return reader;
}

// --- processes
// -------------------------------------------------------------------------------------

/// A forked child with a socket to it. Killed and reaped when this object ends; dies with its
/// parent.
class Child {
 public:
  /// Runs `body(socket)` in a child process; its value is the exit code.
  static Child run(const std::function<int(int)>& body) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
      std::perror("socketpair");
      std::abort();
    }
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
      std::perror("fork");
      std::abort();
    }
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(127);
      ::close(ends[0]);
      const int code = body(ends[1]);
      std::fflush(nullptr);
      ::_exit(code);
    }
    ::close(ends[1]);
    return Child{pid, ends[0]};
  }

  Child(Child&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), socket_(std::move(other.socket_)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    if (pid_ > 0) {
      kill();
      (void)join();
    }
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int socket() const { return socket_.get(); }
  void kill(int signal = SIGKILL) const { ::kill(pid_, signal); }

  /// The exit code; 128 + n when signal n ended it; 124 when it had to be killed at the deadline.
  int join(std::uint64_t patience_ns = kPatienceNs) {
    const std::uint64_t deadline = shm::deadline_in(patient(patience_ns));
    int status = 0;
    bool late = false;
    while (::waitpid(pid_, &status, late ? 0 : WNOHANG) != pid_) {
      if (shm::now_ns() > deadline) {
        kill();
        late = true;
      } else {
        ::usleep(1000);
      }
    }
    pid_ = -1;
    if (late) return 124;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  Child(pid_t pid, int socket) : pid_(pid), socket_(socket) {}
  pid_t pid_ = -1;
  shm::UniqueFd socket_;
};

}  // namespace sluice::test
