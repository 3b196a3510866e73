// Making a call: what is looked at before a request is written, the slot that remembers it, and the
// request itself, the first and the later ones.
//
// Everything that can refuse a call is asked before the request is published; what was refused has
// no slot, only a number that says why.
#include "shm/clock.hpp"
#include "shm/kill_point.hpp"
#include "transport/bus/requester_impl.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <thread>

namespace sluice {
namespace {

constexpr std::chrono::microseconds kAttachPause{100};

}  // namespace

// --- slots

std::uint64_t Requester::Impl::occupy() noexcept {
  if (vacant.empty()) return 0;
  const std::uint32_t index = vacant.back();
  vacant.pop_back();
  slots[index].generation = next_generation++;
  slots[index].attempt = 1;
  return slots[index].generation << kSlotBits | index;
}

Requester::Impl::Slot& Requester::Impl::at(std::uint64_t number) noexcept {
  return slots[static_cast<std::size_t>(number & kSlotMask)];
}

std::uint64_t Requester::Impl::number_of(const Slot& slot) const noexcept {
  return slot.generation << kSlotBits | static_cast<std::uint64_t>(&slot - slots.data());
}

void Requester::Impl::vacate(std::uint64_t number) noexcept {
  const auto index = static_cast<std::uint32_t>(number & kSlotMask);
  Slot& slot = slots[index];
  if (slot.stage == Stage::done) --done;
  slot.stage = Stage::free;
  slot.generation = 0;
  // What get() has moved away need not be cleared: this is on the way of every call.
  if (slot.answered) slot.answered = nullptr;
  if (slot.reply.message) slot.reply.message = Message{};
  slot.reply.status.message.clear();
  slot.may_repeat = false;
  slot.permit = {};
  slot.copy.clear();
  vacant.push_back(index);
}

// --- asking

std::uint64_t Requester::Impl::deadline_of(const CallOptions& call,
                                           std::uint64_t now) const noexcept {
  std::uint64_t deadline =
      call.deadline == Deadline::max()
          ? now + static_cast<std::uint64_t>(std::max<std::int64_t>(options.timeout.count(), 0))
          : bus::to_ns(call.deadline);
  const std::uint64_t outer = current_context().deadline_ns;
  if (outer != 0) deadline = std::min(deadline, outer);
  return deadline;
}

// Nobody serves: that is known at once. A worker that the broker knows of, but that is only just
// attaching, is waited for.
bool Requester::Impl::has_worker(std::uint64_t deadline_ns) noexcept {
  if (requests.stream().taker_count() != 0) [[likely]]
    return true;
  while (!deserted()) {
    if (requests.stream().taker_count() != 0) return true;
    if (shm::now_ns() >= deadline_ns) return false;
    std::this_thread::sleep_for(kAttachPause);
  }
  return false;
}

bool Requester::Impl::expects_worker() noexcept {
  const Publisher& stream = requests.stream();
  return stream.matching_is_known() && stream.matching_count() > stream.subscriber_count();
}

bool Requester::Impl::deserted() noexcept {
  Publisher& stream = requests.stream();
  if (stream.taker_count() != 0 || expects_worker()) return false;
  stream.collect();  // what was seen last may be old: who drained may take requests again
  return stream.taker_count() == 0;
}

Requester::Impl::Refusal Requester::Impl::refusal_of(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::too_large:
      return Refusal::too_large;
    case Outcome::rejected:
      return Refusal::rejected;
    case Outcome::not_allowed:
      return Refusal::no_right;
    case Outcome::ended:
      return Refusal::unavailable;
    default:
      return Refusal::no_room;
  }
}

