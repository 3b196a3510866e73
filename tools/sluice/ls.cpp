// sluice ls: what is there.
#include "sluice/topic.hpp"
#include "tools/sluice/measure.hpp"
#include "tools/sluice/survey.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <memory>

namespace sluice::tools {
namespace {

struct ListOptions {
  Reach reach;
  std::string filter = "#";
  bool all = false;
  bool topics = false;
  bool nodes = false;
  bool json = false;
};

int run_ls(const ListOptions& options) {
  if (const auto checked = check_filter(options.filter); !checked) {
    return misused("ls", checked.error().message);
  }
  auto snapshot = look(options.reach, "ls", options.filter);
  if (!snapshot) return failed("ls", snapshot.error().message);
  if (options.topics || options.nodes) {
    std::string text;
    for (const std::string& name : options.topics ? topics_of(*snapshot) : nodes_of(*snapshot)) {
      text += clean(name) + "\n";
    }
    print(text);
    return 0;
  }
  if (!options.all && options.filter == "#" && !options.json) hide_reports(*snapshot);
  print(options.json ? dumped(list_json(*snapshot)) + "\n" : list_text(*snapshot));
  return 0;
}

}  // namespace

void add_ls(CLI::App& app, Run& run) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* verb = app.add_subcommand("ls", "List streams, subscriptions and nodes");
  verb->group(kSeeing);
  verb->add_option("FILTER", options->filter, "Only what has to do with these topics");
  verb->add_flag("-a,--all", options->all,
                 "Also the streams by which stages report (trace, health)");
  CLI::Option* topics =
      verb->add_flag("--topics", options->topics, "The topics alone, one on a line");
  verb->add_flag("--nodes", options->nodes, "The names of nodes alone, one on a line")
      ->excludes(topics);
  verb->add_flag("--json", options->json, "One JSON object");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0, also when nothing is there; 1 without a broker.\n\n"
      "Examples:\n"
      "  sluice ls\n"
      "  sluice ls 'camera/#' --topics\n"
      "  sluice ls --json | jq '.streams[].topic'");
  verb->callback([options, &run] { run = [options] { return run_ls(*options); }; });
}

}  // namespace sluice::tools
