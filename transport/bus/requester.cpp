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
//
// Here is what programs call; requester_asking.cpp makes a call, requester_answers.cpp ends it.
#include "sluice/requester.hpp"

#include "sluice/correlation.hpp"
#include "transport/bus/requester_impl.hpp"

#include <algorithm>

namespace sluice {

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
  MessagePublisherOptions out;
  const std::uint32_t depth = std::max(options.max_calls, 16u);
  // A lane of its own for each priority, each with room for all calls.
  out.stream.lanes = {{depth, 0}, {depth, 0}, {depth, 0}, {depth, 0}};
  out.stream.pools = {{options.request_bytes}};
  out.stream.on_full = OnFull::wait;
  out.stream.full_timeout_ns = Impl::kSliceNs;
  out.stream.offered = {.latest = false, .next = false, .reliable = false, .group = true};
  out.stream.max_held = 4 * bus::kMaxRequestCredits;
  out.codec = options.codec;
  out.interceptors = options.interceptors;
  auto requests = MessagePublisher::create(node, bus::request_topic(service), std::move(out));
  if (!requests) return std::move(requests).error();

  // Before the first request. A worker never waits for us; its stream has room for as many replies
  // as we can wait for, and keep.
  MessageSubscriptionOptions in;
  in.subscription.mode = DeliveryMode::next;
  in.subscription.history = bus::kEarlyReplies;
  in.subscription.max_held = options.max_calls;
  in.subscription.spin_ns = options.spin_ns;
  in.interceptors = options.interceptors;
  auto replies = MessageSubscriber::create(
      node, bus::reply_topic(service, node.id(), requests->stream().stream_id()), std::move(in));
  if (!replies) return std::move(replies).error();

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
bool Requester::is_served() const noexcept { return !impl_->deserted(); }
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
