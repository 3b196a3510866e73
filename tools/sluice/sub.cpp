// sluice sub: messages of the bus as lines, with the habits of mosquitto_sub.
//
// Each message is printed and flushed before it is acknowledged: with --group or --mode reliable,
// what could not be printed is not lost.
#include "sluice/codec.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/message_format.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/units.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

struct SubOptions {
  Reach reach;
  std::vector<std::string> filters;
  std::uint64_t count = 0;
  Duration timeout{};
  bool verbose = false;
  bool json = false;
  bool raw = false;
  bool retained = false;
  std::string mode;
  std::string group;
  std::uint32_t credits = 8;
  std::uint32_t history = 0;
  std::string type;
  std::string source;
  std::string format;
};

DeliveryMode mode_of(const SubOptions& options) {
  if (!options.group.empty()) return DeliveryMode::group;
  if (options.mode == "latest") return DeliveryMode::latest;
  return options.mode == "reliable" ? DeliveryMode::reliable : DeliveryMode::next;
}

class Sub {
 public:
  explicit Sub(const SubOptions& options)
      : options_(options), terminal_(::isatty(STDOUT_FILENO) != 0) {}
  int run();

 private:
  int prepare();
  int receive();
  [[nodiscard]] std::string line_of(const Message& message) const;
  [[nodiscard]] std::string payload_of(const Message& message) const;
  void note_foreign();
  void note_losses();

  const SubOptions& options_;
  bool terminal_;
  std::optional<MessageFormat> format_;
  std::optional<Node> node_;
  std::optional<MessageSubscriber> in_;
  std::uint64_t seen_ = 0;
  bool noted_foreign_ = false;
};

int Sub::prepare() {
  if (!options_.format.empty()) {
    std::string wrong;
    format_ = MessageFormat::parse(options_.format, wrong);
    if (!format_) return misused("sub", wrong);
  }
  auto node = connect(options_.reach, "sub");
  if (!node) return failed("sub", node.error().message);
  node_.emplace(std::move(*node));
  MessageSubscriptionOptions with;
  with.subscription.mode = mode_of(options_);
  with.subscription.max_held = 1;
  with.subscription.history = options_.history;
  with.retained = options_.retained;
  if (!options_.group.empty()) {
    with.subscription.group = GroupName{options_.group};
    with.subscription.credits = options_.credits;
  }
  if (!options_.type.empty()) {
    const auto hash = parse_hex16(options_.type);
    with.type_hash = hash ? *hash : type_hash_of_name(options_.type);
  }
  if (!options_.source.empty()) {
    const auto source = find_node(*node_, options_.source);
    if (!source) return failed("sub", source.error().message);
    with.source = *source;
  }
  auto in = MessageSubscriber::create(*node_, options_.filters, std::move(with));
  if (!in) return failed("sub", in.error().message);
  in_.emplace(std::move(*in));
  return 0;
}

// A terminal obeys what it is sent; a pipe gets the bytes as they are.
std::string Sub::payload_of(const Message& message) const {
  const std::string text{message.text()};
  if (!terminal_) return text;
  return is_text(text) || text.empty() ? clean(text) : plural(text.size(), "byte");
}

std::string Sub::line_of(const Message& message) const {
  if (options_.raw) return std::string{message.text()};
  if (options_.json) return to_json(message) + "\n";
  if (format_) return format_->print(fields_of(message), monotonic_ns());
  const std::string payload = payload_of(message);
  if (!options_.verbose) return payload + "\n";
  return joined({clean(message.topic()), " ", payload, "\n"});
}

void Sub::note_foreign() {
  if (noted_foreign_ || in_->counts().malformed == 0) return;
  noted_foreign_ = true;
  std::fputs(
      "sluice sub: streams without an envelope (frames, results) are left out; see sluice "
      "echo\n",
      stderr);
}

void Sub::note_losses() {
  if (mode_of(options_) != DeliveryMode::next || in_->counts().gaps == 0) return;
  std::fprintf(stderr, "sluice sub: %s lost, the output was too slow for them\n",
               plural(in_->counts().gaps, "message").c_str());
}

