// What is kept stays unacknowledged and holds its sample, so that nothing of it is copied and
// nothing is lost with this process. Its place is there from the beginning: a message is only taken
// where it could be kept too. While there is no room the subscription is paused, for the set would
// find its messages at each wait.
#include "transport/bus/handled_subscription.hpp"

#include "shm/clock.hpp"
#include "shm/kill_point.hpp"

#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <utility>

namespace sluice::bus {
namespace {

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

std::uint64_t realtime_ns() noexcept {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(t.tv_nsec);
}

HandlingRules rules_of(const HandlerOptions& options) {
  const DeliveryMode mode = options.subscription.subscription.mode;
  HandlingRules rules;
  rules.retry = options.retry;
  rules.dead_letters = options.dead_letters;
  rules.acknowledges = mode == DeliveryMode::reliable || mode == DeliveryMode::group;
  // In strict order it is this one's turn until it is done with.
  rules.pass_on = mode == DeliveryMode::group && options.pass_on && options.max_inflight > 1;
  return rules;
}

// As much as fits, without half a character at the end; NUL ends it.
void note_error(DeadLetterRecord& record, std::string_view sentence) noexcept {
  std::size_t size = std::min(sentence.size(), record.error.size() - 1);
  const auto continues = [&](std::size_t at) {
    return at < sentence.size() && (static_cast<unsigned char>(sentence[at]) & 0xc0) == 0x80;
  };
  while (size != 0 && continues(size)) --size;
  record.error = {};
  std::memcpy(record.error.data(), sentence.data(), size);
}

void note_failure(DeadLetterRecord& record, std::uint32_t attempts) noexcept {
  record.attempts = attempts;
  record.last_ns = realtime_ns();
  if (record.first_ns == 0) record.first_ns = record.last_ns;
}

}  // namespace

HandledSubscription::HandledSubscription(Dispatcher::Id id, MessageSubscriber from,
                                         Dispatcher::Handler handler, const HandlerOptions& options,
                                         std::uint64_t seed, Desk& desk)
    : id_(id),
      from_(std::move(from)),
      handler_(std::move(handler)),
      desk_(desk),
      handling_(rules_of(options), seed),
      max_kept_(options.max_inflight),
      slow_ns_(static_cast<std::uint64_t>(std::max<std::int64_t>(options.slow.count(), 0))) {
  kept_.reserve(max_kept_);
}

std::uint64_t HandledSubscription::due_ns() const noexcept {
  std::uint64_t due = kNever;
  for (const Kept& item : kept_) due = std::min(due, item.due_ns);
  return due;
}

void HandledSubscription::pause(bool paused) {
  if (paused == paused_) return;
  from_.stream().pause(paused);
  paused_ = paused;
}

void HandledSubscription::drain() {
  if (draining_) return;
  draining_ = true;
  from_.stream().tell_load(WorkerState::draining, 0);
  for (Kept& item : kept_) {
    if (item.then == Then::pass_on) item.due_ns = 0;
  }
}

std::size_t HandledSubscription::turn(std::uint64_t now_ns, std::size_t most) {
  std::size_t calls = 0;
  // Only what was kept before this turn.
  std::size_t left = kept_.size();
  for (std::size_t i = 0; left != 0 && !removed_; --left) {
    if (kept_[i].due_ns > now_ns) {
      ++i;
      continue;
    }
    Kept item = std::move(kept_[i]);
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
    calls += go_on(std::move(item), now_ns);
  }
  calls += take_new(most);
  pause(draining_ || revoked_ || !room());
  return calls;
}

std::size_t HandledSubscription::take_new(std::size_t most) {
  std::size_t calls = 0;
  for (; most != 0 && room() && !draining_ && !removed_ && !revoked_; --most) {
    Kept item;
    item.message = from_.take();
    if (item.message) {
      calls += go_on(std::move(item), shm::now_ns());
      continue;
    }
    if (item.message.outcome() == Outcome::evicted) {
      desk_.say(LogLevel::warning, "", "evicted by a publisher: messages of it are lost");
      continue;
    }
    revoked_ = item.message.outcome() == Outcome::not_allowed;
    break;
  }
  return calls;
}

HandlerResult HandledSubscription::call(const Message& message) noexcept {
  try {
    const ScopedContext scope{message.context()};
    return handler_(message);
  } catch (const std::exception& e) {
    HandlerResult result;
    result.handled = Handled::retry;
    try {
      result.error = e.what();
    } catch (...) {  // no memory for the sentence
    }
    return result;
  } catch (...) {
    HandlerResult result;
    result.handled = Handled::retry;
    return result;
  }
}

// A topic's text lives until the next take, that of what was kept in `item`.
void HandledSubscription::name(Kept& item) noexcept {
  if (item.fresh) return;
  const std::string_view kept = item.topic;
  item.message.topic_ = kept.empty() ? from_.stream().topic(item.message.sample_) : kept;
}

std::size_t HandledSubscription::go_on(Kept&& item, std::uint64_t now_ns) {
  name(item);
  if (!item.message.sample().intact()) {
    ++counts_.dropped;
    desk_.say(LogLevel::error, item.message.topic(), "a message is lost: its publisher evicted us");
    return 0;
  }
  const std::uint32_t before = item.message.deliveries_before();
  const Attempts attempts{before, item.failed, item.message.envelope().expires_ns};
  Decision decision{item.then, 0, item.record.reason};
  if (item.then != Then::bury) decision = handling_.before(attempts, now_ns);
  if (decision.then != Then::handle) {
    if (item.record.attempts == 0) note_failure(item.record, before);
    settle(std::move(item), decision);
    return 0;
  }
  if (item.then == Then::pass_on) {
    ++counts_.passed_on;
    from_.reject(std::move(item.message));
    return 0;
  }
  const std::uint64_t start = shm::now_ns();
  const HandlerResult result = call(item.message);
  const std::uint64_t end = shm::now_ns();
  if (end - start > slow_ns_) {
    ++counts_.slow;
    std::array<char, 64> sentence{};
    std::snprintf(sentence.data(), sentence.size(), "the handler is slow: it took %llu ms",
                  static_cast<unsigned long long>((end - start) / 1'000'000));
    desk_.say(LogLevel::warning, item.message.topic(), sentence.data());
  }
  if (result.handled != Handled::ok) {
    ++counts_.failed;
    ++item.failed;
    note_failure(item.record, before + item.failed);
    note_error(item.record, result.error);
    if (removed_) return 1;  // left unacknowledged
  }
  settle(std::move(item), handling_.after({before, item.failed, attempts.expires_ns},
                                          result.handled, result.reason, end));
  return 1;
}

void HandledSubscription::settle(Kept&& item, const Decision& decision) {
  switch (decision.then) {
    case Then::acknowledge:
      ++counts_.handled;
      SLUICE_KILL_POINT("dispatcher.handled");
      return acknowledge(std::move(item));
    case Then::drop:
      ++counts_.dropped;
      return acknowledge(std::move(item));
    case Then::bury:
      return bury(std::move(item), decision.reason);
    case Then::handle:
    case Then::pass_on:
      ++counts_.retried;
      desk_.say(LogLevel::warning, item.message.topic(), item.record.error.data());
      return keep(std::move(item), decision);
  }
}

// Published first, acknowledged then: in between it may come twice, but it is never gone.
void HandledSubscription::bury(Kept&& item, DeadLetterReason reason) {
  item.record.reason = reason;
  if (item.message.envelope().kind == MessageKind::dead_letter) {  // once is enough
    ++counts_.dropped;
    return acknowledge(std::move(item));
  }
  const Result<void> done = desk_.bury(item.message, item.record);
  if (done) {
    ++counts_.dead;
    SLUICE_KILL_POINT("dispatcher.buried");
    desk_.say(LogLevel::error, item.message.topic(), item.record.error.data());
    return from_.give_up(std::move(item.message));
  }
  desk_.say(LogLevel::error, item.message.topic(), done.error().message);
  if (draining_) return;  // unacknowledged: its next reader's
  const Decision decision = handling_.not_buried(item.not_buried++, reason, shm::now_ns());
  if (decision.then == Then::bury) return keep(std::move(item), decision);
  ++counts_.dropped;
  acknowledge(std::move(item));
}

void HandledSubscription::keep(Kept&& item, const Decision& decision) {
  if (draining_ && decision.then == Then::pass_on) {
    ++counts_.passed_on;
    return from_.reject(std::move(item.message));
  }
  item.then = decision.then;
  item.due_ns = decision.at_ns;
  if (item.fresh) {
    item.fresh = false;
    try {
      item.topic = item.message.topic();
    } catch (const std::bad_alloc&) {  // it is there for as long as its stream is
    }
  }
  kept_.push_back(std::move(item));  // there is room: see take_new()
  SLUICE_KILL_POINT("dispatcher.kept");
}

}  // namespace sluice::bus
