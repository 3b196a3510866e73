// sluice pub: publishes messages, with the habits of mosquitto_pub.
//
// A publisher is a stream, and a stream begins with its process: subscriptions need a moment to
// attach, and what is published before that is not theirs. So it waits, for as long as the broker
// says that more subscriptions match than are attached, and a second at most. At the end it waits
// again, where somebody acknowledges: what a group has not been given when its publisher leaves is
// given to nobody. A retained value lives in its publisher's memory, hence --retain stays.
#include "sluice/codec.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/units.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr Duration kSettle = 1s;
constexpr std::uint64_t kLargePayload = 65'536;

struct PubOptions {
  Reach reach;
  std::string topic;
  Payload payload;
  SenderOptions sender;
  bool lines = false;
  bool json = false;
  bool retain = false;
  bool clear = false;
  bool need_subscriber = false;
  std::string priority = "normal";
  Duration ttl{};
  std::uint64_t count = 1;
  Duration interval{};
  std::string reliable;
  Duration timeout = 5s;
  std::string to;
  std::uint32_t wait_for = 0;
  std::uint64_t max_bytes = kLargePayload;
};

class Pub {
 public:
  explicit Pub(const PubOptions& options) : options_(options) {}
  int run();

 private:
  int prepare();
  int open(std::uint64_t bytes, Codec codec);
  int publish_lines();
  int publish(const std::string& payload);
  int wait_reached(const Published& message);
  bool wait_for_subscribers();
  void linger();
  [[nodiscard]] std::size_t attached() { return publisher_->stream().subscriber_count(); }

  const PubOptions& options_;
  std::optional<Node> node_;
  std::optional<MessagePublisher> publisher_;
  std::optional<ScopedContext> context_;
  MessageOptions message_;
  Published last_;
  bool any_ = false;
};

int Pub::prepare() {
  auto context = sender_context(options_.sender);
  if (!context) return misused("pub", context.error().message);
  auto node = connect(options_.reach, "pub");
  if (!node) return failed("pub", node.error().message);
  node_.emplace(std::move(*node));
  message_.priority = *parse_priority(options_.priority);
  message_.ttl_ns = static_cast<std::uint64_t>(options_.ttl.count());
  if (!options_.to.empty()) {
    const auto destination = find_node(*node_, options_.to);
    if (!destination) return failed("pub", destination.error().message);
    message_.destination = *destination;
  }
  context_.emplace(std::move(*context));
  return 0;
}

int Pub::open(std::uint64_t bytes, Codec codec) {
  MessagePublisherOptions out;
  const bool large = bytes > kLargePayload;
  out.stream = message_stream(std::max<std::uint64_t>(bytes, 1), large ? 8 : 128);
  // Large ones are planned for few at a time: the broker's limits count what is planned.
  if (large) out.stream.pools[0].slot_count = 24;
  out.stream.full_timeout_ns = static_cast<std::uint64_t>(options_.timeout.count());
  out.retained = options_.retain || options_.clear;
  out.need_subscriber = options_.need_subscriber;
  out.codec = codec;
  auto publisher = MessagePublisher::create(*node_, options_.topic, std::move(out));
  if (!publisher) return failed("pub", publisher.error().message);
  publisher_.emplace(std::move(*publisher));
  if (!wait_for_subscribers()) {
    (void)failed("pub", std::to_string(attached()) + " of " + std::to_string(options_.wait_for) +
                            " subscriptions are there");
    return kNobody;
  }
  return 0;
}

// False where --wait-for waited in vain.
bool Pub::wait_for_subscribers() {
  const Deadline patience = after(options_.timeout);
  while (attached() < options_.wait_for) {
    if (steady_clock::now() >= patience || !sleep_until(after(1ms))) return false;
  }
  const Deadline settled = after(kSettle);
  while (attached() < publisher_->stream().matching_count()) {
    if (steady_clock::now() >= settled || !sleep_until(after(1ms))) break;
  }
  return true;
}

