#include "daemons/sluiced/daemon.hpp"

#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/handed_over.hpp"
#include "daemons/sluiced/listener.hpp"
#include "daemons/sluiced/log.hpp"
#include "daemons/sluiced/service_manager.hpp"
#include "daemons/sluiced/signals.hpp"
#include "daemons/sluiced/system_node.hpp"
#include "transport/socket_path.hpp"

#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace sluice::broker {
namespace {

Result<Config> read_config(const DaemonOptions& options) {
  const std::string path = options.config.empty() ? kDefaultConfig : options.config;
  Config config;
  if (!options.config.empty() || ::access(path.c_str(), F_OK) == 0) {
    auto loaded = load_config(path);
    if (!loaded) return loaded;
    config = std::move(*loaded);
  }
  // The command line goes first, then the environment, then the file.
  const char* const environment = ::secure_getenv("SLUICE_SOCKET");
  if (!options.socket.empty() || (environment != nullptr && *environment != '\0')) {
    config.socket = options.socket;
  }
  config.log = daemon::log_options(options.log, config.log);
  return config;
}

Policy policy_of(Config& config) {
  return Policy{std::move(config.rules), ::geteuid(), ::getegid()};
}

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

void reload(const DaemonOptions& options, Broker& broker) {
  notify_reloading();
  auto config = read_config(options);
  if (config) {
    set_up_log(config->log);
    LimitTable limits = std::move(config->limits);
    broker.replace(policy_of(*config), std::move(limits), std::move(config->topics));
    log_info("the configuration was read again");
    broker.tell("configuration_reloaded");
  } else {
    log_error("the configuration stays as it was: " + config.error().message);
  }
  notify_ready();
}

}  // namespace

Result<void> run_daemon(const DaemonOptions& options) {
  raise_descriptor_limit();
  // Before anything that could be left behind.
  auto signals = Signals::create();
  if (!signals) return std::move(signals).error();
  auto config = read_config(options);
  if (!config) return std::move(config).error();
  set_up_log(config->log);
  auto loop = EventLoop::create();
  if (!loop) return std::move(loop).error();
  auto listener = open_listener(config->socket);
  if (!listener) return std::move(listener).error();

  // Outlives the broker, which tells it things to the end.
  SystemNode system{*loop, listener->path()};
  Broker broker{*loop, policy_of(*config), config->limits, config->topics};
  auto started = listener->start(*loop, [&](shm::UniqueFd fd) { broker.adopt(std::move(fd)); });
  if (!started) return started;
  started = signals->start(
      *loop, [&] { loop->stop(); }, [&] { reload(options, broker); });
  if (!started) return started;
  // After the signals were blocked, which its thread inherits.
  const auto begun = listener->path().empty()
                         ? Result<void>{Error{Errc::unsupported, 0, "the socket has no path"}}
                         : system.start();
  if (begun) {
    broker.tell_to(&system);
    broker.tell("started");
  } else {
    log_warning("$sys is not published: " + begun.error().message);
  }
  const Watchdog watchdog{*loop};
  notify_ready();
  auto result = loop->run();
  notify_stopping();
  log_info("stopping");
  broker.tell("stopping");
  broker.tell_to(nullptr);
  system.stop();
  return result;
}

}  // namespace sluice::broker
