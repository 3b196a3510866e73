// Publishing messages with an envelope.
//
// The envelope is written when the message is published, from the options that were given with its
// loan and from the thread's context: so correlation, trace and origin are carried on without
// anybody's doing. On the way of a plain event there is no lock, no allocation and no look at a
// clock; limits, lifetimes and watermarks cost what they need, where they are asked for.
#include "sluice/message_publisher.hpp"

#include "shm/clock.hpp"
#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"
#include "transport/bus/message_publisher_impl.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>
#include <utility>

namespace sluice {
namespace {

constexpr std::size_t kBatch = 32;
constexpr std::chrono::microseconds kRecordedPause{1'000};

std::uint64_t room_of(const StreamOptions& options) {
  std::uint64_t most = 0;
  for (const LaneOptions& lane : options.lanes) most = std::max<std::uint64_t>(most, lane.depth);
  return most;
}

TraceContext next_span(const Context& context, const CorrelationId& correlation) noexcept {
  return context.trace.valid() ? child_span(context.trace) : new_trace(correlation);
}

}  // namespace

namespace bus {

StreamOptions with_headers(StreamOptions options, std::uint64_t header_bytes) {
  for (PoolOptions& pool : options.pools) pool.slot_bytes += header_bytes;
  return options;
}

std::uint64_t to_ns(Deadline deadline) noexcept {
  const auto ns = std::chrono::nanoseconds{deadline.time_since_epoch()}.count();
  return ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
}

Deadline to_deadline(std::uint64_t ns) noexcept {
  return Deadline{std::chrono::nanoseconds{static_cast<std::int64_t>(
      std::min<std::uint64_t>(ns, static_cast<std::uint64_t>(INT64_MAX)))}};
}

}  // namespace bus

StreamOptions message_stream(std::uint64_t message_bytes, std::uint32_t depth) {
  const std::uint32_t fewer = std::max(depth / 8, 8u);
  StreamOptions options;
  options.lanes = {{fewer, 0}, {fewer, 0}, {depth, 0}, {fewer, 0}};
  options.pools = {{message_bytes}};
  options.max_held =
      256;  // a dispatcher may hold 17, for each handler; what is not used is not committed
  return options;
}

MessagePublisher::Impl::Impl(Publisher to, MessagePublisherOptions with, std::uint64_t node)
    : stream(std::move(to)), options(std::move(with)), node_id(node), rate(options.rate) {
  room = room_of(options.stream);
  if (const auto limit = static_cast<double>(stream.messages_per_second()); limit > 0) {
    broker_rate = TokenBucket{{.per_second = limit, .burst = limit}};  // a second's worth at once
  }
}

MessageLoan MessagePublisher::Impl::loan(std::uint64_t bytes, const MessageOptions& with,
                                         const bus::Extensions& extensions) noexcept {
  MessageLoan result;
  result.options_ = with;
  const Context& context = current_context();
  if (context.hops >= kMaxHops) {
    result.loan_ = Loan{count(Outcome::rejected)};
    return result;
  }
  if (!context.tracestate.empty()) {
    bus::Extensions all = extensions;
    all.add(ExtensionId::tracestate, context.tracestate);
    if (loan_behind(all, bytes, result)) return result;
  }
  // Without it, where it does not fit as well.
  if (result.loan_.outcome() == Outcome::too_large || context.tracestate.empty()) {
    (void)loan_behind(extensions, bytes, result);
  }
  if (!result) count(result.outcome());
  return result;
}

bool MessagePublisher::Impl::loan_behind(const bus::Extensions& extensions, std::uint64_t bytes,
                                         MessageLoan& to) noexcept {
  to.header_bytes_ = extensions.header_bytes();
  to.loan_ = stream.loan(to.header_bytes_ + bytes, to.options_.priority);
  if (!to.loan_) return false;
  extensions.write(to.loan_.bytes().first(to.header_bytes_));
  return true;
}

Outcome MessagePublisher::Impl::seal(MessageLoan& loan, const Special& special,
                                     MessageId& id) noexcept {
  const MessageOptions& with = loan.options_;
  const Context& context = current_context();
  Headers& headers = loan.loan_.headers;
  Envelope envelope;
  envelope.kind = special.kind;
  envelope.codec = special.codec.value_or(options.codec);
  envelope.flags = special.flags;
  envelope.hops = static_cast<std::uint8_t>(context.hops + 1);
  envelope.attempt = special.attempt;
  envelope.header_bytes = static_cast<std::uint16_t>(loan.header_bytes_);
  envelope.status = special.status;
  envelope.id = with.id != MessageId{} ? with.id : new_correlation_id();
  headers.correlation = with.correlation != CorrelationId{}      ? with.correlation
                        : context.correlation != CorrelationId{} ? context.correlation
                                                                 : envelope.id;
  const TraceContext trace = next_span(context, headers.correlation);
  envelope.trace_id = trace.trace_id;
  envelope.span_id = trace.span_id;
  envelope.trace_flags = trace.flags;
  envelope.source = node_id;
  envelope.destination = with.destination;
  envelope.expires_ns = special.expires_ns;
  if (with.ttl_ns != 0) envelope.expires_ns = shm::now_ns() + with.ttl_ns;
  envelope.call = special.call;
  if (options.retained) envelope.flags |= kFlagRetained;
  if (stream.sensitive()) envelope.flags |= kFlagSensitive;
  headers.origin_ns = with.origin_ns != 0 ? with.origin_ns : context.origin_ns;
  headers.type_hash = with.type_hash;
  id = envelope.id;

  if (!options.interceptors.empty()) {
    const Envelope fixed = envelope;
    Intercepted message{stream.topic(), envelope, headers, loan.bytes()};
    for (const std::shared_ptr<Interceptor>& interceptor : options.interceptors) {
      const Outcome outcome = interceptor->publishing(message);
      if (outcome != Outcome::ok) return outcome;
    }
    envelope.id = fixed.id;
    envelope.kind = fixed.kind;
    envelope.call = fixed.call;
    envelope.header_bytes = fixed.header_bytes;
    envelope.magic = fixed.magic;
    envelope.version = fixed.version;
  }
  std::memcpy(loan.loan_.data(), &envelope, sizeof envelope);
  return Outcome::ok;
}

Outcome MessagePublisher::Impl::send(MessageLoan&& loan, const Special& special,
                                     Published& published) noexcept {
  if (!loan) return loan.outcome();
  const Outcome sealed = seal(loan, special, published.id);
  if (sealed != Outcome::ok) {
    loan.loan_ = Loan{};
    return count(sealed);
  }
  const Priority priority = loan.options_.priority;
  published.bytes = loan.bytes().size();
  published.queued = static_cast<std::uint32_t>(stream.subscriber_count());
  const Outcome outcome = count(stream.publish(std::move(loan.loan_), published.reference));
  if (outcome != Outcome::ok) loan.loan_ = Loan{};
  if (options.watermarks.changed && gauge.due()) {
    gauge.look(options.watermarks, stream.backlog(priority), room);
  }
  return outcome;
}

Outcome MessagePublisher::Impl::publish(MessageLoan&& loan, Published& published) noexcept {
  published.matching = static_cast<std::uint32_t>(stream.matching_count());
  if ((options.need_subscriber || fallback) && loan && stream.subscriber_count() == 0) {
    const MessageLoan unwanted = std::move(loan);
    return fallback ? fall_back(unwanted, published) : count(Outcome::no_subscriber);
  }
  if (loan && !admitted()) {
    const MessageLoan unwanted = std::move(loan);
    return count(Outcome::rate_limited);
  }
  return send(std::move(loan), {}, published);
}

// Copied, since the slot belongs to a stream that nobody reads.
Outcome MessagePublisher::Impl::fall_back(const MessageLoan& loan, Published& published) noexcept {
  MessagePublisher::Impl& other = *fallback->impl_;
  bus::Extensions extensions;
  extensions.add(ExtensionId::topic, stream.topic());
  MessageLoan copy = other.loan(loan.bytes().size(), loan.options_, extensions);
  if (!copy) return copy.outcome();
  if (!loan.bytes().empty()) {
    std::memcpy(copy.bytes().data(), loan.bytes().data(), loan.bytes().size());
  }
  Special special;
  special.codec = options.codec;
  if (other.options.need_subscriber && other.stream.subscriber_count() == 0) {
    return count(Outcome::no_subscriber);
  }
  const Outcome outcome = other.send(std::move(copy), special, published);
  if (outcome == Outcome::ok) ++counts.fell_back;
  return outcome;
}

bool MessagePublisher::Impl::admitted() noexcept {
  if (!rate.limited() && !broker_rate.limited()) return true;
  const std::uint64_t now = shm::now_ns();
  return rate.take(now) && broker_rate.take(now);
}

Outcome MessagePublisher::Impl::count(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::ok:
      ++counts.published;
      break;
    case Outcome::no_subscriber:
      ++counts.no_subscriber;
      break;
    case Outcome::rate_limited:
      ++counts.rate_limited;
      break;
    case Outcome::rejected:
      ++counts.rejected;
      break;
    default:
      ++counts.failed;
  }
  return outcome;
}

Result<MessagePublisher> MessagePublisher::create(Node& node, std::string_view topic,
                                                  MessagePublisherOptions options) {
  if (options.retained) {
    // One value, whatever the priority: one lane.
    std::uint32_t depth = 1;
    for (const LaneOptions& lane : options.stream.lanes) depth = std::max(depth, lane.depth);
    options.stream.lanes = {{depth, 1}};
  }
  if (options.stream.pools.empty()) options.stream.pools = message_stream().pools;
  if (options.watermarks.changed && !(options.watermarks.low <= options.watermarks.high)) {
    return Error{Errc::invalid_argument, 0,
                 "the low watermark lies above the high one; give a low one that is smaller"};
  }
  std::unique_ptr<MessagePublisher> fallback;
  if (!options.fallback_topic.empty()) {
    MessagePublisherOptions other;
    other.stream = options.stream;
    other.codec = options.codec;
    other.interceptors = options.interceptors;
    other.need_subscriber = true;
    auto made = create(node, options.fallback_topic, std::move(other));
    if (!made) return std::move(made).error();
    fallback = std::make_unique<MessagePublisher>(std::move(*made));
  }
  auto stream = node.advertise(topic, bus::with_headers(options.stream, bus::kHeaderRoom));
  if (!stream) return std::move(stream).error();
  auto impl = std::make_unique<Impl>(std::move(*stream), std::move(options), node.id());
  impl->fallback = std::move(fallback);
  return MessagePublisher{std::move(impl)};
}

MessagePublisher::MessagePublisher(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
MessagePublisher::MessagePublisher(MessagePublisher&&) noexcept = default;
MessagePublisher& MessagePublisher::operator=(MessagePublisher&&) noexcept = default;
MessagePublisher::~MessagePublisher() = default;

MessageLoan MessagePublisher::loan(std::uint64_t payload_bytes,
                                   const MessageOptions& options) noexcept {
  return impl_->loan(payload_bytes, options, {});
}

Outcome MessagePublisher::publish(MessageLoan&& loan, Published& published) noexcept {
  return impl_->publish(std::move(loan), published);
}

Outcome MessagePublisher::publish(MessageLoan&& loan) noexcept {
  Published published;
  return impl_->publish(std::move(loan), published);
}

Outcome MessagePublisher::publish(std::span<const std::byte> payload, const MessageOptions& options,
                                  Published& published) noexcept {
  MessageLoan slot = loan(payload.size(), options);
  if (!slot) return slot.outcome();
  if (!payload.empty()) std::memcpy(slot.bytes().data(), payload.data(), payload.size());
  return impl_->publish(std::move(slot), published);
}

Outcome MessagePublisher::publish(std::span<const std::byte> payload,
                                  const MessageOptions& options) noexcept {
  Published published;
  return publish(payload, options, published);
}

Outcome MessagePublisher::publish(std::string_view text, const MessageOptions& options) noexcept {
  return publish(bus::bytes_of_text(text), options);
}

// In batches, each with one look for sleepers.
Outcome MessagePublisher::publish(std::span<MessageLoan> loans) noexcept {
  std::array<Loan, kBatch> batch;
  Published published;
  while (!loans.empty()) {
    const std::size_t most = std::min(loans.size(), kBatch);
    std::size_t ready = 0;
    Outcome why = Outcome::ok;
    while (ready != most && why == Outcome::ok) {
      MessageLoan& loan = loans[ready];
      why = !loan ? loan.outcome()
            : impl_->options.need_subscriber && stream().subscriber_count() == 0
                ? Outcome::no_subscriber
            : !impl_->admitted() ? Outcome::rate_limited
                                 : impl_->seal(loan, {}, published.id);
      if (why == Outcome::ok) batch[ready++] = std::move(loan.loan_);
    }
    const Outcome outcome = stream().publish(std::span{batch.data(), ready});
    std::size_t done = 0;
    while (done != ready && !batch[done]) ++done;
    impl_->counts.published += done;
    // What could not be published goes back to its owner.
    for (std::size_t i = done; i != ready; ++i) loans[i].loan_ = std::move(batch[i]);
    if (outcome != Outcome::ok) return impl_->count(outcome);
    if (why != Outcome::ok) return impl_->count(why);
    loans = loans.subspan(most);
  }
  return Outcome::ok;
}

Outcome MessagePublisher::clear() noexcept { return publish(std::span<const std::byte>{}); }

Reach MessagePublisher::reached(const Published& message) noexcept {
  return impl_->stream.reached(message.reference);
}

Outcome MessagePublisher::wait_reached(const Published& message, ReachLevel level,
                                       Deadline deadline) noexcept {
  return impl_->stream.wait_reached(message.reference, level, deadline);
}

// A commit takes milliseconds, so looking now and then is soon enough.
Outcome MessagePublisher::wait_recorded(const Published& message, Deadline deadline) noexcept {
  if (message.bytes > kMaxRecordedBytes) return Outcome::too_large;
  for (std::chrono::microseconds pause{100};; pause = std::min(pause * 2, kRecordedPause)) {
    const Outcome recorded = impl_->stream.handled_by(message.reference, kRecorderGroup);
    if (recorded != Outcome::empty) return recorded;
    if (std::chrono::steady_clock::now() + pause >= deadline) return Outcome::timeout;
    std::this_thread::sleep_for(pause);
  }
}

const MessagePublisher::Counts& MessagePublisher::counts() const noexcept { return impl_->counts; }
Publisher& MessagePublisher::stream() noexcept { return impl_->stream; }
const std::string& MessagePublisher::topic() const noexcept { return impl_->stream.topic(); }

}  // namespace sluice
