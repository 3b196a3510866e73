#include "daemons/sluiced/daemon.hpp"

#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/handed_over.hpp"
#include "daemons/sluiced/listener.hpp"
#include "daemons/sluiced/log.hpp"
#include "daemons/sluiced/service_manager.hpp"
#include "daemons/sluiced/signals.hpp"
#include "transport/socket_path.hpp"

#include <unistd.h>

#include <optional>
#include <utility>

namespace sluice::broker {
namespace {

Result<Listener> open_listener(const std::string& given) {
  auto inherited = inherited_socket();
  if (!inherited) return std::move(inherited).error();
  if (*inherited) {
    log_info("listening on the socket of the service manager");
    return Listener::inherit(std::move(**inherited));
  }
  auto path = transport::broker_socket_path(given);
  if (!path) return std::move(path).error();
  auto listener = Listener::bind(*path);
  if (listener) log_info("listening on " + *path);
  return listener;
}

}  // namespace

Result<void> run_daemon(const DaemonOptions& options) {
  raise_descriptor_limit();
  // Before anything that could be left behind.
  auto signals = Signals::create();
  if (!signals) return std::move(signals).error();
  auto loop = EventLoop::create();
  if (!loop) return std::move(loop).error();
  auto listener = open_listener(options.socket);
  if (!listener) return std::move(listener).error();

  Broker broker{*loop, Policy{{}, ::geteuid(), ::getegid()}, LimitTable{}};
  const auto adopt = [&](shm::UniqueFd socket) { broker.adopt(std::move(socket)); };
  if (auto started = listener->start(*loop, adopt); !started) return started;
  const auto end = [&] { loop->stop(); };
  const auto reload = [&] {};
  if (auto started = signals->start(*loop, end, reload); !started) return started;
  const Watchdog watchdog{*loop};
  notify_ready();
  auto result = loop->run();
  notify_stopping();
  log_info("stopping");
  return result;
}

}  // namespace sluice::broker
