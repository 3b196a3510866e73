// Serving requests.
//
// A worker is a member of the group that serves. It acknowledges a request after it has answered
// it, so that what it has when it dies goes to another worker; whether that one may handle it again
// is for the request to say (idempotent). Before each request it tells all requesters, in its own
// pages, how much waits here.
//
// Each requester gets a stream of its own for its replies, made when its first request comes. It
// has room for as many replies as the requester can wait for, so it never makes us wait; who does
// not take them loses the oldest. While a requester is still attaching, some replies are kept for
// it as history, and the next one waits for it, unless the broker is away: then only those are kept
// until it is back. Making the stream does not wait for the broker either.
//
// To whom a request is answered is not the request's to say: its outlet belongs to the stream that
// it came by, and to the node that publishes that by the broker's word. One that names another node
// as its source is not handled.
#include "sluice/responder.hpp"

#include "shm/clock.hpp"
#include "shm/kill_point.hpp"
#include "shm/stamp_clock.hpp"
#include "transport/bus/message_publisher_impl.hpp"
#include "transport/bus/service.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <exception>
#include <map>
#include <new>
#include <optional>
#include <thread>
#include <utility>

namespace sluice {
namespace {

constexpr std::uint64_t kSliceNs = 100'000'000;  // as long as a sleep in one stream is at most
constexpr std::uint64_t kForgetEveryNs = 1'000'000'000;
constexpr std::uint64_t kSayEveryNs = 1'000'000'000;
constexpr std::uint32_t kLeastReplies = 16;
constexpr std::uint64_t kAttachLimitNs = 250'000'000;
constexpr std::chrono::microseconds kAttachPause{100};
constexpr std::uint64_t kErrorRoom = bus::Extensions::kMaxBytes + 32;
constexpr std::uint32_t kTellAllEvery = 16;
// Requesters of one node that are answered without making a stream anew; each takes two
// descriptors.
constexpr std::size_t kOutletsPerNode = 64;

enum class Phase : int { serving, draining, stopped };

std::string_view died_sentence() {
  return "the worker that had this request died, and it may be handled only once";
}

// As the requester says, within reason.
std::uint32_t replies_wanted(const Message& request) {
  return std::clamp(std::uint32_t{request.envelope().status}, kLeastReplies, bus::kMaxCalls);
}

}  // namespace

struct Responder::Impl {
  Impl(Node& with, MessageSubscriber from, std::string name, Handler handle, ResponderOptions opts)
      : node(with),
        requests(std::move(from)),
        service(std::move(name)),
        handler(std::move(handle)),
        options(std::move(opts)) {}

  /// The stream of one requester.
  struct Outlet {
    MessagePublisher out;
    std::uint64_t node_id = 0;   // of the requester
    std::uint64_t used = 0;      // when it was used last, in requests
    std::uint32_t requests = 0;  // that are here and will be answered there
    std::uint32_t early = 0;     // replies before the requester was attached
    bool attached = false;
  };
  using Outlets = std::map<std::uint64_t, Outlet>;
  /// Whether there is one for the stream that the request came by; `recent` then.
  bool find_outlet(const Message& request) noexcept;
  /// Whether it comes from the node that it names.
  [[nodiscard]] bool is_genuine(const Message& request) noexcept;
  /// Null where none can be made. An outlet stays where it is while requests of it are here.
  Outlet* outlet_for(const Message& request);
  void make_room_for(std::uint64_t node_id) noexcept;
  static Outlet* outlet_of(const Request& request) noexcept {
    return static_cast<Outlet*>(request.outlet_);
  }
  void await_requester(Outlet& outlet) noexcept;
  /// By the broker's word and its own stream's: nobody takes replies there any more.
  [[nodiscard]] static bool is_gone(const Outlet& outlet) noexcept;
  void forget_requesters(std::uint64_t now);
  void handle(Responder& self, Message&& message);
  Outcome send(const Request& request, MessageLoan&& loan, StatusCode code);
  MessageLoan loan(Request& request, std::uint64_t bytes, std::string_view sentence) noexcept;
  void finish(Request& request);
  void let_go(Request& request) noexcept;
  [[nodiscard]] Status unsendable(Outcome why, std::uint64_t bytes) const noexcept;
  [[nodiscard]] Status without_details(const Status& status, std::size_t bytes) const noexcept;
  void say_slow(std::uint64_t took_ns) noexcept;
  void tell_load(std::uint64_t finished = 0) noexcept;

