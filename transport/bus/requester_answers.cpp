// Ending a call: by its reply, by its deadline, because nobody is left who could answer, or because
// nobody wants the answer any more.
//
// Replies are taken in by whoever waits, for all calls. What depends on the clock and on the
// workers is looked at once in a slice of time (tend), so a call that is answered in time never
// comes to that.
#include "shm/clock.hpp"
#include "transport/bus/requester_impl.hpp"
#include "transport/splitmix.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <new>

namespace sluice {
namespace {

StatusCode code_of(std::uint16_t number) noexcept {
  return number <= static_cast<std::uint16_t>(StatusCode::unauthenticated)
             ? static_cast<StatusCode>(number)
             : StatusCode::unknown;
}

// Whether it says something about the other side's health.
bool counts_as_failure(StatusCode code) noexcept {
  switch (code) {
    case StatusCode::deadline_exceeded:
    case StatusCode::unavailable:
    case StatusCode::resource_exhausted:
    case StatusCode::internal:
    case StatusCode::unknown:
    case StatusCode::data_loss:
      return true;
    default:
      return false;
  }
}

}  // namespace

void Requester::Impl::receive(Message&& message) noexcept {
  const Envelope& envelope = message.envelope();
  Slot* slot = envelope.kind == MessageKind::reply ? slot_of(envelope.call) : nullptr;
  if (slot == nullptr || slot->stage != Stage::waiting) {
    ++counts.late;
    return;
  }
  Reply reply;
  reply.status.code = code_of(envelope.status);
  if (!reply.status.ok()) {
    try {
      reply.status.message = bus::text_of_bytes(message.extension(ExtensionId::error));
    } catch (const std::bad_alloc&) {  // the code says enough
    }
  }
  reply.message = std::move(message);
  const bool needs_time = options.use_breaker || !reply.status.ok();
  end(*slot, std::move(reply), needs_time ? clock.now() : 0);
}

std::size_t Requester::Impl::pump() noexcept {
  ended_calls = 0;
  while (Message message = replies.take()) receive(std::move(message));
  return ended_calls;
}

bool Requester::Impl::try_later(Slot& slot, const Status& status, std::uint64_t now) noexcept {
  if (!slot.may_repeat || !retryable(status.code)) return false;
  const RetryPolicy::Decision decision = retry.failed(slot.attempt, splitmix::next_chance(chance));
  if (decision.verdict != RetryPolicy::Verdict::again) return false;
  if (now + decision.delay_ns >= slot.deadline_ns) return false;
  ++slot.attempt;
  slot.due_ns = now + decision.delay_ns;
  slot.stage = Stage::delayed;
  ++counts.retried;
  return true;
}

void Requester::Impl::end(Slot& slot, Reply&& reply, std::uint64_t now) noexcept {
  if (slot.permit.allowed) {
    breaker.ended(slot.permit, !counts_as_failure(reply.status.code),
                  now - std::min(now, slot.started_ns), now);
  }
  if (try_later(slot, reply.status, now)) {
    slot.permit = {};  // every attempt is a call to the breaker
    return;
  }
  ++(reply.status.ok() ? counts.ok : counts.failed);
  ++ended_calls;
  slot.stage = Stage::done;
  ++done;
  if (!slot.answered) {
    slot.reply = std::move(reply);
    return;
  }
  const std::uint64_t number = number_of(slot);
  callbacks.emplace_back(std::move(slot.answered), std::move(reply));
  vacate(number);
}

// The worker reads the word in place, and a worker that has not taken it yet skips it.
void Requester::Impl::withdraw(const Slot& slot) noexcept {
  std::byte* payload = requests.stream().amend(slot.request);
  if (payload == nullptr) return;
  auto* word = reinterpret_cast<std::uint32_t*>(payload + offsetof(Envelope, cancelled));
  // sync cancel (requester): stands alone; nothing is read because of it but the word itself
  std::atomic_ref<std::uint32_t>{*word}.store(1, std::memory_order_release);
}

std::uint64_t Requester::Impl::tend(std::size_t& ended) noexcept {
  ended += pump();
  ended_calls = 0;
  const std::uint64_t now = shm::now_ns();
  std::uint64_t next = now + kSliceNs;
  Publisher& stream = requests.stream();
  const bool nobody = deserted();
  bool no_room = false;
  for (Slot& slot : slots) {
    if (slot.stage != Stage::waiting && slot.stage != Stage::delayed) continue;
    if (now >= slot.deadline_ns) {
      if (slot.stage == Stage::waiting) withdraw(slot);
      slot.may_repeat = false;  // there is no later
      end(slot, {lost(StatusCode::deadline_exceeded, "no answer of ", " in time"), {}}, now);
    } else if (slot.stage == Stage::waiting && nobody && !stream.is_assigned(slot.request)) {
      // What the last worker said before it let go of the request, or left, comes first.
      ended += ended_calls;
      ended += pump();
      ended_calls = 0;
      if (slot.stage != Stage::waiting) continue;
      withdraw(slot);
      end(slot, {lost(StatusCode::unavailable, "the last worker of ", " is gone, or drains"), {}},
          now);
    } else if (slot.stage == Stage::delayed && now >= slot.due_ns) {
      repeat(slot, now, no_room);
    }
    if (slot.stage == Stage::delayed) next = std::min(next, slot.due_ns);
    if (slot.stage == Stage::waiting) next = std::min(next, slot.deadline_ns);
  }
  ended += ended_calls;
  return next;
}

void Requester::Impl::repeat(Slot& slot, std::uint64_t now, bool& no_room) noexcept {
  if (no_room) {
    slot.due_ns = now + kSliceNs;
    return;
  }
  if (deserted()) {
    // Not "nobody serves": an earlier attempt may have been handled.
    return end(slot,
               {lost(StatusCode::unavailable, "no worker of ", " is left for another attempt"), {}},
               now);
  }
  if (options.use_breaker) {
    slot.permit = breaker.allow(now);
    if (!slot.permit.allowed) return end(slot, {status_of(Refusal::breaker_open), {}}, now);
  }
  const Outcome outcome = ask_again(slot, number_of(slot));
  if (outcome == Outcome::ok) return;
  if (slot.permit.allowed) breaker.abandoned(slot.permit);
  slot.permit = {};
  no_room = outcome == Outcome::full;
  if (no_room) {
    slot.due_ns = now + kSliceNs;
  } else {
    end(slot, {status_of(refusal_of(outcome), slot.copy.size()), {}}, now);
  }
}

// Before anything is asked: so that all calls that may end can be noted when they do.
void Requester::Impl::expect_callbacks() {
  callbacks.reserve(callbacks.size() + slots.size() + 1);
  if (fallback) fallback->impl_->expect_callbacks();
}

void Requester::Impl::call_back_later(std::uint64_t number,
                                      std::function<void(Reply)> answered) noexcept {
  if (Slot* slot = slot_of(number); slot != nullptr && slot->stage != Stage::done) {
    slot->answered = std::move(answered);
  } else {
    callbacks.emplace_back(std::move(answered), get(number));
  }
}

// Each leaves the list before it is called: one that throws, or that calls step(), leaves the rest
// there.
void Requester::Impl::call_back() {
  while (called_back != callbacks.size()) {
    Callback due = std::move(callbacks[called_back++]);
    if (called_back == callbacks.size()) {
      callbacks.clear();
      called_back = 0;
    }
    due.first(std::move(due.second));
  }
}

std::size_t Requester::Impl::step(std::uint64_t deadline_ns) {
  std::size_t ended = callbacks.size() - called_back;
  for (;;) {
    std::uint64_t next = tend(ended);
    if (fallback) {
      next = std::min(next, fallback->impl_->tend(ended));
      fallback->impl_->call_back();
    }
    call_back();
    if (ended != 0) return ended;
    const bool idle =
        vacant.size() == slots.size() &&
        (!fallback || fallback->impl_->vacant.size() == fallback->impl_->slots.size());
    if (idle || take_interrupt() || shm::now_ns() >= deadline_ns) return 0;
    // Two places to look at: briefly at one, then at the other.
    if (fallback) next = std::min(next, shm::now_ns() + kSliceNs / 10);
    (void)replies.wait(bus::to_deadline(std::min(next, deadline_ns)));
  }
}

bool Requester::Impl::take_interrupt() noexcept {
  // relaxed: a flag that stands alone; seldom set, and an exchange costs more than a look
  return interrupted.load(std::memory_order_relaxed) && interrupted.exchange(false);
}

bool Requester::Impl::ready(std::uint64_t number) noexcept {
  if ((number & kRefused) != 0) return true;
  // What else has come is taken in when somebody asks for it.
  for (;;) {
    const Slot* slot = slot_of(number);
    if (slot == nullptr || slot->stage == Stage::done) return true;
    Message message = replies.take();
    if (!message) return false;
    receive(std::move(message));
  }
}

bool Requester::Impl::wait(std::uint64_t number, std::uint64_t deadline_ns) noexcept {
  if (ready(number)) return true;
  const Slot* slot = slot_of(number);
  // Of a call that was made just now the clock need not be read again.
  std::uint64_t now = slot->stage == Stage::waiting ? slot->started_ns : shm::now_ns();
  for (;;) {
    std::uint64_t until = std::min(deadline_ns, now + kSliceNs);
    if (slot->stage == Stage::waiting) until = std::min(until, slot->deadline_ns);
    if (replies.wait(bus::to_deadline(until)) == Outcome::ok && ready(number)) return true;
    std::size_t ended = 0;
    (void)tend(ended);
    if (ready(number)) return true;
    now = shm::now_ns();
    if (take_interrupt() || now >= deadline_ns) return false;
  }
}

Reply Requester::Impl::get(std::uint64_t number) noexcept {
  if ((number & kRefused) != 0) {
    const std::uint64_t rest = number & ~kRefused;
    const std::uint64_t reason = rest & ((1u << kReasonBits) - 1);
    return {status_of(static_cast<Refusal>(reason), rest >> kReasonBits), {}};
  }
  while (!wait(number, shm::kNever)) {
  }
  Slot* slot = slot_of(number);
  if (slot == nullptr) return {};
  Reply reply = std::move(slot->reply);
  vacate(number);
  return reply;
}

void Requester::Impl::cancel(std::uint64_t number) noexcept {
  if ((number & kRefused) != 0) return;
  Slot* slot = slot_of(number);
  if (slot == nullptr) return;
  if (slot->stage == Stage::waiting) withdraw(*slot);
  if (slot->stage != Stage::done) {
    ++counts.cancelled;
    if (slot->permit.allowed) breaker.abandoned(slot->permit);
  }
  vacate(number);
}

}  // namespace sluice
