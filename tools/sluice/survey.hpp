// Who is there and who talks to whom, as text, JSON and DOT: pure, out of a snapshot or a table of
// rates. For the verbs ls, info and graph.
#pragma once

#include "sluice/monitor.hpp"
#include "tools/sluice/top_model.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

/// Each topic once, sorted.
std::vector<std::string> topics_of(const Snapshot& snapshot);
/// Each node's name once, sorted.
std::vector<std::string> nodes_of(const Snapshot& snapshot);

std::string list_text(const Snapshot& snapshot);
nlohmann::json list_json(const Snapshot& snapshot);

/// What a node is and does; empty when there is none of that name. A name may be several nodes.
std::string node_text(const Snapshot& snapshot, const Table& table, std::string_view node);
nlohmann::json node_json(const Snapshot& snapshot, const Table& table, std::string_view node);

/// Processes, the topics they publish, and who takes them, with rates.
std::string graph_text(const Table& table);
std::string graph_dot(const Table& table);
nlohmann::json graph_json(const Table& table);

}  // namespace sluice::tools
