// A broker of one's own, and a client's first steps. For the programs that measure nodes.
#pragma once

#include "sluice/node.hpp"

#include <sys/types.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::bench {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

/// The folder of the program that runs, where the others lie as well.
std::string program_directory();

/// A `sluiced` whose socket lies in a folder of the caller's. It dies with the thread that started
/// it, or with this object. Everything that fails throws.
class Broker {
 public:
  /// Starts it. Allows one user 2,000 connections and any number of
  /// requests; all else is its default.
  explicit Broker(const std::string& directory);
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;
  ~Broker();

  std::string socket() const { return directory_ + "/sluiced.sock"; }
  pid_t pid() const { return pid_; }

  /// kill -9, and its end awaited.
  void kill();
  /// Starts it again; clients wait for it by themselves.
  void start();

 private:
  const std::string directory_;
  const pid_t owner_;
  pid_t pid_ = -1;
};

/// With a thread of its own, all else by default. Throws.
Node make_node(std::string name, const std::string& socket);

}  // namespace sluice::bench
