// What the verbs share that talk to a broker: the option --socket, waiting for it, ending on
// Ctrl-C.
#pragma once

#include "sluice/node.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace CLI {
class App;
}

namespace sluice::tools {

struct Reach {
  std::string socket;
  double wait_s = 2;  ///< For a broker that is just starting.
};
/// --socket and --wait.
void add_reach(CLI::App& verb, Reach& reach);
void add_socket(CLI::App& verb, std::string& socket);

/// A node for the tool, named "sluice-<verb>"; the error says where no broker listens.
Result<Node> connect(const Reach& reach, const std::string& verb);

/// From here on SIGINT and SIGTERM set a flag instead of ending the program.
void catch_interrupts();
bool interrupted() noexcept;
/// Sleeps, but not beyond an interrupt; false when there was one.
bool sleep_until(std::chrono::steady_clock::time_point when);

/// CLOCK_MONOTONIC, as all times in messages and counters.
std::uint64_t monotonic_ns() noexcept;

/// "sluice <verb>: sentence" on standard error; the exit code 1.
int failed(const std::string& verb, const std::string& sentence);
/// The same, 2.
int misused(const std::string& verb, const std::string& sentence);

/// Writes all of it to standard output at once, so that a reader of a pipe gets whole lines. False
/// when nobody reads any more.
bool print(const std::string& text);

}  // namespace sluice::tools
