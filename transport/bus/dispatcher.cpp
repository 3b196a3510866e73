// The loop: the agent, timers, what is kept, what is new, requests; then sleep until the next of
// these is due or something comes. One wait set holds all of it, so that a message, a request, a
// system message and stop() end the same sleep.
//
// Handlers may add and remove subscriptions, services and timers. What is added comes in at the end
// of its list, which is walked by index; what is removed is only marked, and destroyed when the
// round is over.
#include "sluice/dispatcher.hpp"

#include "shm/clock.hpp"
#include "sluice/correlation.hpp"
#include "transport/bus/handled_subscription.hpp"
#include "transport/bus/message_publisher_impl.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <utility>

namespace sluice {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kAfterTroubleNs = 10'000'000;
constexpr std::size_t kBatch = 16;              // new messages of one subscription in a round
constexpr std::uint64_t kShortestNs = 100'000;  // between two calls of a timer
constexpr std::uint32_t kMaxInflight = 4'096;

enum class Phase : int { running, draining, stopped };

struct Served {
  Dispatcher::Id id;
  std::unique_ptr<Responder> responder;
  bool removed = false;
};

struct Timer {
  Dispatcher::Id id;
  std::uint64_t due_ns = 0;
  std::uint64_t interval_ns = 0;  // 0: once
  std::function<void()> task;
  bool removed = false;
};

Error no_memory() { return Error{Errc::exhausted, 0, "out of memory"}; }  // fits without any

void add(Dispatcher::Counts& sum, const Dispatcher::Counts& more) {
  sum.handled += more.handled;
  sum.failed += more.failed;
  sum.retried += more.retried;
  sum.dead += more.dead;
  sum.dropped += more.dropped;
  sum.slow += more.slow;
  sum.passed_on += more.passed_on;
}

Dispatcher::Counts counts_of(const Responder& responder) {
  const Responder::Counts& from = responder.counts();
  Dispatcher::Counts counts;
  counts.handled = from.handled;
  counts.failed = from.failed;
  counts.slow = from.slow;
  counts.passed_on = from.passed_on;
  return counts;
}

std::uint64_t length(std::chrono::nanoseconds duration, std::uint64_t least) {
  return duration.count() > 0 ? std::max(static_cast<std::uint64_t>(duration.count()), least)
                              : least;
}

}  // namespace

struct Dispatcher::Impl final : bus::Desk {
  Impl(Node& with, DispatcherOptions opts, WaitSet waits)
      : node(with),
        options(std::move(opts)),
        set(std::move(waits)),
        letters(with),
        seed(new_correlation_id().low) {}

  Result<void> bury(const Message& message, const DeadLetterRecord& why) override;
  void say(LogLevel level, std::string_view topic, std::string_view sentence) noexcept override;

  Result<void> make_agent();
  bool follow(SystemMessage order, std::string_view text);
  [[nodiscard]] HealthFigures figures() const;

  Result<Id> add(MessageSubscriber from, Handler handler, const HandlerOptions& with);
  Id add_timer(std::uint64_t delay_ns, std::uint64_t interval_ns, std::function<void()> task);
  std::size_t round();
  std::size_t run_timers();
  std::size_t serve();
  void sweep();
  void begin_draining();
  [[nodiscard]] bool idle() const;
  [[nodiscard]] std::uint64_t due() const;
  // relaxed: a flag that stands alone
  [[nodiscard]] Phase now_in() const { return phase.load(std::memory_order_relaxed); }
  Id next_id() { return Id{++last_id}; }
  template <class Make>
  auto guarded(Make make) -> decltype(make()) {
    try {
      return make();
    } catch (const std::bad_alloc&) {
      return no_memory();
    }
  }

  Node& node;
  DispatcherOptions options;
  WaitSet set;
  DeadLetters letters;
  std::uint64_t seed;
  std::optional<Agent> agent;
  Deadline agent_due{};
  std::vector<std::unique_ptr<bus::HandledSubscription>> subscriptions;
  std::vector<std::unique_ptr<Served>> services;
  std::vector<std::unique_ptr<Timer>> timers;
  Counts gone;  // of what was removed
  std::uint64_t gone_taken = 0;
  std::uint32_t last_id = 0;
  std::uint64_t said_ns = 0;
  std::uint64_t unsaid = 0;
  bool inside = false;
  bool swept = true;
  bool draining = false;
  bool revoked = false;
  std::atomic<Phase> phase{Phase::running};
};

// --- What subscriptions and the agent need
// ---------------------------------------------------------

