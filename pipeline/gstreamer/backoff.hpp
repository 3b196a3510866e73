// How long to wait before the next attempt to reach a source.
#pragma once

#include <chrono>
#include <functional>

namespace sluice::gst {

struct BackoffOptions {
  std::chrono::milliseconds first{250};
  std::chrono::milliseconds most{10'000};
  double jitter = 0.2;  ///< Each wait is multiplied by 1 - jitter to 1 + jitter.
};

/// Doubles from attempt to attempt. `random` gives numbers from 0 to 1; without one they come from
/// the system. The jitter keeps cameras that went together from coming back together.
class Backoff {
 public:
  explicit Backoff(const BackoffOptions& options = {}, std::function<double()> random = {});

  [[nodiscard]] std::chrono::milliseconds next();
  void reset() noexcept { wait_ = options_.first; }

 private:
  BackoffOptions options_;
  std::function<double()> random_;
  std::chrono::milliseconds wait_;
};

}  // namespace sluice::gst
