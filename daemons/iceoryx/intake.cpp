// A sample is lent where that is possible: the stream's slot says where the payload lies, and
// readers map the iceoryx segment for themselves. Otherwise it is copied, and counted. One function
// chooses, two make the loan, and the rest is the same.
//
// How large samples are is not known before the first has come: the stream begins with small slots,
// which is all that lending needs, and gets larger ones for copies when they are needed.
#include "daemons/iceoryx/intake.hpp"

#include "daemons/common/log.hpp"
#include "sluice/typed.hpp"
#include "transport/quote.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace sluice::iceoryx {
namespace {

constexpr std::uint64_t kFirstSlotBytes = 256;
constexpr std::uint64_t kPageBytes = 4'096;
// What a lent payload's slot needs beside the user header.
constexpr std::uint64_t kPlaceBytes = 64;
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
                                               const std::string& topic,
                                               std::function<void(std::uint64_t)> released) {
  std::unique_ptr<Intake> intake{new Intake(route, topic, std::move(released))};
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
  if (!route_.type.empty()) {
    options.type_name = route_.type;
    options.type_hash = type_fingerprint(route_.type, route_.type_bytes, route_.type_alignment);
  }
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

std::optional<std::uint32_t> Intake::pool_of(std::uint32_t number, const ForeignSegment& segment) {
  if (!raw_ || !route_.zero_copy) return std::nullopt;
  const auto known = pools_.find(number);
  if (known != pools_.end()) return known->second;
  auto added = raw_->add_foreign_pool({segment.fd, segment.bytes, released_});
  if (!added) {
    daemon::log_warning("samples for " + transport::quoted(topic_) +
                        " are copied: " + added.error().message);
  }
  return pools_[number] = added ? std::optional{*added} : std::nullopt;
}

Carried Intake::publish(const Incoming& sample, const ForeignSegment& segment) {
  Carried how = Carried::dropped;
  if (messages_) {
    how = publish_message(sample);
  } else if (const auto pool =
                 sample.payload.empty() ? std::nullopt : pool_of(sample.segment, segment)) {
    how = publish_raw(lend(sample, *pool), sample, Carried::lent);
  } else {
    how = publish_raw(copy(sample), sample, Carried::copied);
  }
  if (how == Carried::copied) ++source_.copies;
  if (how == Carried::dropped) ++source_.dropped;
  return how;
}

Loan Intake::lend(const Incoming& sample, std::uint32_t pool) noexcept {
  ForeignPayload payload;
  payload.pool = pool;
  payload.offset = sample.offset;
  payload.bytes = sample.payload.size();
  payload.token = sample.token;
  payload.user_header_bytes = sample.user_header.size();
  if (!make_room(kPlaceBytes + sample.user_header.size())) return Loan{Outcome::too_large};
  return raw_->lend(payload);
}

Loan Intake::copy(const Incoming& sample) noexcept {
  const std::uint64_t size = sample.payload.size();
  const std::uint64_t behind =
      sample.user_header.empty() ? 0 : user_header_bytes(size, sample.user_header.size());
  if (!make_room(size + behind)) return Loan{Outcome::too_large};
  Loan loan = raw_->loan(size + behind);
  if (!loan) return loan;
  (void)loan.resize(size);
  std::memcpy(loan.data(), sample.payload.data(), sample.payload.size());
  return loan;
}

Carried Intake::publish_raw(Loan loan, const Incoming& sample, Carried how) noexcept {
  if (!loan) return Carried::dropped;
  if (!sample.user_header.empty()) (void)loan.set_user_header(sample.user_header);
  loan.headers.correlation = sample.correlation;
  loan.headers.origin_ns = sample.origin_ns;
  const Outcome outcome = raw_->publish(std::move(loan));
  if (outcome == Outcome::ok) return how;
  // What was lent is given back by the loan.
  if (how == Carried::lent) ++source_.dropped;
  return how == Carried::lent ? how : Carried::dropped;
}

Carried Intake::publish_message(const Incoming& sample) noexcept {
  if (!make_room(sample.payload.size())) return Carried::dropped;
  Context context;
  context.correlation = sample.correlation;
  context.origin_ns = sample.origin_ns;
  context.hops = sample.hops;
  const ScopedContext scope{std::move(context)};
  const Outcome outcome = messages_->publish(sample.payload);
  return outcome == Outcome::ok ? Carried::copied : Carried::dropped;
}

void Intake::forget_segments(bool revoke) noexcept {
  for (const auto& [number, pool] : pools_) {
    if (revoke && pool) raw_->revoke_pool(*pool);
  }
  pools_.clear();
}

void Intake::tend() noexcept {
  stream().collect();
  stream().describe(source_);
}

}  // namespace sluice::iceoryx
