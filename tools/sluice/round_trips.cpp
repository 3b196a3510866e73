#include "tools/sluice/round_trips.hpp"

#include "tools/sluice/text.hpp"

#include <algorithm>
#include <cmath>

namespace sluice::tools {

void RoundTrips::add(std::uint64_t ns, bool ok) {
  if (ok) {
    times_.push_back(ns);
  } else {
    ++failed_;
  }
}

std::uint64_t RoundTrips::quantile(double share) const {
  if (times_.empty()) return 0;
  std::vector<std::uint64_t> sorted = times_;
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  const std::size_t index = std::clamp<std::size_t>(rank, 1, sorted.size()) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(index),
                   sorted.end());
  return sorted[index];
}

std::string RoundTrips::text() const {
  std::string all =
      joined({plural(times_.size() + failed_, "call"), ", ", std::to_string(failed_), " failed"});
  if (!times_.empty()) {
    all += joined({"   min ", duration_text(quantile(0)), "  p50 ", duration_text(quantile(0.5)),
                   "  p99 ", duration_text(quantile(0.99)), "  max ", duration_text(quantile(1))});
  }
  return all;
}

nlohmann::json RoundTrips::json() const {
  nlohmann::json all{{"calls", times_.size() + failed_}, {"failed", failed_}};
  const auto us = [this](double share) { return static_cast<double>(quantile(share)) / 1e3; };
  for (const auto& [name, share] : {std::pair{"min_us", 0.0}, std::pair{"p50_us", 0.5},
                                    std::pair{"p99_us", 0.99}, std::pair{"max_us", 1.0}}) {
    if (times_.empty()) {
      all[name] = nullptr;
    } else {
      all[name] = us(share);
    }
  }
  return all;
}

}  // namespace sluice::tools