int Pub::wait_reached(const Published& message) {
  const ReachLevel level =
      options_.reliable == "handled" ? ReachLevel::handled : ReachLevel::delivered;
  const Deadline deadline = after(options_.timeout);
  Outcome outcome = Outcome::timeout;
  while (outcome == Outcome::timeout && steady_clock::now() < deadline && !interrupted()) {
    outcome = publisher_->wait_reached(message, level, std::min(deadline, after(200ms)));
  }
  if (outcome == Outcome::ok) return 0;
  if (outcome == Outcome::no_subscriber) {
    (void)failed("pub", "nobody who acknowledges is there to take it");
    return kNobody;
  }
  const sluice::Reach reach = publisher_->reached(message);
  return failed("pub", std::string{to_string(outcome)} + ": of " +
                           plural(reach.subscriptions, "subscription") + " " +
                           std::to_string(reach.delivered) + " took it, " +
                           std::to_string(reach.handled) + " handled it");
}

int Pub::publish(const std::string& payload) {
  if (options_.json && !is_json(payload)) return misused("pub", "the message is no JSON");
  const auto bytes = std::as_bytes(std::span{payload.data(), payload.size()});
  Outcome outcome = Outcome::full;
  for (const Deadline patience = after(options_.timeout);;) {
    outcome = publisher_->publish(bytes, message_, last_);
    // Subscribers that hold messages let go of them some time.
    const bool later = outcome == Outcome::no_slot;
    if (!later || steady_clock::now() >= patience || !sleep_until(after(1ms))) break;
  }
  if (outcome == Outcome::no_subscriber) {
    (void)failed("pub", "nobody is there to take it");
    return kNobody;
  }
  if (outcome != Outcome::ok)
    return failed("pub", std::string{"not published: "} + to_string(outcome));
  any_ = true;
  return options_.reliable.empty() ? 0 : wait_reached(last_);
}

// Each line as soon as it has come: standard input may be another program's diary.
int Pub::publish_lines() {
  std::string line;
  while (!interrupted() && std::getline(std::cin, line)) {
    if (line.size() > options_.max_bytes) {
      return failed("pub", "a line has " + plural(line.size(), "byte") + "; --max-bytes lets " +
                               std::to_string(options_.max_bytes));
    }
    if (const int code = publish(line); code != 0) return code;
    if (options_.interval.count() != 0 && !sleep_until(after(options_.interval))) break;
  }
  return 0;
}

// What a group or a reliable subscription has not taken is lost with us.
void Pub::linger() {
  if (!any_ || publisher_->stream().acknowledging_count() == 0) return;
  const Outcome outcome = publisher_->wait_reached(last_, ReachLevel::delivered, after(kSettle));
  if (outcome != Outcome::timeout) return;
  const sluice::Reach reach = publisher_->reached(last_);
  if (reach.delivered == reach.subscriptions) return;
  std::fprintf(stderr, "sluice pub: %u of %s had not taken the last message\n",
               reach.subscriptions - reach.delivered,
               plural(reach.subscriptions, "subscription").c_str());
}

int Pub::run() {
  catch_interrupts();
  std::string payload;
  if (!options_.lines && !options_.clear) {
    auto read = read_payload(options_.payload);
    if (!read) return failed("pub", read.error().message);
    payload = std::move(*read);
    if (options_.json && !is_json(payload)) return misused("pub", "the message is no JSON");
  }
  if (const int code = prepare(); code != 0) return code;
  const std::uint64_t bytes = options_.lines ? options_.max_bytes : payload.size();
  if (const int code = open(bytes, codec_of(payload, options_.json)); code != 0) return code;
  if (options_.lines) {
    if (const int code = publish_lines(); code != 0) return code;
  }
  const std::uint64_t count = options_.lines ? 0 : options_.count;
  for (std::uint64_t i = 0; i < count && !interrupted(); ++i) {
    if (i != 0 && options_.interval.count() != 0 && !sleep_until(after(options_.interval))) break;
    if (const int code = publish(payload); code != 0) return code;
  }
  if (options_.retain) {
    while (sleep_until(after(1h))) {
    }
  }
  linger();
  return 0;
}

