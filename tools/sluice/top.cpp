// sluice top: the frame-rate monitor.
//
// It reads counters where their writers keep them, in shared memory, and takes part in nothing:
// neither publishers nor subscribers nor the broker notice. A model makes rates out of snapshots
// (top_model), a view makes lines out of these (top_view), and three front ends show them: a
// screen (top_screen), text for pipes, and JSON for scripts, a line for each interval.
#include "sluice/topic.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/top_screen.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <map>
#include <memory>

namespace sluice::tools {
namespace {

using Clock = std::chrono::steady_clock;

const std::map<std::string, SortKey>& sort_keys() {
  static const std::map<std::string, SortKey> keys{
      {"name", SortKey::name},   {"rate", SortKey::rate}, {"drops", SortKey::drops},
      {"bytes", SortKey::bytes}, {"age", SortKey::age},   {"held", SortKey::held}};
  return keys;
}

std::size_t columns_of_output(const TopOptions& options) {
  if (options.columns != 0) return options.columns;
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col != 0) return size.ws_col;
  return 80;
}

std::string as_text(Table table, const TopOptions& options) {
  sort_table(table, options.sort, options.reversed);
  ViewOptions view;
  view.columns = columns_of_output(options);
  view.sort = options.sort;
  std::string text = status_line(table, view).text() + "\n";
  for (const Line& line : heading_lines(view)) text += line.text() + "\n";
  for (const Line& line : table_lines(table, view)) text += line.text() + "\n";
  return text + "\n";
}

// Waits for the broker unless that is not wanted; nothing when interrupted.
Result<bool> reach_broker(const TopOptions& options, TopFeed& feed) {
  for (;;) {
    auto connected = feed.connect(std::chrono::milliseconds{options.wait ? 500 : 2000});
    if (connected) return true;
    if (!options.wait || connected.error().code != Errc::system) return connected.error();
    if (!sleep_until(Clock::now() + std::chrono::milliseconds{200})) return false;
  }
}

int run_batch(const TopOptions& options, TopFeed& feed) {
  const auto reached = reach_broker(options, feed);
  if (!reached) return failed("top", reached.error().message);
  if (!*reached) return 0;
  TopModel model(static_cast<std::uint64_t>(options.window_s * 1e9));
  model.add(feed.snapshot(), monotonic_ns());
  const auto interval = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(options.interval_s));
  Clock::time_point due = Clock::now();
  for (std::uint64_t done = 0; options.count == 0 || done < options.count; ++done) {
    due += interval;
    if (!sleep_until(due)) return 0;
    model.add(feed.snapshot(), monotonic_ns());
    Table table = model.table();
    if (options.json) {
      sort_table(table, options.sort, options.reversed);
      if (!print(dumped(to_json(table)) + "\n")) return 0;
    } else if (!print(as_text(std::move(table), options))) {
      return 0;
    }
  }
  return 0;
}

int run_top(const TopOptions& options) {
  if (const auto checked = check_filter(options.filter); !checked) {
    return misused("top", checked.error().message);
  }
  catch_interrupts();
  TopFeed feed(options.socket, options.filter, options.all || options.filter != "#");
  const bool screen = !options.batch && !options.json && options.count == 0 &&
                      ::isatty(STDOUT_FILENO) != 0 && ::isatty(STDIN_FILENO) != 0;
  if (!screen) return run_batch(options, feed);
  if (!options.wait) {
    if (const auto reached = reach_broker(options, feed); !reached) {
      return failed("top", reached.error().message);
    }
  }
  return run_top_screen(options, feed);
}

}  // namespace

void add_top(CLI::App& app, Run& run) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* verb = app.add_subcommand("top", "Watch rates, losses, queues, holders and ages");
  verb->group(kSeeing);
  verb->add_option("FILTER", options->filter, "Only streams whose topics match");
  verb->add_flag("-a,--all", options->all,
                 "Also the streams by which stages report (trace, health)");
  verb->add_option("-i,--interval", options->interval_s, "Between two pictures (default: 1)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.05, 3600.0));
  verb->add_option("-w,--window", options->window_s, "Rates are over this time (default: 2)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0));
  verb->add_option("-s,--sort", options->sort, "By name, rate, drops, bytes, age or held")
      ->type_name("KEY")
      ->transform(CLI::CheckedTransformer(sort_keys()).description(""));
  verb->add_flag("-r,--reverse", options->reversed, "The other way round");
  verb->add_flag("-b,--batch", options->batch, "Text, a table for each interval, for pipes");
  verb->add_flag("--json", options->json, "A JSON object on a line for each interval");
  verb->add_option("-n,--count", options->count, "End after so many")->type_name("N");
  verb->add_option("--width", options->columns,
                   "Columns of text (default: the terminal's, else 80)")
      ->type_name("COLUMNS")
      ->check(CLI::Range(40, 1000));
  verb->add_flag("!--no-wait", options->wait, "Fail when no broker is there, do not wait for one");
  add_socket(*verb, options->socket);
  verb->footer(
      "Keys: ? shows them. Exit code 0, or 1 when there is no broker (--no-wait).\n\n"
      "Examples:\n"
      "  sluice top\n"
      "  sluice top 'camera/+/frames' --sort drops\n"
      "  sluice top -b -n 1 --json | jq '.streams[] | {topic, rate_hz}'");
  verb->callback([options, &run] { run = [options] { return run_top(*options); }; });
}

}  // namespace sluice::tools
