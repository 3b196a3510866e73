// The summary at the end of a run: what came of how many frames, where the others went, how long it
// took.
#pragma once

#include "daemons/run/observer.hpp"
#include "daemons/run/pipeline_file.hpp"
#include "daemons/run/supervisor.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace sluice::run {

/// For programs; docs/pipeline.md says what the members mean. For every subscription
/// published = taken + the losses + waiting.
nlohmann::ordered_json summary_of(const Pipeline& pipeline, const Observations& seen,
                                  const std::vector<Lives>& lives, double seconds);

/// The same for people.
std::string summary_text(const nlohmann::ordered_json& summary);

}  // namespace sluice::run