Status Requester::Impl::sentence_of(Refusal refusal, std::uint64_t bytes) const {
  const std::string named = "'" + service + "'";
  switch (refusal) {
    case Refusal::unavailable:
      return {StatusCode::unavailable,
              "nobody serves " + named +
                  ", or only workers that drain; start one, or give a fallback_service"};
    case Refusal::too_many:
      return {StatusCode::resource_exhausted,
              "max_calls (" + std::to_string(options.max_calls) + ") calls of " + named +
                  " are outstanding, or their replies are kept; wait for some, let go of replies, "
                  "or raise it"};
    case Refusal::breaker_open:
      return {StatusCode::unavailable, "the circuit breaker of " + named + breaker_says()};
    case Refusal::too_large:
      return {StatusCode::invalid_argument,
              "a request of " + std::to_string(bytes) + " bytes to " + named +
                  " is larger than RequesterOptions::request_bytes (" +
                  std::to_string(options.request_bytes) + "); raise that, or send less"};
    case Refusal::no_room:
      return {StatusCode::resource_exhausted,
              "the workers of " + named + " are behind: there is no room for another request"};
    case Refusal::too_many_hops:
      return {StatusCode::aborted, "the request would make more than the allowed hops: a loop?"};
    case Refusal::no_right:
      return {StatusCode::permission_denied,
              "the broker has taken away the right to request " + named};
    case Refusal::too_late:
      return {StatusCode::deadline_exceeded, "the deadline had passed before the request was made"};
    case Refusal::rejected:
      return {StatusCode::failed_precondition, "an interceptor refused the request"};
  }
  return {};
}

// When it is asked, which may be later than the refusal.
std::string Requester::Impl::breaker_says() const {
  const std::uint64_t now = shm::now_ns();
  switch (breaker.state(now)) {
    case BreakerState::forced_open:
      return " was forced open; an operator has to close it";
    case BreakerState::open: {
      const std::uint64_t until = breaker.figures(now).changed_ns + options.breaker.open_ns;
      const std::uint64_t left_ms = (until - std::min(until, now)) / 1'000'000 + 1;
      return " is open; it lets a call through again in " + std::to_string(left_ms) + " ms";
    }
    default:
      return " was open; it lets some calls through now, and more if those go well";
  }
}

Status Requester::Impl::status_of(Refusal refusal, std::uint64_t bytes) const noexcept {
  try {
    return sentence_of(refusal, bytes);
  } catch (const std::bad_alloc&) {
    return {StatusCode::resource_exhausted};
  }
}

Status Requester::Impl::lost(StatusCode code, std::string_view before,
                             std::string_view after) const noexcept {
  Status status{code};
  try {
    status.message.append(before).append("'").append(service).append("'").append(after);
  } catch (const std::bad_alloc&) {
  }
  return status;
}

std::uint64_t Requester::Impl::refuse(Refusal refusal) noexcept {
  ++counts.calls;
  ++counts.failed;
  if (refusal == Refusal::breaker_open) ++counts.refused;
  std::uint64_t number = kRefused | static_cast<std::uint64_t>(refusal);
  if (refusal == Refusal::too_large) number |= (refused_bytes << kReasonBits) & ~kRefused;
  return number;
}

MessageLoan Requester::Impl::loan(std::uint64_t bytes, const CallOptions& call,
                                  std::uint64_t deadline_ns) noexcept {
  MessageOptions with;
  with.priority = call.priority;
  MessageLoan slot = requests.impl_->loan(bytes, with, {});
  // One worker is slow, or not running just now, and keeps an old request, behind which the others
  // have handled as many as there are places. There is room again as soon as it has answered.
  while (slot.outcome() == Outcome::full) {
    const std::uint64_t now = shm::now_ns();
    if (deadline_ns == 0) deadline_ns = deadline_of(call, now);
    if (vacant.empty() || now >= deadline_ns || deserted()) break;
    slot = requests.impl_->loan(bytes, with, {});
  }
  if (slot.outcome() == Outcome::too_large) refused_bytes = bytes;
  return slot;
}

Outcome Requester::Impl::ask(Slot& slot, std::uint64_t number, MessageLoan&& request) noexcept {
  MessagePublisher::Impl::Special special;
  special.kind = MessageKind::request;
  special.flags = slot.options.idempotent ? kFlagIdempotent : std::uint8_t{0};
  special.status = static_cast<std::uint16_t>(options.max_calls);
  special.attempt = static_cast<std::uint8_t>(std::min(slot.attempt, 255u));
  special.call = number;
  special.expires_ns = slot.deadline_ns;
  Published published;
  const Outcome outcome = requests.impl_->send(std::move(request), special, published);
  SLUICE_KILL_POINT("requester.asked");
  slot.request = published.reference;
  if (outcome == Outcome::ok) slot.stage = Stage::waiting;
  return outcome;
}

