// A stage: the loop around a handler.
//
// One thread does all of it: it looks at the inputs in turn, takes one message of each, so that a
// busy one does not starve the others, and sleeps in one wait set when there is none. References
// are subscriptions from which nothing is taken; they lie in no wait set and wake nobody.
//
// A message is acknowledged after its handler, also when that failed: what makes a handler fail
// once makes it fail again, and would keep a group busy for ever. Only what a worker had when it
// died is given to another one.
//
// What a stage has published holds the frames attached to it until all subscribers have passed it;
// the next loan looks for that. Who publishes nothing for a while looks by itself, ever more
// seldom.
#include "sluice/stage.hpp"

#include "pipeline/job.hpp"
#include "shm/clock.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <utility>

namespace sluice {
namespace {

constexpr std::uint64_t kCollectAfterNs = 50'000'000;
constexpr std::uint64_t kCollectAtLeastEveryNs = 1'000'000'000;
constexpr std::chrono::milliseconds kQuotaPause{1};

Deadline to_deadline(std::uint64_t ns) {
  return Deadline{std::chrono::nanoseconds{static_cast<std::int64_t>(
      std::min<std::uint64_t>(ns, static_cast<std::uint64_t>(INT64_MAX)))}};
}

std::uint64_t to_ns(Deadline deadline) {
  const auto ns = std::chrono::nanoseconds{deadline.time_since_epoch()}.count();
  return ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
}

Error refused(const std::string& what) {
  return Error{
      Errc::refused, 0,
      "the broker has taken away the right to " + what + "; its policy (allow, deny) has changed"};
}

// Made before the stage is, so that a failure on the way leaves nothing behind.
struct Wires {
  Node node;
  WaitSet set;
  std::vector<Subscriber> inputs{};
  std::vector<Subscriber> references{};
  std::vector<Publisher> outputs{};
};

Result<Wires> connect(const StageOptions& options) {
  NodeOptions asked;
  asked.name = options.name;
  asked.socket = options.socket;
  asked.connect_timeout = options.connect_timeout;
  asked.log = options.log;
  auto node = Node::create(std::move(asked));
  if (!node) return std::move(node).error();
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  Wires wires{std::move(*node), std::move(*set)};
  // Outputs first: what is taken can be published.
  for (const StageOutput& output : options.outputs) {
    auto publisher = wires.node.advertise(output.topic, output.stream);
    if (!publisher) return std::move(publisher).error();
    wires.outputs.push_back(std::move(*publisher));
  }
  for (const std::string& filter : options.references) {
    auto subscriber = wires.node.subscribe(
        filter, {.mode = DeliveryMode::latest, .max_held = std::max(options.max_resolved, 1u)});
    if (!subscriber) return std::move(subscriber).error();
    wires.references.push_back(std::move(*subscriber));
  }
  for (const StageInput& input : options.inputs) {
    auto subscriber = wires.node.subscribe(input.filter, input.subscription, wires.set);
    if (!subscriber) return std::move(subscriber).error();
    wires.inputs.push_back(std::move(*subscriber));
  }
  return wires;
}

}  // namespace

struct Stage::Impl {
  Impl(StageOptions with, Handler what, Wires all, Publisher health, std::optional<Publisher> spans)
      : options(std::move(with)),
        handler(std::move(what)),
        wires(std::move(all)),
        report({options.name, options.slow, options.health_interval, options.log},
               std::move(health), std::move(spans)),
        job(wires.outputs, wires.references) {}

  bool take_one(std::size_t index);
  void handle(std::size_t index, Sample&& sample);
  void call_handler();
  std::size_t round(std::vector<std::uint64_t>* budgets);
  void sleep(std::uint64_t until_ns);
  void tick();
  void collect();
  [[nodiscard]] std::vector<std::uint64_t> what_is_there();

  StageOptions options;
  Handler handler;
  Wires wires;
  pipeline::StageReport report;
  Job::Impl job;

