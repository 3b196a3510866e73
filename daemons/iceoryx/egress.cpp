// A publisher in iceoryx is made as soon as a monitor shows a stream that its route wants, so that
// iceoryx's subscribers have found it before the first sample comes; or else at that sample. It
// never waits for a subscriber: a gateway that one process can stop would stop all others.
#include "daemons/iceoryx/egress.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/runtime.hpp"
#include "daemons/iceoryx/user_header.hpp"
#include "sluice/envelope.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <iceoryx_posh/mepoo/chunk_header.hpp>
#include <iceoryx_posh/popo/untyped_publisher.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using transport::quoted;

constexpr auto kLook = 250ms;  ///< Between two looks at which topics there are.
constexpr auto kLinger = 2s;   ///< A topic that is gone for so long leaves iceoryx as well.
constexpr std::size_t kMostOutlets = 256;
/// Of payloads: iceoryx's own, since more would not fit into a chunk that is just as large as they
/// are.
constexpr std::uint32_t kAlignment = iox::CHUNK_DEFAULT_USER_PAYLOAD_ALIGNMENT;

/// What of a sample is carried: of a message without its envelope.
struct Content {
  std::span<const std::byte> payload;
  std::uint8_t hops = 0;
};

Content content_of(const Sample& sample) noexcept {
  const auto envelope = read_envelope(sample.bytes());
  if (!envelope) {
    const auto ours = read_user_header(sample.user_header());
    return {sample.bytes(), ours ? ours->hops : std::uint8_t{0}};
  }
  return {sample.bytes().subspan(envelope->header_bytes), envelope->hops};
}

}  // namespace

// One publisher in iceoryx.
class Egress::Outlet {
 public:
  Outlet(const ServiceIds& ids, const Route& route, Shared& shared)
      : shared_(shared), with_header_(route.user_header), publisher_(description_of(ids), [&] {
          iox::popo::PublisherOptions options;
          options.historyCapacity = route.history;
          options.nodeName = "sluice-iceoryx";
          return options;
        }()) {
    shared_.own_ports.add(static_cast<std::uint64_t>(publisher_.getUid()));
  }
  Outlet(const Outlet&) = delete;
  Outlet& operator=(const Outlet&) = delete;
  ~Outlet() { shared_.own_ports.remove(static_cast<std::uint64_t>(publisher_.getUid())); }

  /// Nothing: published; or why not.
  std::optional<std::string> publish(const Sample& sample, const Content& content) {
    if (content.payload.size() > std::numeric_limits<std::uint32_t>::max())
      return "it is too large";
    const auto header = header_for(sample, content.hops);
    auto loan =
        publisher_.loan(static_cast<std::uint32_t>(content.payload.size()), kAlignment,
                        static_cast<std::uint32_t>(header.size()), alignment_of(header.size()));
    if (loan.has_error()) return reason_of(loan.get_error());
    std::memcpy(loan.value(), content.payload.data(), content.payload.size());
    if (!header.empty()) {
      std::memcpy(iox::mepoo::ChunkHeader::fromUserPayload(loan.value())->userHeader(),
                  header.data(), header.size());
    }
    // Evicted meanwhile: what was copied may be of two samples.
    if (!sample.intact()) {
      publisher_.release(loan.value());
      return "it was taken back by its publisher while it was copied";
    }
    publisher_.publish(loan.value());
    return std::nullopt;
  }

  Clock::time_point seen = Clock::now();

 private:
  static std::string reason_of(iox::popo::AllocationError error) {
    switch (error) {
      case iox::popo::AllocationError::RUNNING_OUT_OF_CHUNKS:
        return "RouDi's memory pool for its size is used up; give it more chunks";
      case iox::popo::AllocationError::NO_MEMPOOLS_AVAILABLE:
        return "this user may not write to any of RouDi's segments";
      default:
        return std::string("there is no chunk: ") + iox::popo::asStringLiteral(error);
    }
  }
  // iceoryx wants sizes that are multiples of it.
  static std::uint32_t alignment_of(std::size_t bytes) {
    std::uint32_t alignment = bytes == 0 ? 1 : 8;
    while (bytes % alignment != 0) alignment /= 2;
    return alignment;
  }
  // The gateway's, where the route wants it; or else the one that came with the sample.
  std::span<const std::byte> header_for(const Sample& sample, std::uint8_t hops) {
    if (!with_header_) return sample.user_header();
    header_.hops = static_cast<std::uint8_t>(hops + 1);
    header_.stream_id = sample.reference().stream_id;
    header_.sequence = sample.info().sequence;
    header_.publish_ns = sample.info().publish_ns;
    header_.origin_ns = sample.info().origin_ns;
    header_.correlation = sample.info().correlation;
    return std::as_bytes(std::span{&header_, 1});
  }

  Shared& shared_;
  const bool with_header_;
  UserHeader header_;
  iox::popo::UntypedPublisher publisher_;
};

// One route.
class Egress::Lane {
 public:
  static Result<std::unique_ptr<Lane>> create(Node& node, const Route& route, Shared& shared,
                                              WaitSet& set) {
    SubscriptionOptions options;
    options.mode = DeliveryMode::next;
    options.history = route.history;
    options.max_held = 2;
    options.spin_ns = 0;
    auto subscriber = node.subscribe(route.topic, options, set);
    if (!subscriber) return std::move(subscriber).error();
    auto monitor = node.monitor(route.topic);
    if (!monitor) {
      daemon::log_info("what " + quoted(route.topic) +
                       " matches is found by its first samples: " + monitor.error().message);
    }
    std::unique_ptr<Lane> lane{new Lane(route, shared, std::move(*subscriber))};
    if (monitor) lane->monitor_ = std::move(*monitor);
    return lane;
  }

