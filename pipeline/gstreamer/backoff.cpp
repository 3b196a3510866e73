// The jitter is applied to each wait, not to what the next one is doubled from, so that the
// sequence does not drift.
#include "pipeline/gstreamer/backoff.hpp"

#include <algorithm>
#include <random>
#include <utility>

namespace sluice::gst {

Backoff::Backoff(const BackoffOptions& options, std::function<double()> random)
    : options_(options), random_(std::move(random)), wait_(options.first) {
  if (!random_) {
    random_ = [generator = std::minstd_rand{std::random_device{}()}]() mutable {
      return std::uniform_real_distribution<double>{0.0, 1.0}(generator);
    };
  }
}

std::chrono::milliseconds Backoff::next() {
  const double factor = 1.0 - options_.jitter + 2.0 * options_.jitter * random_();
  const auto wait =
      static_cast<std::chrono::milliseconds::rep>(static_cast<double>(wait_.count()) * factor);
  wait_ = std::min(wait_ * 2, options_.most);
  return std::min(std::chrono::milliseconds{wait}, options_.most);
}

}  // namespace sluice::gst
