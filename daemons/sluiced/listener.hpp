// The broker's socket: taken by exactly one broker, and left to the next one as it was found.
#pragma once

#include "daemons/sluiced/event_loop.hpp"
#include "shm/fd.hpp"
#include "sluice/result.hpp"

#include <functional>
#include <string>

namespace sluice::broker {

/// Listens on a SOCK_SEQPACKET socket. Move-only until started, thread-bound.
class Listener {
 public:
  using OnConnection = std::function<void(shm::UniqueFd)>;

  /// Binds `path`, making its folder (for this user; for root, for its group too). What a dead
  /// broker left there is replaced. `refused`: a broker listens there.
  static Result<Listener> bind(const std::string& path);
  /// Takes the socket that the service manager opened.
  static Result<Listener> inherit(shm::UniqueFd socket);

  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  /// Removes the socket, if bind() made it.
  ~Listener();

  /// Where clients reach it; empty where that is no path.
  [[nodiscard]] std::string path() const;

  Result<void> start(EventLoop& loop, OnConnection on_connection);

 private:
  Listener() = default;
  void accept_some();

  std::string path_;  // what to remove; empty: nothing
  shm::UniqueFd lock_;
  shm::UniqueFd socket_;
  EventLoop* loop_ = nullptr;
  EventLoop::Token token_ = 0;
  EventLoop::Token pause_ = 0;
  OnConnection on_connection_;
};

}  // namespace sluice::broker
