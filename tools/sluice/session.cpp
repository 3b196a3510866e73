// The tool is a node like any other, but one that nobody waits for: it comes, looks, and goes.
#include "tools/sluice/session.hpp"

#include "transport/socket_path.hpp"

#include <CLI/CLI.hpp>

#include <poll.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cstdio>

namespace sluice::tools {
namespace {

volatile sig_atomic_t interrupt_seen = 0;
void note_interrupt(int) { interrupt_seen = 1; }

}  // namespace

void add_socket(CLI::App& verb, std::string& socket) {
  verb.add_option("--socket", socket,
                  "Where the broker listens (default: $SLUICE_SOCKET, else the system's)")
      ->type_name("PATH");
}

void add_reach(CLI::App& verb, Reach& reach) {
  add_socket(verb, reach.socket);
  verb.add_option("--wait", reach.wait_s, "Wait so long for a broker (default: 2)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e6));
}

Result<Node> connect(const Reach& reach, const std::string& verb) {
  const auto path = transport::client_socket_path(reach.socket);
  if (!path) return path.error();
  NodeOptions options;
  options.name = "sluice-" + verb;
  options.socket = *path;
  options.connect_timeout =
      std::chrono::milliseconds{static_cast<std::int64_t>(reach.wait_s * 1000)};
  auto node = Node::create(std::move(options));
  if (!node && node.error().code == Errc::system) {
    Error error = node.error();
    if (error.message.find(*path) == std::string::npos) error.message += " (" + *path + ")";
    return error;
  }
  return node;
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = note_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

bool interrupted() noexcept { return interrupt_seen != 0; }

bool sleep_until(std::chrono::steady_clock::time_point when) {
  while (!interrupted()) {
    const auto left = when - std::chrono::steady_clock::now();
    if (left <= std::chrono::nanoseconds{0}) return true;
    // In pieces: a signal that comes just before the sleep must not be slept through.
    const auto piece = std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds{200});
    timespec time{};
    time.tv_sec = 0;
    time.tv_nsec = static_cast<long>(piece.count());
    ::nanosleep(&time, nullptr);
  }
  return false;
}

std::uint64_t monotonic_ns() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

int failed(const std::string& verb, const std::string& sentence) {
  std::fprintf(stderr, "sluice %s: %s\n", verb.c_str(), sentence.c_str());
  return 1;
}

int misused(const std::string& verb, const std::string& sentence) {
  failed(verb, sentence);
  return 2;
}

bool print(const std::string& text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() &&
         std::fflush(stdout) == 0;
}

}  // namespace sluice::tools