  Node& node;
  MessageSubscriber requests;
  std::string service;
  Handler handler;
  ResponderOptions options;
  Outlets replies;                          // by the stream of requests
  Outlets::iterator recent{replies.end()};  // used last
  std::uint64_t uses = 0;
  shm::StampClock clock;
  std::uint64_t forget_due_ns = 0;
  std::uint64_t handled_ns = 0;  // when a handler returned last
  std::uint64_t said_ns = 0;     // when a slow one was logged last
  std::uint64_t unsaid = 0;
  std::size_t outstanding = 0;
  std::uint32_t since_told = 0;
  std::uint64_t told = ~std::uint64_t{0};
  Outcome last = Outcome::empty;  // of the take that had nothing
  Counts counts;
  std::atomic<Phase> phase{Phase::serving};
};

bool Responder::Impl::find_outlet(const Message& request) noexcept {
  const std::uint64_t stream_id = request.sample().reference().stream_id;
  if (recent == replies.end() || recent->first != stream_id) recent = replies.find(stream_id);
  return recent != replies.end();
}

bool Responder::Impl::is_genuine(const Message& request) noexcept {
  const std::uint64_t source = request.envelope().source;
  if (find_outlet(request)) return recent->second.node_id == source;
  return source != 0 && requests.stream().node_id(request.sample()) == source;
}

Responder::Impl::Outlet* Responder::Impl::outlet_for(const Message& request) {
  if (!find_outlet(request)) {
    const std::uint64_t stream_id = request.sample().reference().stream_id;
    const std::uint64_t node_id = request.envelope().source;
    make_room_for(node_id);
    const std::uint32_t wanted = replies_wanted(request);
    MessagePublisherOptions out;
    out.stream.lanes = {{wanted + bus::kEarlyReplies, bus::kEarlyReplies}};
    out.stream.pools = {{options.reply_bytes + kErrorRoom}};
    out.stream.max_readers = 2;
    out.stream.max_held = wanted;  // its calls may all be done before it looks at the first
    out.stream.offered = {.latest = false, .next = true, .reliable = false, .group = false};
    out.codec = options.codec;
    out.interceptors = options.interceptors;
    auto made = MessagePublisher::create(node, bus::reply_topic(service, node_id, stream_id),
                                         std::move(out), false);
    if (!made) return nullptr;
    recent = replies.emplace(stream_id, Outlet{std::move(*made), node_id}).first;
  }
  recent->second.used = ++uses;
  return &recent->second;
}

// A node that has more requesters than that, or ever new ones, costs time, not memory: the outlet
// that was used longest ago is made again when it is needed.
void Responder::Impl::make_room_for(std::uint64_t node_id) noexcept {
  std::size_t count = 0;
  auto oldest = replies.end();
  for (auto at = replies.begin(); at != replies.end(); ++at) {
    if (at->second.node_id != node_id) continue;
    ++count;
    if (at->second.requests != 0) continue;
    if (oldest == replies.end() || at->second.used < oldest->second.used) oldest = at;
  }
  if (count < kOutletsPerNode || oldest == replies.end()) return;
  replies.erase(oldest);
  recent = replies.end();
}

// Only before more replies than are kept, and once: who is stopped does not hold us up again.
void Responder::Impl::await_requester(Outlet& outlet) noexcept {
  const Publisher& stream = outlet.out.impl_->stream;
  outlet.attached = stream.subscriber_count() != 0;
  if (outlet.attached || ++outlet.early <= bus::kEarlyReplies) return;
  const std::uint64_t until = shm::now_ns() + kAttachLimitNs;
  while (stream.subscriber_count() == 0 && !is_gone(outlet) && node.connected() &&
         shm::now_ns() < until) {
    std::this_thread::sleep_for(kAttachPause);
  }
  outlet.attached = true;
}

bool Responder::Impl::is_gone(const Outlet& outlet) noexcept {
  const Publisher& stream = outlet.out.impl_->stream;
  return stream.subscriber_count() == 0 && stream.matching_is_known() &&
         stream.matching_count() == 0;
}

// Of those that are gone, and have asked for nothing that is still here.
void Responder::Impl::forget_requesters(std::uint64_t now) {
  if (now < forget_due_ns) return;
  forget_due_ns = now + kForgetEveryNs;
  std::erase_if(replies,
                [](const auto& item) { return item.second.requests == 0 && is_gone(item.second); });
  recent = replies.end();
}

MessageLoan Responder::Impl::loan(Request& request, std::uint64_t bytes,
                                  std::string_view sentence) noexcept {
  if (request.outlet_ == nullptr) {  // there was no memory for it
    try {
      request.outlet_ = outlet_for(request.message_);
      if (Outlet* const made = outlet_of(request)) ++made->requests;
    } catch (const std::bad_alloc&) {  // as if the requester were gone
    }
  }
  Outlet* const outlet = outlet_of(request);
  if (outlet == nullptr) return {};
  const Message& asked = request.message_;
  MessageOptions with;
  with.priority = asked.info().priority;
  with.destination = asked.envelope().source;
  with.correlation = asked.info().correlation;
  bus::Extensions extensions;
  extensions.add(ExtensionId::error, sentence);
  return outlet->out.impl_->loan(bytes, with, extensions);
}

Outcome Responder::Impl::send(const Request& request, MessageLoan&& reply, StatusCode code) {
  Outlet* const outlet = outlet_of(request);
  if (outlet == nullptr) return Outcome::no_subscriber;
  MessagePublisher::Impl::Special special;
  special.kind = MessageKind::reply;
  special.status = static_cast<std::uint16_t>(code);
  special.call = request.message_.envelope().call;
  Published published;
  if (!outlet->attached) await_requester(*outlet);
  tell_load(1);  // before: who has the answer asks again, and shall see that we are free
  const Outcome outcome = outlet->out.impl_->send(std::move(reply), special, published);
  if (outcome != Outcome::ok) ++counts.unanswered;
  return outcome;
}

void Responder::Impl::let_go(Request& request) noexcept {
  if (Outlet* const outlet = outlet_of(request)) --outlet->requests;
  request.outlet_ = nullptr;
  --outstanding;
}

void Responder::Impl::finish(Request& request) {
  SLUICE_KILL_POINT("responder.replied");
  requests.acknowledge(std::move(request.message_));
  let_go(request);
}

// What is answered instead of what cannot be: who asked shall not wait until the deadline.
// `bytes`: 0 where nobody knows.
Status Responder::Impl::unsendable(Outcome why, std::uint64_t bytes) const noexcept {
  const bool large = why == Outcome::too_large;
  Status status{large ? StatusCode::internal : StatusCode::resource_exhausted};
  try {
    if (large) {
      status.message = "the answer";
      if (bytes != 0) status.message += ", of " + std::to_string(bytes) + " bytes,";
      status.message += " is larger than ResponderOptions::reply_bytes (" +
                        std::to_string(options.reply_bytes) + ") of '" + service + "'; raise that";
    } else {
      status.message = "the answer of '" + service + "' could not be written: " + to_string(why);
    }
  } catch (const std::bad_alloc&) {  // the code says enough
  }
  return status;
}

Status Responder::Impl::without_details(const Status& status, std::size_t bytes) const noexcept {
  if (status.ok()) return unsendable(Outcome::too_large, bytes);
  Status shorter{status.code};
  try {
    shorter.message = status.message + " (without details: they have " + std::to_string(bytes) +
                      " bytes, and ResponderOptions::reply_bytes are " +
                      std::to_string(options.reply_bytes) + ')';
  } catch (const std::bad_alloc&) {  // as above
  }
  return shorter;
}

// Once a second at most, with the number of those that were left out.
void Responder::Impl::say_slow(std::uint64_t took_ns) noexcept {
  if (!options.log) return;
  if (said_ns != 0 && handled_ns - said_ns < kSayEveryNs) {
    ++unsaid;
    return;
  }
  try {
    std::string sentence = "the handler of service '" + service + "' is slow: it took " +
                           std::to_string(took_ns / 1'000'000) + " ms";
    if (unsaid != 0) sentence += " (" + std::to_string(unsaid) + " more were left out)";
    said_ns = handled_ns;
    unsaid = 0;
    options.log(LogLevel::warning, sentence);
  } catch (...) {  // whoever logs must not end what is logged
    ++unsaid;
  }
}

// All streams are told of what waits in all, but not each time where there are many. `finished`: of
// these, what is about to be answered.
void Responder::Impl::tell_load(std::uint64_t finished) noexcept {
  const bool serving = phase.load(std::memory_order_relaxed) == Phase::serving;  // relaxed: a flag
  const WorkerState state = !serving                          ? WorkerState::draining
                            : outstanding >= options.max_held ? WorkerState::busy
                                                              : WorkerState::ready;
  Subscriber& stream = requests.stream();
  if (serving && stream.stream_count() > kTellAllEvery && ++since_told < kTellAllEvery) return;
  since_told = 0;
  const std::uint64_t waiting = stream.backlog();
  const auto backlog = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(waiting - std::min(waiting, finished), ~0u));
  const std::uint64_t now = std::uint64_t{static_cast<std::uint8_t>(state)} << 32 | backlog;
  if (now == told) return;
  told = now;
  stream.tell_load(state, backlog);
}

