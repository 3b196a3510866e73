#include "daemons/iceoryx/streams.hpp"

#include "daemons/common/log.hpp"
#include "transport/quote.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <span>
#include <utility>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;
using transport::quoted;

// How long a stream outlives who filled it: a publisher that restarts goes on in the same stream.
constexpr auto kLinger = 2s;
// The same for what a worker left behind: the next one has to find everything first.
constexpr auto kReturn = 15s;
constexpr std::size_t kMostStreams = 1'024;

// What a sample is called while it is lent: which worker's, of which channel, and its token there.
constexpr unsigned kGenerationBits = 16, kChannelBits = 24, kTokenBits = 24;
constexpr std::uint64_t low_bits(std::uint64_t number, unsigned bits) {
  return number & ((std::uint64_t{1} << bits) - 1);
}
constexpr std::uint64_t name_of(std::uint64_t generation, std::uint32_t channel,
                                std::uint32_t token) {
  return low_bits(generation, kGenerationBits) << (kChannelBits + kTokenBits) |
         low_bits(channel, kChannelBits) << kTokenBits | low_bits(token, kTokenBits);
}

}  // namespace

// An iceoryx segment, mapped read-only. RouDi gives it its size before anybody can open it.
class Streams::Segment {
 public:
  static std::shared_ptr<Segment> map(Received& received) {
    struct stat status {};
    if (!received.fd.valid() || ::fstat(received.fd.get(), &status) != 0) return nullptr;
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size == 0) return nullptr;
    void* at = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED,
                      received.fd.get(), 0);
    if (at == MAP_FAILED) return nullptr;
    return std::shared_ptr<Segment>{
        new Segment(static_cast<const std::byte*>(at), size, std::move(received.fd))};
  }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() { ::munmap(const_cast<std::byte*>(begin_), static_cast<std::size_t>(size_)); }

  [[nodiscard]] ForeignSegment foreign() const noexcept { return {fd_.get(), size_}; }
  [[nodiscard]] bool has(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return offset <= size_ && bytes <= size_ - offset;
  }
  [[nodiscard]] std::span<const std::byte> bytes(std::uint64_t offset,
                                                 std::uint64_t count) const noexcept {
    return {begin_ + offset, static_cast<std::size_t>(count)};
  }

 private:
  Segment(const std::byte* begin, std::uint64_t size, shm::UniqueFd fd) noexcept
      : begin_(begin), size_(size), fd_(std::move(fd)) {}
  const std::byte* begin_;
  std::uint64_t size_;
  shm::UniqueFd fd_;
};

void Streams::begin(Link& link) {
  link_ = &link;
  ++generation_;
  for (const auto& [topic, stream] : streams_) {
    Packet packet;
    packet.say = Say::stream;
    packet.stream_id = stream.intake->stream_id();
    (void)link.send(packet);
  }
}

void Streams::pause(bool roudi_lives) {
  link_ = nullptr;
  channels_.clear();
  for (auto& [topic, stream] : streams_) {
    stream.intake->forget_segments(roudi_lives);
    stream.channels = 0;
    stream.ends_at = Clock::now() + kReturn;
  }
  segments_.clear();
}

void Streams::handle(Received received, Link& link) {
  const Packet& packet = received.packet;
  switch (packet.say) {
    case Say::segment:
      return add_segment(std::move(received));
    case Say::open:
      return open(packet, received.text, link);
    case Say::sample:
      return publish(packet);
    case Say::close:
      return close(packet.channel);
    default:
      return;
  }
}

void Streams::add_segment(Received received) {
  auto segment = Segment::map(received);
  if (!segment) {
    daemon::log_error("cannot map the iceoryx segment " + quoted(received.text) +
                      "; what lies there is dropped");
    return;
  }
  segments_[received.packet.segment] = std::move(segment);
}