int Sub::receive() {
  const Deadline deadline =
      options_.timeout.count() != 0 ? after(options_.timeout) : Deadline::max();
  while (options_.count == 0 || seen_ < options_.count) {
    Message message = in_->receive(std::min(deadline, after(200ms)));
    note_foreign();
    if (message) {
      ++seen_;
      if (!print(line_of(message))) return 0;  // nobody reads any more
      in_->acknowledge(std::move(message));
      continue;
    }
    if (interrupted()) return 0;
    if (message.outcome() == Outcome::not_allowed) {
      return failed("sub", "the broker has taken the right to subscribe away");
    }
    if (message.outcome() == Outcome::evicted) {
      (void)failed("sub", "was too slow for a publisher, which has given it up");
    }
    if (steady_clock::now() >= deadline) return seen_ != 0 && options_.count == 0 ? 0 : 1;
  }
  return 0;
}

int Sub::run() {
  catch_interrupts();
  if (const int code = prepare(); code != 0) return code;
  const int code = receive();
  note_losses();
  return code;
}

int run_sub(const SubOptions& options) {
  for (const std::string& filter : options.filters) {
    if (const auto checked = check_filter(filter); !checked) {
      return misused("sub", checked.error().message);
    }
  }
  if (!options.group.empty() && !options.mode.empty()) {
    return misused("sub", "a group has a mode of its own; leave --mode out");
  }
  if (!options.group.empty() && !GroupName{options.group}.valid()) {
    return misused("sub", "the name of a group has 1 to 31 bytes");
  }
  const int shapes = static_cast<int>(options.json) + static_cast<int>(options.raw) +
                     static_cast<int>(!options.format.empty()) + static_cast<int>(options.verbose);
  if (shapes > 1) return misused("sub", "give one of -v, --json, --raw and -F");
  return Sub{options}.run();
}

}  // namespace

void add_sub(CLI::App& app, Run& run) {
  auto options = std::make_shared<SubOptions>();
  CLI::App* verb = app.add_subcommand("sub", "Receive messages of the bus");
  verb->group(kBus);
  verb->add_option("FILTER", options->filters, "Of which topics; up to 64")->required();
  verb->add_option("-C,--count", options->count, "End after so many")->type_name("N");
  add_duration(*verb, "-W,--timeout", options->timeout, "End after this time");
  verb->add_flag("-v,--verbose", options->verbose, "The topic in front of each message");
  verb->add_flag("--json", options->json, "A JSON object for each message on a line");
  verb->add_flag("--raw", options->raw, "The payloads alone, nothing between them");
  verb->add_option("-F,--format", options->format,
                   "%t topic, %p payload, %x payload in hexadecimal, %l its length, %i id, %c "
                   "correlation, %T traceparent, %S source, %s sequence, %P priority, %k codec, %a "
                   "age, %n line feed")
      ->type_name("FORMAT");
  verb->add_flag("--retained", options->retained, "Begin with the values that are retained");
  verb->add_option("--history", options->history, "Begin with so many that the streams still keep")
      ->type_name("N")
      ->check(CLI::Range(0, 65'536));
  verb->add_option("--mode", options->mode,
                   "next (default): what it is too slow for is lost, and counted; latest: skips "
                   "what is older than the newest; reliable: publishers wait")
      ->check(CLI::IsMember({"latest", "next", "reliable"}));
  verb->add_option("--group", options->group,
                   "Be a member of this group, which shares the messages")
      ->type_name("NAME");
  verb->add_option("--credits", options->credits,
                   "Of a member: messages it may have unacknowledged (default: 8)")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
  verb->add_option("--type", options->type, "Only of this type: a FlatBuffers table or a hash")
      ->type_name("TYPE");
  verb->add_option("--source", options->source, "Only of this node, by name or id")
      ->type_name("NODE");
  add_reach(*verb, options->reach);
  verb->footer(
      "Payloads are printed as they are; on a terminal without what it would obey.\n"
      "Exit code 0, also when interrupted; 1 when --timeout passed before --count messages (or\n"
      "any) had come, 2 for bad usage.\n\n"
      "Examples:\n"
      "  sluice sub -v 'room/#' --retained\n"
      "  sluice sub jobs/print --group printers -F '%c %p%n'\n"
      "  sluice sub 'state/#' --retained --json -W 1s");
  verb->callback([options, &run] { run = [options] { return run_sub(*options); }; });
}

}  // namespace sluice::tools
