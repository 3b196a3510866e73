// sluice health: who is there, and how it is.
//
// Health records and announcements are kept by who says them, so a moment of listening is enough to
// have them all; the monitor says who is connected at all.
#include "sluice/codec.hpp"
#include "sluice/envelope.hpp"
#include "sluice/node.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/decode.hpp"
#include "tools/sluice/health_table.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <memory>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr std::uint32_t kEvents = 256;  // as many as the broker keeps
constexpr std::string_view kNodes = "$sys/nodes";

struct HealthOptions {
  Reach reach;
  Duration listen = 500ms;
  Duration interval = 2s;
  bool watch = false;
  bool json = false;
};

// A record is a message in JSON, or what a stage publishes.
void take_in(HealthTable& table, std::string_view topic, const Sample& sample) {
  const auto envelope = read_envelope(sample.bytes());
  if (!envelope) {
    if (topic != kNodes) table.add_record(topic, decode(sample, "sluice.Health", 0).json);
    return;
  }
  const auto payload = sample.bytes().subspan(envelope->header_bytes);
  const std::string text{reinterpret_cast<const char*>(payload.data()), payload.size()};
  if (!is_json(text)) return;
  const auto record = nlohmann::json::parse(text, nullptr, false);
  if (topic == kNodes) {
    table.add_event(record);
  } else {
    table.add_record(topic, record);
  }
}

void listen(Subscriber& records, HealthTable& table, Deadline until) {
  while (!interrupted() && steady_clock::now() < until) {
    while (const Sample sample = records.take()) take_in(table, records.topic(sample), sample);
    (void)records.wait(std::min(until, after(200ms)));
  }
}

int run_health(const HealthOptions& options) {
  catch_interrupts();
  auto node = connect(options.reach, "health");
  if (!node) return failed("health", node.error().message);
  auto monitor = node->monitor("health/#");
  if (!monitor) return failed("health", monitor.error().message);
  SubscriptionOptions with;
  with.max_held = 1;
  with.history = kEvents;
  auto records = node->subscribe(
      std::vector<std::string>{"health/+", "health/+/bus", std::string{kNodes}}, with);
  if (!records) return failed("health", records.error().message);
  HealthTable table;
  Duration time = options.listen;
  do {
    listen(*records, table, after(time));
    std::vector<NodeInfo> nodes = monitor->snapshot().nodes;
    std::erase_if(nodes, [&](const NodeInfo& info) { return info.id == node->id(); });
    table.set_nodes(nodes);
    const bool screen = options.watch && !options.json && ::isatty(STDOUT_FILENO) != 0;
    const std::string text = options.json ? dumped(table.json()) + "\n" : table.text();
    if (!print((screen ? "\033[H\033[2J" : "") + text)) break;
    time = options.interval;
  } while (options.watch && !interrupted());
  return table.well() ? 0 : 1;
}

}  // namespace

void add_health(CLI::App& app, Run& run) {
  auto options = std::make_shared<HealthOptions>();
  CLI::App* verb = app.add_subcommand("health", "Show who is there, and how it is");
  verb->group(kSeeing);
  verb->add_flag("--watch", options->watch, "Again and again");
  add_duration(*verb, "--interval", options->interval, "Of --watch (default: 2s)");
  add_duration(*verb, "--listen", options->listen, "Time for records to come in (default: 0.5s)");
  verb->add_flag("--json", options->json, "A JSON array on a line");
  add_reach(*verb, options->reach);
  verb->footer(
      "Last are capabilities, what is wrong, or the last words of who died.\n"
      "Exit code 0 when all who are online are well; else 1.");
  verb->callback([options, &run] { run = [options] { return run_health(*options); }; });
}

}  // namespace sluice::tools
