// The worker as the keeper sees it: a child that may end at any time.
#pragma once

#include "daemons/iceoryx/link.hpp"
#include "sluice/result.hpp"

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace sluice::iceoryx {

/// How a worker ends by itself.
inline constexpr int kWorkerDone = 0;      ///< The keeper let go of it.
inline constexpr int kWorkerAsked = 3;     ///< RouDi is ending and had told it so.
inline constexpr int kWorkerOrphaned = 4;  ///< RouDi is gone, is another one, or knows it no more.
inline constexpr int kIceoryxFailed =
    5;  ///< iceoryx's error handler was called with a fatal error.

/// Killed and reaped at the end. Move-only.
class WorkerProcess {
 public:
  /// This program again, with `--worker 3` and the options; descriptor 3 is the link's other end, 4
  /// the configuration's text.
  static Result<WorkerProcess> start(const std::string& config_text,
                                     const std::vector<std::string>& options);
  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&&) = delete;
  ~WorkerProcess();

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] Link& link() noexcept { return link_; }
  void kill() const noexcept;
  /// Its exit code, or minus the signal that ended it; nothing while it lives.
  std::optional<int> ended() noexcept;
  /// Lets it end in order, for at most two seconds.
  void let_go() noexcept;

 private:
  WorkerProcess(pid_t pid, Link link) noexcept : pid_(pid), link_(std::move(link)) {}
  pid_t pid_ = 0;
  Link link_;
};

}  // namespace sluice::iceoryx
