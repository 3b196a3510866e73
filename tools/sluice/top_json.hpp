// The table of `sluice top` for scripts. docs/tools.md has the names and units.
#pragma once

#include "tools/sluice/top_model.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::tools {

nlohmann::json to_json(const Table& table);

/// Ids have 64 bits, JSON's numbers 53: 16 hexadecimal digits.
std::string id_text(std::uint64_t id);

/// As nlohmann::json::dump on one line; text that is not UTF-8 is replaced, not thrown about.
std::string dumped(const nlohmann::json& json);

}  // namespace sluice::tools
