// On what the figures were taken: they mean nothing without it.
#pragma once

#include <nlohmann/json.hpp>

namespace sluice::bench {

/// Processor, cores, memory, kernel, distribution, compiler, package versions, date (UTC), load
/// averages.
nlohmann::json describe_machine();

}  // namespace sluice::bench
