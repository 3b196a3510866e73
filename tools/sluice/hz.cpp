// sluice hz: the rate of one topic, exactly.
//
// It subscribes in mode next and measures the publish times that messages carry, so what this
// process is late does not count. Where even a subscription is too much (--counters), the rate
// comes from the stream's counters, as in `sluice top`.
#include "sluice/topic.hpp"
#include "tools/sluice/intervals.hpp"
#include "tools/sluice/listener.hpp"
#include "tools/sluice/measure.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <memory>

namespace sluice::tools {
namespace {

struct HzOptions {
  Reach reach;
  std::string topic;
  double interval_s = 1;
  std::uint64_t count = 0;
  bool counters = false;
  bool json = false;
};

std::chrono::nanoseconds seconds(double s) {
  return std::chrono::nanoseconds{std::llround(s * 1e9)};
}

int by_subscribing(const HzOptions& options) {
  SubscriptionOptions subscription;
  subscription.max_held = 1;
  auto listener = Listener::create(options.reach, "hz", options.topic, subscription);
  if (!listener) return failed("hz", listener.error().message);
  Intervals intervals;
  Deadline due = std::chrono::steady_clock::now();
  std::uint64_t lost = 0;
  bool any = false;
  for (std::uint64_t done = 0; options.count == 0 || done < options.count; ++done) {
    due += seconds(options.interval_s);
    while (const Sample sample = listener->next(due)) {
      intervals.add(sample.info().publish_ns != 0 ? sample.info().publish_ns : monotonic_ns());
      if (std::chrono::steady_clock::now() >= due) break;
    }
    if (interrupted()) break;
    any = any || intervals.messages() != 0;
    const SubscriptionStats stats = listener->subscriber().stats();
    const std::uint64_t lost_now = stats.lost() - lost;
    lost = stats.lost();
    if (options.json) {
      nlohmann::json line = intervals.json();
      line["topic"] = options.topic;
      line["lost"] = lost_now;
      if (!print(dumped(line) + "\n")) break;
    } else if (intervals.messages() == 0) {
      if (!print(joined({listener->why_nothing(), "\n"}))) break;
    } else {
      std::string text = intervals.text();
      if (lost_now != 0) text += joined({"   ", std::to_string(lost_now), " LOST"});
      if (!print(text + "\n")) break;
    }
    intervals.restart();
  }
  return any ? 0 : 1;
}

int by_counters(const HzOptions& options) {
  bool any = false;
  for (std::uint64_t done = 0; (options.count == 0 || done < options.count) && !interrupted();
       ++done) {
    const auto measured = measure(options.reach, "hz", options.topic, options.interval_s);
    if (!measured) return failed("hz", measured.error().message);
    double rate = 0;
    std::uint64_t published = 0;
    for (const StreamRow& row : measured->table.streams) {
      any = true;
      rate += row.rate_hz;
      published += row.published;
    }
    const bool printed =
        options.json
            ? print(
                  dumped({{"topic", options.topic}, {"rate_hz", rate}, {"published", published}}) +
                  "\n")
        : measured->table.streams.empty()
            ? print(joined({"nobody publishes '", clean(options.topic), "'\n"}))
            : print(joined({right(rate_text(rate), 5), " /s   ", std::to_string(published),
                            " published\n"}));
    if (!printed) break;
  }
  return any ? 0 : 1;
}

int run_hz(const HzOptions& options) {
  if (const auto checked = check_filter(options.topic); !checked) {
    return misused("hz", checked.error().message);
  }
  catch_interrupts();
  return options.counters ? by_counters(options) : by_subscribing(options);
}

}  // namespace

void add_hz(CLI::App& app, Run& run) {
  auto options = std::make_shared<HzOptions>();
  CLI::App* verb = app.add_subcommand("hz", "Measure the rate of a topic");
  verb->group(kMessages);
  verb->add_option("TOPIC", options->topic, "A topic, or a filter for several together")
      ->required();
  verb->add_option("-i,--interval", options->interval_s, "A line for each of these (default: 1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 3600.0));
  verb->add_option("-n,--count", options->count, "End after so many lines")->type_name("N");
  verb->add_flag("--counters", options->counters,
                 "From the stream's counters, without subscribing: the rate alone");
  verb->add_flag("--json", options->json, "A JSON object on a line");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0; 1 when no message came, or without a broker.\n\n"
      "Examples:\n"
      "  sluice hz camera/front/frames\n"
      "  sluice hz camera/front/frames -n 1 -i 10 --json");
  verb->callback([options, &run] { run = [options] { return run_hz(*options); }; });
}

}  // namespace sluice::tools
