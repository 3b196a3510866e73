// Receiving messages with an envelope.
//
// take() passes each sample through what the subscription asks for, cheapest first: envelope,
// destination and source, type, expiry, duplicates, interceptors, predicate. What does not pass is
// acknowledged, since nobody here will ever want it, and counted by cause, so that taken and
// dropped add up to what came.
//
// A gap is a jump of the sequence within one stream and lane. Only `next` can have one that was not
// asked for: `latest` skips by intention, a group shares its entries.
#include "sluice/message_subscriber.hpp"

#include "shm/clock.hpp"
#include "transport/bus/message_publisher_impl.hpp"
#include "transport/subscriber_impl.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <utility>
#include <vector>

namespace sluice {
namespace {

constexpr std::size_t kForgetStreamsAt = 64;  // remembered for gaps, beyond those that are attached

}  // namespace

struct MessageSubscriber::Impl {
  Impl(Subscriber from, MessageSubscriptionOptions with, std::uint64_t node)
      : stream(std::move(from)),
        options(std::move(with)),
        node_id(node),
        duplicates(options.duplicates),
        sees_gaps(options.subscription.mode == DeliveryMode::next) {}

  struct Position {
    std::uint64_t stream_id = 0;
    std::array<std::uint64_t, kMaxLanes> last{};
  };

  /// Whether it is given out.
  bool pass(Message& message) noexcept;
  bool pass_interceptors(Message& message) noexcept;
  bool note_place(Message& message) noexcept;
  Position& position_of(std::uint64_t stream_id) noexcept;
  [[nodiscard]] bool attached(std::uint64_t stream_id) const noexcept;
  void watch() noexcept;

