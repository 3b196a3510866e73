#include "transport/bus/handling.hpp"

#include "transport/splitmix.hpp"

#include <algorithm>

namespace sluice::bus {
namespace {

constexpr std::uint64_t kBuryDelayNs = 50'000'000;  // doubled up to
constexpr std::uint64_t kBuryDelayMaxNs = 8'000'000'000;

}  // namespace

Handling::Handling(const HandlingRules& rules, std::uint64_t seed) noexcept
    : rules_(rules), policy_(rules.retry), random_(seed) {}

double Handling::chance() noexcept { return splitmix::next_chance(random_); }

Decision Handling::give_up(DeadLetterReason reason) const noexcept {
  return {rules_.dead_letters ? Then::bury : Then::drop, 0, reason};
}

Decision Handling::before(const Attempts& attempts, std::uint64_t now_ns) noexcept {
  if (attempts.expires_ns != 0 && now_ns >= attempts.expires_ns) {
    // Of what promises nothing every subscriber would bury the same message.
    if (!rules_.acknowledges) return {Then::drop, 0, DeadLetterReason::expired};
    return give_up(DeadLetterReason::expired);
  }
  if (attempts.failed != 0) return {};
  // Who had it before would have given it up, had it lived.
  if (attempts.before >= policy_.options().attempts) return give_up(DeadLetterReason::peer_died);
  if (attempts.before == 0) policy_.attempted();
  return {};
}

Decision Handling::after(const Attempts& attempts, Handled handled, DeadLetterReason reason,
                         std::uint64_t now_ns) noexcept {
  if (handled == Handled::ok) return {Then::acknowledge, 0, reason};
  if (handled == Handled::reject) return give_up(reason);
  const auto decision = policy_.failed(attempts.before + attempts.failed, chance());
  if (decision.verdict == RetryPolicy::Verdict::exhausted) {
    return give_up(DeadLetterReason::max_attempts);
  }
  if (decision.verdict == RetryPolicy::Verdict::no_budget) {
    return give_up(DeadLetterReason::no_budget);
  }
  std::uint64_t at_ns = now_ns + decision.delay_ns;
  // What will have expired by then need not wait until then to be buried.
  if (attempts.expires_ns != 0) at_ns = std::min(at_ns, attempts.expires_ns);
  return {rules_.pass_on ? Then::pass_on : Then::handle, at_ns, reason};
}

Decision Handling::not_buried(std::uint32_t times, DeadLetterReason reason,
                              std::uint64_t now_ns) const noexcept {
  if (!rules_.acknowledges) return {Then::drop, 0, reason};
  const std::uint64_t delay = kBuryDelayNs << std::min(times, 8u);
  return {Then::bury, now_ns + std::min(delay, kBuryDelayMaxNs), reason};
}

}  // namespace sluice::bus
