// Publishing messages with an envelope.
//
// The envelope is written when the message is published, from the options that were given with its
// loan and from the thread's context: so correlation, trace and origin are carried on without
// anybody's doing. Only a tracestate stands in the slot before, since its length decides where the
// payload begins; it goes again where the message is published in another context. On the way of a
// plain event there is no lock, no allocation and no look at a clock; limits, lifetimes and
// watermarks cost what they need, where they are asked for.
#include "sluice/message_publisher.hpp"

#include "shm/clock.hpp"
#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"
#include "transport/bus/message_publisher_impl.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>

namespace sluice {
namespace {

constexpr std::chrono::microseconds kRecordedPause{1'000};

TraceContext next_span(const Context& context, const CorrelationId& correlation) noexcept {
  return context.trace.valid() ? child_span(context.trace) : new_trace(correlation);
}

std::uint64_t expiry_of(std::uint64_t ttl_ns) noexcept {
  const std::uint64_t now = shm::now_ns();
  return now + std::min(ttl_ns, std::numeric_limits<std::uint64_t>::max() - now);
}

// The loan was made in another context: without its tracestate, which is the last extension.
void forget_other_tracestate(std::span<std::byte> slot, const Envelope& envelope,
                             const Context& context) noexcept {
  const auto state = find_extension(slot, envelope, ExtensionId::tracestate);
  if (state.empty() || bus::text_of_bytes(state) == context.tracestate) return;
  const auto head = static_cast<std::size_t>(state.data() - slot.data()) - bus::kItemHeadBytes;
  std::memset(slot.data() + head, 0, envelope.header_bytes - head);
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
    : stream(std::move(to)),
      options(std::move(with)),
      node_id(node),
      rate(options.rate),
      watches(options.watermarks.changed || options.watermarks.lane_changed) {
  if (const auto limit = static_cast<double>(stream.messages_per_second()); limit > 0) {
    broker_rate = TokenBucket{{.per_second = limit, .burst = limit}};  // a second's worth at once
  }
}

MessageLoan MessagePublisher::Impl::loan(std::uint64_t bytes, const MessageOptions& with,
                                         const bus::Extensions& extensions) noexcept {
  MessageLoan result;
  result.options_ = with;
  result.from_ = this;
  const Context& context = current_context();
  if (context.hops >= kMaxHops) {
    result.loan_ = Loan{count(Outcome::rejected)};
    return result;
  }
  if (!context.tracestate.empty()) {
    bus::Extensions all = extensions;
    result.has_tracestate_ = all.add(ExtensionId::tracestate, context.tracestate);
    if (loan_behind(all, bytes, result)) return result;
  }
  // Without it, where it does not fit as well.
  if (result.loan_.outcome() == Outcome::too_large || context.tracestate.empty()) {
    result.has_tracestate_ = false;
    (void)loan_behind(extensions, bytes, result);
  }
  if (!result) {
    count(result.outcome());
    if (watches && result.outcome() == Outcome::full) look_at(lane_of(with.priority));
  }
  return result;
}

bool MessagePublisher::Impl::loan_behind(const bus::Extensions& extensions, std::uint64_t bytes,
                                         MessageLoan& to) noexcept {
  to.header_bytes_ = static_cast<std::uint32_t>(extensions.header_bytes());
  to.loan_ = stream.loan(to.header_bytes_ + bytes, to.options_.priority);
  if (!to.loan_) return false;
  extensions.write(to.loan_.bytes().first(to.header_bytes_));
  return true;
}

Outcome MessagePublisher::Impl::seal(MessageLoan& loan, const Special& special,
                                     MessageId& id) noexcept {
  if (loan.from_ != this) return Outcome::mismatch;
  Envelope envelope;
  if (loan.sealed_) {  // its interceptors have seen it
    std::memcpy(static_cast<void*>(&envelope), loan.loan_.data(), sizeof envelope);
    id = envelope.id;
    return Outcome::ok;
  }
  const MessageOptions& with = loan.options_;
  const Context& context = current_context();
  if (context.hops >= kMaxHops) return Outcome::rejected;  // the loan is of another context
  Headers& headers = loan.loan_.headers;
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
  if (with.ttl_ns != 0) envelope.expires_ns = expiry_of(with.ttl_ns);
  envelope.call = special.call;
  if (options.retained) envelope.flags |= kFlagRetained;
  if (stream.sensitive()) envelope.flags |= kFlagSensitive;
  headers.origin_ns = with.origin_ns != 0 ? with.origin_ns : context.origin_ns;
  headers.type_hash = with.type_hash;
  id = envelope.id;
  if (loan.has_tracestate_) forget_other_tracestate(loan.loan_.bytes(), envelope, context);

  if (!options.interceptors.empty()) {
    const Envelope fixed = envelope;
    Intercepted message{stream.topic(), envelope, headers, loan.bytes()};
    for (const std::shared_ptr<Interceptor>& interceptor : options.interceptors) {
      const Outcome outcome = interceptor->publishing(message);
      bus::keep_fixed(fixed, envelope);
      if (outcome != Outcome::ok) return outcome;
    }
  }
  std::memcpy(loan.loan_.data(), &envelope, sizeof envelope);
  loan.sealed_ = true;
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
  const std::size_t lane = lane_of(loan.options_.priority);
  published.bytes = loan.bytes().size();
  published.queued = static_cast<std::uint32_t>(stream.subscriber_count());
  const Outcome outcome = count(stream.publish(std::move(loan.loan_), published.reference));
  if (outcome != Outcome::ok) loan.loan_ = Loan{};
  if (watches) {
    std::array<std::uint32_t, kMaxLanes> sent{};
    sent[lane] = 1;
    watch(sent);
  }
  return outcome;
}

Outcome MessagePublisher::Impl::publish(MessageLoan&& loan, Published& published) noexcept {
  published.matching = static_cast<std::uint32_t>(stream.matching_count());
  if (loan && unwanted()) {
    const MessageLoan mine = std::move(loan);
    return fallback ? fall_back(mine, published) : count(Outcome::no_subscriber);
  }
  if (loan && !admitted()) {
    const MessageLoan mine = std::move(loan);
    return count(Outcome::rate_limited);
  }
  return send(std::move(loan), {}, published);
}

Outcome MessagePublisher::Impl::publish(std::span<MessageLoan> loans) noexcept {
  while (!loans.empty()) {
    MessageLoan& first = loans.front();
    std::size_t done = 1;
    Outcome outcome = Outcome::ok;
    if (!first || !unwanted()) {
      outcome = publish_batch(loans.first(std::min(loans.size(), kBatch)), done);
    } else if (!fallback) {
      outcome = count(Outcome::no_subscriber);
    } else {
      Published published;
      outcome = fall_back(first, published);
      if (outcome == Outcome::ok) first = {};
    }
    if (outcome != Outcome::ok) return outcome;
    loans = loans.subspan(done);
  }
  return Outcome::ok;
}

// With one look for sleepers.
Outcome MessagePublisher::Impl::publish_batch(std::span<MessageLoan> loans,
                                              std::size_t& done) noexcept {
  std::array<Loan, kBatch> batch;
  std::size_t ready = 0;
  Outcome why = Outcome::ok;
  while (ready != loans.size() && why == Outcome::ok) {
    MessageLoan& loan = loans[ready];
    MessageId id;
    why = !loan                          ? loan.outcome()
          : !loan.sealed_ && !admitted() ? Outcome::rate_limited
                                         : seal(loan, {}, id);
    if (why == Outcome::ok) batch[ready++] = std::move(loan.loan_);
  }
  const Outcome outcome = stream.publish(std::span{batch.data(), ready});
  std::array<std::uint32_t, kMaxLanes> sent{};
  for (done = 0; done != ready && !batch[done]; ++done) {
    ++sent[lane_of(loans[done].options_.priority)];
  }
  counts.published += done;
  // What could not be published goes back to its owner.
  for (std::size_t i = done; i != ready; ++i) loans[i].loan_ = std::move(batch[i]);
  if (watches) watch(sent);
  if (outcome != Outcome::ok) return count(outcome);
  return why != Outcome::ok ? count(why) : Outcome::ok;
}

bool MessagePublisher::Impl::unwanted() const noexcept {
  return (options.need_subscriber || fallback) && stream.subscriber_count() == 0;
}

// Copied, since the slot belongs to a stream that nobody reads.
Outcome MessagePublisher::Impl::fall_back(const MessageLoan& loan, Published& published) noexcept {
  if (loan.from_ != this) return count(Outcome::mismatch);
  MessagePublisher::Impl& other = *fallback->impl_;
  if (other.unwanted()) return count(Outcome::no_subscriber);
  if (!admitted() || !other.admitted()) return count(Outcome::rate_limited);
  bus::Extensions extensions;
  extensions.add(ExtensionId::topic, stream.topic());
  MessageLoan copy = other.loan(loan.bytes().size(), loan.options_, extensions);
  if (!copy) return count(copy.outcome());
  if (!loan.bytes().empty()) {
    std::memcpy(copy.bytes().data(), loan.bytes().data(), loan.bytes().size());
  }
  Special special;
  special.codec = options.codec;
  const Outcome outcome = other.send(std::move(copy), special, published);
  if (outcome != Outcome::ok) return count(outcome);
  ++counts.fell_back;
  return outcome;
}

std::size_t MessagePublisher::Impl::lane_of(Priority priority) const noexcept {
  return std::min(static_cast<std::size_t>(priority), options.stream.lanes.size() - 1);
}

void MessagePublisher::Impl::watch(std::span<const std::uint32_t, kMaxLanes> published) noexcept {
  for (std::size_t lane = 0; lane != options.stream.lanes.size(); ++lane) {
    bus::WatermarkGauge& gauge = gauges[lane];
    if (gauge.above() || (published[lane] != 0 && gauge.due(published[lane]))) look_at(lane);
  }
}

// The next look is due when so many more could have reached the mark.
void MessagePublisher::Impl::look_at(std::size_t lane) noexcept {
  const Watermarks& marks = options.watermarks;
  const auto priority = static_cast<Priority>(lane);
  const std::uint64_t room = options.stream.lanes[lane].depth;
  const std::uint64_t backlog = stream.backlog(priority);
  const double left =
      std::ceil(marks.high * static_cast<double>(room)) - static_cast<double>(backlog);
  gauges[lane].look_after(static_cast<std::uint64_t>(std::clamp(left, 1.0, 1e6)));
  if (!gauges[lane].crosses(marks, backlog, room)) return;
  const bool above = gauges[lane].above();
  if (marks.changed) marks.changed(above, backlog);
  if (marks.lane_changed) marks.lane_changed(priority, above, backlog);
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
  return create(node, topic, std::move(options), true);
}

Result<MessagePublisher> MessagePublisher::create(Node& node, std::string_view topic,
                                                  MessagePublisherOptions options, bool wait) {
  if (options.retained) {
    // One value, whatever the priority: one lane.
    std::uint32_t depth = 1;
    for (const LaneOptions& lane : options.stream.lanes) depth = std::max(depth, lane.depth);
    options.stream.lanes = {{depth, 1}};
  }
  if (options.stream.pools.empty()) options.stream.pools = message_stream().pools;
  if ((options.watermarks.changed || options.watermarks.lane_changed) &&
      !(options.watermarks.low <= options.watermarks.high)) {
    return Error{Errc::invalid_argument, 0,
                 "the low watermark lies above the high one; give a low one that is smaller"};
  }
  std::unique_ptr<MessagePublisher> fallback;
  if (!options.fallback_topic.empty()) {
    MessagePublisherOptions other;
    // The topic it was for has room too.
    const std::array<std::size_t, 1> named{topic.size()};
    other.stream = bus::with_headers(
        options.stream, std::min(header_bytes_for(named), kMaxHeaderBytes) - sizeof(Envelope));
    other.codec = options.codec;
    other.interceptors = options.interceptors;
    other.need_subscriber = true;
    auto made = create(node, options.fallback_topic, std::move(other), wait);
    if (!made) return std::move(made).error();
    fallback = std::make_unique<MessagePublisher>(std::move(*made));
  }
  auto stream = node.advertise(topic, bus::with_headers(options.stream, bus::kHeaderRoom), wait);
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

Outcome MessagePublisher::publish(std::span<MessageLoan> loans) noexcept {
  return impl_->publish(loans);
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