  Subscriber stream;
  MessageSubscriptionOptions options;
  std::uint64_t node_id;
  DuplicateWindow duplicates;
  bool sees_gaps;
  Counts counts;
  std::vector<Position> positions;
  std::size_t position = 0;  // of the stream that was taken from last
  Position unplaced;
  bus::WatermarkGauge gauge;
};

MessageSubscriber::Impl::Position& MessageSubscriber::Impl::position_of(
    std::uint64_t stream_id) noexcept {
  if (position < positions.size() && positions[position].stream_id == stream_id) {
    return positions[position];
  }
  for (position = 0; position != positions.size(); ++position) {
    if (positions[position].stream_id == stream_id) return positions[position];
  }
  // Streams that are over are not told of: they are found out when there are many.
  if (positions.size() >= kForgetStreamsAt + 2 * stream.impl_->streams.size()) {
    std::erase_if(positions, [this](const Position& p) { return !attached(p.stream_id); });
  }
  try {
    positions.push_back({stream_id, {}});
  } catch (const std::bad_alloc&) {  // no gap is seen then
    return unplaced = {};
  }
  position = positions.size() - 1;
  return positions.back();
}

bool MessageSubscriber::Impl::attached(std::uint64_t stream_id) const noexcept {
  const auto& streams = stream.impl_->streams;
  return std::any_of(streams.begin(), streams.end(),
                     [stream_id](const auto& s) { return s.stream_id == stream_id; });
}

// Whether it is the first one of its stream and lane here: nothing is missing before that.
bool MessageSubscriber::Impl::note_place(Message& message) noexcept {
  const Reference reference = message.sample_.reference();
  std::uint64_t& last = position_of(reference.stream_id).last[reference.lane % kMaxLanes];
  const bool first = last == 0;
  if (sees_gaps && !first && reference.sequence > last)
    message.gap_ = reference.sequence - last - 1;
  last = reference.sequence;
  counts.gaps += message.gap_;
  return first;
}

bool MessageSubscriber::Impl::pass_interceptors(Message& message) noexcept {
  Headers headers;
  headers.correlation = message.info().correlation;
  headers.origin_ns = message.info().origin_ns;
  headers.type_hash = message.info().type_hash;
  headers.user_flags = message.info().user_flags;
  const Envelope fixed = message.envelope_;
  Intercepted intercepted{message.topic_, message.envelope_, headers, message.payload()};
  for (auto it = options.interceptors.rbegin(); it != options.interceptors.rend(); ++it) {
    const Outcome outcome = (*it)->taken(intercepted);
    bus::keep_fixed(fixed, message.envelope_);
    if (outcome != Outcome::ok) return false;
  }
  return true;
}

bool MessageSubscriber::Impl::pass(Message& message) noexcept {
  const Envelope* const envelope = &message.envelope_;
  if (!bus::read_envelope_to(message.sample_.bytes(), message.envelope_)) {
    ++counts.malformed;
    return false;
  }
  message.topic_ = stream.topic(message.sample_);
  const bool first = (sees_gaps || options.retained) && note_place(message);
  const MessageInfo& info = message.info();
  if ((envelope->destination != 0 && envelope->destination != node_id) ||
      (options.source != 0 && envelope->source != options.source) ||
      (options.type_hash != 0 && info.type_hash != options.type_hash)) {
    ++counts.filtered;
    return false;
  }
  // Nothing is retained there: for who comes later that is as if nothing had been.
  if (options.retained && first && (envelope->flags & kFlagRetained) != 0 &&
      message.payload().empty()) {
    ++counts.filtered;
    return false;
  }
  if (envelope->expires_ns != 0 && !options.give_expired && shm::now_ns() >= envelope->expires_ns) {
    ++counts.expired;
    return false;
  }
  if (options.duplicates.count != 0 && !duplicates.insert(envelope->id, shm::now_ns())) {
    ++counts.duplicate;
    return false;
  }
  if (!options.interceptors.empty() && !pass_interceptors(message)) {
    ++counts.rejected;
    return false;
  }
  if (options.predicate && !options.predicate(message)) {
    ++counts.filtered;
    return false;
  }
  return true;
}

// --- Message
// ---------------------------------------------------------------------------------------

Context Message::context() const {
  Context context;
  context.correlation = info().correlation;
  context.trace = {envelope_.trace_id, envelope_.span_id, envelope_.trace_flags};
  context.tracestate = bus::text_of_bytes(extension(ExtensionId::tracestate));
  bus::settle_tracestate(context.trace, context.tracestate);
  context.origin_ns = info().origin_ns;
  if (envelope_.kind == MessageKind::request) context.deadline_ns = envelope_.expires_ns;
  context.hops = envelope_.hops;
  return context;
}

std::uint32_t Message::deliveries_before() const noexcept {
  return std::uint32_t{info().deliveries_before} + envelope_.attempt - 1;
}

// --- MessageSubscriber
// -----------------------------------------------------------------------------

Result<MessageSubscriber> MessageSubscriber::create(Node& node,
                                                    const std::vector<std::string>& filters,
                                                    MessageSubscriptionOptions options,
                                                    WaitSet* set) {
  if (options.watermarks.changed && !(options.watermarks.low <= options.watermarks.high)) {
    return Error{Errc::invalid_argument, 0,
                 "the low watermark lies above the high one; give a low one that is smaller"};
  }
  if (options.retained) options.subscription.history = std::max(options.subscription.history, 1u);
  auto stream = node.subscribe(filters, options.subscription, set);
  if (!stream) return std::move(stream).error();
  return MessageSubscriber{
      std::make_unique<Impl>(std::move(*stream), std::move(options), node.id())};
}

Result<MessageSubscriber> MessageSubscriber::create(Node& node, std::string_view filter,
                                                    MessageSubscriptionOptions options) {
  return create(node, std::vector<std::string>{std::string{filter}}, std::move(options), nullptr);
}

Result<MessageSubscriber> MessageSubscriber::inbox(Node& node, MessageSubscriptionOptions options,
                                                   WaitSet* set) {
  options.subscription.mode = DeliveryMode::reliable;
  return create(node, {"inbox/" + node.name()}, std::move(options), set);
}

MessageSubscriber::MessageSubscriber(std::unique_ptr<Impl> impl) noexcept
    : impl_(std::move(impl)) {}
MessageSubscriber::MessageSubscriber(MessageSubscriber&&) noexcept = default;
MessageSubscriber& MessageSubscriber::operator=(MessageSubscriber&&) noexcept = default;
MessageSubscriber::~MessageSubscriber() = default;

// Small rooms are filled between few looks.
void MessageSubscriber::Impl::watch() noexcept {
  const std::uint64_t backlog = stream.backlog();
  gauge.look_after(options.capacity / 8);
  if (gauge.crosses(options.watermarks, backlog, options.capacity)) {
    options.watermarks.changed(gauge.above(), backlog);
  }
}

Message MessageSubscriber::take() noexcept {
  if (impl_->options.watermarks.changed && impl_->gauge.due()) impl_->watch();
  Message message;  // one for all tries, which is made where the caller wants it
  for (;;) {
    message.sample_ = impl_->stream.take();
    if (!message.sample_) break;
    if (impl_->pass(message)) {
      ++impl_->counts.taken;
      break;
    }
    impl_->stream.acknowledge(std::move(message.sample_));
    message.gap_ = 0;
  }
  return message;
}

std::size_t MessageSubscriber::take(std::span<Message> out) noexcept {
  std::size_t n = 0;
  while (n < out.size()) {
    out[n] = take();
    if (!out[n]) break;
    ++n;
    impl_->stream.impl_->keeps_streams = true;  // their topics stand there
  }
  impl_->stream.impl_->keeps_streams = false;
  return n;
}

Outcome MessageSubscriber::wait(Deadline deadline) noexcept { return impl_->stream.wait(deadline); }

Message MessageSubscriber::receive(Deadline deadline) noexcept {
  for (;;) {
    Message message = take();
    if (message || message.outcome() != Outcome::empty) return message;
    const Outcome outcome = wait(deadline);
    if (outcome == Outcome::ok) continue;
    message.sample_ = Sample{outcome};
    return message;
  }
}

void MessageSubscriber::acknowledge(Message&& message) noexcept {
  if (message) impl_->stream.acknowledge(std::move(message.sample_));
}

void MessageSubscriber::reject(Message&& message) noexcept {
  Message mine = std::move(message);
  if (!mine) return;
  if (impl_->options.duplicates.count != 0) impl_->duplicates.erase(mine.envelope_.id);
  impl_->stream.reject(std::move(mine.sample_));
}

void MessageSubscriber::give_up(Message&& message) noexcept {
  if (!message) return;
  if (impl_->options.duplicates.count != 0) impl_->duplicates.erase(message.envelope_.id);
  acknowledge(std::move(message));
}

const MessageSubscriber::Counts& MessageSubscriber::counts() const noexcept {
  return impl_->counts;
}
Subscriber& MessageSubscriber::stream() noexcept { return impl_->stream; }

}  // namespace sluice
