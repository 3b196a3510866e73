// iceoryx wakes by a semaphore in its shared memory, which poll() cannot wait for. Its Listener
// waits in a thread of its own, and all that happens there is one write to an eventfd; everything
// else belongs to the worker's main thread, since ports are for one thread each.
#include "daemons/iceoryx/ingress.hpp"

#include "daemons/common/log.hpp"
#include "daemons/iceoryx/runtime.hpp"
#include "daemons/iceoryx/user_header.hpp"
#include "sluice/envelope.hpp"
#include "sluice/topic.hpp"
#include "transport/quote.hpp"

#include <iceoryx_posh/mepoo/chunk_header.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::iceoryx {
namespace {

// Of one Listener; some are kept back.
constexpr std::size_t kMostChannels = iox::MAX_NUMBER_OF_EVENTS_PER_LISTENER - 6;
// A service that is missing for so many rounds of discovery is gone.
constexpr std::uint64_t kMissingRounds = 3;

void wake(int fd) noexcept {
  const std::uint64_t one = 1;
  (void)!::write(fd, &one, sizeof one);  // an eventfd that is full is readable already
}

void on_data(iox::popo::UntypedSubscriber* /*subscriber*/, int* fd) { wake(*fd); }
void on_change(iox::runtime::ServiceDiscovery* /*discovery*/, int* fd) { wake(*fd); }

iox::popo::SubscriberOptions options_of(const Route& route) {
  iox::popo::SubscriberOptions options;
  options.queueCapacity = route.depth;
  options.historyRequest = std::min(route.history, route.depth);
  options.nodeName = "sluice-iceoryx";
  return options;
}

}  // namespace

// One service, and what of it is held.
class Ingress::Channel {
 public:
  Channel(const ServiceIds& with, const Route& by, std::uint32_t with_number, std::string to)
      : ids(with),
        route(by),
        number(with_number),
        topic(std::move(to)),
        subscriber(description_of(with), options_of(by)),
        held_(by.depth + by.max_held, nullptr) {
    for (std::uint32_t token = 0; token < held_.size(); ++token) vacant_.push_back(token);
  }

  [[nodiscard]] bool may_hold() const noexcept { return !vacant_.empty(); }
  std::uint32_t hold(const void* payload) {
    const std::uint32_t token = vacant_.back();
    vacant_.pop_back();
    held_[token] = payload;
    return token;
  }
  void release(std::uint32_t token) {
    if (token >= held_.size() || held_[token] == nullptr) return;
    subscriber.release(std::exchange(held_[token], nullptr));
    vacant_.push_back(token);
  }
  [[nodiscard]] bool holds_any() const noexcept { return vacant_.size() != held_.size(); }
  /// Counts what lies between this sample and the one before it, of the same publisher.
  std::uint64_t count_gap(std::uint64_t publisher, std::uint64_t sequence) {
    const auto [last, is_new] = last_.try_emplace(publisher, sequence);
    const std::uint64_t before = std::exchange(last->second, sequence);
    const std::uint64_t missed = is_new || sequence <= before ? 0 : sequence - before - 1;
    gaps += missed;
    return missed;
  }
  /// Until the service comes anew.
  void refuse() {
    is_open = false;
    subscriber.unsubscribe();
    subscriber.releaseQueuedData();
  }

  const ServiceIds ids;
  const Route& route;
  const std::uint32_t number;
  const std::string topic;
  iox::popo::UntypedSubscriber subscriber;
  bool is_open = false;
  std::uint64_t seen_in_round = 0;
  std::uint64_t gaps = 0;

 private:
  std::vector<const void*> held_;  // by token
  std::vector<std::uint32_t> vacant_;
  std::unordered_map<std::uint64_t, std::uint64_t> last_;  // by publisher
};

Ingress::Ingress(const Config& config, Link& link, Shared& shared)
    : config_(config),
      link_(link),
      shared_(shared),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      event_fd_(event_.get()) {
  (void)listener_.attachEvent(discovery_,
                              iox::runtime::ServiceDiscoveryEvent::SERVICE_REGISTRY_CHANGED,
                              iox::popo::createNotificationCallback(on_change, event_fd_));
}

Ingress::~Ingress() = default;

void Ingress::discover() {
  const bool any = std::any_of(config_.routes.begin(), config_.routes.end(),
                               [](const Route& route) { return route.from == Side::iceoryx; });
  if (!any) return;
  ++round_;
  for (const ServiceIds& ids : services(discovery_, iox::popo::MessagingPattern::PUB_SUB)) {
    on_found(ids);
  }
  for (auto at = channels_.begin(); at != channels_.end();) {
    at = round_ - at->second->seen_in_round < kMissingRounds ? std::next(at) : leave(at);
  }
  std::erase_if(leaving_, [&](const auto& channel) {
    if (channel->holds_any()) return false;
    by_number_.erase(channel->number);
    return true;
  });
}

// With the subscriber iceoryx would take back what Sluice's readers still hold: it stays until they
// are done.
Ingress::Channels::iterator Ingress::leave(Channels::iterator at) {
  Packet packet;
  packet.say = Say::close;
  packet.channel = at->second->number;
  (void)link_.send(packet);
  at->second->refuse();
  leaving_.push_back(std::move(at->second));
  return channels_.erase(at);
}

