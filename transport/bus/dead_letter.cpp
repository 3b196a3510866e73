// Dead letters: a copy of the whole message on `$dlq/<its topic>`, with the record as one more
// extension.
//
// The envelope is the message's own but for what would keep it from arriving: it is for everybody,
// and does not expire. A stream is made when the first dead letter of a topic comes; its slots grow
// by a factor of four, in pools that are added when they are needed. Nobody can make us wait: where
// reliable readers (a recorder) are 1,024 dead letters behind the next one is refused, and the
// message stays where it is.
#include "sluice/dead_letter.hpp"

#include "sluice/correlation.hpp"
#include "sluice/topic.hpp"
#include "transport/bus/envelope_writer.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>
#include <utility>

namespace sluice {
namespace {

constexpr std::string_view kPrefix = "$dlq/";
constexpr std::size_t kMaxStreams = 256;  // of one process; the one used longest ago makes room
constexpr std::uint64_t kSmallestSlot = 1'024;
constexpr std::uint64_t kSlotGrowth = 4;
constexpr std::uint64_t kPoolBytes = std::uint64_t{16} << 20;  // of one pool, where 4 slots fit
constexpr std::uint32_t kFewestSlots = 4;
constexpr std::uint32_t kHeld = 64;
constexpr std::uint32_t kMostSlots = DeadLetters::kKept + kHeld + 2;
constexpr std::uint32_t kPlannedSlots = 5 * kMostSlots;
// How long a new stream waits for those who match it to come: a process that dies right after its
// first dead letter has been heard then. When a reader does not come in time, it is the short wait
// for a while: one that is stuck holds up a dead letter now and then, not the first of each topic.
constexpr std::chrono::milliseconds kGathering{1'000};
constexpr std::chrono::milliseconds kShortGathering{10};
constexpr std::chrono::seconds kShortFor{100};

struct Names {
  DeadLetterReason reason;
  const char* name;
};
constexpr std::array<Names, 9> kNames{{{DeadLetterReason::rejected, "rejected"},
                                       {DeadLetterReason::expired, "expired"},
                                       {DeadLetterReason::max_attempts, "max_attempts"},
                                       {DeadLetterReason::no_subscriber, "no_subscriber"},
                                       {DeadLetterReason::evicted, "evicted"},
                                       {DeadLetterReason::peer_died, "peer_died"},
                                       {DeadLetterReason::decode_error, "decode_error"},
                                       {DeadLetterReason::no_budget, "no_budget"},
                                       {DeadLetterReason::full, "full"}}};

std::uint64_t slot_for(std::uint64_t bytes) {
  std::uint64_t slot = kSmallestSlot;
  while (slot < bytes && slot < kMaxSlotBytes) slot *= kSlotGrowth;
  return std::min(slot, kMaxSlotBytes);
}

PoolOptions pool_for(std::uint64_t bytes) {
  const std::uint64_t slot = slot_for(bytes);
  const std::uint64_t fit = std::max<std::uint64_t>(kPoolBytes / slot, kFewestSlots);
  return {slot, static_cast<std::uint32_t>(std::min<std::uint64_t>(fit, kMostSlots))};
}

StreamOptions stream_for(std::uint64_t bytes, bool sensitive) {
  StreamOptions o;
  o.label = "dead letters";
  o.lanes = {{DeadLetters::kKept, DeadLetters::kKept}};
  o.pools = {pool_for(bytes)};
  o.max_slots = kPlannedSlots;
  o.max_held = kHeld;
  o.on_full = OnFull::fail;
  o.sensitive = sensitive;
  return o;
}

// Whatever the message says about an earlier death; from another process.
std::optional<DeadLetterRecord> record_in(std::span<const std::byte> bytes) noexcept {
  DeadLetterRecord record;
  if (bytes.size() != sizeof record) return std::nullopt;
  std::memcpy(static_cast<void*>(&record), bytes.data(), sizeof record);
  const bool known =
      record.reason >= DeadLetterReason::rejected && record.reason <= DeadLetterReason::full;
  if (!known || record.error.back() != '\0') return std::nullopt;
  const auto end = std::find(record.error.begin(), record.error.end(), '\0');
  std::fill(end, record.error.end(), '\0');
  return record;
}

Error cannot(std::string_view topic, std::string_view why) {
  return Error{Errc::exhausted, 0,
               "a dead letter of '" + std::string{topic} + "' cannot be kept: " + std::string{why}};
}

std::string_view remedy(Outcome outcome) {
  switch (outcome) {
    case Outcome::full:
      return "a reliable subscription to dead letters is 1,024 of them behind; is it stuck?";
    case Outcome::not_allowed:
      return "the broker has taken the right away; its policy has changed";
    case Outcome::too_large:
      return "it is too large for any slot";
    default:
      return to_string(outcome);
  }
}

}  // namespace

const char* to_string(DeadLetterReason reason) noexcept {
  for (const Names& n : kNames) {
    if (n.reason == reason) return n.name;
  }
  return "unknown";
}

std::optional<DeadLetterReason> parse_dead_letter_reason(std::string_view text) noexcept {
  for (const Names& n : kNames) {
    if (n.name == text) return n.reason;
  }
  return std::nullopt;
}

std::optional<DeadLetterRecord> dead_letter_of(const Message& message) noexcept {
  if (!message || message.envelope().kind != MessageKind::dead_letter) return std::nullopt;
  return record_in(message.extension(ExtensionId::reason));
}

std::string_view original_topic(const Message& message) noexcept {
  if (!message) return {};
  const std::string_view topic = bus::text_of_bytes(message.extension(ExtensionId::topic));
  if (!topic.empty()) return topic;
  const std::string_view own = message.topic();
  return own.starts_with(kPrefix) ? own.substr(kPrefix.size()) : own;
}

std::string dead_letter_topic(std::string_view topic) { return std::string{kPrefix}.append(topic); }

namespace {

// A message that becomes one.
struct Letter {
  std::string_view topic;
  Envelope envelope;
  std::span<const std::byte> payload;
  Headers headers;
  const Message* taken = nullptr;  // none: it was never published
};

Letter letter_of(const Message& message) {
  Letter letter{message.topic(), message.envelope(), message.payload(), {}, &message};
  letter.headers.correlation = message.info().correlation;
  letter.headers.origin_ns = message.info().origin_ns;
  letter.headers.type_hash = message.info().type_hash;
  letter.headers.user_flags = message.info().user_flags;
  return letter;
}

}  // namespace

struct DeadLetters::Impl {
  explicit Impl(Node& with) : node(with) {}

