#include "transport/watch.hpp"

#include "shm/geometry.hpp"
#include "shm/histogram.hpp"
#include "shm/layout.hpp"
#include "transport/stats.hpp"

#include <bit>

namespace sluice::transport {
namespace {

std::uint64_t value_of(const shm::Word64& word) {
  // relaxed: counters and gauges for people
  return word.load(std::memory_order_relaxed);
}

// How many slots the page claims, and when the oldest of them was published. The claims may be of
// another message by the time the record is read: a monitor shows a moment that nobody saw anyway.
void add_holds(const std::byte* page, const shm::Geometry& geometry, const std::byte* control,
               AttachmentInfo& info) {
  const auto* claims = reinterpret_cast<const shm::ClaimPair*>(page + shm::kClaimsOffset);
  const auto* records = reinterpret_cast<const shm::SlotRecord*>(control + geometry.slots_offset);
  for (std::uint64_t k = 0; k < shm::claim_pairs(geometry.slot_limit); ++k) {
    for (std::uint64_t held = value_of(claims[k].taken) | value_of(claims[k].resolved); held != 0;
         held &= held - 1) {
      const std::uint64_t slot = 64 * k + static_cast<std::uint64_t>(std::countr_zero(held));
      if (slot >= geometry.slot_limit) break;
      ++info.stats.held;
      const std::uint64_t published = value_of(records[slot].publish_ns);
      if (published != 0 && (info.oldest_held_ns == 0 || published < info.oldest_held_ns)) {
        info.oldest_held_ns = published;
      }
    }
  }
}

// What is published and not passed. Of a group's member only the publisher knows.
std::uint64_t waiting_of(const shm::ReaderPage& page, const shm::Geometry& geometry,
                         const std::byte* control) {
  // relaxed: for people; it never changes
  const std::uint32_t mode = page.identity.mode.load(std::memory_order_relaxed);
  if (mode == static_cast<std::uint32_t>(DeliveryMode::group)) return 0;
  const auto& heads = *reinterpret_cast<const shm::HeadLine*>(control + shm::kHeadOffset);
  std::uint64_t waiting = 0;
  for (std::size_t i = 0; i < geometry.lane_count; ++i) {
    const std::uint64_t head = value_of(heads.head[i]);
    const std::uint64_t cursor = value_of(page.cursor[i]);
    if (cursor != 0 && head >= cursor) waiting += head + 1 - cursor;
  }
  return waiting;
}

// One attachment; zeros where its page is not to be seen.
void fill(AttachmentInfo& info, const shm::View& arena, std::uint64_t offset,
          const shm::View& control, const shm::Geometry& geometry) {
  const std::uint64_t bytes =
      control.valid() ? shm::reader_page_bytes(geometry.slot_limit) : sizeof(shm::ReaderPage);
  if (offset % shm::kCacheLine != 0 || offset > arena.size() || bytes > arena.size() - offset)
    return;
  const auto& page = *reinterpret_cast<const shm::ReaderPage*>(arena.data() + offset);
  info.stats = stats_of(page);
  // relaxed: for people
  info.max_held = page.identity.max_held.load(std::memory_order_relaxed);
  info.asleep = page.sleeping.sleep.load(std::memory_order_relaxed) != 0;  // relaxed: as above
  info.last_take_ns = value_of(page.counters.last_take_ns);
  // relaxed: as above
  if (page.identity.mode.load(std::memory_order_relaxed) ==
      static_cast<std::uint32_t>(DeliveryMode::group)) {
    const std::uint64_t load = value_of(page.cursor[1]);
    info.worker_backlog = shm::load_backlog(load);
    // Foreign: a state that there is not is none.
    if (shm::load_state(load) <= static_cast<std::uint32_t>(WorkerState::gone)) {
      info.worker = static_cast<WorkerState>(shm::load_state(load));
    }
  }
  info.age = shm::counts_of(page.age);
  info.processing = shm::counts_of(page.processing);
  info.end_to_end = shm::counts_of(page.end_to_end);
  if (!control.valid()) return;
  info.stats.waiting = waiting_of(page, geometry, control.data());
  add_holds(arena.data() + offset, geometry, control.data(), info);
}

void fill(StreamInfo& info, const std::byte* control, shm::Geometry& geometry) {
  (void)shm::learn_pools(control, geometry);  // what is valid counts
  info.stats = stream_stats(control);
  info.stats.slots = geometry.slots;
  info.source = source_of(control);
  info.intervals =
      shm::counts_of(*reinterpret_cast<const shm::Histogram*>(control + shm::kIntervalsOffset));
  info.publish_age =
      shm::counts_of(*reinterpret_cast<const shm::Histogram*>(control + shm::kPublishAgesOffset));
  info.lanes = geometry.lane_count;
  info.depth = geometry.lanes[0].depth;
  const auto& state = *reinterpret_cast<const shm::StateLine*>(control + shm::kStateOffset);
  // relaxed: for people
  info.ended = state.state.load(std::memory_order_relaxed) ==
               static_cast<std::uint32_t>(shm::StreamState::ended);
}

std::string joined(const std::vector<std::string>& filters) {
  std::string all;
  for (const std::string& filter : filters) all += (all.empty() ? "" : ", ") + filter;
  return all;
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
        NodeInfo& node = nodes_[event.node_id];
        node.id = event.node_id;
        node.name = event.node;
        node.pid = event.pid;
        node.uid = event.uid;
        node.version = event.version;
        node.capabilities = event.capabilities;
        node.stuck = event.state == protocol::NodeState::stuck;
      }
      break;
    case protocol::Kind::stream:
      stream_event(event, std::move(descriptors));
      break;
    case protocol::Kind::subscription:
      if (gone)
        subscriptions_.erase(event.subscription_id);
      else {
        SubscriptionInfo& info = subscriptions_[event.subscription_id];
        info.id = event.subscription_id;
        info.node_id = event.node_id;
        info.filter = joined(event.filters);
        info.filters = event.filters;
        const auto mode = event.want ? event.want->mode : protocol::Mode::none;
        info.mode = static_cast<DeliveryMode>(mode);
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
    stream.info.sensitive = event.offer->sensitive;
    stream.info.durable = event.offer->durable;
  }
  if (descriptors.empty()) return;
  auto control = shm::View::open(descriptors[0].get(), "the control segment of a stream");
  if (!control) return;
  auto geometry = shm::verify(*control);
  if (!geometry) return;
  stream.control = std::move(*control);
  stream.geometry = std::move(*geometry);
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

Snapshot Watch::snapshot() {
  Snapshot all;
  for (const auto& [id, node] : nodes_) all.nodes.push_back(node);
  for (auto& [id, stream] : streams_) {
    StreamInfo& info = all.streams.emplace_back(stream.info);
    if (stream.control.valid()) fill(info, stream.control.data(), stream.geometry);
  }
  static const Stream unseen;
  for (const auto& [id, subscription] : subscriptions_) {
    SubscriptionInfo& info = all.subscriptions.emplace_back(subscription);
    for (auto at = attachments_.lower_bound({id, 0});
         at != attachments_.end() && at->first.first == id; ++at) {
      AttachmentInfo& attachment = info.attachments.emplace_back();
      attachment.stream_id = at->first.second;
      if (!at->second.arena) continue;
      const auto found = streams_.find(at->first.second);
      const Stream& stream = found != streams_.end() ? found->second : unseen;
      fill(attachment, *at->second.arena, at->second.page_offset, stream.control, stream.geometry);
    }
  }
  for (const auto& [pair, sentence] : unfit_) {
    all.unfit.push_back({pair.second, pair.first, sentence});
  }
  return all;
}

}  // namespace sluice::transport
