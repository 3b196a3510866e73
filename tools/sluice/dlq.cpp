// sluice dlq: messages that nobody could handle.
//
// A recorder keeps them for good. Without one there are those that the processes which gave them up
// still keep, the newest 1,024 of each topic: enough to look at and to send again, but nobody can
// take them away there, and they go with their processes.
//
// What is sent again is published here, with the rights of who says so, as the message that it was:
// the same id, trace, type and payload. It leaves the recorder when it was handled.
#include "daemons/recorder/convert.hpp"
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
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

namespace sluice::tools {
namespace {

using recorder::Query;
using recorder::Record;

struct DlqOptions {
  Reach reach;
  std::string what;
  std::string which;  ///< A filter of the topics they were for, or an id, or its beginning.
  std::string output;
  double timeout_s = 5;
  bool all = false;
  bool json = false;
};

constexpr std::size_t kMost = 1'000'000;

std::string id_of(const Record& record) { return to_string(recorder::to_id(record.id)); }

bool is_id_or_beginning(const std::string& text) {
  return text.size() >= 8 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ||
                  c == '-';
         });
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

// Dead letters, and where they are from.
class Letters {
 public:
  static Result<Letters> open(const DlqOptions& options) {
    auto node = connect(options.reach, "dlq");
    if (!node) return std::move(node).error();
    auto held = std::make_unique<Node>(std::move(node).value());
    auto client = RecorderClient::create(*held, recorder::kDeadLetterService);
    if (!client) return std::move(client).error();
    return Letters{std::move(held), std::move(client).value()};
  }
  [[nodiscard]] Node& node() { return *node_; }
  /// Whether a recorder keeps them; known after read().
  [[nodiscard]] bool are_kept() const { return kept_; }

  /// Those that `which` names: a filter, an id, or the beginning of one.
  Result<std::vector<Record>> read(const std::string& which) {
    const bool by_id = is_id_or_beginning(which);
    auto found = from_recorder(by_id ? "" : which);
    if (!found && client_->is_missing()) {
      kept_ = false;
      std::fprintf(stderr, "sluice dlq: no recorder runs; these are what processes still keep\n");
      found = from_processes(by_id || which.empty() ? "#" : which);
    }
    if (!found) return found;
    if (by_id) {
      std::erase_if(*found, [begin = lower(which)](const Record& record) {
        return !id_of(record).starts_with(begin);
      });
    }
    return found;
  }

  /// All of this id; `before_row`: but what came later, since it failed again meanwhile.
  Result<std::uint64_t> purge(const std::string& id, std::int64_t before_row = 0) {
    nlohmann::json request{{"do", "purge"}, {"id", id}};
    if (before_row != 0) request["before_row"] = before_row;
    const auto answer = client_->ask(dumped(request));
    if (!answer) return answer.error();
    const auto json = nlohmann::json::parse(*answer, nullptr, false);
    const auto count = json.is_object() ? json.find("purged") : json.end();
    if (!json.is_object() || count == json.end() || !count->is_number_unsigned()) {
      return Error{Errc::untrusted, 0, "the recorder's answer does not say how many it purged"};
    }
    return count->get<std::uint64_t>();
  }

 private:
  Letters(std::unique_ptr<Node> node, std::unique_ptr<RecorderClient> client)
      : node_(std::move(node)), client_(std::move(client)) {}

  Result<std::vector<Record>> from_recorder(const std::string& filter) {
    Query query;
    query.filter = filter;
    return read_all(*client_, query, kMost);
  }