int run_pub(const PubOptions& options) {
  if (const auto checked = check_topic(options.topic); !checked) {
    return misused("pub", checked.error().message);
  }
  const int sources = static_cast<int>(options.payload.has_text) +
                      static_cast<int>(options.payload.has_file) + static_cast<int>(options.lines) +
                      static_cast<int>(options.clear);
  if (sources != 1) return misused("pub", "give one of MESSAGE, --file, --lines and --clear");
  if (options.retain && options.clear) {
    return misused("pub", "--clear is the end of a retained value; leave --retain out");
  }
  return Pub{options}.run();
}

}  // namespace

void add_pub(CLI::App& app, Run& run) {
  auto options = std::make_shared<PubOptions>();
  CLI::App* verb = app.add_subcommand("pub", "Publish messages");
  verb->group(kBus);
  verb->add_option("TOPIC", options->topic, "Where to")->required();
  const CLI::Option* text = verb->add_option("MESSAGE", options->payload.text, "What");
  const CLI::Option* file = verb->add_option("-f,--file", options->payload.file,
                                             "The message is in a file; - is "
                                             "standard input")
                                ->type_name("PATH");
  verb->add_flag("-l,--lines", options->lines, "Each line of standard input is a message");
  verb->add_flag("--json", options->json, "Messages are JSON, and are checked to be");
  verb->add_flag("--retain", options->retain,
                 "Keep the last message for who subscribes later, until interrupted: the value "
                 "lives as long as its publisher");
  verb->add_flag("--clear", options->clear,
                 "Publish an empty message: nothing is retained any "
                 "more");
  verb->add_option("--priority", options->priority, "Default: normal")
      ->check(CLI::IsMember({"critical", "high", "normal", "low"}));
  add_duration(*verb, "--ttl", options->ttl, "Nobody takes it later than this");
  verb->add_option("--count", options->count, "Publish it so often (default: 1)")->type_name("N");
  add_duration(*verb, "--interval", options->interval, "Between two messages");
  verb->add_option(
          "--reliable", options->reliable,
          "Wait until all who acknowledge (modes reliable and group) have taken each message "
          "(delivered) or dealt with it (handled)")
      ->check(CLI::IsMember({"delivered", "handled"}));
  add_duration(*verb, "--timeout", options->timeout,
               "Of --reliable, --wait-for, and where there is no room (default: 5s)");
  verb->add_flag("--need-subscriber", options->need_subscriber, "Fail where nobody is there");
  verb->add_option("--wait-for", options->wait_for, "Wait for so many subscriptions first")
      ->type_name("N");
  verb->add_option("--to", options->to, "For this node alone, by name or id")->type_name("NODE");
  verb->add_option("--max-bytes", options->max_bytes, "Longest line of --lines (default: 65536)")
      ->type_name("N")
      ->check(CLI::Range(1u, 16u << 20));
  add_sender(*verb, options->sender);
  add_reach(*verb, options->reach);
  verb->footer(
      "It waits up to a second for subscriptions that are just attaching.\n"
      "Exit code 0; 1 for a failure, 2 for bad usage, 3 when nobody is there (--need-subscriber,\n"
      "--wait-for), or nobody who acknowledges (--reliable).\n\n"
      "Examples:\n"
      "  sluice pub room/kitchen/light on\n"
      "  sluice pub jobs/print '{\"page\": 3}' --json --reliable handled --timeout 30s\n"
      "  tail -f diary | sluice pub diary/lines --lines");
  verb->callback([options, text, file, &run] {
    options->payload.has_text = text->count() != 0;
    options->payload.has_file = file->count() != 0;
    run = [options] { return run_pub(*options); };
  });
}

}  // namespace sluice::tools