Result<Streams::Stream*> Streams::stream_for(std::uint32_t route, const std::string& topic) {
  const auto found = streams_.find(topic);
  if (found != streams_.end()) {
    if (found->second.route == route) return &found->second;
    return Error{Errc::refused, 0,
                 "another route fills " + quoted(topic) + " already; give each a topic of its own"};
  }
  if (streams_.size() >= kMostStreams) {
    return Error{Errc::exhausted, 0,
                 "there are " + std::to_string(kMostStreams) + " streams already; narrow a route"};
  }
  auto intake = Intake::create(node_, routes_.at(route), topic,
                               [this](std::uint64_t token) { on_released(token); });
  if (!intake) return std::move(intake).error();
  Stream& stream = streams_[topic];
  stream.intake = std::move(*intake);
  stream.route = route;
  daemon::log_info("bringing " + quoted(topic) + " from iceoryx");
  return &stream;
}

void Streams::open(const Packet& packet, const std::string& topic, Link& link) {
  Packet answer;
  answer.say = Say::opened;
  answer.channel = packet.channel;
  if (packet.route >= routes_.size()) return;
  auto stream = stream_for(packet.route, topic);
  if (!stream) {
    daemon::log_error("cannot bring " + quoted(topic) + " from iceoryx: " + stream.error().message);
    (void)link.send(answer, stream.error().message);
    return;
  }
  if ((*stream)->channels++ == 0 && (*stream)->ends_at != Clock::time_point{}) {
    (*stream)->intake->count_reconnect();
  }
  channels_[packet.channel] = {*stream, 0};
  answer.stream_id = (*stream)->intake->stream_id();
  (void)link.send(answer);
}

void Streams::publish(const Packet& packet) {
  const auto channel = channels_.find(packet.channel);
  const auto found = segments_.find(packet.segment);
  const Segment* segment = found != segments_.end() ? found->second.get() : nullptr;
  if (channel == channels_.end() || segment == nullptr ||
      !segment->has(packet.offset, packet.size) ||
      !segment->has(packet.header_offset, packet.header_size)) {
    ++dropped_;
    return release(packet.channel, packet.token);
  }
  Intake& intake = *channel->second.stream->intake;
  intake.add_gaps(packet.gaps - std::exchange(channel->second.gaps, packet.gaps));
  Incoming sample;
  sample.payload = segment->bytes(packet.offset, packet.size);
  sample.user_header = segment->bytes(packet.header_offset, packet.header_size);
  sample.correlation = packet.correlation;
  sample.origin_ns = packet.origin_ns;
  sample.hops = static_cast<std::uint8_t>(packet.hops);
  sample.segment = packet.segment;
  sample.offset = packet.offset;
  sample.token = name_of(generation_, packet.channel, packet.token);
  const Carried how = intake.publish(sample, segment->foreign());
  how == Carried::dropped ? ++dropped_ : ++published_;
  if (how != Carried::lent) release(packet.channel, packet.token);
}

void Streams::release(std::uint32_t channel, std::uint32_t token) {
  if (link_ == nullptr) return;
  Packet packet;
  packet.say = Say::released;
  packet.channel = channel;
  packet.token = token;
  (void)link_->send(packet);
}

void Streams::on_released(std::uint64_t token) {
  // Of a worker before this one: nobody holds it any more.
  if (token >> (kChannelBits + kTokenBits) != low_bits(generation_, kGenerationBits)) return;
  release(static_cast<std::uint32_t>(low_bits(token >> kTokenBits, kChannelBits)),
          static_cast<std::uint32_t>(low_bits(token, kTokenBits)));
}

void Streams::close(std::uint32_t channel) {
  const auto found = channels_.find(channel);
  if (found == channels_.end()) return;
  leave(*found->second.stream);
  channels_.erase(found);
}

void Streams::leave(Stream& stream) {
  if (--stream.channels == 0) stream.ends_at = Clock::now() + kLinger;
}

void Streams::tend() {
  const auto now = Clock::now();
  for (auto at = streams_.begin(); at != streams_.end();) {
    Stream& stream = at->second;
    // Without a worker nobody knows whether it will be filled again.
    if (stream.channels == 0 && link_ == nullptr) stream.ends_at = now + kReturn;
    if (stream.channels == 0 && now >= stream.ends_at) {
      daemon::log_info("nobody publishes " + quoted(at->first) + " in iceoryx any more");
      at = streams_.erase(at);
      continue;
    }
    stream.intake->tend();
    ++at;
  }
}

}  // namespace sluice::iceoryx
