#include "tools/sluice/health_table.hpp"

#include "tools/sluice/text.hpp"
#include "tools/sluice/text_table.hpp"
#include "tools/sluice/top_json.hpp"

namespace sluice::tools {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& object, const char* name) {
  const auto at = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && at != object.end() && at->is_string() ? at->get<std::string>() : "";
}

std::uint64_t number_of(const Json& object, const char* name) {
  if (!object.is_object()) return 0;
  const auto at = object.find(name);
  return at != object.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

std::string counted(const Json& object, const char* name) {
  return object.is_object() && object.contains(name) ? count_text(number_of(object, name)) : "-";
}

bool is_good(const std::string& status) {
  return status == "ok" || status == "healthy" || status == "starting" || status == "stopping" ||
         status == "online" || status == "offline" || status == "died";
}

}  // namespace

void HealthTable::set_nodes(const std::vector<NodeInfo>& nodes) {
  for (auto& [name, row] : rows_) row.online = row.stuck = false;
  for (const NodeInfo& node : nodes) {
    Row& row = rows_[node.name];
    row.online = true;
    row.stuck = row.stuck || node.stuck;
    row.pid = node.pid;
    row.version = node.version;
    row.capabilities = node.capabilities;
  }
}

void HealthTable::add_record(std::string_view topic, const Json& record) {
  constexpr std::string_view kPrefix = "health/";
  constexpr std::string_view kBus = "/bus";
  if (!topic.starts_with(kPrefix) || !record.is_object()) return;
  topic.remove_prefix(kPrefix.size());
  const bool bus = topic.ends_with(kBus);
  if (bus) topic.remove_suffix(kBus.size());
  Row& row = rows_[std::string{topic}];
  (bus ? row.bus : row.stage) = record;
}

void HealthTable::add_event(const Json& event) {
  const std::string node = text_of(event, "node");
  if (!node.empty()) rows_[node].event = event;
}

bool HealthTable::Row::shown() const {
  return online || bus.is_object() || stage.is_object() || status() == "died";
}

// What is worst of what was said.
std::string HealthTable::Row::status() const {
  if (!online) {
    const std::string last = text_of(event, "event");
    return last == "died" ? last : "offline";
  }
  if (stuck) return "stuck";
  const std::string said = text_of(bus, "status");
  const std::string stage_said = text_of(stage, "status");
  if (!said.empty() && !is_good(said)) return said;
  if (!stage_said.empty()) return stage_said;
  return said.empty() ? "online" : said;
}

std::string HealthTable::Row::note() const {
  if (!online) {
    const std::string words = text_of(event, "last_words");
    return words.empty() ? text_of(event, "reason") : words;
  }
  const std::string problem = text_of(bus, "problem");
  if (!problem.empty()) return problem;
  const std::string error = text_of(stage, "last_error");
  if (!error.empty()) return error;
  std::string can;
  for (const Json& word : capabilities) {
    if (!word.is_string()) continue;
    if (!can.empty()) can += ' ';
    can += word.get<std::string>();
  }
  return can;
}

std::string HealthTable::text() const {
  TextTable table({"NODE", "STATUS", ">UP", ">MESSAGES", ">ERRORS", ">PID", "VERSION", ""});
  for (const auto& [name, row] : rows_) {
    if (!row.shown()) continue;
    const std::uint64_t up_s = number_of(row.bus, "uptime_s");
    const Json& told = row.bus.is_object() ? row.bus : row.stage;
    const bool bus = row.bus.is_object();
    table.add({name, row.status(), up_s != 0 ? duration_text(up_s * 1'000'000'000) : "-",
               counted(told, bus ? "messages" : "handled"),
               counted(told, bus ? "errors" : "failed"),
               row.pid != 0 ? std::to_string(row.pid) : "-", row.version, row.note()});
  }
  return table.empty() ? "no node is there\n" : table.text();
}

nlohmann::json HealthTable::json() const {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& [name, row] : rows_) {
    if (!row.shown()) continue;
    nlohmann::json one{{"node", name},
                       {"online", row.online},
                       {"status", row.status()},
                       {"version", row.version},
                       {"capabilities", row.capabilities},
                       {"bus", row.bus},
                       {"stage", row.stage},
                       {"event", row.event}};
    one["pid"] = row.pid != 0 ? nlohmann::json(row.pid) : nlohmann::json(nullptr);
    all.push_back(std::move(one));
  }
  return all;
}

bool HealthTable::well() const {
  for (const auto& [name, row] : rows_) {
    if (!is_good(row.status())) return false;
  }
  return true;
}

}  // namespace sluice::tools