void Ingress::on_found(const ServiceIds& ids) {
  const auto known = channels_.find(to_string(ids));
  if (known != channels_.end()) {
    known->second->seen_in_round = round_;
    return;
  }
  for (std::uint32_t i = 0; i < config_.routes.size(); ++i) {
    const Route& route = config_.routes[i];
    if (route.from != Side::iceoryx || !matches(route.ids, ids)) continue;
    // Wildcards leave out what is iceoryx's own, as topics that begin with $.
    if (is_internal(ids) && route.ids.service != ids.service) continue;
    return subscribe(ids, i);
  }
}

void Ingress::subscribe(const ServiceIds& ids, std::uint32_t index) {
  if (channels_.size() + leaving_.size() >= kMostChannels) {
    if (!std::exchange(told_full_, true)) {
      daemon::log_error("more than " + std::to_string(kMostChannels) +
                        " iceoryx services match the routes; the others are not carried: narrow "
                        "the routes, or start a second gateway");
    }
    return;
  }
  const Route& route = config_.routes[index];
  const std::string topic =
      Template::parse(route.topic, ids_placeholders())
          .value()
          .expand({as_level(ids.service), as_level(ids.instance), as_level(ids.event)});
  auto channel = std::make_unique<Channel>(ids, route, next_number_++, topic);
  channel->seen_in_round = round_;
  if (auto checked = check_topic(topic); !checked || topic.size() > kMaxText) {
    channel->refuse();
    daemon::log_error("iceoryx's " + transport::quoted(to_string(ids)) + " is not carried: " +
                      (checked ? "its topic would be too long" : checked.error().message));
  } else {
    (void)listener_.attachEvent(channel->subscriber, iox::popo::SubscriberEvent::DATA_RECEIVED,
                                iox::popo::createNotificationCallback(on_data, event_fd_));
    Packet packet;
    packet.say = Say::open;
    packet.channel = channel->number;
    packet.route = index;
    (void)link_.send(packet, topic);
  }
  by_number_[channel->number] = channel.get();
  channels_[to_string(ids)] = std::move(channel);
}

void Ingress::handle(const Received& received) {
  const auto found = by_number_.find(received.packet.channel);
  if (found == by_number_.end()) return;
  Channel& channel = *found->second;
  if (received.packet.say == Say::released) return channel.release(received.packet.token);
  if (received.packet.stream_id == 0) return channel.refuse();
  shared_.own_streams.add(received.packet.stream_id);
  channel.is_open = true;
}

void Ingress::take() {
  std::uint64_t count = 0;
  (void)!::read(event_.get(), &count, sizeof count);
  for (const auto& [ids, channel] : channels_) {
    if (channel->is_open) take_from(*channel);
  }
}

// A bounded number, so that others have their turn.
void Ingress::take_from(Channel& channel) {
  constexpr int kAtOnce = 256;
  for (int count = 0; channel.may_hold(); ++count) {
    if (count == kAtOnce) return wake(event_fd_);
    auto taken = channel.subscriber.take();
    if (taken.has_error()) return;
    if (!offer(channel, taken.value())) channel.subscriber.release(taken.value());
  }
}

bool Ingress::offer(Channel& channel, const void* payload) {
  const auto* header = iox::mepoo::ChunkHeader::fromUserPayload(payload);
  const auto publisher = static_cast<std::uint64_t>(header->originId());
  if (shared_.own_ports.has(publisher)) {
    ++shared_.tally.own;
    return false;
  }
  ++shared_.tally.received;
  shared_.tally.missed += channel.count_gap(publisher, header->sequenceNumber());
  Packet packet;
  packet.say = Say::sample;
  packet.channel = channel.number;
  packet.gaps = channel.gaps;
  packet.size = header->userPayloadSize();
  const auto segment = segment_of(payload);
  if (!segment) return false;
  const auto offset_of = [&](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) - segments_[*segment].begin;
  };
  packet.segment = *segment;
  packet.offset = offset_of(payload);
  if (const void* user = header->userHeader(); user != nullptr && header->userHeaderSize() != 0) {
    packet.header_offset = offset_of(user);
    packet.header_size = header->userHeaderSize();
    const auto ours = read_user_header(
        {static_cast<const std::byte*>(user), static_cast<std::size_t>(packet.header_size)});
    if (ours) {
      packet.origin_ns = ours->origin_ns;
      packet.correlation = ours->correlation;
      packet.hops = ours->hops;
    }
  }
  if (packet.hops >= kMaxHops) {
    ++shared_.tally.hops;
    return false;
  }
  packet.token = channel.hold(payload);
  if (link_.send(packet)) return true;
  channel.release(packet.token);  // the keeper is gone, and so is this process soon
  return true;
}

std::optional<std::uint32_t> Ingress::segment_of(const void* address) {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  for (std::uint32_t i = 0; i < segments_.size(); ++i) {
    if (segments_[i].begin <= wanted && wanted < segments_[i].end) return i;
  }
  return add_segment(address);
}

std::optional<std::uint32_t> Ingress::add_segment(const void* address) {
  auto file = find_mapped(address);
  if (!file) {
    daemon::log_error("a chunk of iceoryx's lies in no segment of /dev/shm; it is dropped");
    return std::nullopt;
  }
  auto fd = open_mapped(*file);
  if (!fd) {
    daemon::log_error(fd.error().message);
    return std::nullopt;
  }
  Packet packet;
  packet.say = Say::segment;
  packet.segment = static_cast<std::uint32_t>(segments_.size());
  if (!link_.send(packet, file->path, fd->get())) return std::nullopt;
  segments_.push_back(std::move(*file));
  return packet.segment;
}

}  // namespace sluice::iceoryx
