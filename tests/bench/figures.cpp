#include "tests/bench/figures.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>

namespace sluice::bench {

std::optional<Spread> spread_of(const Series& series, std::string_view key) {
  std::vector<double> values;
  for (const nlohmann::json& round : series.rounds) {
    const auto found = round.find(key);
    if (round.value("ok", false) && found != round.end()) values.push_back(found->get<double>());
  }
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return Spread{.median = median, .min = values.front(), .max = values.back()};
}

const Series* find_series(const std::vector<Series>& all, std::string_view workload,
                          std::string_view peer) {
  const auto found = std::ranges::find_if(all, [&](const Series& series) {
    return series.workload->id == workload && series.peer->name == peer;
  });
  return found == all.end() ? nullptr : &*found;
}

std::optional<double> best_reference(const std::vector<Series>& all, std::string_view workload,
                                     std::string_view key, bool more_is_better) {
  std::optional<double> best;
  for (const std::string_view peer : kReferencePeers) {
    const Series* const series = find_series(all, workload, peer);
    const std::optional<Spread> spread = series == nullptr ? std::nullopt : spread_of(*series, key);
    if (!spread) continue;
    if (!best || (spread->median < *best) != more_is_better) best = spread->median;
  }
  return best;
}

std::string number(double value) {
  std::array<char, 32> text{};
  if (value == 0) return "0";
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(value))));
  const int decimals = std::clamp(2 - magnitude, 0, 6);
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  std::string digits = text.data();
  if (decimals > 0) return digits;
  for (std::ptrdiff_t at = std::ssize(digits) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return digits;
}

}  // namespace sluice::bench
