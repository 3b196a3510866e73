#include "transport/publication.hpp"

#include <algorithm>
#include <utility>

namespace sluice::transport {
namespace {

Error malformed(const char* what) {
  return Error{Errc::untrusted, 0, std::string("the broker passed on an invalid ") + what};
}

protocol::OfferT offer_of(const shm::Geometry& geometry, const StreamOptions& options) {
  protocol::OfferT offer;
  offer.latest = options.offered.latest;
  offer.next = options.offered.next;
  offer.reliable = options.offered.reliable && options.on_full != OnFull::drop;
  offer.group = options.offered.group;
  offer.history = geometry.lanes[0].history;
  offer.depth = geometry.lanes[0].depth;
  offer.type_hash = geometry.type_hash;
  offer.type_name = options.type_name;
  offer.sensitive = options.sensitive;
  offer.planned_bytes = geometry.control_bytes;
  offer.slot_bytes = shm::largest_payload(geometry);
  for (std::uint32_t i = 0; i < geometry.pool_count; ++i) {
    offer.planned_bytes += geometry.pools[i].pool_bytes;
  }
  return offer;
}

}  // namespace

Publication::Publication(std::string topic, shm::Publisher& stream, const StreamOptions& options)
    : topic_(std::move(topic)),
      stream_(stream),
      offer_(offer_of(stream.geometry(), options)),
      sensitive_(options.sensitive) {}

protocol::AdvertiseT Publication::advertisement() const {
  protocol::AdvertiseT message;
  message.stream_id = stream_id();
  message.topic = topic_;
  message.offer = std::make_unique<protocol::OfferT>(offer_);
  return message;
}

Result<std::vector<SharedFd>> Publication::descriptors() const {
  auto stream = stream_.share();
  if (!stream) return std::move(stream).error();
  std::vector<SharedFd> all{share(std::move(stream->control))};
  for (shm::UniqueFd& pool : stream->pools) all.push_back(share(std::move(pool)));
  return all;
}

Result<Publication::Admission> Publication::admit(const protocol::AdmitT& admit,
                                                  std::vector<shm::UniqueFd> descriptors,
                                                  OwnArenas& wakes, ForeignArenas& readers,
                                                  RoomEvents& rooms) {
  const std::size_t expected = std::size_t{1} + admit.has_event + admit.has_process;
  if (descriptors.size() != expected || admit.want == nullptr) return malformed("subscription");
  auto arena = readers.open(descriptors[0], "a reader arena", admit.arena_bytes);
  if (!arena) return std::move(arena).error();
  shm::AttachRequest request;
  request.options.mode = static_cast<DeliveryMode>(admit.want->mode);
  request.options.max_held = admit.want->max_held;
  request.options.history = admit.want->history;
  request.options.type_hash = admit.want->type_hash;
  request.options.group = GroupName{std::string_view{admit.want->group}};
  request.options.credits = admit.want->credits;
  request.options.durable = admit.want->durable;
  request.options.recorder = admit.want->recorder;
  request.reader_arena = std::move(*arena);
  request.page_offset = admit.page_offset;
  if (admit.has_event) request.event = std::move(descriptors[1]);
  if (admit.has_process) request.process = std::move(descriptors.back());
  auto wake = wakes.for_user(admit.uid);
  if (!wake) return std::move(wake).error();
  request.wake_arena = wake->arena;
  const bool in_group = request.options.mode == DeliveryMode::group;
  SharedFd room;
  if (in_group) {
    auto event = rooms.for_user(admit.uid);
    if (!event) return std::move(event).error();
    room = std::move(*event);
  }
  leave(admit.subscription_id);  // it attaches again: what it had before is over
  // relaxed: reader_count orders it
  told_at_most_.store(static_cast<std::uint32_t>(stream_.reader_count()),
                      std::memory_order_relaxed);
  auto admission = stream_.attach(std::move(request));
  if (!admission) {
    told();
    return std::move(admission).error();
  }
  attached_[admit.subscription_id] = {admission->reader_id, admit.node_id};
  Admission result;
  result.answer.reader_id = admission->reader_id;
  result.answer.wake_offset = admission->wake_offset;
  result.answer.arena_bytes = wake->arena->size();
  result.answer.has_room_event = in_group;
  result.descriptors.push_back(wake->fd);
  if (in_group) result.descriptors.push_back(std::move(room));
  has_groups_ = has_groups_ || in_group;
  return result;
}

void Publication::leave(std::uint64_t subscription_id) {
  const auto at = attached_.find(subscription_id);
  if (at == attached_.end()) return;
  stream_.detach(at->second.reader_id);
  attached_.erase(at);
}

void Publication::leave_node(std::uint64_t node_id) {
  std::erase_if(attached_, [&](const auto& entry) {
    if (entry.second.node_id != node_id) return false;
    stream_.detach(entry.second.reader_id);
    return true;
  });
}

bool Publication::has_reader_of(std::uint64_t node_id) const {
  return std::any_of(attached_.begin(), attached_.end(),
                     [&](const auto& entry) { return entry.second.node_id == node_id; });
}

void Publication::accepted(const protocol::AdvertisedT& answer) {
  set_matching(answer.matching);
  // relaxed: a flag that stands alone; who sees it too early waits a little for the count
  matching_is_known_.store(true, std::memory_order_relaxed);
  offer_.sensitive = offer_.sensitive || answer.sensitive;
  if (offer_.sensitive) stream_.make_sensitive();
  // relaxed: figures that stand alone; the node's lock is between this and who made the publisher
  sensitive_.store(offer_.sensitive, std::memory_order_relaxed);
  // relaxed: as above
  const bool durable = durable_.load(std::memory_order_relaxed) || answer.durable;
  durable_.store(durable && !offer_.sensitive, std::memory_order_relaxed);  // relaxed: as above
  if (durable && !offer_.sensitive) {
    has_groups_ = true;
    (void)stream_.keep_place(kRecorderGroup);  // where no group fits, a recorder would not either
  }
  // relaxed: as above
  messages_per_second_.store(answer.messages_per_second, std::memory_order_relaxed);
}

void Publication::set_matching(std::uint32_t count) {
  // relaxed: a figure that stands alone
  matching_.store(count, std::memory_order_relaxed);
}

void Publication::forget_matching() {
  // relaxed: a flag that stands alone
  matching_is_known_.store(false, std::memory_order_relaxed);
}

void Publication::revoke() {
  // relaxed: a flag that stands alone
  revoked_.store(true, std::memory_order_relaxed);
}

}  // namespace sluice::transport