  struct Stream {
    Publisher publisher;
    std::uint64_t used = 0;  // number of the dead letter that came last
  };
  using Key = std::pair<std::string, bool>;  // topic of the message, whether it is sensitive

  Result<void> put(const Letter& letter, DeadLetterRecord record);
  Result<Stream*> stream_of(const Letter& letter, std::uint64_t bytes);
  void gather(const Publisher& publisher);
  void make_room();
  static Result<void> publish(Publisher& publisher, const Letter& letter,
                              const bus::Extensions& extensions);

  Node& node;
  std::map<Key, Stream> streams;
  std::uint64_t count = 0;
  Deadline short_until{};
};

// What it has published is drained by who is there.
void DeadLetters::Impl::make_room() {
  if (streams.size() < kMaxStreams) return;
  streams.erase(std::min_element(streams.begin(), streams.end(), [](const auto& a, const auto& b) {
    return a.second.used < b.second.used;
  }));
}

void DeadLetters::Impl::gather(const Publisher& publisher) {
  const auto now = [] { return std::chrono::steady_clock::now(); };
  const bool patient = now() >= short_until;
  const Deadline until = now() + (patient ? kGathering : kShortGathering);
  while (publisher.subscriber_count() < publisher.matching_count()) {
    if (now() >= until) {
      if (patient) short_until = until + kShortFor;
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

Result<DeadLetters::Impl::Stream*> DeadLetters::Impl::stream_of(const Letter& letter,
                                                                std::uint64_t bytes) {
  const bool sensitive = (letter.envelope.flags & kFlagSensitive) != 0;
  Key key{letter.topic, sensitive};
  auto found = streams.find(key);
  if (found == streams.end()) {
    auto made = node.advertise(dead_letter_topic(letter.topic), stream_for(bytes, sensitive));
    if (!made) return std::move(made).error();
    gather(*made);
    make_room();
    found = streams.emplace(std::move(key), Stream{std::move(*made)}).first;
  }
  found->second.used = count + 1;
  return &found->second;
}

Result<void> DeadLetters::Impl::publish(Publisher& publisher, const Letter& letter,
                                        const bus::Extensions& extensions) {
  const std::size_t header = extensions.header_bytes();
  const std::span<const std::byte> payload = letter.payload;
  Loan loan = publisher.loan(header + payload.size());
  if (loan.outcome() == Outcome::too_large) {
    auto grown = publisher.add_pool(pool_for(header + payload.size()));
    if (!grown) return cannot(letter.topic, grown.error().message);
    loan = publisher.loan(header + payload.size());
  }
  if (!loan) return cannot(letter.topic, remedy(loan.outcome()));
  Envelope envelope = letter.envelope;
  envelope.kind = MessageKind::dead_letter;
  envelope.flags &= static_cast<std::uint8_t>(~kFlagRetained);
  envelope.header_bytes = static_cast<std::uint16_t>(header);
  envelope.destination = 0;
  envelope.expires_ns = 0;
  std::memcpy(loan.data(), &envelope, sizeof envelope);
  extensions.write(loan.bytes().first(header));
  if (!payload.empty()) std::memcpy(loan.data() + header, payload.data(), payload.size());
  if (letter.taken != nullptr && !letter.taken->sample().intact()) {
    return cannot(letter.topic, "its publisher has evicted this subscription meanwhile");
  }
  loan.headers = letter.headers;
  const Outcome outcome = publisher.publish(std::move(loan));
  if (outcome != Outcome::ok) return cannot(letter.topic, remedy(outcome));
  return {};
}

Result<void> DeadLetters::Impl::put(const Letter& letter, DeadLetterRecord record) {
  if (record.failed_node == 0) record.failed_node = node.id();
  const auto extension = [&](ExtensionId id) {
    return letter.taken != nullptr ? letter.taken->extension(id) : std::span<const std::byte>{};
  };
  if (const auto earlier = record_in(extension(ExtensionId::reason))) {  // it was sent again
    record.times = earlier->times == UINT32_MAX ? UINT32_MAX : earlier->times + 1;
    record.first_ns = earlier->first_ns;
  }
  bus::Extensions extensions;
  extensions.add(ExtensionId::reason, std::as_bytes(std::span{&record, 1}));
  // A longer one follows from the topic of the dead letter.
  if (letter.topic.size() <= bus::Extensions::kMaxBytes) {
    extensions.add(ExtensionId::topic, letter.topic);
  }
  for (const ExtensionId id :
       {ExtensionId::tracestate, ExtensionId::reply_to, ExtensionId::error, ExtensionId::key}) {
    bus::Extensions with = extensions;
    with.add(id, extension(id));
    if (with.header_bytes() <= kMaxHeaderBytes)
      extensions = with;  // else a foreign one is too long
  }
  auto stream = stream_of(letter, extensions.header_bytes() + letter.payload.size());
  if (!stream) return std::move(stream).error();
  if (auto done = publish((*stream)->publisher, letter, extensions); !done) return done;
  ++count;
  return {};
}

DeadLetters::DeadLetters(Node& node) : impl_(std::make_unique<Impl>(node)) {}
DeadLetters::DeadLetters(DeadLetters&&) noexcept = default;
DeadLetters& DeadLetters::operator=(DeadLetters&&) noexcept = default;
DeadLetters::~DeadLetters() = default;

Result<void> DeadLetters::put(const Message& message, const DeadLetterRecord& why) {
  if (!message) return cannot("", "there is no message");
  if (message.envelope().kind == MessageKind::dead_letter) {
    return cannot(message.topic(), "it is one already");
  }
  return impl_->put(letter_of(message), why);
}

Result<void> DeadLetters::put(std::string_view topic, std::span<const std::byte> payload,
                              const MessageOptions& options, Codec codec,
                              const DeadLetterRecord& why) {
  if (auto valid = check_topic(topic); !valid) return valid;
  const Context& context = current_context();
  Letter letter{topic, {}, payload, {}, nullptr};
  Envelope& envelope = letter.envelope;
  envelope.codec = codec;
  envelope.id = options.id != MessageId{} ? options.id : new_correlation_id();
  envelope.hops = static_cast<std::uint8_t>(std::min<std::uint32_t>(context.hops + 1u, kMaxHops));
  envelope.source = impl_->node.id();
  letter.headers.correlation = options.correlation != CorrelationId{}   ? options.correlation
                               : context.correlation != CorrelationId{} ? context.correlation
                                                                        : envelope.id;
  const TraceContext trace =
      context.trace.valid() ? child_span(context.trace) : new_trace(letter.headers.correlation);
  envelope.trace_id = trace.trace_id;
  envelope.span_id = trace.span_id;
  envelope.trace_flags = trace.flags;
  letter.headers.origin_ns = options.origin_ns != 0 ? options.origin_ns : context.origin_ns;
  letter.headers.type_hash = options.type_hash;
  return impl_->put(letter, why);
}

std::uint64_t DeadLetters::count() const noexcept { return impl_->count; }

}  // namespace sluice