  // Takes what comes until nothing has come for a while.
  Result<std::vector<Record>> from_processes(const std::string& filter) {
    MessageSubscriptionOptions options;
    options.subscription.history = DeadLetters::kKept;
    options.give_expired = true;
    auto subscriber = MessageSubscriber::create(*node_, dead_letter_topic(filter), options);
    if (!subscriber) return std::move(subscriber).error();
    std::vector<Record> all;
    std::set<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>> seen;
    const std::int64_t offset = wall_clock_ns() - static_cast<std::int64_t>(monotonic_ns());
    while (!interrupted()) {
      const Message message =
          subscriber->receive(std::chrono::steady_clock::now() + std::chrono::milliseconds{500});
      if (!message) break;
      Record record = recorder::record_of(message.sample().bytes(), message.envelope(),
                                          message.info(), message.topic(), offset);
      if (seen.insert({record.id.high, record.id.low, record.copy}).second) {
        all.push_back(std::move(record));
      }
    }
    return all;
  }

  std::unique_ptr<Node> node_;
  std::unique_ptr<RecorderClient> client_;
  bool kept_ = true;
};

// ---- looking

std::string line_of(const Record& record) {
  const auto letter = recorder::dead_letter_of(record);
  std::string line = joined({id_of(record), "  ", recorder::rfc3339(record.time_ns), "  "});
  if (letter) {
    line += joined({left(to_string(letter->reason), 13), "  ", std::to_string(letter->attempts),
                    letter->times > 1 ? joined({"x", std::to_string(letter->times)}) : "", "  "});
  }
  line += clean(recorder::original_topic(record));
  if (letter && letter->error[0] != '\0') line += joined({"  ", clean(letter->error.data())});
  return line + "\n";
}

std::string all_of(const Record& record) {
  std::string text = joined({"id            ", id_of(record), "\n"});
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) text += joined({left(name, 14), value, "\n"});
  };
  add("topic", clean(recorder::original_topic(record)));
  if (const auto letter = recorder::dead_letter_of(record)) {
    add("reason", to_string(letter->reason));
    add("error", clean(letter->error.data()));
    add("attempts", std::to_string(letter->attempts));
    add("times", std::to_string(letter->times));
    add("first failure", recorder::rfc3339(static_cast<std::int64_t>(letter->first_ns)));
    add("last failure", recorder::rfc3339(static_cast<std::int64_t>(letter->last_ns)));
  }
  add("given up by", clean(record.node));
  const nlohmann::json json = recorder::to_json(record);
  add("correlation", json.value("correlation", ""));
  add("trace", json.value("traceparent", ""));
  add("codec", json.value("codec", ""));
  add("type", json.value("type_hash", ""));
  add("bytes", std::to_string(record.payload.size()));
  constexpr std::size_t kColumns = 4'000;
  add("payload", payload_text(record, kColumns));
  return text + "\n";
}

int list(Letters& letters, const DlqOptions& options, bool in_full) {
  const auto found = letters.read(options.which);
  if (!found) return failed("dlq", found.error().message);
  for (const Record& record : *found) {
    const std::string text = options.json ? dumped(recorder::to_json(record, in_full)) + "\n"
                             : in_full    ? all_of(record)
                                          : line_of(record);
    if (!print(text)) return 0;
  }
  if (!found->empty()) return 0;
  if (in_full) return failed("dlq", "there is no dead letter '" + clean(options.which) + "'");
  if (!options.json) std::fprintf(stderr, "sluice dlq: there are none\n");
  return 0;
}

int export_all(Letters& letters, const DlqOptions& options) {
  const auto found = letters.read(options.which);
  if (!found) return failed("dlq", found.error().message);
  std::ofstream file;
  if (!options.output.empty()) {
    file.open(options.output, std::ios::binary | std::ios::trunc);
    if (!file)
      return failed("dlq", "cannot write to " + options.output + ": " + std::strerror(errno));
  }
  for (const Record& record : *found) {
    const std::string line = dumped(recorder::to_json(record)) + "\n";
    if (!file.is_open()) {
      if (!print(line)) return 0;
    } else if (!(file << line)) {
      break;
    }
  }
  if (file.is_open() && !file.flush()) {
    return failed("dlq", "cannot write to " + options.output + "; the disk may be full");
  }
  if (file.is_open()) std::printf("%zu exported\n", found->size());
  return 0;
}

// ---- sending again