Result<void> Dispatcher::Impl::bury(const Message& message, const DeadLetterRecord& why) {
  return guarded([&] { return letters.put(message, why); });
}

void Dispatcher::Impl::say(LogLevel level, std::string_view topic,
                           std::string_view sentence) noexcept {
  try {
    if (agent && level == LogLevel::error) agent->report_error(topic, sentence);
    if (!options.log) return;
    const std::uint64_t now = shm::now_ns();
    if (said_ns != 0 && now - said_ns < kSecond) {
      ++unsaid;
      return;
    }
    std::string text{topic};
    if (!topic.empty()) text += ": ";
    text += sentence.empty() ? "the handler failed" : sentence;
    if (unsaid != 0) text += " (" + std::to_string(unsaid) + " more were left out)";
    said_ns = now;
    unsaid = 0;
    options.log(level, text);
  } catch (...) {  // whoever logs must not end what is logged
    ++unsaid;
  }
}

HealthFigures Dispatcher::Impl::figures() const {
  Counts sum = gone;
  HealthFigures figures;
  figures.received = gone_taken;
  for (const auto& it : subscriptions) {
    ::sluice::add(sum, it->counts());
    figures.received += it->taken();
  }
  for (const auto& it : services) {
    ::sluice::add(sum, counts_of(*it->responder));
    figures.received += it->responder->counts().handled;
  }
  figures.handled = sum.handled;
  figures.failed = sum.failed;
  figures.dead = sum.dead;
  figures.slow = sum.slow;
  return figures;
}

bool Dispatcher::Impl::follow(SystemMessage order, std::string_view text) {
  const auto& system = options.agent_options.system;
  const bool followed = system ? system(order, text) : order == SystemMessage::shutdown;
  if (order == SystemMessage::shutdown && followed) begin_draining();
  return followed;
}

Result<void> Dispatcher::Impl::make_agent() {
  AgentOptions with = options.agent_options;
  if (!with.figures) with.figures = [this] { return figures(); };
  with.system = [this](SystemMessage order, std::string_view text) { return follow(order, text); };
  auto made = Agent::create(node, std::move(with), &set);
  if (!made) return std::move(made).error();
  agent = std::move(*made);
  return {};
}

// --- What is in it
// ---------------------------------------------------------------------------------

Result<Dispatcher::Id> Dispatcher::Impl::add(MessageSubscriber from, Handler handler,
                                             const HandlerOptions& with) {
  const Id id = next_id();
  subscriptions.push_back(std::make_unique<bus::HandledSubscription>(
      id, std::move(from), std::move(handler), with, seed + id.number, *this));
  if (draining) subscriptions.back()->drain();
  return id;
}

Dispatcher::Id Dispatcher::Impl::add_timer(std::uint64_t delay_ns, std::uint64_t interval_ns,
                                           std::function<void()> task) {
  const Id id = next_id();
  timers.push_back(std::make_unique<Timer>(
      Timer{id, shm::now_ns() + delay_ns, interval_ns, std::move(task), false}));
  return id;
}

void Dispatcher::Impl::begin_draining() {
  Phase running = Phase::running;
  // relaxed: a flag that stands alone
  phase.compare_exchange_strong(running, Phase::draining, std::memory_order_relaxed);
  if (draining) return;
  draining = true;
  for (const auto& it : subscriptions) it->drain();
  for (const auto& it : services) it->responder->drain();
}

bool Dispatcher::Impl::idle() const {
  return std::all_of(subscriptions.begin(), subscriptions.end(),
                     [](const auto& it) { return it->kept() == 0; }) &&
         std::all_of(services.begin(), services.end(),
                     [](const auto& it) { return it->responder->outstanding() == 0; });
}

// --- The loop
// --------------------------------------------------------------------------------------

std::size_t Dispatcher::Impl::run_timers() {
  std::size_t calls = 0;
  const std::uint64_t now = shm::now_ns();
  for (std::size_t i = 0; i < timers.size() && now_in() != Phase::stopped; ++i) {
    Timer& it = *timers[i];
    if (it.removed || it.due_ns > now) continue;
    // Those that were missed are not made up for.
    it.due_ns = std::max(it.due_ns + it.interval_ns, now + (it.interval_ns != 0 ? 1 : 0));
    it.removed = it.interval_ns == 0;
    swept = swept && !it.removed;
    try {
      it.task();
    } catch (const std::exception& e) {
      say(LogLevel::error, "", e.what());
    } catch (...) {
      say(LogLevel::error, "", "a timer threw no exception of std");
    }
    ++calls;
  }
  return calls;
}

