// sluice trace: one frame through every process.
//
// Stages publish a span for each message on trace/<node>, and their streams keep the newest of
// them; so what happened a moment ago can still be asked for. Spans are gathered for some seconds
// and put together by correlation id.
#include "sluice/correlation.hpp"
#include "sluice/typed.hpp"
#include "tools/sluice/journey.hpp"
#include "tools/sluice/listener.hpp"
#include "tools/sluice/picture.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <memory>

namespace sluice::tools {
namespace {

struct TraceOptions {
  Reach reach;
  std::string correlation;
  std::size_t slowest = 1;
  double seconds = 2;
  std::string chrome;
  bool json = false;
};

// Spans of the newest 1,024 of every node, and those that come.
constexpr std::uint32_t kHistory = 1024;

Result<Journeys> gather(const TraceOptions& options) {
  SubscriptionOptions subscription;
  subscription.history = kHistory;
  subscription.max_held = 1;
  subscription.type_hash = type_fingerprint<TraceSpan>();
  auto listener = Listener::create(options.reach, "trace", "trace/#", subscription);
  if (!listener) return listener.error();
  Journeys journeys;
  const Deadline until = std::chrono::steady_clock::now() +
                         std::chrono::nanoseconds{std::llround(options.seconds * 1e9)};
  for (;;) {
    const Sample sample = listener->next(until);
    if (!sample) break;
    if (sample.size() != sizeof(TraceSpan)) continue;
    TraceSpan span;
    std::memcpy(&span, sample.data(), sizeof span);
    journeys.add(span);
    if (std::chrono::steady_clock::now() >= until) break;
  }
  if (journeys.size() == 0) {
    return Error{Errc::system, 0,
                 "no spans came on trace/#; is a stage running, and does it trace? " +
                     listener->why_nothing()};
  }
  return journeys;
}

std::size_t columns() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0) return size.ws_col;
  return 100;
}

int run_trace(const TraceOptions& options) {
  std::optional<CorrelationId> wanted;
  if (!options.correlation.empty()) {
    wanted = parse_correlation_id(options.correlation);
    if (!wanted) {
      return misused("trace",
                     joined({"'", clean(options.correlation),
                             "' is no correlation id; `sluice echo` shows those of messages"}));
    }
  }
  catch_interrupts();
  const auto journeys = gather(options);
  if (!journeys) return failed("trace", journeys.error().message);
  std::vector<Journey> chosen;
  if (wanted) {
    chosen.push_back(journeys->find(*wanted));
    if (chosen.front().hops.empty()) {
      return failed("trace", joined({"no span of ", to_string(*wanted), " among ",
                                     plural(journeys->size(), "frame"),
                                     "; each node keeps its newest 1024"}));
    }
  } else {
    chosen = journeys->slowest(options.slowest);
  }
  const std::vector<Journey> all = journeys->all();
  if (!options.chrome.empty()) {
    const std::string text = dumped(chrome_trace(wanted ? chosen : all));
    const auto written = write_file(options.chrome, std::as_bytes(std::span(text)));
    if (!written) return failed("trace", written.error().message);
  }
  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const Journey& journey : chosen) list.push_back(to_json(journey));
    print(dumped({{"frames", all.size()},
                  {"stages", stage_summary_json(all)},
                  {"journeys", std::move(list)},
                  {"chrome",
                   options.chrome.empty() ? nlohmann::json() : nlohmann::json(options.chrome)}}) +
          "\n");
    return 0;
  }
  std::string text;
  for (const Journey& journey : chosen) text += waterfall(journey, columns()) + "\n";
  if (!wanted) text += stage_summary(all);
  if (!options.chrome.empty()) {
    text += joined({"\n", clean(options.chrome), ": ", plural(wanted ? 1 : all.size(), "frame"),
                    ", for ui.perfetto.dev or chrome://tracing\n"});
  }
  print(text);
  return 0;
}

}  // namespace

void add_trace(CLI::App& app, Run& run) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App* verb = app.add_subcommand("trace", "Follow frames through all processes");
  verb->group(kSeeing);
  CLI::Option* one = verb->add_option("--correlation", options->correlation, "The frame of this id")
                         ->type_name("ID");
  verb->add_option("--slowest", options->slowest, "So many of the slowest (default: 1)")
      ->type_name("N")
      ->excludes(one);
  verb->add_option("--seconds", options->seconds,
                   "Gather for so long, beside what is kept (default: 2)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 86'400.0));
  verb->add_option("--chrome", options->chrome,
                   "Write all frames (or that one) as Chrome trace JSON")
      ->type_name("FILE");
  verb->add_flag("--json", options->json, "One JSON object");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0; 1 when there are no spans, or without a broker.\n\n"
      "Examples:\n"
      "  sluice trace --slowest 3\n"
      "  sluice trace --correlation 0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c\n"
      "  sluice trace --seconds 10 --chrome frames.json");
  verb->callback([options, &run] { run = [options] { return run_trace(*options); }; });
}

}  // namespace sluice::tools
