#include "daemons/sluiced/service_manager.hpp"

#include "shm/clock.hpp"

#include <systemd/sd-daemon.h>

#include <string>

namespace sluice::broker {

Result<std::optional<shm::UniqueFd>> inherited_socket() {
  const int count = ::sd_listen_fds(1);
  if (count <= 0) return std::optional<shm::UniqueFd>{};
  if (count == 1) return std::optional{shm::UniqueFd{SD_LISTEN_FDS_START}};
  return Error{
      Errc::invalid_argument, 0,
      "the service manager passed " + std::to_string(count) + " sockets; sluiced listens on one"};
}

void notify_ready() { ::sd_notify(0, "READY=1"); }

void notify_reloading() {
  const std::string text = "RELOADING=1\nMONOTONIC_USEC=" + std::to_string(shm::now_ns() / 1'000);
  ::sd_notify(0, text.c_str());
}

void notify_stopping() { ::sd_notify(0, "STOPPING=1"); }

Watchdog::Watchdog(EventLoop& loop) : loop_(loop) {
  std::uint64_t usec = 0;
  if (::sd_watchdog_enabled(1, &usec) <= 0) return;
  period_ns_ = usec * 1'000 / 2;
  tick();
}

Watchdog::~Watchdog() { loop_.cancel(timer_); }

void Watchdog::tick() {
  ::sd_notify(0, "WATCHDOG=1");
  timer_ = loop_.at(shm::deadline_in(period_ns_), [this] { tick(); });
}

}  // namespace sluice::broker