std::size_t Dispatcher::Impl::serve() {
  std::size_t calls = 0;
  for (std::size_t i = 0; i < services.size() && now_in() != Phase::stopped; ++i) {
    if (services[i]->removed) continue;
    calls += services[i]->responder->step(Deadline{});
    revoked = revoked || services[i]->responder->revoked();
  }
  return calls;
}

std::size_t Dispatcher::Impl::round() {
  if (agent) agent_due = agent->step();
  if (now_in() == Phase::draining) begin_draining();
  std::size_t calls = run_timers();
  for (std::size_t i = 0; i < subscriptions.size() && now_in() != Phase::stopped; ++i) {
    bus::HandledSubscription& it = *subscriptions[i];
    if (it.removed()) continue;
    calls += it.turn(shm::now_ns(), kBatch);
    revoked = revoked || it.revoked();
  }
  return calls + serve();
}

void Dispatcher::Impl::sweep() {
  if (swept) return;
  swept = true;
  std::erase_if(subscriptions, [this](const auto& it) {
    if (!it->removed()) return false;
    ::sluice::add(gone, it->counts());
    gone_taken += it->taken();
    return true;
  });
  std::erase_if(services, [this](const auto& it) {
    if (!it->removed) return false;
    ::sluice::add(gone, counts_of(*it->responder));
    return true;
  });
  std::erase_if(timers, [](const auto& it) { return it->removed; });
}

std::uint64_t Dispatcher::Impl::due() const {
  std::uint64_t due = agent ? bus::to_ns(agent_due) : kNever;
  for (const auto& it : timers) due = std::min(due, it->due_ns);
  for (const auto& it : subscriptions) due = std::min(due, it->due_ns());
  return due;
}

// --- Dispatcher
// ------------------------------------------------------------------------------------

