// sluiced: the broker.
#include "daemons/sluiced/broker.hpp"
#include "daemons/sluiced/handed_over.hpp"
#include "daemons/sluiced/listener.hpp"
#include "daemons/sluiced/log.hpp"
#include "sluice/version.hpp"

#include <CLI/CLI.hpp>

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

namespace {

using namespace sluice;

struct Arguments {
  std::string socket;
  std::string log_level = "info";
  bool log_json = false;
};

Result<std::string> socket_path(const std::string& given) {
  if (!given.empty()) return given;
  if (const char* path = std::getenv("SLUICE_SOCKET")) return std::string(path);
  if (::geteuid() == 0) return std::string("/run/sluice/sluiced.sock");
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR")) {
    return std::string(runtime) + "/sluice/sluiced.sock";
  }
  return Error{Errc::invalid_argument, 0,
               "no place for the socket is known: set SLUICE_SOCKET, or XDG_RUNTIME_DIR"};
}

Result<void> run(const Arguments& arguments) {
  auto path = socket_path(arguments.socket);
  if (!path) return std::move(path).error();
  broker::raise_descriptor_limit();
  auto loop = broker::EventLoop::create();
  if (!loop) return std::move(loop).error();
  auto listener = broker::Listener::bind(*path);
  if (!listener) return std::move(listener).error();
  broker::Broker broker{*loop, broker::Gate{}};
  auto started =
      listener->start(*loop, [&](shm::UniqueFd socket) { broker.adopt(std::move(socket)); });
  if (!started) return started;

  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const shm::UniqueFd ends{::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
  auto watching = loop->watch(ends.get(), EPOLLIN, [&](auto) { loop->stop(); });
  if (!watching) return std::move(watching).error();
  broker::log_info("listening on " + *path);
  return loop->run();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    Arguments arguments;
    CLI::App app{"sluiced: finds nodes, streams and subscriptions for each other."};
    app.add_option("--socket", arguments.socket, "Where to listen");
    app.add_option("--log-level", arguments.log_level, "debug, info, warning, error");
    app.add_flag("--log-json", arguments.log_json, "One JSON object a line");
    app.set_version_flag("--version", std::to_string(sluice::kVersionMajor) + "." +
                                          std::to_string(sluice::kVersionMinor) + "." +
                                          std::to_string(sluice::kVersionPatch));
    CLI11_PARSE(app, argc, argv);
    auto logging = sluice::broker::set_up_log(arguments.log_level, arguments.log_json);
    auto result = logging ? run(arguments) : logging;
    if (result) return 0;
    std::fprintf(stderr, "sluiced: %s\n", result.error().message.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "sluiced: %s\n", error.what());
  }
  return 1;
}
