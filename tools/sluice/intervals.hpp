// The statistics of `sluice hz`: pure.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

namespace sluice::tools {

class Intervals {
 public:
  /// The time of a message, in order.
  void add(std::uint64_t at_ns);
  [[nodiscard]] std::uint64_t messages() const { return messages_; }
  /// Messages a second; 0 for fewer than two.
  [[nodiscard]] double rate_hz() const;
  /// 0 for fewer than two messages.
  [[nodiscard]] std::uint64_t least_ns() const { return count_ != 0 ? least_ns_ : 0; }
  [[nodiscard]] std::uint64_t most_ns() const { return most_ns_; }
  [[nodiscard]] double deviation_ns() const;
  /// The next interval still begins at the last message.
  void restart();

  [[nodiscard]] std::string text() const;
  [[nodiscard]] nlohmann::json json() const;

 private:
  std::uint64_t messages_ = 0;
  std::uint64_t last_ns_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
  std::uint64_t least_ns_ = 0;
  std::uint64_t most_ns_ = 0;
  double mean_ns_ = 0;
  double squares_ = 0;
};

}  // namespace sluice::tools
