// sluice echo: messages as they come, readable.
//
// It subscribes like anybody, in mode next: nobody waits for it, and what it is too slow for it
// loses and counts. Types that Sluice knows are decoded, others shown as text or bytes.
#include "sluice/topic.hpp"
#include "tools/sluice/decode.hpp"
#include "tools/sluice/listener.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
#include "tools/sluice/verb.hpp"

#include <CLI/CLI.hpp>

#include <cmath>
#include <memory>

namespace sluice::tools {
namespace {

struct EchoOptions {
  Reach reach;
  std::string filter;
  std::uint64_t count = 0;
  double timeout_s = 0;
  std::uint32_t last = 0;
  std::size_t max_bytes = 256;
  bool newest = false;
  bool json = false;
};

std::string as_json(Listener& listener, const Sample& sample, const EchoOptions& options) {
  const std::string& type = listener.type_of(sample);
  nlohmann::json all = info_json(sample, monotonic_ns());
  all["topic"] = listener.topic_of(sample);
  all["type"] = type;
  all["message"] = decode(sample, type, options.max_bytes).json;
  return dumped(all) + "\n";
}

std::string as_text(Listener& listener, const Sample& sample, const EchoOptions& options) {
  const std::string& type = listener.type_of(sample);
  std::string text = joined({clean(listener.topic_of(sample)), type.empty() ? "" : "  ",
                             clean(type), "  ", info_text(sample, monotonic_ns()), "\n"});
  for (const std::string& line : decode(sample, type, options.max_bytes).lines) {
    text += joined({"  ", line, "\n"});
  }
  return text;
}

int run_echo(const EchoOptions& options) {
  if (const auto checked = check_filter(options.filter); !checked) {
    return misused("echo", checked.error().message);
  }
  catch_interrupts();
  SubscriptionOptions subscription;
  subscription.mode = options.newest ? DeliveryMode::latest : DeliveryMode::next;
  subscription.max_held = 1;
  subscription.history = options.last;
  auto listener = Listener::create(options.reach, "echo", options.filter, subscription);
  if (!listener) return failed("echo", listener.error().message);

  const auto start = std::chrono::steady_clock::now();
  const Deadline deadline =
      options.timeout_s > 0
          ? start + std::chrono::nanoseconds{std::llround(options.timeout_s * 1e9)}
          : Deadline::max();
  const Deadline first_doubt = start + std::chrono::seconds{2};
  bool doubted = false;
  std::uint64_t seen = 0;
  while (options.count == 0 || seen < options.count) {
    const bool doubting = seen == 0 && !doubted;
    const Sample sample = listener->next(doubting ? std::min(first_doubt, deadline) : deadline);
    if (!sample) {
      if (interrupted()) break;
      if (sample.outcome() == Outcome::not_allowed || sample.outcome() == Outcome::evicted) {
        return failed("echo",
                      std::string("the subscription has ended: ") + to_string(sample.outcome()));
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        if (seen != 0) break;
        return failed("echo", listener->why_nothing());
      }
      // Who waits for nothing is told why, and goes on waiting.
      (void)failed("echo", listener->why_nothing() + "; waiting");
      doubted = true;
      continue;
    }
    ++seen;
    if (!print(options.json ? as_json(*listener, sample, options)
                            : as_text(*listener, sample, options))) {
      break;
    }
  }
  const SubscriptionStats stats = listener->subscriber().stats();
  if (!options.json && stats.lost() != stats.lost_policy) {
    std::fprintf(stderr, "sluice echo: %llu messages were lost, the output was too slow for them\n",
                 static_cast<unsigned long long>(stats.lost() - stats.lost_policy));
  }
  return 0;
}

}  // namespace

void add_echo(CLI::App& app, Run& run) {
  auto options = std::make_shared<EchoOptions>();
  CLI::App* verb = app.add_subcommand("echo", "Print messages");
  verb->group(kMessages);
  verb->add_option("FILTER", options->filter, "Of which topics")->required();
  verb->add_option("-n,--count", options->count, "End after so many")->type_name("N");
  verb->add_option("--timeout", options->timeout_s, "End after this time")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e9));
  verb->add_option("-l,--last", options->last, "Begin with so many that the stream still keeps")
      ->type_name("N")
      ->check(CLI::Range(0, 65'536));
  verb->add_flag("--newest", options->newest, "Skip what is older than the newest");
  verb->add_option("--bytes", options->max_bytes,
                   "Show so many bytes of unknown types (default: 256)")
      ->type_name("N");
  verb->add_flag("--json", options->json, "A JSON object for each message on a line");
  add_reach(*verb, options->reach);
  verb->footer(
      "Exit code 0; 1 when nothing came before --timeout, or without a broker.\n\n"
      "Examples:\n"
      "  sluice echo 'recognize/+/identities'\n"
      "  sluice echo 'health/#' --last 1 --timeout 2\n"
      "  sluice echo detect/front/objects --json | jq '.message.detections[].score'");
  verb->callback([options, &run] { run = [options] { return run_echo(*options); }; });
}

}  // namespace sluice::tools