Result<std::unique_ptr<Dispatcher>> Dispatcher::create(Node& node, DispatcherOptions options) {
  try {
    auto set = WaitSet::create();
    if (!set) return std::move(set).error();
    auto impl = std::make_unique<Impl>(node, std::move(options), std::move(*set));
    if (impl->options.agent) {
      if (auto made = impl->make_agent(); !made) return std::move(made).error();
    }
    return std::unique_ptr<Dispatcher>{new Dispatcher{std::move(impl)}};
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

Dispatcher::Dispatcher(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Dispatcher::~Dispatcher() = default;

namespace {

Result<void> check(const Dispatcher::Handler& handler, HandlerOptions& options) {
  if (!handler) return Error{Errc::invalid_argument, 0, "a subscription needs a handler"};
  if (options.max_inflight == 0 || options.max_inflight > kMaxInflight) {
    return Error{Errc::invalid_argument, 0,
                 "max_inflight is 1 to " + std::to_string(kMaxInflight) + "; " +
                     std::to_string(options.max_inflight) + " was asked for"};
  }
  // Expired ones are dealt with here, and those that are kept are held.
  options.subscription.give_expired = true;
  SubscriptionOptions& stream = options.subscription.subscription;
  stream.max_held = std::max(stream.max_held, options.max_inflight + 1);
  return {};
}

}  // namespace

Result<Dispatcher::Id> Dispatcher::on(const std::vector<std::string>& filters, Handler handler,
                                      HandlerOptions options) {
  return impl_->guarded([&]() -> Result<Id> {
    if (auto valid = check(handler, options); !valid) return std::move(valid).error();
    auto from = MessageSubscriber::create(impl_->node, filters, options.subscription, &impl_->set);
    if (!from) return std::move(from).error();
    return impl_->add(std::move(*from), std::move(handler), options);
  });
}

Result<Dispatcher::Id> Dispatcher::on(std::string_view filter, Handler handler,
                                      HandlerOptions options) {
  return impl_->guarded([&]() -> Result<Id> {
    return on(std::vector<std::string>{std::string{filter}}, std::move(handler),
              std::move(options));
  });
}

Result<Dispatcher::Id> Dispatcher::on_inbox(Handler handler, HandlerOptions options) {
  return impl_->guarded([&]() -> Result<Id> {
    options.subscription.subscription.mode = DeliveryMode::reliable;
    if (auto valid = check(handler, options); !valid) return std::move(valid).error();
    auto from = MessageSubscriber::inbox(impl_->node, options.subscription, &impl_->set);
    if (!from) return std::move(from).error();
    return impl_->add(std::move(*from), std::move(handler), options);
  });
}

Result<Dispatcher::Id> Dispatcher::serve(std::string_view service, Responder::Handler handler,
                                         ResponderOptions options) {
  return impl_->guarded([&]() -> Result<Id> {
    if (!options.log) {
      options.log = [me = impl_.get()](LogLevel level, std::string_view sentence) {
        me->say(level, "", sentence);
      };
    }
    auto made = Responder::create(impl_->node, service, std::move(handler), std::move(options),
                                  &impl_->set);
    if (!made) return std::move(made).error();
    if (impl_->draining) (*made)->drain();
    const Id id = impl_->next_id();
    impl_->services.push_back(std::make_unique<Served>(Served{id, std::move(*made), false}));
    return id;
  });
}

Dispatcher::Id Dispatcher::every(std::chrono::nanoseconds interval, std::function<void()> task) {
  const std::uint64_t ns = length(interval, kShortestNs);
  return impl_->add_timer(ns, ns, std::move(task));
}

Dispatcher::Id Dispatcher::after(std::chrono::nanoseconds delay, std::function<void()> task) {
  return impl_->add_timer(length(delay, 0), 0, std::move(task));
}

void Dispatcher::remove(Id id) {
  for (const auto& it : impl_->subscriptions) {
    if (it->id() == id) it->remove();
  }
  for (const auto& it : impl_->services) it->removed = it->removed || it->id == id;
  for (const auto& it : impl_->timers) it->removed = it->removed || it->id == id;
  impl_->swept = false;
  if (!impl_->inside) impl_->sweep();
}

std::size_t Dispatcher::step(Deadline deadline) {
  Impl& me = *impl_;
  if (me.inside) return 0;  // a handler called it: what comes next is not before this one
  const std::uint64_t until = bus::to_ns(deadline);
  for (;;) {
    if (me.now_in() == Phase::stopped) return 0;
    std::size_t calls = 0;
    std::uint64_t wake = until;
    me.inside = true;
    try {
      calls = me.round();
      wake = std::min(until, me.due());
    } catch (const std::exception& e) {  // no memory; what was kept is still there
      me.say(LogLevel::error, "", e.what());
      wake = std::min(until, shm::now_ns() + kAfterTroubleNs);
    }
    me.inside = false;
    me.sweep();
    if (calls != 0 || me.revoked || me.now_in() != Phase::running) return calls;
    if (shm::now_ns() >= until) return 0;
    if (me.set.wait(bus::to_deadline(wake)) == Outcome::interrupted) return 0;
  }
}

Result<void> Dispatcher::run() {
  Impl& me = *impl_;
  for (;;) {
    const Phase phase = me.now_in();
    if (phase == Phase::stopped) break;
    if (phase == Phase::draining) {
      me.begin_draining();
      if (me.idle()) return {};
    }
    if (step(Deadline::max()) == 0 && phase == Phase::draining) {
      (void)me.set.wait(bus::to_deadline(std::min(me.due(), shm::now_ns() + kAfterTroubleNs)));
    }
    if (me.revoked) {
      return Error{Errc::refused, 0,
                   "the broker has taken away the right to a subscription or a service; its policy "
                   "(allow, deny) has changed"};
    }
  }
  Phase stopped = Phase::stopped;
  // relaxed: a flag that stands alone
  me.phase.compare_exchange_strong(stopped, me.draining ? Phase::draining : Phase::running,
                                   std::memory_order_relaxed);
  return {};
}

void Dispatcher::stop() noexcept {
  // relaxed: a flag that stands alone
  impl_->phase.store(Phase::stopped, std::memory_order_relaxed);
  impl_->set.interrupt();
}

void Dispatcher::drain() noexcept {
  Phase running = Phase::running;
  // relaxed: a flag that stands alone
  impl_->phase.compare_exchange_strong(running, Phase::draining, std::memory_order_relaxed);
  impl_->set.interrupt();
}

Dispatcher::Counts Dispatcher::counts() const noexcept {
  Counts sum = impl_->gone;
  for (const auto& it : impl_->subscriptions) add(sum, it->counts());
  for (const auto& it : impl_->services) add(sum, counts_of(*it->responder));
  return sum;
}

Dispatcher::Counts Dispatcher::counts(Id id) const noexcept {
  for (const auto& it : impl_->subscriptions) {
    if (it->id() == id) return it->counts();
  }
  for (const auto& it : impl_->services) {
    if (it->id == id) return counts_of(*it->responder);
  }
  return {};
}

Agent* Dispatcher::agent() noexcept { return impl_->agent ? &*impl_->agent : nullptr; }

}  // namespace sluice