  /// How many; a bounded number, so that others have their turn.
  int take() {
    constexpr int kAtOnce = 64;
    for (int count = 0; count < kAtOnce; ++count) {
      const Sample sample = subscriber_.take();
      if (!sample) return count;
      carry(sample);
    }
    return kAtOnce;
  }

  /// Makes publishers for topics that have come, and ends those of topics that are gone.
  void look() {
    if (!monitor_) return;
    const auto now = Clock::now();
    for (const StreamInfo& stream : monitor_->snapshot().streams) {
      if (stream.ended || shared_.own_streams.has(stream.id)) continue;
      if (Outlet* outlet = outlet_for(stream.topic)) outlet->seen = now;
    }
    std::erase_if(outlets_, [&](const auto& entry) {
      return entry.second && now - entry.second->seen > kLinger;
    });
  }

 private:
  Lane(const Route& route, Shared& shared, Subscriber subscriber)
      : route_(route),
        shared_(shared),
        subscriber_(std::move(subscriber)),
        service_(Template::parse(route.ids.service, filter_placeholders(route.topic)).value()),
        instance_(Template::parse(route.ids.instance, filter_placeholders(route.topic)).value()),
        event_(Template::parse(route.ids.event, filter_placeholders(route.topic)).value()) {}

  void carry(const Sample& sample) {
    if (shared_.own_streams.has(sample.reference().stream_id)) {
      ++shared_.tally.own;
      return;
    }
    const std::string topic{subscriber_.topic(sample)};
    const Content content = content_of(sample);
    if (content.hops >= kMaxHops) {
      ++shared_.tally.hops;
      return;
    }
    Outlet* outlet = outlet_for(topic);
    if (outlet == nullptr) {
      ++shared_.tally.lost;
      return;
    }
    outlet->seen = Clock::now();
    if (const auto why = outlet->publish(sample, content)) {
      ++shared_.tally.lost;
      tell(quoted(topic) + " loses a sample of " + std::to_string(content.payload.size()) +
           " bytes on the way to iceoryx: " + *why);
    } else {
      ++shared_.tally.published;
    }
  }

  // Null where the topic has no name there.
  Outlet* outlet_for(const std::string& topic) {
    const auto known = outlets_.find(topic);
    if (known != outlets_.end()) return known->second.get();
    std::vector<std::string> values{topic};
    for (std::string& value : captures(route_.topic, topic)) values.push_back(std::move(value));
    const ServiceIds ids{service_.expand(values), instance_.expand(values), event_.expand(values)};
    std::unique_ptr<Outlet>& outlet = outlets_[topic];
    if (std::max({ids.service.size(), ids.instance.size(), ids.event.size()}) > kMaxIdBytes) {
      daemon::log_error(quoted(topic) + " is not carried to iceoryx: " + quoted(to_string(ids)) +
                        " has a string of more than 100 bytes");
    } else if (outlets_.size() > kMostOutlets) {
      outlets_.erase(topic);
      tell("more than " + std::to_string(kMostOutlets) + " topics match " + quoted(route_.topic) +
           "; the others are not carried: narrow the filter, or start a second gateway");
      return nullptr;
    } else {
      outlet = std::make_unique<Outlet>(ids, route_, shared_);
      daemon::log_info("bringing " + quoted(topic) + " to iceoryx as " + quoted(to_string(ids)));
    }
    return outlet.get();
  }

  // Once a second at most.
  void tell(const std::string& sentence) {
    const auto now = Clock::now();
    if (now < next_sentence_) return;
    next_sentence_ = now + 1s;
    daemon::log_warning(sentence);
  }

  const Route& route_;
  Shared& shared_;
  Subscriber subscriber_;
  std::optional<Monitor> monitor_;
  const Template service_, instance_, event_;
  std::map<std::string, std::unique_ptr<Outlet>> outlets_;  // by topic; null: has no name there
  Clock::time_point next_sentence_{};
};

Egress::Egress(Shared& shared, WaitSet set) noexcept : shared_(shared), set_(std::move(set)) {}

Result<std::unique_ptr<Egress>> Egress::create(Node& node, const Config& config, Shared& shared) {
  auto set = WaitSet::create();
  if (!set) return std::move(set).error();
  std::unique_ptr<Egress> egress{new Egress(shared, std::move(*set))};
  for (const Route& route : config.routes) {
    if (route.from != Side::sluice) continue;
    auto lane = Lane::create(node, route, shared, egress->set_);
    if (!lane) return std::move(lane).error();
    egress->lanes_.push_back(std::move(*lane));
  }
  if (!egress->lanes_.empty()) egress->thread_ = std::thread{[e = egress.get()] { e->run(); }};
  return egress;
}

Egress::~Egress() {
  stop_ = true;
  set_.interrupt();
  if (thread_.joinable()) thread_.join();
}

void Egress::run() {
  Clock::time_point next_look{};
  while (!stop_) {
    int count = 0;
    for (const auto& lane : lanes_) count += lane->take();
    if (const auto now = Clock::now(); now >= next_look) {
      for (const auto& lane : lanes_) lane->look();
      next_look = now + kLook;
    }
    if (count == 0) (void)set_.wait(std::min(next_look, Clock::now() + kLook));
  }
}

}  // namespace sluice::iceoryx