void Responder::Impl::handle(Responder& self, Message&& message) {
  const Envelope& envelope = message.envelope();
  if (envelope.kind != MessageKind::request || !is_genuine(message)) {
    if (envelope.kind == MessageKind::request) ++counts.forged;
    requests.acknowledge(std::move(message));
    return;
  }
  Request request{&self, std::move(message)};
  ++outstanding;
  const std::uint64_t start = clock.now();
  const std::uint64_t expires = request.message_.envelope().expires_ns;
  if ((expires != 0 && start >= expires) || request.withdrawn()) {
    ++counts.cancelled;
    request.responder_ = nullptr;
    finish(request);
    return;
  }
  Outlet* const outlet = outlet_for(request.message_);
  request.outlet_ = outlet;
  if (outlet != nullptr) ++outlet->requests;
  const bool twice = request.message_.info().redelivered &&
                     (request.message_.envelope().flags & kFlagIdempotent) == 0;
  if (twice) {
    ++counts.refused;
    (void)request.reply(Status{StatusCode::unavailable, std::string{died_sentence()}});
    return;
  }
  if (outlet == nullptr) {  // there is no memory, or no descriptor, for one
    ++counts.unanswered;
    request.responder_ = nullptr;
    finish(request);
    return;
  }
  const ScopedContext scope{request.message_.context()};
  ++counts.handled;
  SLUICE_KILL_POINT("responder.taken");
  try {
    handler(request);
  } catch (const std::exception& e) {
    if (request) (void)request.reply(Status{StatusCode::internal, e.what()});
  } catch (...) {
    if (request)
      (void)request.reply(Status{StatusCode::internal, "the handler threw no exception of std"});
  }
  handled_ns = clock.now();
  if (handled_ns - start > static_cast<std::uint64_t>(options.slow.count())) {
    ++counts.slow;
    say_slow(handled_ns - start);
  }
}

