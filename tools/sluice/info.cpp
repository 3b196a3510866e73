// sluice info: everything about one topic or one node.
#include "sluice/topic.hpp"
#include "tools/sluice/measure.hpp"
#include "tools/sluice/survey.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/top_view.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace sluice::tools {
namespace {

struct InfoOptions {
  Reach reach;
  std::string name;
  double seconds = 1;
  bool json = false;
};

int run_info(const InfoOptions& options) {
  catch_interrupts();
  const auto measured = measure(options.reach, "info", "#", options.seconds);
  if (!measured) return failed("info", measured.error().message);
  const Table& table = measured->table;

  std::vector<const StreamRow*> streams;
  for (const StreamRow& row : table.streams) {
    if (row.topic == options.name) streams.push_back(&row);
  }
  const std::string nodes = node_text(measured->snapshot, table, options.name);
  std::string waiting;  // subscriptions to a topic that nobody publishes
  if (streams.empty() && check_topic(options.name)) {
    for (const SubscriptionInfo& subscription : measured->snapshot.subscriptions) {
      const auto matches = [&](const std::string& filter) {
        return filter_matches(filter, options.name);
      };
      if (std::none_of(subscription.filters.begin(), subscription.filters.end(), matches)) continue;
      for (const NodeInfo& node : measured->snapshot.nodes) {
        if (node.id != subscription.node_id) continue;
        waiting += joined({"nobody publishes it yet; ", clean(node.name), " would take it (",
                           clean(subscription.filter), ")\n"});
      }
    }
  }
  if (streams.empty() && nodes.empty() && waiting.empty()) {
    return failed("info", "there is no topic and no node '" + clean(options.name) +
                              "'; `sluice ls` shows those there are");
  }
  if (options.json) {
    const nlohmann::json all = to_json(table);
    nlohmann::json rows = nlohmann::json::array();
    for (const nlohmann::json& row : all["streams"]) {
      if (row["topic"] == options.name) rows.push_back(row);
    }
    print(dumped({{"streams", std::move(rows)},
                  {"nodes", node_json(measured->snapshot, table, options.name)}}) +
          "\n");
    return 0;
  }
  ViewOptions view;
  view.columns = 100;
  std::string text;
  for (const StreamRow* row : streams) {
    if (!text.empty()) text += '\n';
    for (const Line& line : stream_lines(table, row->id, view)) text += line.text() + "\n";
  }
  if (!text.empty() && !nodes.empty()) text += '\n';
  print(text + nodes + waiting);
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Run& run) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* verb = app.add_subcommand("info", "Show everything about a topic or a node");
  verb->group(kSeeing);
  verb->add_option("NAME", options->name, "A topic, or the name of a node")->required();
  verb->add_option("--seconds", options->seconds, "Rates are over this time (default: 1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 3600.0));
  verb->add_flag("--json", options->json, "One JSON object");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0, or 1 when there is no such topic or node, or no broker.\n\n"
      "Examples:\n"
      "  sluice info camera/front/frames\n"
      "  sluice info detect-front --json");
  verb->callback([options, &run] { run = [options] { return run_info(*options); }; });
}

}  // namespace sluice::tools
