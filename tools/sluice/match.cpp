// sluice match: whether a filter matches a topic, for scripts and for trying out filters.
//
// With --stdin one process answers many questions. It takes what there is to read, answers every
// whole line of it, and writes the answers before it reads on: whoever asks one by one through a
// pipe gets each answer at once, and whoever sends a file pays for few system calls.
#include "sluice/topic.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice::tools {
namespace {

struct MatchOptions {
  std::string filter;
  std::string topic;
  bool from_stdin = false;
  bool json = false;
};

int match(const MatchOptions& options) {
  for (const auto& checked : {check_filter(options.filter), check_topic(options.topic)}) {
    if (checked) continue;
    std::fprintf(stderr, "sluice match: %s\n", checked.error().message.c_str());
    return 2;
  }
  const bool matches = filter_matches(options.filter, options.topic);
  if (options.json) {
    const nlohmann::json all{
        {"filter", options.filter}, {"topic", options.topic}, {"matches", matches}};
    std::printf("%s\n", dumped(all).c_str());
  }
  return matches ? 0 : 1;
}

// What one line asks: nothing, with a sentence, where it is invalid.
struct Question {
  std::string_view filter;
  std::string_view topic;
  std::optional<bool> matches;
  std::string why_not;
};

Question question(std::string_view line) {
  Question q;
  const std::size_t tab = line.find('\t');
  if (tab == std::string_view::npos || line.find('\t', tab + 1) != std::string_view::npos) {
    q.why_not = "a line is FILTER<TAB>TOPIC";
    return q;
  }
  q.filter = line.substr(0, tab);
  q.topic = line.substr(tab + 1);
  for (const auto& checked : {check_filter(q.filter), check_topic(q.topic)}) {
    if (checked) continue;
    q.why_not = checked.error().message;
    return q;
  }
  q.matches = filter_matches(q.filter, q.topic);
  return q;
}

std::string answer(std::string_view line, bool json) {
  const Question q = question(line);
  if (!json) return !q.matches ? "invalid\n" : *q.matches ? "yes\n" : "no\n";
  nlohmann::json all{{"filter", q.filter}, {"topic", q.topic}, {"matches", nullptr}};
  if (q.matches) all["matches"] = *q.matches;
  if (!q.why_not.empty()) all["error"] = q.why_not;
  return dumped(all) + "\n";
}

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::runtime_error(std::string("standard output: ") + std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

int match_stdin(bool json) {
  // What is longer is invalid however it goes on, and is not kept.
  constexpr std::size_t kMaxLineBytes = 2 * kMaxTopicBytes + 1;
  std::array<char, 65'536> chunk{};
  std::string line;
  std::string answers;
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::runtime_error(std::string("standard input: ") + std::strerror(errno));
    if (n == 0) break;
    std::string_view rest(chunk.data(), static_cast<std::size_t>(n));
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      line.append(rest.substr(0, end).substr(0, kMaxLineBytes + 1 - line.size()));
      if (end == std::string_view::npos) break;
      answers += answer(line, json);
      line.clear();
      rest.remove_prefix(end + 1);
    }
    write_all(answers);
    answers.clear();
  }
  if (!line.empty()) write_all(answer(line, json));  // the last one may lack its line feed
  return 0;
}

int run_match(const MatchOptions& options, bool filter_given, bool topic_given) {
  if (options.from_stdin && !filter_given) return match_stdin(options.json);
  if (!options.from_stdin && filter_given && topic_given) return match(options);
  std::fputs("sluice match: give a filter and a topic, or --stdin alone; see sluice match --help\n",
             stderr);
  return 2;
}

}  // namespace

void add_match(CLI::App& app, Run& run) {
  auto options = std::make_shared<MatchOptions>();
  CLI::App* verb = app.add_subcommand("match", "Say whether a filter matches a topic");
  verb->group(kChecking);
  const CLI::Option* filter = verb->add_option(
      "FILTER", options->filter, "Levels between '/'; + is one, # at the end the rest");
  const CLI::Option* topic = verb->add_option("TOPIC", options->topic, "The name to look at");
  verb->add_flag("--stdin", options->from_stdin,
                 "Read FILTER<TAB>TOPIC lines; answer each with yes, no or invalid");
  verb->add_flag("--json", options->json, "A JSON object for each answer");
  verb->footer(
      "Exit code 0 when it matches, 1 when it does not, 2 when one of the two is invalid. With "
      "--stdin\n"
      "0 when all was read. Put -- before a filter or topic that begins with a dash.\n\n"
      "Example: sluice match 'camera/+/frames' camera/front/frames");
  verb->callback([options, filter, topic, &run] {
    run = [options, filter_given = filter->count() != 0, topic_given = topic->count() != 0] {
      return run_match(*options, filter_given, topic_given);
    };
  });
}

}  // namespace sluice::tools
