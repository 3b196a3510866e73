// Mean and deviation by Welford's method, which stays exact over days of messages.
#include "tools/sluice/intervals.hpp"

#include "tools/sluice/text.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::tools {

void Intervals::add(std::uint64_t at_ns) {
  ++messages_;
  if (last_ns_ != 0 && at_ns >= last_ns_) {
    const std::uint64_t interval = at_ns - last_ns_;
    least_ns_ = count_ == 0 ? interval : std::min(least_ns_, interval);
    most_ns_ = std::max(most_ns_, interval);
    ++count_;
    sum_ns_ += interval;
    const auto value = static_cast<double>(interval);
    const double off = value - mean_ns_;
    mean_ns_ += off / static_cast<double>(count_);
    squares_ += off * (value - mean_ns_);
  }
  last_ns_ = at_ns;
}

double Intervals::rate_hz() const {
  return sum_ns_ != 0 ? static_cast<double>(count_) * 1e9 / static_cast<double>(sum_ns_) : 0;
}

double Intervals::deviation_ns() const {
  return count_ > 1 ? std::sqrt(squares_ / static_cast<double>(count_ - 1)) : 0;
}

void Intervals::restart() {
  const std::uint64_t last = last_ns_;
  *this = {};
  last_ns_ = last;
}

std::string Intervals::text() const {
  if (count_ == 0) return joined({plural(messages_, "message"), ", no rate yet"});
  return joined({right(rate_text(rate_hz()), 5), " /s   min ", ms_text(least_ns_), " ms   max ",
                 ms_text(most_ns_), " ms   std ",
                 ms_text(static_cast<std::uint64_t>(deviation_ns())), " ms   ",
                 plural(messages_, "message")});
}

nlohmann::json Intervals::json() const {
  const auto ms = [](double ns) { return std::round(ns / 1e3) / 1e3; };
  return {{"messages", messages_},
          {"rate_hz", std::round(rate_hz() * 1000) / 1000},
          {"min_ms", ms(static_cast<double>(least_ns()))},
          {"max_ms", ms(static_cast<double>(most_ns_))},
          {"std_ms", ms(deviation_ns())}};
}

}  // namespace sluice::tools
