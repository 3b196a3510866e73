#include "daemons/sluiced/signals.hpp"

#include "shm/memory.hpp"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace sluice::broker {

Result<Signals> Signals::create() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&set, signal);
  Signals signals;
  signals.fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals.fd_.valid() || ::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
    return shm::system_error("signalfd");
  }
  return signals;
}

Result<void> Signals::start(EventLoop& loop, std::function<void()> on_end,
                            std::function<void()> on_reload) {
  const auto read_one = [fd = fd_.get(), end = std::move(on_end),
                         reload = std::move(on_reload)](std::uint32_t) {
    signalfd_siginfo info{};
    if (::read(fd, &info, sizeof info) != sizeof info) return;
    (info.ssi_signo == SIGHUP ? reload : end)();
  };
  auto watched = loop.watch(fd_.get(), EPOLLIN, read_one);
  if (!watched) return std::move(watched).error();
  return {};
}

}  // namespace sluice::broker
