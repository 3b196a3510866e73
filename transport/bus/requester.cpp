// Asking a service.
//
// On the way of a call there are two streams and no thread of our own: the caller's thread
// publishes the request, and takes replies while it waits, for all calls of the requester. While
// something is outstanding a wait is cut into slices, after which deadlines, retries and the lives
// of the workers are looked at; a call that is answered in time never comes to that.
//
// A request that was given to a worker stays in our stream until the worker has answered it. When
// the worker dies, the stream gives it to another one, which refuses it if it may be handled once
// only. When there is no other one either, nobody will answer any more, and the call ends at once.
#include "sluice/requester.hpp"

#include "shm/clock.hpp"
#include "sluice/correlation.hpp"
#include "transport/bus/requester_impl.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>
#include <thread>

namespace sluice {
namespace {

constexpr std::uint64_t kSliceNs = 10'000'000;
constexpr unsigned kSlotBits = 16;
constexpr std::uint64_t kSlotMask = (1u << kSlotBits) - 1;
constexpr std::chrono::microseconds kAttachPause{100};

std::atomic<std::uint64_t> next_requester{1};

// splitmix64, for jitter.
double next_chance(std::uint64_t& state) noexcept {
  std::uint64_t z = (state += 0x9e37'79b9'7f4a'7c15);
  z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
  return static_cast<double>((z ^ z >> 31) >> 11) * 0x1.0p-53;
}

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

Requester::Impl::Impl(MessagePublisher to, MessageSubscriber from, RequesterOptions with,
                      std::string name)
    : requests(std::move(to)),
      replies(std::move(from)),
      options(std::move(with)),
      service(std::move(name)),
      breaker(options.breaker),
      retry(options.retry),
      slots(options.max_calls),
      chance(new_correlation_id().low) {
  vacant.reserve(slots.size());
  for (std::size_t i = slots.size(); i-- != 0;) vacant.push_back(static_cast<std::uint32_t>(i));
}

// --- slots
// -----------------------------------------------------------------------------------------

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
  slot.stage = Stage::free;
  slot.generation = 0;
  slot.answered = nullptr;
  slot.reply = Reply{};
  slot.may_repeat = false;
  slot.permit = {};
  slot.copy.clear();
  vacant.push_back(index);
}

Requester::Impl::Slot* Requester::Impl::slot_of(std::uint64_t number) noexcept {
  const std::uint64_t index = number & kSlotMask;
  if (index >= slots.size()) return nullptr;
  Slot& slot = slots[static_cast<std::size_t>(index)];
  const bool same = slot.stage != Stage::free && slot.generation == number >> kSlotBits;
  return same ? &slot : nullptr;
}

// --- asking
// ----------------------------------------------------------------------------------------

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
  const Publisher& stream = requests.stream();
  if (stream.subscriber_count() != 0) [[likely]]
    return true;
  while (stream.matching_count() != 0 && shm::now_ns() < deadline_ns) {
    std::this_thread::sleep_for(kAttachPause);
    if (stream.subscriber_count() != 0) return true;
  }
  return false;
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

Status Requester::Impl::sentence_of(Refusal refusal) const {
  const std::string named = "'" + service + "'";
  switch (refusal) {
    case Refusal::unavailable:
      return {StatusCode::unavailable, "nobody serves " + named};
    case Refusal::too_many:
      return {StatusCode::resource_exhausted,
              "max_calls calls of " + named + " are outstanding; raise it, or wait for some"};
    case Refusal::breaker_open:
      return {StatusCode::unavailable, "the circuit breaker of " + named + " is open"};
    case Refusal::too_large:
      return {StatusCode::invalid_argument,
              "the request is larger than RequesterOptions::request_bytes"};
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

Status Requester::Impl::status_of(Refusal refusal) const noexcept {
  try {
    return sentence_of(refusal);
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
  return kRefused | static_cast<std::uint64_t>(refusal);
}

MessageLoan Requester::Impl::loan(std::uint64_t bytes, const CallOptions& call) noexcept {
  MessageOptions with;
  with.priority = call.priority;
  bus::Extensions extensions;
  extensions.add(ExtensionId::reply_to, reply_to);
  extensions.add(ExtensionId::max_calls, std::as_bytes(std::span{&options.max_calls, 1}));
  MessageLoan slot = requests.impl_->loan(bytes, with, extensions);
  // One worker is slow, or not running just now, and keeps an old request, behind which the others
  // have handled as many as there are places. There is room again as soon as it has answered.
  for (std::uint64_t deadline_ns = 0; slot.outcome() == Outcome::full;) {
    const std::uint64_t now = shm::now_ns();
    if (deadline_ns == 0) deadline_ns = deadline_of(call, now);
    if (vacant.empty() || now >= deadline_ns || requests.stream().subscriber_count() == 0) break;
    slot = requests.impl_->loan(bytes, with, extensions);
  }
  return slot;
}

Outcome Requester::Impl::ask(Slot& slot, std::uint64_t number, MessageLoan&& request) noexcept {
  MessagePublisher::Impl::Special special;
  special.kind = MessageKind::request;
  special.flags = slot.options.idempotent ? kFlagIdempotent : std::uint8_t{0};
  special.attempt = static_cast<std::uint8_t>(std::min(slot.attempt, 255u));
  special.call = number;
  special.expires_ns = slot.deadline_ns;
  Published published;
  const Outcome outcome = requests.impl_->send(std::move(request), special, published);
  slot.request = published.reference;
  if (outcome == Outcome::ok) slot.stage = Stage::waiting;
  return outcome;
}

Outcome Requester::Impl::ask_again(Slot& slot, std::uint64_t number) noexcept {
  const ScopedContext scope{slot.context};
  MessageLoan request = loan(slot.copy.size(), slot.options);
  if (!request) return request.outcome();
  if (!slot.copy.empty()) {
    std::memcpy(request.bytes().data(), slot.copy.data(), slot.copy.size());
  }
  return ask(slot, number, std::move(request));
}

// What is looked at before a request is written, cheapest first.
Requester::Impl::Opening Requester::Impl::open(const CallOptions& call) noexcept {
  Opening opening;
  opening.now = shm::now_ns();
  opening.deadline_ns = deadline_of(call, opening.now);
  if (opening.now >= opening.deadline_ns) {
    opening.refusal = Refusal::too_late;
  } else if (current_context().hops >= kMaxHops) {
    opening.refusal = Refusal::too_many_hops;
  } else if (!has_worker(opening.deadline_ns)) {
    opening.refusal = Refusal::unavailable;
  } else if (vacant.empty()) {
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
  MessageLoan message = loan(request.size(), call);
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

// --- answers
// ---------------------------------------------------------------------------------------

void Requester::Impl::receive(Message message) noexcept {
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
  end(*slot, std::move(reply), needs_time ? shm::now_ns() : 0);
}

std::size_t Requester::Impl::pump() noexcept {
  ended_calls = 0;
  while (Message message = replies.take()) receive(std::move(message));
  return ended_calls;
}

bool Requester::Impl::try_later(Slot& slot, const Status& status, std::uint64_t now) noexcept {
  if (!slot.may_repeat || !retryable(status.code)) return false;
  const RetryPolicy::Decision decision = retry.failed(slot.attempt, next_chance(chance));
  if (decision.verdict != RetryPolicy::Verdict::again) return false;
  if (now + decision.delay_ns >= slot.deadline_ns) return false;
  ++slot.attempt;
  slot.due_ns = now + decision.delay_ns;
  slot.stage = Stage::delayed;
  ++counts.retried;
  return true;
}

void Requester::Impl::end(Slot& slot, Reply reply, std::uint64_t now) noexcept {
  if (slot.permit.allowed) {
    breaker.ended(slot.permit, !counts_as_failure(reply.status.code), now - slot.started_ns, now);
  }
  if (try_later(slot, reply.status, now)) {
    slot.permit = {};  // every attempt is a call to the breaker
    return;
  }
  ++(reply.status.ok() ? counts.ok : counts.failed);
  ++ended_calls;
  slot.stage = Stage::done;
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
  const Publisher& stream = requests.stream();
  const bool deserted = stream.subscriber_count() == 0 && stream.matching_count() == 0;
  // What the last worker said before it left comes first.
  if (deserted) ended += pump();
  ended_calls = 0;
  for (Slot& slot : slots) {
    if (slot.stage != Stage::waiting && slot.stage != Stage::delayed) continue;
    if (now >= slot.deadline_ns) {
      if (slot.stage == Stage::waiting) withdraw(slot);
      slot.may_repeat = false;  // there is no later
      end(slot, {lost(StatusCode::deadline_exceeded, "no answer of ", " in time"), {}}, now);
    } else if (slot.stage == Stage::waiting && deserted) {
      withdraw(slot);
      end(slot, {lost(StatusCode::unavailable, "the last worker of ", " is gone"), {}}, now);
    } else if (slot.stage == Stage::delayed && now >= slot.due_ns) {
      const std::uint64_t number = number_of(slot);
      if (options.use_breaker) slot.permit = breaker.allow(now);
      const bool may = !options.use_breaker || slot.permit.allowed;
      const Outcome outcome =
          may && stream.subscriber_count() != 0 ? ask_again(slot, number) : Outcome::no_subscriber;
      if (outcome != Outcome::ok) {
        end(slot, {status_of(may ? Refusal::unavailable : Refusal::breaker_open), {}}, now);
      }
    }
    if (slot.stage == Stage::delayed) next = std::min(next, slot.due_ns);
    if (slot.stage == Stage::waiting) next = std::min(next, slot.deadline_ns);
  }
  ended += ended_calls;
  return next;
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

void Requester::Impl::call_back() {
  while (!callbacks.empty()) {
    // One that calls step() finds the rest in its own list.
    std::vector<Callback> due;
    due.reserve(callbacks.capacity());
    due.swap(callbacks);
    for (auto& [answered, reply] : due) answered(std::move(reply));
  }
}

std::size_t Requester::Impl::step(std::uint64_t deadline_ns) {
  std::size_t ended = callbacks.size();
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
    if (idle || interrupted.exchange(false) || shm::now_ns() >= deadline_ns) return 0;
    // Two places to look at: briefly at one, then at the other.
    if (fallback) next = std::min(next, shm::now_ns() + kSliceNs / 10);
    (void)replies.wait(bus::to_deadline(std::min(next, deadline_ns)));
  }
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
    if (interrupted.exchange(false) || now >= deadline_ns) return false;
  }
}

Reply Requester::Impl::get(std::uint64_t number) noexcept {
  if ((number & kRefused) != 0) {
    return {status_of(static_cast<Refusal>(number & 0xff)), {}};
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

// --- Requester
// -------------------------------------------------------------------------------------

Result<std::unique_ptr<Requester>> Requester::create(Node& node, std::string_view service,
                                                     RequesterOptions options) {
  if (auto valid = bus::check_service(service); !valid) return std::move(valid).error();
  if (options.max_calls == 0 || options.max_calls > bus::kMaxCalls) {
    return Error{Errc::invalid_argument, 0,
                 "max_calls is 1 to " + std::to_string(bus::kMaxCalls) + "; it is " +
                     std::to_string(options.max_calls)};
  }
  const std::string reply_to =
      bus::reply_topic(service, node.id(),
                       // relaxed: only has to be another number for each
                       next_requester.fetch_add(1, std::memory_order_relaxed));
  MessageSubscriptionOptions in;
  // A worker never waits for us; its stream has room for as many replies as we can wait for.
  in.subscription.mode = DeliveryMode::next;
  in.subscription.history = bus::kEarlyReplies;
  in.subscription.max_held = bus::kRepliesHeld;
  in.subscription.spin_ns = options.spin_ns;
  in.interceptors = options.interceptors;
  auto replies = MessageSubscriber::create(node, reply_to, std::move(in));
  if (!replies) return std::move(replies).error();

  MessagePublisherOptions out;
  const std::uint32_t depth = std::max(options.max_calls, 16u);
  // A lane of its own for each priority, each with room for all calls.
  out.stream.lanes = {{depth, 0}, {depth, 0}, {depth, 0}, {depth, 0}};
  const std::array extension{reply_to.size(), sizeof options.max_calls};
  out.stream.pools = {{options.request_bytes + header_bytes_for(extension)}};
  out.stream.on_full = OnFull::wait;
  out.stream.full_timeout_ns = kSliceNs;
  out.stream.offered = {.latest = false, .next = false, .reliable = false, .group = true};
  out.stream.max_held = 4 * bus::kMaxRequestCredits;
  out.codec = options.codec;
  out.interceptors = options.interceptors;
  auto requests = MessagePublisher::create(node, bus::request_topic(service), std::move(out));
  if (!requests) return std::move(requests).error();

  std::unique_ptr<Requester> fallback;
  if (!options.fallback_service.empty()) {
    RequesterOptions other = options;
    other.fallback_service.clear();
    auto made = create(node, options.fallback_service, std::move(other));
    if (!made) return std::move(made).error();
    fallback = std::move(*made);
  }
  auto impl = std::make_unique<Impl>(std::move(*requests), std::move(*replies), std::move(options),
                                     std::string{service});
  impl->reply_to = reply_to;
  impl->fallback = std::move(fallback);
  return std::unique_ptr<Requester>{new Requester{std::move(impl)}};
}

Requester::Requester(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

// Workers see that nobody waits any more.
Requester::~Requester() {
  for (const Impl::Slot& slot : impl_->slots) {
    if (slot.stage == Impl::Stage::waiting) impl_->withdraw(slot);
  }
}

Call Requester::start(std::span<const std::byte> request, const CallOptions& options) noexcept {
  const Impl::Asked asked = impl_->start(*this, request, options);
  return Call{asked.requester, asked.number};
}

void Requester::start(std::span<const std::byte> request, const CallOptions& options,
                      std::function<void(Reply)> answered) {
  impl_->expect_callbacks();
  const Impl::Asked asked = impl_->start(*this, request, options);
  asked.requester->impl_->call_back_later(asked.number, std::move(answered));
}

MessageLoan Requester::loan(std::uint64_t request_bytes, const CallOptions& options) noexcept {
  return impl_->loan(request_bytes, options);
}

Call Requester::start(MessageLoan&& loan, const CallOptions& options) noexcept {
  const Impl::Asked asked = impl_->start(*this, std::move(loan), options);
  return Call{asked.requester, asked.number};
}

Reply Requester::call(std::span<const std::byte> request, const CallOptions& options) noexcept {
  return start(request, options).get();
}

Reply Requester::call(std::string_view request, const CallOptions& options) noexcept {
  return call(bus::bytes_of_text(request), options);
}

std::size_t Requester::step(Deadline deadline) { return impl_->step(bus::to_ns(deadline)); }
// relaxed: a flag that stands alone
void Requester::interrupt() noexcept { impl_->interrupted.store(true, std::memory_order_relaxed); }
std::size_t Requester::outstanding() const noexcept {
  return impl_->slots.size() - impl_->vacant.size() +
         (impl_->fallback ? impl_->fallback->outstanding() : 0);
}
std::size_t Requester::worker_count() const noexcept {
  return impl_->requests.stream().subscriber_count();
}
bool Requester::is_served() const noexcept {
  return worker_count() != 0 || impl_->requests.stream().matching_count() != 0;
}
CircuitBreaker& Requester::breaker() noexcept { return impl_->breaker; }
const Requester::Counts& Requester::counts() const noexcept { return impl_->counts; }
const std::string& Requester::service() const noexcept { return impl_->service; }

// --- Call
// ------------------------------------------------------------------------------------------

Call::Call(Call&& other) noexcept
    : requester_(std::exchange(other.requester_, nullptr)), number_(other.number_) {}

Call& Call::operator=(Call&& other) noexcept {
  if (this != &other) {
    cancel();
    requester_ = std::exchange(other.requester_, nullptr);
    number_ = other.number_;
  }
  return *this;
}

Call::~Call() { cancel(); }

bool Call::ready() noexcept { return requester_ != nullptr && requester_->impl_->ready(number_); }

bool Call::wait(Deadline deadline) noexcept {
  return requester_ != nullptr && requester_->impl_->wait(number_, bus::to_ns(deadline));
}

Reply Call::get() noexcept {
  if (requester_ == nullptr) return {};
  Requester* const requester = std::exchange(requester_, nullptr);
  return requester->impl_->get(number_);
}

void Call::cancel() noexcept {
  if (requester_ == nullptr) return;
  std::exchange(requester_, nullptr)->impl_->cancel(number_);
}

}  // namespace sluice
