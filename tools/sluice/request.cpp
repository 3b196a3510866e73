// sluice request: asks a service, and prints the answer.
#include "sluice/codec.hpp"
#include "sluice/requester.hpp"
#include "sluice/topic.hpp"
#include "tools/sluice/bus_options.hpp"
#include "tools/sluice/round_trips.hpp"
#include "tools/sluice/session.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"
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

struct RequestOptions {
  Reach reach;
  std::string service;
  Payload payload;
  SenderOptions sender;
  std::string priority = "normal";
  Duration timeout = 5s;
  bool idempotent = false;
  bool json = false;
  bool raw = false;
  std::uint64_t count = 1;
};

// In pieces, for interrupts.
Reply ask(Requester& requester, const std::string& payload, const RequestOptions& options) {
  CallOptions with;
  with.deadline = after(options.timeout);
  with.idempotent = options.idempotent;
  with.priority = *parse_priority(options.priority);
  Call call = requester.start(std::as_bytes(std::span{payload.data(), payload.size()}), with);
  while (!call.wait(after(100ms))) {
    if (!interrupted()) continue;
    call.cancel();
    return {{StatusCode::cancelled, "interrupted"}, {}};
  }
  return call.get();
}

std::string as_json(const Reply& reply) {
  nlohmann::json all{{"status", sluice::to_string(reply.status.code)},
                     {"code", static_cast<unsigned>(reply.status.code)}};
  if (!reply.status.ok()) all["error"] = reply.status.message;
  if (reply.message) all["reply"] = nlohmann::json::parse(to_json(reply.message), nullptr, false);
  return dumped(all) + "\n";
}

std::string as_text(const Reply& reply, const RequestOptions& options) {
  std::string text{reply.text()};
  if (options.raw) return text;
  if (::isatty(STDOUT_FILENO) != 0)
    text = is_text(text) ? clean(text) : plural(text.size(), "byte");
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  return text;
}

int one(Requester& requester, const std::string& payload, const RequestOptions& options) {
  const Reply reply = ask(requester, payload, options);
  // Details of a failure are an answer too.
  if (options.json) {
    print(as_json(reply));
  } else if (!reply.text().empty()) {
    print(as_text(reply, options));
  }
  return reply ? 0 : failed_with("request", reply.status);
}

int many(Requester& requester, const std::string& payload, const RequestOptions& options) {
  RoundTrips trips;
  Status last;
  for (std::uint64_t i = 0; i < options.count && !interrupted(); ++i) {
    const std::uint64_t start = monotonic_ns();
    const Reply reply = ask(requester, payload, options);
    trips.add(monotonic_ns() - start, static_cast<bool>(reply));
    if (!reply) last = reply.status;
  }
  print((options.json ? dumped(trips.json()) : trips.text()) + "\n");
  return last.ok() ? 0 : failed_with("request", last);
}

int run_request(const RequestOptions& options) {
  if (const auto checked = check_topic(options.service); !checked) {
    return misused("request", checked.error().message);
  }
  if (options.payload.has_text && options.payload.has_file) {
    return misused("request", "give one of MESSAGE and --file");
  }
  if (options.json && options.raw) return misused("request", "give one of --json and --raw");
  catch_interrupts();
  auto context = sender_context(options.sender);
  if (!context) return misused("request", context.error().message);
  const auto payload = read_payload(options.payload);
  if (!payload) return failed("request", payload.error().message);
  auto node = connect(options.reach, "request");
  if (!node) return failed("request", node.error().message);
  RequesterOptions with;
  with.request_bytes = std::max<std::uint64_t>(payload->size(), 1);
  with.max_calls = 1;
  with.codec = codec_of(*payload, false);
  auto requester = Requester::create(*node, options.service, std::move(with));
  if (!requester) return failed("request", requester.error().message);
  const ScopedContext scope{std::move(*context)};
  return options.count == 1 ? one(**requester, *payload, options)
                            : many(**requester, *payload, options);
}

}  // namespace

void add_request(CLI::App& app, Run& run) {
  auto options = std::make_shared<RequestOptions>();
  CLI::App* verb = app.add_subcommand("request", "Ask a service");
  verb->group(kBus);
  verb->add_option("SERVICE", options->service, "Whom")->required();
  const CLI::Option* text = verb->add_option("MESSAGE", options->payload.text, "What");
  const CLI::Option* file = verb->add_option("-f,--file", options->payload.file,
                                             "The request is in a file; - is "
                                             "standard input")
                                ->type_name("PATH");
  add_duration(*verb, "--timeout", options->timeout, "Of each call (default: 5s)");
  verb->add_flag("--idempotent", options->idempotent,
                 "May be handled more than once: another worker gets it when one dies");
  verb->add_option("--priority", options->priority, "Default: normal")
      ->check(CLI::IsMember({"critical", "high", "normal", "low"}));
  verb->add_option("--count", options->count,
                   "Ask so often, one after the other, and print the times instead of answers")
      ->type_name("N")
      ->check(CLI::Range(1u, 1'000'000'000u));
  verb->add_flag("--json", options->json, "Status and answer as a JSON object; the times too");
  verb->add_flag("--raw", options->raw, "The answer alone, without a line feed");
  add_sender(*verb, options->sender);
  add_reach(*verb, options->reach);
  verb->footer(
      "Nobody serves: that is said at once. An interrupt cancels the request.\n"
      "Exit code 0; 1 for a failure, 2 for bad usage; 10 + the number of a status that is not ok,\n"
      "as gRPC numbers them: 11 cancelled, 13 invalid_argument, 14 deadline_exceeded,\n"
      "15 not_found, 20 aborted, 23 internal, 24 unavailable.\n\n"
      "Examples:\n"
      "  sluice request math/add '1 2'\n"
      "  sluice request echo hello --count 1000 --json");
  verb->callback([options, text, file, &run] {
    options->payload.has_text = text->count() != 0;
    options->payload.has_file = file->count() != 0;
    run = [options] { return run_request(*options); };
  });
}

}  // namespace sluice::tools