// A stream for each topic and type.
class Sender {
 public:
  explicit Sender(Node& node, std::chrono::nanoseconds patience)
      : node_(node), patience_(patience) {}

  /// Publishes it and waits until it is handled; what is in the way of that, or nothing.
  std::string send(const Record& record) {
    const std::string topic = recorder::original_topic(record);
    auto publisher = publisher_for(topic, record);
    if (!publisher) return publisher.error().message;
    Publisher& stream = **publisher;
    const Deadline deadline = std::chrono::steady_clock::now() + patience_;
    while (stream.subscriber_count() == 0 || stream.subscriber_count() < stream.matching_count()) {
      if (std::chrono::steady_clock::now() >= deadline) break;
      if (!sleep_until(std::chrono::steady_clock::now() + std::chrono::milliseconds{5})) break;
    }
    if (stream.subscriber_count() == 0) return "nobody subscribes to '" + clean(topic) + "'";
    Reference sent;
    if (const Outcome outcome = publish(stream, record, sent); outcome != Outcome::ok) {
      return std::string("it cannot be published: ") + to_string(outcome);
    }
    const Outcome reached = stream.wait_reached(sent, ReachLevel::handled, deadline);
    // Who acknowledges nothing has it all the same.
    if (reached == Outcome::ok || reached == Outcome::no_subscriber) return {};
    return "it was sent, and not acknowledged in time";
  }

 private:
  Result<Publisher*> publisher_for(const std::string& topic, const Record& record) {
    const auto key = std::pair{topic, record.type_hash};
    const auto found = publishers_.find(key);
    if (found != publishers_.end()) return &found->second;
    StreamOptions options;
    options.label = "sent again";
    options.lanes = {{8, 0}, {8, 0}, {64, 0}, {64, 0}};
    options.pools = {{1 << 20, 0}};
    options.max_held = 64;
    options.type_hash = record.type_hash;
    auto publisher = node_.advertise(topic, options);
    if (!publisher) return std::move(publisher).error();
    return &publishers_.emplace(key, std::move(publisher).value()).first->second;
  }

  static Outcome publish(Publisher& stream, const Record& record, Reference& sent) {
    // With the reason: should it become a dead letter again, that one says how often.
    const std::string header =
        recorder::header_of(record, record.extensions, MessageKind::event, kFlagRedelivered);
    Loan loan = stream.loan(header.size() + record.payload.size(),
                            static_cast<Priority>(std::min<std::uint8_t>(record.priority, 3)));
    if (!loan) return loan.outcome();
    std::memcpy(loan.data(), header.data(), header.size());
    std::memcpy(loan.data() + header.size(), record.payload.data(), record.payload.size());
    loan.headers.correlation = recorder::to_id(record.correlation);
    loan.headers.type_hash = record.type_hash;
    return stream.publish(std::move(loan), sent);
  }

  Node& node_;
  std::chrono::nanoseconds patience_;
  std::map<std::pair<std::string, std::uint64_t>, Publisher> publishers_;
};

// A dead letter that became one again is there several times: the last one is sent.
void keep_the_last_of_each(std::vector<Record>& records) {
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> last;
  for (const Record& record : records) {
    std::uint64_t& copy = last[{record.id.high, record.id.low}];
    copy = std::max(copy, record.copy);
  }
  std::erase_if(records, [&](const Record& record) {
    return record.copy != last[{record.id.high, record.id.low}];
  });
}

int retry(Letters& letters, const DlqOptions& options) {
  auto found = letters.read(options.which);
  if (!found) return failed("dlq", found.error().message);
  keep_the_last_of_each(*found);
  if (found->empty()) {
    return failed("dlq", "there is no dead letter '" + clean(options.which) + "'");
  }
  Sender sender{letters.node(), std::chrono::nanoseconds{std::llround(options.timeout_s * 1e9)}};
  bool all = true;
  for (const Record& record : *found) {
    if (interrupted()) return 1;
    if (std::string problem = sender.send(record); !problem.empty()) {
      all = false;
      (void)failed("dlq", id_of(record) + ": " + problem);
      continue;
    }
    if (letters.are_kept()) {
      if (const auto purged = letters.purge(id_of(record), record.row + 1); !purged) {
        all = false;
        (void)failed("dlq", id_of(record) + ": sent, but still kept: " + purged.error().message);
      }
    }
    if (!print(
            joined({id_of(record), "  sent to ", clean(recorder::original_topic(record)), "\n"}))) {
      break;
    }
  }
  return all ? 0 : 1;
}