// Waits for room for a slice of time only: the answers to other calls are to be taken in.
Outcome Requester::Impl::ask_again(Slot& slot, std::uint64_t number) noexcept {
  const ScopedContext scope{slot.context};
  MessageOptions with;
  with.priority = slot.options.priority;
  MessageLoan request = requests.impl_->loan(slot.copy.size(), with, {});
  if (!request) return request.outcome();
  if (!slot.copy.empty()) {
    std::memcpy(request.bytes().data(), slot.copy.data(), slot.copy.size());
  }
  return ask(slot, number, std::move(request));
}

// What is looked at before a request is written, cheapest first.
Requester::Impl::Opening Requester::Impl::open(const CallOptions& call) noexcept {
  Opening opening;
  opening.now = clock.now();
  opening.deadline_ns = deadline_of(call, opening.now);
  if (opening.now >= opening.deadline_ns) {
    opening.refusal = Refusal::too_late;
  } else if (current_context().hops >= kMaxHops) {
    opening.refusal = Refusal::too_many_hops;
  } else if (!has_worker(opening.deadline_ns)) {
    opening.refusal = Refusal::unavailable;
  } else if (vacant.empty() || in_use() >= slots.size()) {
    opening.refusal = Refusal::too_many;
  } else if (options.use_breaker) {
    opening.permit = breaker.allow(opening.now);
    if (!opening.permit.allowed) opening.refusal = Refusal::breaker_open;
  }
  return opening;
}

// The number of the call, which is kRefused and more where it could not be made.
std::uint64_t Requester::Impl::launch(const Opening& opening, const CallOptions& call,
                                      MessageLoan&& request) noexcept {
  Outcome outcome = request.outcome();
  if (request) {
    SLUICE_KILL_POINT("requester.loaned");
    const std::uint64_t number = occupy();
    Slot& slot = at(number);
    slot.options = call;
    slot.deadline_ns = opening.deadline_ns;
    slot.started_ns = opening.now;
    slot.permit = opening.permit;
    outcome = ask(slot, number, std::move(request));
    if (outcome == Outcome::ok) {
      ++counts.calls;
      retry.attempted();
      return number;
    }
    vacate(number);
  }
  if (opening.permit.allowed) breaker.abandoned(opening.permit);
  return refuse(refusal_of(outcome));
}

Requester::Impl::Asked Requester::Impl::start(Requester& self, std::span<const std::byte> request,
                                              const CallOptions& call) noexcept {
  const Opening opening = open(call);
  if (opening.refusal == Refusal::unavailable && fallback) {
    return fallback->impl_->start(*fallback, request, call);
  }
  if (opening.refusal) return {refuse(*opening.refusal), &self};
  MessageLoan message = loan(request.size(), call, opening.deadline_ns);
  if (message && !request.empty()) {
    std::memcpy(message.bytes().data(), request.data(), request.size());
  }
  const std::uint64_t number = launch(opening, call, std::move(message));
  if (Slot* slot = slot_of(number); slot != nullptr) remember(*slot, request);
  return {number, &self};
}

Requester::Impl::Asked Requester::Impl::start(Requester& self, MessageLoan&& request,
                                              const CallOptions& call) noexcept {
  MessageLoan mine = std::move(request);
  const Opening opening = open(call);
  if (opening.refusal == Refusal::unavailable && fallback && mine) {
    return fallback->impl_->start(*fallback, mine.bytes(), call);
  }
  if (opening.refusal) return {refuse(*opening.refusal), &self};
  return {launch(opening, call, std::move(mine)), &self};
}

// For another attempt. Without memory for it there is none.
void Requester::Impl::remember(Slot& slot, std::span<const std::byte> request) noexcept {
  if (!slot.options.idempotent || options.retry.attempts <= 1) return;
  try {
    slot.copy.assign(request.begin(), request.end());
    slot.context = current_context();
    slot.may_repeat = true;
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace sluice
