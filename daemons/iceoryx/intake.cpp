// How large samples are is not known before the first has come: the stream begins with small slots
// and gets larger ones when they are needed.
#include "daemons/iceoryx/intake.hpp"

#include "daemons/common/log.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace sluice::iceoryx {
namespace {

constexpr std::uint64_t kFirstSlotBytes = 256;
constexpr std::uint64_t kPageBytes = 4'096;
// An envelope with the extensions that a context can bring.
constexpr std::uint64_t kEnvelopeRoom = 1'024;

// Doubled at least, since a stream has few pools.
std::uint64_t next_slot_bytes(std::uint64_t before, std::uint64_t needed) {
  const std::uint64_t wanted = std::max(needed, 2 * before);
  if (wanted <= kPageBytes) return std::bit_ceil(wanted);
  return std::min((wanted + kPageBytes - 1) / kPageBytes * kPageBytes, kMaxSlotBytes);
}

}  // namespace

Result<std::unique_ptr<Intake>> Intake::create(Node& node, const Route& route,
                                               const std::string& topic) {
  std::unique_ptr<Intake> intake{new Intake(route, topic)};
  if (auto opened = intake->open(node); !opened) return std::move(opened).error();
  return intake;
}

std::uint32_t Intake::slots() const noexcept { return route_.depth + route_.max_held + 2; }

StreamOptions Intake::options() const {
  StreamOptions options;
  if (route_.envelope) {
    options = message_stream(kFirstSlotBytes, route_.depth);
    options.lanes[static_cast<std::size_t>(Priority::normal)].history = route_.history;
  } else {
    options.lanes = {{route_.depth, route_.history}};
    options.pools = {{kFirstSlotBytes, slots()}};
  }
  options.max_held = route_.max_held;
  options.max_slots = (kMaxPools + 1) * (slots() + 4 * route_.depth);
  options.label = "from iceoryx";
  options.on_full = OnFull::fail;  // a gateway waits for nobody
  return options;
}

Result<void> Intake::open(Node& node) {
  slot_bytes_ = kFirstSlotBytes;
  if (route_.envelope) {
    MessagePublisherOptions wanted;
    wanted.stream = options();
    auto made = MessagePublisher::create(node, topic_, std::move(wanted));
    if (!made) return std::move(made).error();
    messages_ = std::move(made).value();
  } else {
    auto made = node.advertise(topic_, options());
    if (!made) return std::move(made).error();
    raw_ = std::move(made).value();
  }
  return {};
}

bool Intake::make_room(std::uint64_t bytes) noexcept {
  if (bytes <= slot_bytes_) return true;
  const std::uint64_t wanted = next_slot_bytes(slot_bytes_, bytes);
  const std::uint64_t in_front = route_.envelope ? kEnvelopeRoom : 0;
  if (wanted >= bytes) {
    const auto added = stream().add_pool({std::min(wanted + in_front, kMaxSlotBytes), slots()});
    if (added) {
      slot_bytes_ = wanted;
      return true;
    }
    if (!std::exchange(told_no_room_, true)) {
      daemon::log_error("samples for " + transport::quoted(topic_) + " of " +
                        std::to_string(bytes) + " bytes are dropped: " + added.error().message);
    }
  }
  return false;
}

Outcome Intake::publish(const Incoming& sample) noexcept {
  Outcome outcome = Outcome::too_large;
  if (make_room(sample.payload.size())) {
    outcome = messages_ ? publish_message(sample) : publish_raw(sample);
  }
  outcome == Outcome::ok ? ++source_.copies : ++source_.dropped;
  return outcome;
}

Outcome Intake::publish_raw(const Incoming& sample) noexcept {
  Loan loan = raw_->loan(sample.payload.size());
  if (!loan) return loan.outcome();
  std::memcpy(loan.data(), sample.payload.data(), sample.payload.size());
  loan.headers.correlation = sample.correlation;
  loan.headers.origin_ns = sample.origin_ns;
  return raw_->publish(std::move(loan));
}

Outcome Intake::publish_message(const Incoming& sample) noexcept {
  Context context;
  context.correlation = sample.correlation;
  context.origin_ns = sample.origin_ns;
  context.hops = sample.hops;
  const ScopedContext scope{std::move(context)};
  return messages_->publish(sample.payload);
}

void Intake::tend() noexcept {
  stream().collect();
  stream().describe(source_);
}

}  // namespace sluice::iceoryx
