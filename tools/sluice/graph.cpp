// sluice graph: who talks to whom, and how much.
#include "sluice/topic.hpp"
#include "tools/sluice/measure.hpp"
#include "tools/sluice/survey.hpp"
#include "tools/sluice/top_feed.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace sluice::tools {
namespace {

struct GraphOptions {
  Reach reach;
  std::string filter = "#";
  double seconds = 1;
  bool all = false;
  bool dot = false;
  bool json = false;
};

int run_graph(const GraphOptions& options) {
  if (const auto checked = check_filter(options.filter); !checked) {
    return misused("graph", checked.error().message);
  }
  catch_interrupts();
  auto measured = measure(options.reach, "graph", options.filter, options.seconds);
  if (!measured) return failed("graph", measured.error().message);
  Table& table = measured->table;
  if (!options.all && options.filter == "#") {
    std::erase_if(table.streams, [](const StreamRow& row) { return is_report_topic(row.topic); });
  }
  print(options.dot    ? graph_dot(table)
        : options.json ? dumped(graph_json(table)) + "\n"
                       : graph_text(table));
  return 0;
}

}  // namespace

void add_graph(CLI::App& app, Run& run) {
  auto options = std::make_shared<GraphOptions>();
  CLI::App* verb = app.add_subcommand("graph", "Show who talks to whom, with rates");
  verb->group(kSeeing);
  verb->add_option("FILTER", options->filter, "Only these topics");
  verb->add_flag("-a,--all", options->all,
                 "Also the streams by which stages report (trace, health)");
  verb->add_option("--seconds", options->seconds, "Rates are over this time (default: 1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 3600.0));
  CLI::Option* dot = verb->add_flag("--dot", options->dot, "For Graphviz");
  verb->add_flag("--json", options->json, "One JSON object")->excludes(dot);
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0, or 1 without a broker.\n\n"
      "Examples:\n"
      "  sluice graph\n"
      "  sluice graph --dot | dot -Tsvg > pipeline.svg");
  verb->callback([options, &run] { run = [options] { return run_graph(*options); }; });
}

}  // namespace sluice::tools