int purge(Letters& letters, const DlqOptions& options) {
  const auto found = letters.read(options.which);
  if (!found) return failed("dlq", found.error().message);
  if (!letters.are_kept()) {
    return failed("dlq",
                  "without a recorder there is nothing to purge: they go with their processes");
  }
  std::set<std::string> ids;
  for (const Record& record : *found) ids.insert(id_of(record));
  std::uint64_t count = 0;
  for (const std::string& id : ids) {
    const auto purged = letters.purge(id);
    if (!purged) return failed("dlq", purged.error().message);
    count += *purged;
  }
  std::printf("%llu purged\n", static_cast<unsigned long long>(count));
  return count != 0 ? 0 : failed("dlq", "there is no dead letter '" + clean(options.which) + "'");
}

int run_dlq(const DlqOptions& options) {
  const bool changes = options.what == "retry" || options.what == "purge";
  const bool by_filter = !options.which.empty() && !is_id_or_beginning(options.which);
  if (options.which.empty() && (options.what == "show" || (changes && !options.all))) {
    return misused("dlq", options.what + " needs an id or its beginning" +
                              (changes ? ", a filter, or --all" : ""));
  }
  if (!options.which.empty() && options.all) {
    return misused("dlq", "--all and '" + clean(options.which) + "' exclude each other");
  }
  if (by_filter) {
    if (const auto checked = check_filter(options.which); !checked) {
      return misused("dlq", checked.error().message);
    }
  }
  catch_interrupts();
  auto letters = Letters::open(options);
  if (!letters) return failed("dlq", letters.error().message);
  if (options.what == "ls") return list(*letters, options, false);
  if (options.what == "show") return list(*letters, options, true);
  if (options.what == "retry") return retry(*letters, options);
  if (options.what == "purge") return purge(*letters, options);
  return export_all(*letters, options);
}

}  // namespace

void add_dlq(CLI::App& app, Run& run) {
  auto options = std::make_shared<DlqOptions>();
  CLI::App* verb = app.add_subcommand("dlq", "Dead letters: look, send again, purge");
  verb->group(kMessages);
  verb->add_option("WHAT", options->what,
                   "ls, show (in full), retry (send again), purge, export (JSON lines)")
      ->required()
      ->check(CLI::IsMember({"ls", "show", "retry", "purge", "export"}).description(""));
  verb->add_option("WHICH", options->which,
                   "A filter of the topics they were for, an id, or at least 8 characters of one");
  verb->add_flag("--all", options->all, "retry, purge: all of them");
  verb->add_option("-o,--output", options->output, "export: into this file")->type_name("FILE");
  verb->add_option("--timeout", options->timeout_s,
                   "retry: wait so long until each is handled (default: 5)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e6));
  verb->add_flag("--json", options->json, "ls, show: a JSON object for each on a line");
  add_reach(*verb, options->reach);
  verb->footer(
      "Without a recorder ls, show, export and retry see what processes still keep.\n"
      "Exit code 0; 1 when something is not there or could not be sent.\n\n"
      "Examples:\n"
      "  sluice dlq ls 'orders/#'\n"
      "  sluice dlq show 0193a5d2-5c1e\n"
      "  sluice dlq retry 0193a5d2-5c1e\n"
      "  sluice dlq purge 'orders/old/#'\n"
      "  sluice dlq export -o letters.jsonl");
  verb->callback([options, &run] { run = [options] { return run_dlq(*options); }; });
}

}  // namespace sluice::tools
