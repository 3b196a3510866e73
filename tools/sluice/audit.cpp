// sluice audit: what a recorder has written down.
//
// It asks the recorder, or reads a file itself: then neither recorder nor broker is needed. Without
// --limit all of the range is printed, oldest first, page by page; with it the newest so many.
#include "daemons/recorder/json.hpp"
#include "daemons/recorder/service.hpp"
#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/records.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <optional>

namespace sluice::tools {
namespace {

using recorder::Query;
using recorder::Record;

struct AuditOptions {
  Reach reach;
  std::string file, since, until, topic, correlation, id, what;
  std::uint32_t limit = 0;
  bool durable = false, follow = false, json = false;
};

// What is wrong with the options; empty: nothing.
std::string query_of(const AuditOptions& options, Query& query) {
  const auto time = [](const std::string& text, std::int64_t& out) {
    const auto parsed = recorder::parse_time(text, wall_clock_ns());
    if (parsed) out = *parsed;
    return parsed.has_value();
  };
  constexpr const char* kTime =
      " is no time; write 10m, 2h, 1d, or as RFC 3339: 2026-11-21T09:30:00Z";
  if (!options.since.empty() && !time(options.since, query.since_ns))
    return "--since" + std::string(kTime);
  if (!options.until.empty() && !time(options.until, query.until_ns))
    return "--until" + std::string(kTime);
  if (!options.topic.empty()) {
    if (const auto checked = check_filter(options.topic); !checked) return checked.error().message;
    query.filter = options.topic;
  }
  for (const auto& [text, out] :
       {std::pair{&options.correlation, &query.correlation}, std::pair{&options.id, &query.id}}) {
    if (text->empty()) continue;
    const auto id = parse_correlation_id(*text);
    if (!id) return "'" + clean(*text) + "' is no id, such as 0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c";
    *out = recorder::RecordId{id->high, id->low};
  }
  if (!options.what.empty()) query.what = recorder::parse_record_class(options.what);
  query.durable = options.durable;
  return {};
}

std::string as_text(const Record& record) {
  constexpr std::size_t kPayloadColumns = 200;
  std::string who = clean(record.node);
  if (record.pid > 0) who.append("[").append(std::to_string(record.pid)).append("]");
  const std::string kind = record.what == recorder::RecordClass::message
                               ? (record.durable ? "durable" : "message")
                               : recorder::to_string(record.what);
  return joined({recorder::rfc3339(record.time_ns), "  ", left(kind, 11), "  ", clean(record.topic),
                 "  ", who.empty() ? "-" : who, "  ", payload_text(record, kPayloadColumns), "\n"});
}

bool show(const std::vector<Record>& records, const AuditOptions& options) {
  return std::all_of(records.begin(), records.end(), [&](const Record& record) {
    return print(options.json ? dumped(recorder::to_json(record)) + "\n" : as_text(record));
  });
}

// Prints what comes behind the last row, page by page; false when there is an end to it.
Result<bool> show_from(RecordSource& source, Query& query, const AuditOptions& options) {
  for (bool more = true; more && !interrupted();) {
    const auto page = source.read(query);
    if (!page) return page.error();
    if (!show(page->records, options)) return false;
    if (!page->records.empty()) query.after_row = page->records.back().row;
    more = page->more;
  }
  return true;
}

Result<std::int64_t> newest_row(RecordSource& source) {
  Query query;
  query.newest_first = true;
  query.limit = 1;
  const auto page = source.read(query);
  if (!page) return page.error();
  return page->records.empty() ? 0 : page->records.front().row;
}

Result<bool> show_range(RecordSource& source, Query& query, const AuditOptions& options) {
  constexpr std::uint32_t kContext = 10;
  std::uint32_t newest = options.limit;
  if (newest == 0 && options.follow && options.since.empty()) newest = kContext;
  if (newest == 0) return show_from(source, query, options);
  // From here on what is newer than now.
  const auto last = newest_row(source);
  if (!last) return last.error();
  Query backwards = query;
  backwards.newest_first = true;
  backwards.before_row = *last + 1;
  auto records = read_all(source, backwards, newest);
  if (!records) return std::move(records).error();
  std::reverse(records->begin(), records->end());
  query.after_row = *last;
  return show(*records, options);
}

int audit(RecordSource& source, const AuditOptions& options) {
  Query query;
  if (const std::string wrong = query_of(options, query); !wrong.empty()) {
    return misused("audit", wrong);
  }
  auto going = show_range(source, query, options);
  while (going && *going && options.follow &&
         sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds{200})) {
    going = show_from(source, query, options);
  }
  return going ? 0 : failed("audit", going.error().message);
}

int run_audit(const AuditOptions& options) {
  Query query;
  if (const std::string wrong = query_of(options, query); !wrong.empty()) {
    return misused("audit", wrong);
  }
  catch_interrupts();
  if (!options.file.empty()) return audit(*file_source(options.file), options);
  auto node = connect(options.reach, "audit");
  if (!node) return failed("audit", node.error().message);
  auto client = RecorderClient::create(*node, recorder::kAuditService);
  if (!client) return failed("audit", client.error().message);
  return audit(**client, options);
}

}  // namespace

void add_audit(CLI::App& app, Run& run) {
  auto options = std::make_shared<AuditOptions>();
  CLI::App* verb = app.add_subcommand("audit", "Search what a recorder has written down");
  verb->group(kMessages);
  verb->add_option("--since", options->since, "From then on: 10m, 2h, 1d ago, or RFC 3339")
      ->type_name("TIME");
  verb->add_option("--until", options->until, "Up to then")->type_name("TIME");
  verb->add_option("--topic", options->topic, "Of topics that this filter matches")
      ->type_name("FILTER");
  verb->add_option("--correlation", options->correlation, "That stem from the same message")
      ->type_name("ID");
  verb->add_option("--id", options->id, "This message")->type_name("ID");
  verb->add_option("--class", options->what,
                   "message, access (who connected, was refused), life_cycle (nodes), dead_letter, "
                   "purged")
      ->type_name("NAME")
      ->check(CLI::IsMember({"message", "access", "life_cycle", "dead_letter", "purged"})
                  .description(""));
  verb->add_flag("--durable", options->durable, "Only what was acknowledged to its publisher");
  verb->add_option("-n,--limit", options->limit, "The newest so many")
      ->type_name("N")
      ->check(CLI::Range(1, 100'000'000));
  verb->add_flag("-f,--follow", options->follow, "Go on with what comes");
  verb->add_option("--file", options->file, "Read this file, without a recorder or a broker")
      ->type_name("PATH");
  verb->add_flag("--json", options->json, "A JSON object for each message on a line");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0; 1 without a recorder.\n\n"
      "Examples:\n"
      "  sluice audit --since 10m --topic 'orders/#'\n"
      "  sluice audit --class access --since 2026-11-21T09:30:00Z --json\n"
      "  sluice audit --correlation 0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c\n"
      "  sluice audit --file /var/lib/sluice/recorder.db --limit 20");
  verb->callback([options, &run] { run = [options] { return run_audit(*options); }; });
}

}  // namespace sluice::tools
