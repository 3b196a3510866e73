// A node's agent: three streams of JSON out, one subscription in.
//
//   out  health/<node>/bus           retained; every interval, when asked, when a problem comes
//        $sys/errors/<node>          as they happen, at most ten a second
//        $breaker/<service>/<node>   retained; whenever a breaker's state changes
//   in   $sys/control/<node>, $sys/control/all
//
// What comes in is input, although the broker lets only operators send it: its size and nesting are
// bounded before it is parsed, and what is not understood is reported, not followed. What goes out
// waits for nobody: a reliable subscriber that is stuck is evicted.
#include "sluice/agent.hpp"

#include "shm/clock.hpp"
#include "sluice/codec.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/version.hpp"
#include "transport/bus/message_publisher_impl.hpp"

#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::size_t kMaxSystemBytes = 65'536;  // of a system message
constexpr std::size_t kMaxSentence = 512;        // of a problem or an error; the rest is cut off
constexpr std::uint64_t kRecordBytes = 4'096;
constexpr double kErrorsPerSecond = 10;

// Cut before a character of several bytes rather than in it.
std::string_view cut(std::string_view text) {
  if (text.size() <= kMaxSentence) return text;
  std::size_t end = kMaxSentence;
  while (end != 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

// One flat object as text. nlohmann's own objects allocate when they are destroyed, which must not
// end a program that is short of memory; its strings do not.
class Record {
 public:
  Record& add(std::string_view key, std::string_view text) {
    return put(key, json(text).dump(-1, ' ', false, json::error_handler_t::replace));
  }
  Record& add(std::string_view key, std::uint64_t number) {
    return put(key, std::to_string(number));
  }
  [[nodiscard]] std::string text() const { return text_ + '}'; }

 private:
  Record& put(std::string_view key, std::string_view value) {
    text_ += text_.size() == 1 ? "\"" : ",\"";
    text_.append(key).append("\":").append(value);
    return *this;
  }
  std::string text_{"{"};
};

MessagePublisherOptions json_stream(std::uint32_t depth, bool retained) {
  MessagePublisherOptions o;
  o.stream = message_stream(kRecordBytes, depth);
  o.stream.lanes = {{depth, retained ? 1 : depth}};
  o.stream.on_full = OnFull::evict;
  o.codec = Codec::json;
  o.retained = retained;
  return o;
}

std::optional<SystemMessage> parse_order(std::string_view text) {
  if (text == "shutdown") return SystemMessage::shutdown;
  if (text == "health_check") return SystemMessage::health_check;
  if (text == "configuration") return SystemMessage::configuration;
  if (text == "breaker") return SystemMessage::breaker;
  if (text == "ready") return SystemMessage::ready;
  return std::nullopt;
}

std::optional<BreakerState> parse_forced(std::string_view text) {
  for (const BreakerState state :
       {BreakerState::closed, BreakerState::forced_open, BreakerState::forced_closed}) {
    if (text == to_string(state)) return state;
  }
  return std::nullopt;
}

// The member's text; empty where there is none.
std::string_view text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return {};
  return found->get_ref<const std::string&>();
}

}  // namespace

struct Agent::Impl {
  Impl(Node& with, AgentOptions opts, MessagePublisher health_out, MessageSubscriber in)
      : node(with),
        options(std::move(opts)),
        health(std::move(health_out)),
        control(std::move(in)),
        errors_allowed({kErrorsPerSecond, kErrorsPerSecond}) {}

  struct Watched {
    std::string service;
    CircuitBreaker* breaker = nullptr;
    std::optional<MessagePublisher> out{};
    std::optional<BreakerState> told{};
    bool refused = false;
  };

  void step(std::uint64_t now);
  [[nodiscard]] std::uint64_t due() const;
  void publish_health(std::uint64_t now);
  void take_orders();
  void follow(const Message& message);
  bool obey(SystemMessage order, const json& object, std::string_view text);
  bool force_breakers(const json& object);
  void tell(Watched& watched, std::uint64_t now);
  void report(std::string_view topic, std::string_view sentence);

  Node& node;
  AgentOptions options;
  MessagePublisher health;
  MessageSubscriber control;
  std::optional<MessagePublisher> errors;  // made with the first one
  TokenBucket errors_allowed;
  std::uint64_t reported = 0;
  std::uint64_t left_out = 0;  // since the last one that was reported
  std::vector<Watched> watched;
  std::string problem;
  std::uint64_t started_ns = shm::now_ns();
  std::uint64_t health_due_ns = 0;
};

Result<Agent> Agent::create(Node& node, AgentOptions options, WaitSet* set) {
  auto health =
      MessagePublisher::create(node, "health/" + node.name() + "/bus", json_stream(8, true));
  if (!health) return std::move(health).error();
  MessageSubscriptionOptions in;
  in.subscription.mode = DeliveryMode::reliable;
  in.subscription.max_held = 1;
  auto control = MessageSubscriber::create(
      node, {"$sys/control/" + node.name(), "$sys/control/all"}, std::move(in), set);
  if (!control) return std::move(control).error();
  return Agent{
      std::make_unique<Impl>(node, std::move(options), std::move(*health), std::move(*control))};
}

