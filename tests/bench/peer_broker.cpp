// The program of the workloads that are about nodes and the broker themselves.
#include "tests/bench/broker_cells.hpp"
#include "tests/bench/cell_program.hpp"
#include "tests/bench/message.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

namespace sluice::bench {

void add_quantiles(nlohmann::json& result, const std::string& name, std::vector<double> values) {
  if (values.empty()) throw std::runtime_error("nothing was measured of " + name);
  std::ranges::sort(values);
  const auto at = [&](double fraction) {
    const double rank = std::ceil(fraction * static_cast<double>(values.size()));
    return values[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
  };
  result[name + "_p50"] = at(0.5);
  result[name + "_p99"] = at(0.99);
  result[name + "_max"] = values.back();
  result[name + "_samples"] = values.size();
}

void write_number(std::span<std::byte> to, std::uint64_t number) {
  store_word(to.data(), 0, number);
  store_word(to.data(), 1, pattern_base(number));
}

std::uint64_t read_number(std::span<const std::byte> from) {
  const std::uint64_t number = load_word(from.data(), 0);
  if (from.size() != kNumberBytes || load_word(from.data(), 1) != pattern_base(number)) {
    throw std::runtime_error("verification: wrong content at " + std::to_string(number));
  }
  return number;
}

}  // namespace sluice::bench

int main(int argc, char** argv) {
  using namespace sluice::bench;
  CrewParts parts;
  add_start_parts(parts);
  add_publish_parts(parts);
  add_restart_parts(parts);
  add_death_parts(parts);
  add_many_parts(parts);
  add_request_parts(parts);
  add_state_parts(parts);
  add_priority_parts(parts);
  add_load_parts(parts);
  if (int exit_code = 0; play_part(argc, argv, parts, exit_code)) return exit_code;

  const std::map<std::string, nlohmann::json (*)(const BrokerCell&)> cells{
      {"first-sample", measure_start},
      {"attach", measure_attach},
      {"publish-readers", measure_publish},
      {"broker-restart", measure_restart},
      {"deaths", measure_death},
      {"connections1000", measure_connections},
      {"nodes100", measure_mesh},
      {"bus100", measure_bus_mesh},
      {"routed-requests", measure_requests},
      {"state", measure_state},
      {"priority", measure_priority},
      {"cpu10k", measure_load},
      {"durable", measure_durable},
  };
  return cell_program(
      argc, argv, [&](const CellOptions& options, const Workload&, const std::string& directory) {
        return cells.at(options.workload)({.directory = directory, .seconds = options.seconds});
      });
}