Result<std::unique_ptr<Responder>> Responder::create(Node& node, std::string_view service,
                                                     Handler handler, ResponderOptions options,
                                                     WaitSet* set) {
  if (auto valid = bus::check_service(service); !valid) return std::move(valid).error();
  if (!handler) {
    return Error{Errc::invalid_argument, 0,
                 "a responder of '" + std::string{service} +
                     "' needs a handler; give it a function that answers requests"};
  }
  if (options.credits == 0 || options.credits > bus::kMaxRequestCredits) {
    return Error{Errc::invalid_argument, 0,
                 "a worker has 1 to " + std::to_string(bus::kMaxRequestCredits) +
                     " credits of each requester; " + std::to_string(options.credits) +
                     " were asked for"};
  }
  if (options.max_held == 0) {
    return Error{Errc::invalid_argument, 0, "max_held is at least 1: the request being handled"};
  }
  MessageSubscriptionOptions in;
  in.subscription.mode = DeliveryMode::group;
  in.subscription.group = bus::kServeGroup;
  in.subscription.credits = options.credits;
  in.subscription.max_held = options.credits;
  in.subscription.spin_ns = options.spin_ns;
  in.interceptors = options.interceptors;
  in.give_expired = true;
  auto requests =
      MessageSubscriber::create(node, {bus::request_topic(service)}, std::move(in), set);
  if (!requests) return std::move(requests).error();
  return std::unique_ptr<Responder>{new Responder{std::make_unique<Impl>(
      node, std::move(*requests), std::string{service}, std::move(handler), std::move(options))}};
}