Agent::Agent(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Agent::Agent(Agent&&) noexcept = default;
Agent& Agent::operator=(Agent&&) noexcept = default;
Agent::~Agent() = default;

// --- What goes out
// ---------------------------------------------------------------------------------

void Agent::Impl::publish_health(std::uint64_t now) {
  const auto interval = static_cast<std::uint64_t>(
      std::max(options.health_interval, std::chrono::nanoseconds{std::chrono::milliseconds{10}})
          .count());
  health_due_ns = now + interval;
  const HealthFigures figures = options.figures ? options.figures() : HealthFigures{};
  Record record;
  record.add("node", node.name())
      .add("status", problem.empty() ? "ok" : "problem")
      .add("uptime_s", (now - started_ns) / kSecond)
      .add("pid", static_cast<std::uint64_t>(::getpid()))
      .add("version", node.version())
      .add("sluice", SLUICE_VERSION_STRING)
      .add("messages", figures.received)
      .add("handled", figures.handled)
      .add("errors", figures.failed)
      .add("dead", figures.dead)
      .add("published", figures.published != 0 ? figures.published : node.published())
      .add("slow", figures.slow)
      .add("reported", reported);
  if (!problem.empty()) record.add("problem", problem);
  (void)health.publish(record.text());  // counted there; the next one says the same
}

void Agent::Impl::report(std::string_view topic, std::string_view sentence) {
  if (!errors_allowed.take(shm::now_ns())) {
    ++left_out;
    return;
  }
  if (!errors) {
    auto made =
        MessagePublisher::create(node, "$sys/errors/" + node.name(), json_stream(32, false));
    if (!made) {
      ++left_out;
      return;
    }
    errors = std::move(*made);
  }
  Record record;
  record.add("node", node.name())
      .add("topic", cut(topic))
      .add("error", cut(sentence))
      .add("left_out", left_out);
  if (errors->publish(record.text()) != Outcome::ok) {
    ++left_out;
    return;
  }
  ++reported;
  left_out = 0;
}

void Agent::Impl::tell(Watched& it, std::uint64_t now) {
  const BreakerState state = it.breaker->state(now);
  if (it.told == state || it.refused) return;
  if (!it.out) {
    auto made = MessagePublisher::create(node, "$breaker/" + it.service + "/" + node.name(),
                                         json_stream(8, true));
    if (!made) {
      it.refused = true;
      return report("$breaker/" + it.service, made.error().message);
    }
    it.out = std::move(*made);
  }
  const CircuitBreaker::Figures figures = it.breaker->figures(now);
  Record record;
  record.add("service", it.service)
      .add("node", node.name())
      .add("state", to_string(state))
      .add("calls", figures.calls)
      .add("failed", figures.failed)
      .add("slow", figures.slow)
      .add("refused", figures.refused)
      .add("opened", figures.opened);
  if (it.out->publish(record.text()) == Outcome::ok) it.told = state;
}

// --- What comes in
// ---------------------------------------------------------------------------------

void Agent::Impl::take_orders() {
  for (;;) {
    Message message = control.take();
    if (message) {
      follow(message);
      control.acknowledge(std::move(message));
      continue;
    }
    // Nothing more will come, or not until the broker's policy has changed again.
    if (message.outcome() == Outcome::not_allowed) control.stream().pause(true);
    if (message.outcome() != Outcome::evicted) return;
  }
}

void Agent::Impl::follow(const Message& message) {
  const std::string text{message.text()};  // the sender may still be writing there
  const std::string_view topic = message.topic();
  if (text.size() > kMaxSystemBytes || !is_json(text)) {
    return report(topic, "a system message is no JSON of at most 65,536 bytes");
  }
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return report(topic, "a system message is no JSON object");
  const std::string_view what = text_of(object, "do");
  const auto order = parse_order(what);
  if (!order) {
    return report(topic, "a system message says \"do\": \"" + std::string{cut(what)} +
                             "\"; it can be shutdown, health_check, configuration, breaker, ready");
  }
  if (!obey(*order, object, text)) {
    report(topic, "the system message '" + std::string{what} + "' was not followed");
  }
}

bool Agent::Impl::obey(SystemMessage order, const json& object, std::string_view text) {
  bool done = order == SystemMessage::health_check || order == SystemMessage::ready;
  if (order == SystemMessage::health_check) publish_health(shm::now_ns());
  if (order == SystemMessage::breaker) done = force_breakers(object);
  if (options.system) done = options.system(order, text) || done;
  return done;
}

// Whether it makes sense; that nobody here calls the service is no mistake.
bool Agent::Impl::force_breakers(const json& object) {
  const std::string_view service = text_of(object, "service");
  const auto state = parse_forced(text_of(object, "state"));
  if (service.empty() || !state) return false;
  for (Watched& it : watched) {
    if (it.service != service) continue;
    it.breaker->force(*state, shm::now_ns());
    it.told.reset();
  }
  return true;
}

std::uint64_t Agent::Impl::due() const {
  // A breaker opens its door by time alone.
  if (watched.empty()) return health_due_ns;
  return std::min(health_due_ns, shm::now_ns() + kSecond);
}

void Agent::Impl::step(std::uint64_t now) {
  take_orders();
  if (now >= health_due_ns) publish_health(now);
  for (Watched& it : watched) tell(it, now);
}

Deadline Agent::step() {
  impl_->step(shm::now_ns());
  return bus::to_deadline(impl_->due());
}

void Agent::set_problem(std::string_view problem) {
  if (impl_->problem == cut(problem)) return;
  impl_->problem = cut(problem);
  impl_->health_due_ns = 0;
}

void Agent::report_error(std::string_view topic, std::string_view sentence) {
  impl_->report(topic, sentence);
}

void Agent::watch_breaker(std::string_view service, CircuitBreaker& breaker) {
  impl_->watched.push_back({std::string{service}, &breaker});
}

void Agent::forget_breaker(const CircuitBreaker& breaker) {
  std::erase_if(impl_->watched, [&](const Impl::Watched& it) { return it.breaker == &breaker; });
}

}  // namespace sluice
