// A RouDi of one's own, in the caller's mount namespace: its names are the machine's.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice::bench {

/// Sizes and counts of chunks.
using RoudiPools = std::vector<std::pair<unsigned, unsigned>>;

/// Runs as long as this object. Its configuration lies in `directory`. Everything that fails
/// throws.
class Roudi {
 public:
  /// Returns when clients may come.
  Roudi(const std::string& directory, const RoudiPools& pools);
  Roudi(const Roudi&) = delete;
  Roudi& operator=(const Roudi&) = delete;
  ~Roudi();

  pid_t pid() const { return pid_; }

 private:
  void await_ready();
  void stop();

  pid_t pid_ = -1;
  int log_fd_ = -1;
};

}  // namespace sluice::bench
