// Who is there and how it is, from what nodes and the broker say; for `sluice health`.
#pragma once

#include "sluice/monitor.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sluice::tools {

/// Takes records in any order. What they contain is input: members that are missing or of another
/// kind are left out.
class HealthTable {
 public:
  /// Of the monitor: who is connected.
  void set_nodes(const std::vector<NodeInfo>& nodes);
  /// Of `health/<node>/bus`, and of a stage on `health/<node>` as decode() shows it.
  void add_record(std::string_view topic, const nlohmann::json& record);
  /// Of `$sys/nodes`: {"event": "online"|"offline"|"died", "node": …}.
  void add_event(const nlohmann::json& event);

  [[nodiscard]] std::string text() const;
  [[nodiscard]] nlohmann::json json() const;
  /// Nobody who is online has a problem, or is stuck.
  [[nodiscard]] bool well() const;

 private:
  struct Row {
    bool online = false;
    bool stuck = false;
    std::uint32_t pid = 0;
    std::string version;
    nlohmann::json capabilities = nlohmann::json::array();
    nlohmann::json bus;    // null: nothing said
    nlohmann::json stage;  // likewise
    nlohmann::json event;  // the last one
    /// Online, died, or said to be something; who left in order is not.
    [[nodiscard]] bool shown() const;
    [[nodiscard]] std::string status() const;
    [[nodiscard]] std::string note() const;
  };
  std::map<std::string, Row, std::less<>> rows_;
};

}  // namespace sluice::tools
