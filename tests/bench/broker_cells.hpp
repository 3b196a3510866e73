// What is measured of nodes, the bus and the broker besides frames: each a function that returns
// its figures and throws when what arrived is not what was sent. broker_*.cpp and bus_*.cpp say
// what exactly.
#pragma once

#include "tests/bench/crew.hpp"
#include "tests/bench/workload.hpp"

#include <nlohmann/json.hpp>

#include <span>
#include <string>
#include <vector>

namespace sluice::bench {

struct BrokerCell {
  const std::string& directory;
  double seconds;  // roughly how long to measure; fewer repetitions when it is short
};

nlohmann::json measure_start(const BrokerCell& cell);
nlohmann::json measure_attach(const BrokerCell& cell);
nlohmann::json measure_publish(const BrokerCell& cell);
nlohmann::json measure_restart(const BrokerCell& cell);
nlohmann::json measure_death(const BrokerCell& cell);
nlohmann::json measure_connections(const BrokerCell& cell);
nlohmann::json measure_mesh(const BrokerCell& cell);
nlohmann::json measure_bus_mesh(const BrokerCell& cell);
nlohmann::json measure_requests(const BrokerCell& cell);
nlohmann::json measure_state(const BrokerCell& cell);
nlohmann::json measure_priority(const BrokerCell& cell);
nlohmann::json measure_load(const BrokerCell& cell);
nlohmann::json measure_durable(const BrokerCell& cell);

/// The parts that their processes play.
void add_start_parts(CrewParts& parts);
void add_publish_parts(CrewParts& parts);
void add_restart_parts(CrewParts& parts);
void add_death_parts(CrewParts& parts);
void add_many_parts(CrewParts& parts);
void add_request_parts(CrewParts& parts);
void add_state_parts(CrewParts& parts);
void add_priority_parts(CrewParts& parts);
void add_load_parts(CrewParts& parts);

/// `<name>_p50`, `<name>_p99`, `<name>_max` of what is not empty.
void add_quantiles(nlohmann::json& result, const std::string& name, std::vector<double> values);

/// A message of two words: its number, and a word made of it.
inline constexpr std::size_t kNumberBytes = 16;
void write_number(std::span<std::byte> to, std::uint64_t number);
/// Throws when the words do not belong together.
std::uint64_t read_number(std::span<const std::byte> from);

}  // namespace sluice::bench
