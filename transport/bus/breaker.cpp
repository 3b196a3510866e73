// Calls are counted in a ring of ten buckets of a tenth of the window each, which a bucket leaves
// as a whole. Each change of state begins a new generation; a call that was let through in an
// earlier one is not counted when it ends, since it says nothing about the other side as it is now.
//
// Time only opens the door from `open` to `half open`: state() tells so as soon as it is due,
// allow() makes it so. A call that is slow and failed counts as both. Half open, the first failed
// probe decides; when all have ended well the share of slow ones still can open it again.
#include "sluice/breaker.hpp"

#include <algorithm>
#include <array>

namespace sluice {
namespace {

constexpr std::uint32_t kBuckets = 10;

BreakerOptions sane(BreakerOptions options) {
  options.window_ns = std::max<std::uint64_t>(options.window_ns, kBuckets);
  options.minimum_calls = std::max(options.minimum_calls, 1u);
  options.probes = std::max(options.probes, 1u);
  return options;
}

// A rate that is no number is reached by nothing.
bool reached(std::uint32_t part, std::uint32_t whole, double rate) {
  return part != 0 && static_cast<double>(part) >= rate * static_cast<double>(whole);
}

}  // namespace

const char* to_string(BreakerState state) noexcept {
  switch (state) {
    case BreakerState::closed:
      return "closed";
    case BreakerState::open:
      return "open";
    case BreakerState::half_open:
      return "half_open";
    case BreakerState::forced_open:
      return "forced_open";
    case BreakerState::forced_closed:
      return "forced_closed";
  }
  return "unknown";
}

struct CircuitBreaker::Impl {
  explicit Impl(const BreakerOptions& given) : options(sane(given)) {}

  struct Bucket {
    std::uint64_t number = 0;  // of its tenth of a window, since time began
    std::uint32_t calls = 0;
    std::uint32_t failed = 0;
    std::uint32_t slow = 0;
  };

  [[nodiscard]] std::uint64_t number_at(std::uint64_t now_ns) const {
    return std::max(latest, now_ns / (options.window_ns / kBuckets));
  }
  [[nodiscard]] bool open_time_over(std::uint64_t now_ns) const {
    return now_ns >= changed_ns && now_ns - changed_ns >= options.open_ns;
  }

  void change(BreakerState to, std::uint64_t now_ns) {
    state = to;
    ++generation;
    changed_ns = now_ns;
    let_through = ended_well = ended_slow = 0;
    if (to == BreakerState::open) {
      ++opened;  // what made it open stays to be seen
    } else {
      buckets.fill({});
    }
  }

  void count(bool ok, bool slow, std::uint64_t now_ns) {
    latest = number_at(now_ns);
    Bucket& bucket = buckets[static_cast<std::size_t>(latest % kBuckets)];
    if (bucket.number != latest) bucket = {latest, 0, 0, 0};
    ++bucket.calls;
    bucket.failed += !ok;
    bucket.slow += slow;
  }
  [[nodiscard]] Bucket sum(std::uint64_t now_ns) const {
    Bucket all;
    const std::uint64_t now = number_at(now_ns);
    for (const Bucket& bucket : buckets) {
      if (now - bucket.number >= kBuckets) continue;
      all.calls += bucket.calls;
      all.failed += bucket.failed;
      all.slow += bucket.slow;
    }
    return all;
  }

  void decide(std::uint64_t now_ns) {
    const Bucket all = sum(now_ns);
    if (all.calls < options.minimum_calls) return;
    if (reached(all.failed, all.calls, options.failure_rate) ||
        reached(all.slow, all.calls, options.slow_rate)) {
      change(BreakerState::open, now_ns);
    }
  }
  void probe_ended(bool ok, bool slow, std::uint64_t now_ns) {
    if (!ok) return change(BreakerState::open, now_ns);
    ++ended_well;
    ended_slow += slow;
    if (ended_well < options.probes) return;
    const bool still_slow = reached(ended_slow, ended_well, options.slow_rate);
    change(still_slow ? BreakerState::open : BreakerState::closed, now_ns);
  }

  BreakerOptions options;
  BreakerState state = BreakerState::closed;
  std::uint32_t generation = 1;
  std::uint64_t changed_ns = 0;
  std::uint32_t let_through = 0;  // half open: probes, without those that were abandoned
  std::uint32_t ended_well = 0;
  std::uint32_t ended_slow = 0;
  std::uint64_t latest = 0;  // bucket
  std::array<Bucket, kBuckets> buckets{};
  std::uint64_t refused = 0;
  std::uint64_t opened = 0;
};

CircuitBreaker::CircuitBreaker(BreakerOptions options) : impl_(std::make_unique<Impl>(options)) {}
CircuitBreaker::CircuitBreaker(CircuitBreaker&&) noexcept = default;
CircuitBreaker& CircuitBreaker::operator=(CircuitBreaker&&) noexcept = default;
CircuitBreaker::~CircuitBreaker() = default;

CircuitBreaker::Permit CircuitBreaker::allow(std::uint64_t now_ns) noexcept {
  Impl& me = *impl_;
  if (me.state == BreakerState::open && me.open_time_over(now_ns)) {
    me.change(BreakerState::half_open, now_ns);
  }
  const bool refuse = me.state == BreakerState::open || me.state == BreakerState::forced_open ||
                      (me.state == BreakerState::half_open && me.let_through == me.options.probes);
  if (refuse) {
    ++me.refused;
    return {};
  }
  me.let_through += me.state == BreakerState::half_open;
  return {true, me.generation};
}

void CircuitBreaker::ended(Permit permit, bool ok, std::uint64_t duration_ns,
                           std::uint64_t now_ns) noexcept {
  Impl& me = *impl_;
  if (!permit.allowed || permit.generation != me.generation) return;
  const bool slow = duration_ns >= me.options.slow_ns;
  me.count(ok, slow, now_ns);
  if (me.state == BreakerState::closed)
    me.decide(now_ns);
  else if (me.state == BreakerState::half_open)
    me.probe_ended(ok, slow, now_ns);
}

void CircuitBreaker::abandoned(Permit permit) noexcept {
  if (!permit.allowed || permit.generation != impl_->generation) return;
  impl_->let_through -= impl_->state == BreakerState::half_open;
}

void CircuitBreaker::force(BreakerState state, std::uint64_t now_ns) noexcept {
  if (state == BreakerState::open || state == BreakerState::half_open) return;
  impl_->change(state, now_ns);
}

BreakerState CircuitBreaker::state(std::uint64_t now_ns) const noexcept {
  const bool due = impl_->state == BreakerState::open && impl_->open_time_over(now_ns);
  return due ? BreakerState::half_open : impl_->state;
}

CircuitBreaker::Figures CircuitBreaker::figures(std::uint64_t now_ns) const noexcept {
  const Impl::Bucket all = impl_->sum(now_ns);
  return {all.calls, all.failed, all.slow, impl_->refused, impl_->opened, impl_->changed_ns};
}

}  // namespace sluice
