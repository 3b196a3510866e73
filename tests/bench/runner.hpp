// Starts one cell (cell.hpp) as a program of its own, waits for its line of JSON, and sees to it
// that nothing of it remains, also when it hangs or this program is interrupted.
#pragma once

#include "tests/bench/peers.hpp"
#include "tests/bench/workload.hpp"

#include <nlohmann/json.hpp>

#include <sys/types.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace sluice::bench {

/// SIGINT or SIGTERM came; the cell has been killed.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

class Runner {
 public:
  /// Looks for the programs in `directory`. Takes SIGINT and SIGTERM of this thread as its own.
  explicit Runner(std::string directory);
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  /// The cell's result; "ok" is false and "error" says why when anything went wrong.
  nlohmann::json run(const PeerInfo& peer, const Workload& workload, double seconds);

 private:
  pid_t start(const PeerInfo& peer, const Workload& workload, double seconds, int result_fd,
              int log_fd) const;
  /// What the cell wrote before it closed the pipe or `until_ns` came.
  std::string read_result(int result_fd, std::uint64_t until_ns) const;

  const std::string directory_;
  int signal_fd_ = -1;
};

}  // namespace sluice::bench
