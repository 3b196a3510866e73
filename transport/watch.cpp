#include "transport/watch.hpp"

#include "shm/geometry.hpp"
#include "shm/layout.hpp"
#include "transport/stats.hpp"

namespace sluice::transport {
namespace {

// The stats of one attachment; zeros where its page is not to be seen.
SubscriptionStats stats_of_page(const shm::View& arena, std::uint64_t offset,
                                const shm::View* control) {
  if (offset % shm::kCacheLine != 0 || offset > arena.size() ||
      sizeof(shm::ReaderPage) > arena.size() - offset) {
    return {};
  }
  const auto& page = *reinterpret_cast<const shm::ReaderPage*>(arena.data() + offset);
  SubscriptionStats stats = stats_of(page.counters, page.age, page.processing);
  if (control == nullptr || !control->valid()) return stats;
  const auto& heads = *reinterpret_cast<const shm::HeadLine*>(control->data() + shm::kHeadOffset);
  for (std::size_t i = 0; i < kMaxLanes; ++i) {
    // relaxed: a count for people
    const std::uint64_t head = heads.head[i].load(std::memory_order_relaxed);
    // relaxed: as above
    const std::uint64_t cursor = page.cursor[i].load(std::memory_order_relaxed);
    if (cursor != 0 && head >= cursor) stats.waiting += head + 1 - cursor;
  }
  return stats;
}

}  // namespace

protocol::WatchT Watch::message() const {
  protocol::WatchT message;
  message.watch_id = id_;
  message.filter = filter_;
  message.counters = true;
  return message;
}

void Watch::clear() {
  complete_ = false;
  nodes_.clear();
  streams_.clear();
  subscriptions_.clear();
  attachments_.clear();
  unfit_.clear();
}

void Watch::event(const protocol::EventT& event, std::vector<shm::UniqueFd> descriptors,
                  ForeignArenas& arenas) {
  const bool gone = event.change == protocol::Change::gone;
  switch (event.kind) {
    case protocol::Kind::node:
      if (gone)
        nodes_.erase(event.node_id);
      else {
        nodes_[event.node_id] = {event.node_id, event.node, event.pid, event.uid,
                                 event.state == protocol::NodeState::stuck};
      }
      break;
    case protocol::Kind::stream:
      stream_event(event, std::move(descriptors));
      break;
    case protocol::Kind::subscription:
      if (gone)
        subscriptions_.erase(event.subscription_id);
      else {
        const auto mode = event.want ? event.want->mode : protocol::Mode::none;
        subscriptions_[event.subscription_id] = {event.subscription_id,
                                                 event.node_id,
                                                 event.filter,
                                                 static_cast<DeliveryMode>(mode),
                                                 {}};
      }
      break;
    case protocol::Kind::attachment:
      attachment_event(event, std::move(descriptors), arenas);
      break;
    case protocol::Kind::unfit:
      if (gone)
        unfit_.erase({event.subscription_id, event.stream_id});
      else
        unfit_[{event.subscription_id, event.stream_id}] = event.sentence;
      break;
    case protocol::Kind::end_of_snapshot:
      complete_ = true;
      break;
  }
}

void Watch::stream_event(const protocol::EventT& event, std::vector<shm::UniqueFd> descriptors) {
  if (event.change == protocol::Change::gone) {
    streams_.erase(event.stream_id);
    return;
  }
  Stream& stream = streams_[event.stream_id];
  stream.info.id = event.stream_id;
  stream.info.node_id = event.node_id;
  stream.info.topic = event.topic;
  if (event.offer) {
    stream.info.type_name = event.offer->type_name;
    stream.info.slot_bytes = event.offer->slot_bytes;
    stream.info.planned_bytes = event.offer->planned_bytes;
  }
  if (descriptors.empty()) return;
  auto control = shm::View::open(descriptors[0].get(), "the control segment of a stream");
  if (control && shm::verify(*control)) stream.control = std::move(*control);
}

void Watch::attachment_event(const protocol::EventT& event, std::vector<shm::UniqueFd> descriptors,
                             ForeignArenas& arenas) {
  const Pair pair{event.subscription_id, event.stream_id};
  if (event.change == protocol::Change::gone) {
    attachments_.erase(pair);
    return;
  }
  Attached& attached = attachments_[pair];
  attached.page_offset = event.page_offset;
  if (descriptors.empty()) return;
  auto arena = arenas.open(descriptors[0], "a reader arena", event.arena_bytes);
  if (arena) attached.arena = std::move(*arena);
}

Snapshot Watch::snapshot() const {
  Snapshot all;
  for (const auto& [id, node] : nodes_) all.nodes.push_back(node);
  for (const auto& [id, stream] : streams_) {
    StreamInfo& info = all.streams.emplace_back(stream.info);
    if (!stream.control.valid()) continue;
    const std::byte* control = stream.control.data();
    info.stats = stats_of(
        *reinterpret_cast<const shm::PublisherCounters*>(control + shm::kPublisherCountersOffset),
        *reinterpret_cast<const shm::Histogram*>(control + shm::kIntervalsOffset));
  }
  for (const auto& [id, subscription] : subscriptions_) {
    SubscriptionInfo& info = all.subscriptions.emplace_back(subscription);
    for (auto at = attachments_.lower_bound({id, 0});
         at != attachments_.end() && at->first.first == id; ++at) {
      const auto stream = streams_.find(at->first.second);
      const shm::View* control = stream != streams_.end() ? &stream->second.control : nullptr;
      AttachmentInfo& attachment = info.attachments.emplace_back();
      attachment.stream_id = at->first.second;
      if (at->second.arena) {
        attachment.stats = stats_of_page(*at->second.arena, at->second.page_offset, control);
      }
    }
  }
  for (const auto& [pair, sentence] : unfit_) {
    all.unfit.push_back({pair.second, pair.first, sentence});
  }
  return all;
}

}  // namespace sluice::transport
