// sluice breaker: the circuit breakers of all nodes, seen and forced.
//
// A node says the state of each of its breakers on `$breaker/<service>/<node>`, and follows
// {"do": "breaker", "service": …, "state": …} on `$sys/control/<node>` and `$sys/control/all`.
#include "sluice/breaker.hpp"

#include "sluice/codec.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/text_table.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <map>
#include <memory>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

struct BreakerVerbOptions {
  Reach reach;
  std::string service;
  std::string node = "all";
  Duration listen = 500ms;
  bool json = false;
};

// A member of what another process said, for people.
std::string shown(const nlohmann::json& record, const char* name) {
  const auto at = record.find(name);
  if (at == record.end()) return "-";
  return at->is_string() ? at->get<std::string>() : dumped(*at);
}

int run_breaker_ls(const BreakerVerbOptions& options) {
  catch_interrupts();
  auto node = connect(options.reach, "breaker");
  if (!node) return failed("breaker", node.error().message);
  MessageSubscriptionOptions with;
  with.retained = true;
  const std::string filter =
      options.service.empty() ? "$breaker/#" : "$breaker/" + options.service + "/+";
  auto in = MessageSubscriber::create(*node, filter, with);
  if (!in) return failed("breaker", in.error().message);
  std::map<std::string, nlohmann::json> found;
  const Deadline until = after(options.listen);
  while (!interrupted() && steady_clock::now() < until) {
    Message message = in->receive(std::min(until, after(200ms)));
    if (!message) continue;
    const std::string text{message.text()};
    auto record =
        is_json(text) ? nlohmann::json::parse(text, nullptr, false) : nlohmann::json(nullptr);
    if (record.is_object()) found[std::string{message.topic()}] = std::move(record);
    in->acknowledge(std::move(message));
  }
  if (options.json) {
    nlohmann::json all = nlohmann::json::array();
    for (auto& [topic, record] : found) all.push_back(std::move(record));
    print(dumped(all) + "\n");
    return 0;
  }
  TextTable table(
      {"SERVICE", "NODE", "STATE", ">CALLS", ">FAILED", ">SLOW", ">REFUSED", ">OPENED"});
  for (const auto& [topic, r] : found) {
    table.add({shown(r, "service"), shown(r, "node"), shown(r, "state"), shown(r, "calls"),
               shown(r, "failed"), shown(r, "slow"), shown(r, "refused"), shown(r, "opened")});
  }
  print(table.empty() ? "no breaker is told of\n" : table.text());
  return 0;
}

int force(const BreakerVerbOptions& options, BreakerState state) {
  catch_interrupts();
  const std::string topic = "$sys/control/" + options.node;
  if (const auto checked = check_topic(topic); !checked) {
    return misused("breaker", checked.error().message);
  }
  auto node = connect(options.reach, "breaker");
  if (!node) return failed("breaker", node.error().message);
  MessagePublisherOptions with;
  with.codec = Codec::json;
  auto out = MessagePublisher::create(*node, topic, with);
  if (!out) return failed("breaker", out.error().message);
  // Who listens attaches within a moment.
  const Deadline settled = after(1s);
  while (out->stream().subscriber_count() < out->stream().matching_count() &&
         steady_clock::now() < settled && sleep_until(after(1ms))) {
  }
  const std::string order =
      dumped({{"do", "breaker"}, {"service", options.service}, {"state", to_string(state)}});
  Published published;
  const Outcome outcome =
      out->publish(std::as_bytes(std::span{order.data(), order.size()}), {}, published);
  if (outcome != Outcome::ok)
    return failed("breaker", std::string{"not sent: "} + to_string(outcome));
  const Outcome reached = out->wait_reached(published, ReachLevel::handled, after(5s));
  if (reached == Outcome::no_subscriber) {
    (void)failed("breaker", options.node == "all" ? "no node follows system messages"
                                                  : "'" + clean(options.node) +
                                                        "' is not there, or "
                                                        "follows no system messages");
    return kNobody;
  }
  if (reached != Outcome::ok) {
    return failed("breaker", std::string{"not all have followed it: "} + to_string(reached));
  }
  return 0;
}

void add_force(CLI::App& breaker, const std::shared_ptr<BreakerVerbOptions>& options, Run& run,
               const char* name, const char* description, BreakerState state) {
  CLI::App* verb = breaker.add_subcommand(name, description);
  verb->add_option("SERVICE", options->service, "Of calls to this service")->required();
  verb->add_option("--node", options->node, "In this node only")->type_name("NAME");
  add_reach(*verb, options->reach);
  verb->callback(
      [options, state, &run] { run = [options, state] { return force(*options, state); }; });
}

}  // namespace

void add_breaker(CLI::App& app, Run& run) {
  auto options = std::make_shared<BreakerVerbOptions>();
  CLI::App* verb = app.add_subcommand("breaker", "See and force circuit breakers");
  verb->group(kBus);
  verb->require_subcommand(1);
  CLI::App* ls = verb->add_subcommand("ls", "List breakers and their state");
  ls->add_option("SERVICE", options->service, "Of this service only");
  add_duration(*ls, "--listen", options->listen, "Time for them to come in (default: 0.5s)");
  ls->add_flag("--json", options->json, "A JSON array");
  add_reach(*ls, options->reach);
  ls->callback([options, &run] { run = [options] { return run_breaker_ls(*options); }; });
  add_force(*verb, options, run, "open", "Let no call pass", BreakerState::forced_open);
  add_force(*verb, options, run, "close", "Let every call pass", BreakerState::forced_closed);
  add_force(*verb, options, run, "reset", "Back to the rules", BreakerState::closed);
  verb->footer(
      "Forcing is for operators: see the policy's rules for $sys/control.\n"
      "Exit code 0; 1 for a failure, 2 for bad usage, 3 when no node is there to follow.\n\n"
      "Examples:\n"
      "  sluice breaker ls\n"
      "  sluice breaker open payments --node shop");
}

}  // namespace sluice::tools