Responder::Responder(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Responder::~Responder() = default;

std::size_t Responder::step(Deadline deadline) {
  Impl& it = *impl_;
  std::size_t count = 0;
  for (bool waited = false;; waited = true) {
    while (it.outstanding < it.options.max_held) {
      // relaxed: a flag that stands alone
      if (it.phase.load(std::memory_order_relaxed) == Phase::stopped) return count;
      Message message = it.requests.take();
      if (!message) {
        it.last = message.outcome();
        break;
      }
      // A single requester knows of what we are about to do, and reads the line that says so.
      it.tell_load(it.requests.stream().stream_count() == 1 ? 1 : 0);
      it.handle(*this, std::move(message));
      ++count;
    }
    it.tell_load();
    if (count != 0) {
      it.forget_requesters(it.handled_ns);
      return count;
    }
    // What cannot be taken must end no wait; and others of a shared set may have ended it.
    it.requests.stream().pause(it.outstanding >= it.options.max_held ||
                               it.last == Outcome::not_allowed);
    // Who polls does not wait, and is not made ready to.
    const std::uint64_t now = waited ? shm::now_ns() : it.clock.now();
    const bool over = now >= bus::to_ns(deadline);
    if (!over && it.requests.wait(deadline) == Outcome::ok) continue;
    it.forget_requesters(now);
    return 0;
  }
}

Result<void> Responder::run() {
  Impl& it = *impl_;
  for (;;) {
    // relaxed: a flag that stands alone
    const Phase phase = it.phase.load(std::memory_order_relaxed);
    if (phase == Phase::stopped) break;
    // What was kept to be answered later is waited for.
    const bool over = phase == Phase::draining && it.outstanding == 0;
    const std::size_t count = step(bus::to_deadline(over ? 0 : shm::now_ns() + kSliceNs));
    if (phase == Phase::draining && count == 0 && it.outstanding == 0) break;
    if (count == 0 && it.last == Outcome::not_allowed) {
      return Error{Errc::refused, 0,
                   "the broker has taken away the right to serve '" + it.service +
                       "'; its policy (allow, deny) has changed"};
    }
  }
  it.phase.store(Phase::serving, std::memory_order_relaxed);  // relaxed: a flag that stands alone
  return {};
}

bool Responder::revoked() const noexcept { return impl_->last == Outcome::not_allowed; }

void Responder::stop() noexcept {
  // relaxed: a flag that stands alone
  impl_->phase.store(Phase::stopped, std::memory_order_relaxed);
}

void Responder::drain() noexcept {
  Phase serving = Phase::serving;
  // relaxed: a flag that stands alone
  impl_->phase.compare_exchange_strong(serving, Phase::draining, std::memory_order_relaxed);
}

std::size_t Responder::outstanding() const noexcept { return impl_->outstanding; }
const Responder::Counts& Responder::counts() const noexcept { return impl_->counts; }
const std::string& Responder::service() const noexcept { return impl_->service; }

// --- Request
// ---------------------------------------------------------------------------------------

Request::Request(Request&& other) noexcept
    : responder_(std::exchange(other.responder_, nullptr)),
      outlet_(other.outlet_),
      message_(std::move(other.message_)) {}

Request& Request::operator=(Request&& other) noexcept {
  if (this != &other) {
    if (*this) (void)reply(Status{StatusCode::internal});
    responder_ = std::exchange(other.responder_, nullptr);
    outlet_ = other.outlet_;
    message_ = std::move(other.message_);
  }
  return *this;
}

Request::~Request() {
  if (*this) (void)reply(Status{StatusCode::internal, "the handler gave no answer"});
}

Deadline Request::deadline() const noexcept {
  const std::uint64_t ns = message_.envelope().expires_ns;
  return ns == 0 ? Deadline::max() : bus::to_deadline(ns);
}

bool Request::cancelled() const noexcept {
  if (!message_) return true;
  const std::uint64_t expires = message_.envelope().expires_ns;
  return (expires != 0 && shm::now_ns() >= expires) || withdrawn() ||
         (responder_ != nullptr && outlet_ != nullptr &&
          Responder::Impl::is_gone(*Responder::Impl::outlet_of(*this)));
}

bool Request::withdrawn() const noexcept {
  // The requester's memory, read-only here: only the type is not.
  auto* word = reinterpret_cast<std::uint32_t*>(
      const_cast<std::byte*>(message_.sample().data() + offsetof(Envelope, cancelled)));
  // sync cancel (worker): stands alone; nothing is read because of it
  return std::atomic_ref<std::uint32_t>{*word}.load(std::memory_order_acquire) != 0;
}

MessageLoan Request::loan(std::uint64_t bytes) noexcept {
  if (!*this) return {};
  return responder_->impl_->loan(*this, bytes, {});
}

Outcome Request::reply(MessageLoan&& loan) noexcept {
  MessageLoan mine = std::move(loan);
  if (!*this) return Outcome::empty;
  if (!mine) {
    const Outcome why = mine.outcome();
    (void)reply(responder_->impl_->unsendable(why, 0));
    return why;
  }
  Responder::Impl& it = *std::exchange(responder_, nullptr)->impl_;
  const Outcome outcome = it.send(*this, std::move(mine), StatusCode::ok);
  it.finish(*this);
  return outcome;
}

Outcome Request::reply(std::span<const std::byte> payload) noexcept {
  MessageLoan slot = loan(payload.size());
  if (!slot) {
    const Outcome why = slot.outcome();
    if (*this) (void)reply(responder_->impl_->unsendable(why, payload.size()));
    return why;
  }
  if (!payload.empty()) std::memcpy(slot.bytes().data(), payload.data(), payload.size());
  return reply(std::move(slot));
}

Outcome Request::reply(std::string_view text) noexcept { return reply(bus::bytes_of_text(text)); }

Outcome Request::reply(const Status& status, std::span<const std::byte> details) noexcept {
  if (!*this) return Outcome::empty;
  Responder::Impl& it = *std::exchange(responder_, nullptr)->impl_;
  StatusCode code = status.code;
  MessageLoan slot = it.loan(*this, details.size(), status.message);
  const Outcome why = slot ? Outcome::ok : slot.outcome();
  if (slot && !details.empty()) {
    std::memcpy(slot.bytes().data(), details.data(), details.size());
  }
  if (!slot && !details.empty()) {  // what is left out is said
    const Status shorter = it.without_details(status, details.size());
    code = shorter.code;
    slot = it.loan(*this, 0, shorter.message);
  }
  Outcome outcome = slot.outcome();
  if (slot) {
    outcome = it.send(*this, std::move(slot), code);
  } else {
    ++it.counts.unanswered;
  }
  if (code != StatusCode::ok) ++it.counts.failed;
  it.finish(*this);
  return why == Outcome::ok ? outcome : why;
}

void Request::pass_on() noexcept {
  if (!*this) return;
  if ((message_.envelope().flags & kFlagIdempotent) == 0) {
    (void)reply(Status{StatusCode::unavailable,
                       "the worker passed it on, and it may be handled only once"});
    return;
  }
  Responder::Impl& it = *std::exchange(responder_, nullptr)->impl_;
  ++it.counts.passed_on;
  it.requests.reject(std::move(message_));
  it.let_go(*this);
}

}  // namespace sluice
