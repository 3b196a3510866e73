// Two brokers on one socket would share the clients between them by chance. A lock file beside the
// socket is held as long as a broker lives, and the kernel lets go of it however that ends; who
// holds it may remove the socket of a dead one. That somebody still answers on the socket, without
// the lock, is asked for too: a service manager may listen on it.
#include "daemons/sluiced/listener.hpp"

#include "daemons/sluiced/log.hpp"
#include "shm/clock.hpp"
#include "shm/memory.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace sluice::broker {
namespace {

constexpr int kBacklog = 1024;
constexpr int kTurn = 32;
constexpr std::uint64_t kPauseNs = 100'000'000;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  return address;
}

shm::UniqueFd new_socket() {
  return shm::UniqueFd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
}

Error in_use(const std::string& path) {
  return Error{Errc::refused, 0,
               "another broker listens on " + path +
                   "; stop it, or choose another socket with --socket or SLUICE_SOCKET"};
}

Result<void> make_folder(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) return {};
  const mode_t mode = ::geteuid() == 0 ? 0750 : 0700;
  if (::mkdir(folder.c_str(), mode) == 0 || errno == EEXIST) return {};
  return shm::system_error("making the folder " + folder.string() + " for the broker's socket");
}

Result<shm::UniqueFd> take_lock(const std::string& path) {
  const std::string file = path + ".lock";
  shm::UniqueFd lock{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!lock.valid()) return shm::system_error("opening the lock file " + file);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) return in_use(path);
  return shm::system_error("locking " + file);
}

Result<void> remove_dead(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return shm::system_error("looking at " + path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return Error{Errc::refused, 0,
                 path + " exists and is not a socket; remove it, or choose another"};
  }
  const shm::UniqueFd probe = new_socket();
  const sockaddr_un address = address_of(path);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno == EAGAIN) {
    return in_use(path);
  }
  if (::unlink(path.c_str()) != 0) return shm::system_error("removing the old socket " + path);
  return {};
}

// The policy decides who may come in, by the credentials of each connection: so the socket itself
// is open to all who reach it.
Result<shm::UniqueFd> listen_on(const std::string& path) {
  shm::UniqueFd socket = new_socket();
  if (!socket.valid()) return shm::system_error("making the broker's socket");
  const sockaddr_un address = address_of(path);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return shm::system_error("binding the socket " + path);
  }
  if (::chmod(path.c_str(), 0666) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return shm::system_error("listening on " + path);
  }
  return socket;
}

}  // namespace

Result<Listener> Listener::bind(const std::string& path) {
  if (auto made = make_folder(path); !made) return std::move(made).error();
  auto lock = take_lock(path);
  if (!lock) return std::move(lock).error();
  if (auto removed = remove_dead(path); !removed) return std::move(removed).error();
  auto socket = listen_on(path);
  if (!socket) return std::move(socket).error();
  Listener listener;
  listener.path_ = path;
  listener.lock_ = std::move(*lock);
  listener.socket_ = std::move(*socket);
  return listener;
}

Result<Listener> Listener::inherit(shm::UniqueFd socket) {
  int type = 0;
  socklen_t bytes = sizeof type;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &type, &bytes) != 0 ||
      type != SOCK_SEQPACKET) {
    return Error{Errc::invalid_argument, 0,
                 "the socket from the service manager is not a SOCK_SEQPACKET one; use "
                 "ListenSequentialPacket= in its unit"};
  }
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    return shm::system_error("fcntl of the broker's socket");
  }
  Listener listener;
  listener.socket_ = std::move(socket);
  return listener;
}

std::string Listener::path() const {
  sockaddr_un address{};
  socklen_t bytes = sizeof address;
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0) return {};
  return {address.sun_path, ::strnlen(address.sun_path, sizeof address.sun_path)};
}

Listener::~Listener() {
  if (loop_ != nullptr) {
    loop_->forget(token_);
    loop_->cancel(pause_);
  }
  // Before the lock goes.
  if (socket_.valid() && !path_.empty()) ::unlink(path_.c_str());
}

Result<void> Listener::start(EventLoop& loop, OnConnection on_connection) {
  on_connection_ = std::move(on_connection);
  auto token = loop.watch(socket_.get(), EPOLLIN, [this](auto) { accept_some(); });
  if (!token) return std::move(token).error();
  loop_ = &loop;
  token_ = *token;
  return {};
}

void Listener::accept_some() {
  for (int i = 0; i < kTurn; ++i) {
    shm::UniqueFd socket{::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (socket.valid()) {
      on_connection_(std::move(socket));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      // Who waits stays in the backlog; asking again at once would only burn the processor.
      log_error(shm::system_error("accepting a connection").message);
      loop_->change(token_, 0);
      pause_ = loop_->at(shm::deadline_in(kPauseNs), [this] { loop_->change(token_, EPOLLIN); });
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

}  // namespace sluice::broker
