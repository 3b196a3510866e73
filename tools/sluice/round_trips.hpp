// Times of requests, for people and scripts.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::tools {

class RoundTrips {
 public:
  void add(std::uint64_t ns, bool ok);
  [[nodiscard]] std::uint64_t failed() const noexcept { return failed_; }
  /// "100 calls, 2 failed   min 12µs  p50 15µs  p99 80µs  max 1.2ms"
  [[nodiscard]] std::string text() const;
  [[nodiscard]] nlohmann::json json() const;

 private:
  /// Of those that were answered ok; `share` 0 to 1, nearest rank.
  [[nodiscard]] std::uint64_t quantile(double share) const;
  std::vector<std::uint64_t> times_;
  std::uint64_t failed_ = 0;
};

}  // namespace sluice::tools
