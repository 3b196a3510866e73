// sluice traceparent: what W3C Trace Context says about a line; see trace_line.hpp.
#include "tools/sluice/session.hpp"
#include "tools/sluice/trace_line.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>

namespace sluice::tools {
namespace {

struct TraceparentOptions {
  std::vector<std::string> lines;
  bool from_stdin = false;
  bool strict = false;
};

int run_traceparent(const TraceparentOptions& options) {
  if (options.from_stdin == !options.lines.empty()) {
    return misused("traceparent", "give texts, or --stdin alone");
  }
  bool all_valid = true;
  const auto answer = [&all_valid](const std::string& line) {
    const TraceLine read = read_trace_line(line);
    all_valid = all_valid && read.valid;
    return print(read.json + "\n");
  };
  if (options.from_stdin) {
    std::string line;
    while (std::getline(std::cin, line) && answer(line)) {
    }
  }
  for (const std::string& line : options.lines) (void)answer(line);
  return options.strict && !all_valid ? 1 : 0;
}

}  // namespace

void add_traceparent(CLI::App& app, Run& run) {
  auto options = std::make_shared<TraceparentOptions>();
  CLI::App* verb = app.add_subcommand("traceparent", "Read W3C trace contexts");
  verb->group(kChecking);
  verb->add_option("TEXT", options->lines, "traceparent, or traceparent, tab, tracestate");
  verb->add_flag("--stdin", options->from_stdin, "Each line of standard input is a TEXT");
  verb->add_flag("--strict", options->strict, "Exit code 1 if any is invalid");
  verb->footer(
      "Prints a JSON object for each: valid; and where it is, version, trace_id, span_id, "
      "sampled,\n"
      "canonical, tracestate as it is passed on (null where that alone is wrong; cut where it has\n"
      "more than 512 bytes) and its members. White space around a traceparent, also CR, is "
      "invalid.\n\n"
      "Example: echo 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 |\n"
      "         sluice traceparent --stdin");
  verb->callback([options, &run] { run = [options] { return run_traceparent(*options); }; });
}

}  // namespace sluice::tools