  std::size_t turn = 0;            // the input that is looked at first
  bool quota = false;              // an input has more than may be held; in this round
  std::optional<Error> over;       // what ends the stage
  std::uint64_t published_ns = 0;  // last; 0: collected, and nothing since
  std::uint64_t collect_ns = shm::kNever;
  std::uint64_t forget_ns = 0;
  std::atomic<bool> stopping{false};
};

Stage::Stage(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Stage::Stage(Stage&&) noexcept = default;
Stage& Stage::operator=(Stage&&) noexcept = default;
Stage::~Stage() {
  if (impl_) impl_->report.stop();
}

Result<Stage> Stage::create(StageOptions options, Handler handler) {
  const auto invalid = [](const char* what) { return Error{Errc::invalid_argument, 0, what}; };
  if (options.name.empty()) return invalid("a stage needs a name: StageOptions::name");
  if (options.inputs.empty()) return invalid("a stage needs an input: StageOptions::inputs");
  if (!handler) return invalid("a stage needs a handler: the second argument of Stage::create");
  if (options.health_interval <= std::chrono::milliseconds{0}) {
    return invalid("StageOptions::health_interval must be longer than 0 ms");
  }
  auto wires = connect(options);
  if (!wires) return std::move(wires).error();
  auto health = wires->node.advertise(health_topic(options.name), health_stream());
  if (!health) return std::move(health).error();
  std::optional<Publisher> spans;
  if (options.trace) {
    auto made = wires->node.advertise(trace_topic(options.name), trace_stream());
    if (!made) return std::move(made).error();
    spans = std::move(*made);
  }
  return Stage{std::make_unique<Impl>(std::move(options), std::move(handler), std::move(*wires),
                                      std::move(*health), std::move(spans))};
}

Result<void> Stage::run() {
  Impl& s = *impl_;
  while (!s.stopping && !s.over) {
    const std::size_t handled = s.round(nullptr);
    s.tick();
    if (handled == 0 && !s.over && !s.stopping) s.sleep(shm::kNever);
  }
  s.report.stop();
  if (s.over) return *s.over;
  return {};
}

std::size_t Stage::step(Deadline deadline) {
  Impl& s = *impl_;
  const std::uint64_t until = to_ns(deadline);
  std::size_t handled = 0;
  std::vector<std::uint64_t> budgets = s.what_is_there();
  while (!s.stopping && !s.over) {
    const std::size_t now = s.round(&budgets);
    handled += now;
    s.tick();
    if (now != 0) continue;
    if (handled != 0 || shm::now_ns() >= until) break;
    s.sleep(until);
    budgets = s.what_is_there();
  }
  return handled;
}

void Stage::stop() noexcept {
  impl_->stopping.store(true);
  impl_->wires.set.interrupt();
}

Health Stage::health() const { return impl_->report.health(); }
Node& Stage::node() noexcept { return impl_->wires.node; }
Publisher& Stage::output(std::size_t index) noexcept { return impl_->wires.outputs[index]; }
Subscriber& Stage::input(std::size_t index) noexcept { return impl_->wires.inputs[index]; }

// How many messages of each input step() handles: what waits now. Of a stream in mode latest that
// is one.
std::vector<std::uint64_t> Stage::Impl::what_is_there() {
  std::vector<std::uint64_t> budgets;
  for (std::size_t i = 0; i < wires.inputs.size(); ++i) {
    const std::uint64_t streams = wires.inputs[i].stream_count();
    const std::uint64_t waiting = wires.inputs[i].stats().waiting;
    const bool latest = options.inputs[i].subscription.mode == DeliveryMode::latest;
    // One more than none: what has come in since is there, too.
    budgets.push_back(std::max<std::uint64_t>(latest ? streams : waiting, 1));
  }
  return budgets;
}

// Each input once; how many messages.
std::size_t Stage::Impl::round(std::vector<std::uint64_t>* budgets) {
  std::size_t handled = 0;
  quota = false;
  const std::size_t count = wires.inputs.size();
  for (std::size_t n = 0; n < count && !stopping && !over; ++n) {
    const std::size_t index = (turn + n) % count;
    if (budgets != nullptr && (*budgets)[index] == 0) continue;
    if (!take_one(index)) continue;
    ++handled;
    if (budgets != nullptr) --(*budgets)[index];
  }
  turn = turn + 1 < count ? turn + 1 : 0;
  return handled;
}

bool Stage::Impl::take_one(std::size_t index) {
  Sample sample = wires.inputs[index].take();
  if (sample) {
    handle(index, std::move(sample));
    return true;
  }
  const std::string& filter = options.inputs[index].filter;
  switch (sample.outcome()) {
    case Outcome::quota:
      quota = true;
      break;
    case Outcome::evicted:
      report.warn("evicted from a stream of '" + filter +
                  "': too slow for it, or more samples held than max_held says");
      break;
    case Outcome::not_allowed:
      over = refused("receive '" + filter + "'");
      break;
    default:
      break;
  }
  return false;
}

void Stage::Impl::handle(std::size_t index, Sample&& sample) {
  Subscriber& from = wires.inputs[index];
  const Receipt receipt = from.receipt(sample);
  const std::string_view topic = from.topic(sample);
  job.begin(index, std::move(sample), topic);
  call_handler();
  // With the sample where it is still there: the slot is free at once.
  if (job.sample) {
    from.acknowledge(std::move(job.sample));
  } else {
    from.acknowledge(receipt);
  }
  job.sample = Sample{};
  job.result.span.done_ns = shm::now_ns();
  if (job.result.published != 0) {
    published_ns = job.result.span.done_ns;
    collect_ns = published_ns + kCollectAfterNs;
  }
  if (job.not_allowed)
    over = refused("publish '" + options.outputs[job.refused_output].topic + "'");
  report.handled(std::move(job.result));
}

void Stage::Impl::call_handler() {
  pipeline::Handled& result = job.result;
  const auto fail = [&](std::string why) {
    result.span.end = SpanEnd::failed;
    result.why = std::move(why);
  };
  try {
    Job handle{job};
    const Result<void> done = handler(handle);
    if (!done) return fail(done.error().message);
  } catch (const std::exception& e) {
    return fail(std::string{"an exception: "} + e.what());
  } catch (const abi::__forced_unwind&) {
    throw;  // the thread is being cancelled, which must not be stopped
  } catch (...) {
    return fail("an exception of a type that says nothing");
  }
  result.span.end = result.no_room != 0                    ? SpanEnd::no_room
                    : job.skipped && result.published == 0 ? SpanEnd::skipped
                                                           : SpanEnd::done;
}

void Stage::Impl::sleep(std::uint64_t until_ns) {
  if (quota) {
    // The set would not sleep: there is something, but we hold too much already, perhaps by results
    // that wait for their subscribers.
    collect();
    report.warn(
        "as many samples of an input are held as its max_held allows; nothing is taken until "
        "one is released");
    std::this_thread::sleep_for(kQuotaPause);
    return;
  }
  const std::uint64_t due = std::min({until_ns, report.due_ns(), collect_ns});
  (void)wires.set.wait(to_deadline(due));
}

void Stage::Impl::tick() {
  const std::uint64_t now = shm::now_ns();
  if (now >= collect_ns) {
    collect();
    collect_ns = now + std::min(2 * (now - published_ns), kCollectAtLeastEveryNs);
  }
  if (now >= forget_ns) {
    for (Subscriber& subscriber : wires.references) subscriber.forget_ended();
    forget_ns = now + kCollectAtLeastEveryNs;
  }
  report.tick(now);
}

void Stage::Impl::collect() {
  for (Publisher& output : wires.outputs) output.collect();
}

}  // namespace sluice
