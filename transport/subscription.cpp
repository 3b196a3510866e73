#include "transport/subscription.hpp"

#include "transport/quote.hpp"

#include <algorithm>
#include <iterator>
#include <new>
#include <utility>

namespace sluice::transport {
namespace {

Error malformed(const char* what) {
  return Error{Errc::untrusted, 0, std::string("the broker passed on an invalid ") + what};
}

std::unique_ptr<protocol::WantT> want_of(const SubscriptionOptions& options) {
  auto want = std::make_unique<protocol::WantT>();
  want->mode = static_cast<protocol::Mode>(options.mode);
  want->max_held = options.max_held;
  want->history = options.history;
  want->type_hash = options.type_hash;
  if (options.mode == DeliveryMode::group) {
    want->group = options.group.view();
    want->credits = options.credits;
    want->durable = options.durable;
  }
  want->recorder = options.recorder;
  return want;
}

// Moves all of `from` behind `to`, or nothing when there is no memory.
template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.reserve(to.size() + from.size());
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  from.clear();
}

}  // namespace

Error only_groups_last() {
  return Error{Errc::invalid_argument, 0,
               "SubscriptionOptions::durable is for groups; give it a group's name and mode group"};
}

Subscription::Subscription(std::uint64_t id, std::vector<std::string> filters,
                           SubscriptionOptions options, std::function<void()> interrupt)
    : id_(id),
      filters_(std::move(filters)),
      options_(std::move(options)),
      interrupt_(std::move(interrupt)) {}

std::string Subscription::name() const {
  std::string all = filters_.size() == 1 ? "filter " : "filters ";
  for (const std::string& filter : filters_) {
    if (&filter != &filters_.front()) all += ", ";
    all += quoted(filter);
  }
  return all;
}

void Subscription::collect(News& news) {
  const std::lock_guard lock{mutex_};
  news.revoked = inbox_.revoked;
  append(news.attachments, inbox_.attachments);
  append(news.pools, inbox_.pools);
  append(news.gone, inbox_.gone);
  // relaxed: under the lock
  news_.store(false, std::memory_order_relaxed);
}

bool Subscription::can_retire() noexcept {
  try {
    const std::lock_guard lock{mutex_};
    graveyard_.reserve(graveyard_.size() + 1);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Subscription::retire(Attachment attachment) noexcept {
  const std::lock_guard lock{mutex_};
  graveyard_.push_back(std::move(attachment));
}

void Subscription::notify() {
  // relaxed: under the lock
  news_.store(true, std::memory_order_relaxed);
  interrupt_();
  for (const auto& [stream_id, held] : held_) held.reader->interrupt();  // who waits for it alone
}

Result<Subscription::Request> Subscription::open(const protocol::FoundT& found,
                                                 std::vector<shm::UniqueFd> descriptors,
                                                 OwnArenas& pages, SharedFd event) {
  if (descriptors.size() < 2 || descriptors.size() > 1 + kMaxPools) return malformed("stream");
  if (pending_.contains(found.stream_id) || held_.contains(found.stream_id)) {
    return malformed("stream: it is attached already");
  }
  shm::StreamDescriptors stream;
  stream.control = std::move(descriptors[0]);
  for (std::size_t i = 1; i < descriptors.size(); ++i) {
    stream.pools.push_back(std::move(descriptors[i]));
  }
  auto arena = pages.for_user(found.uid);
  if (!arena) return std::move(arena).error();
  SubscriptionOptions options = options_;
  options.pollable = event != nullptr;
  auto reader = shm::Reader::open(stream, options, arena->arena);
  if (!reader && reader.error().code == Errc::exhausted) {
    arena = pages.for_user(found.uid, arena->arena.get());
    if (!arena) return std::move(arena).error();
    reader = shm::Reader::open(stream, options, arena->arena);
  }
  if (!reader) return std::move(reader).error();
  if ((*reader)->geometry().stream_id != found.stream_id) return malformed("stream: another one");
  // relaxed: a word that stands alone
  const std::uint64_t load = load_.load(std::memory_order_relaxed);
  (*reader)->tell_load(static_cast<WorkerState>(shm::load_state(load)), shm::load_backlog(load));

  Request request;
  request.attach.subscription_id = id_;
  request.attach.stream_id = found.stream_id;
  request.attach.page_offset = (*reader)->page_offset();
  request.attach.arena_bytes = arena->arena->size();
  request.attach.has_event = event != nullptr;
  request.descriptors = {arena->fd};
  if (event) request.descriptors.push_back(std::move(event));

  Pending& pending = pending_[found.stream_id];
  pending.held = {found.stream_id, request.attach.page_offset, request.attach.arena_bytes};
  pending.arena = arena->fd;
  pending.node_id = found.node_id;
  pending.blind = request.attach.has_event == false;
  pending.attachment = {found.stream_id, std::make_unique<const std::string>(found.topic), found.node,
                        std::move(*reader), found.node_id};
  return request;
}

Result<void> Subscription::start(std::uint64_t stream_id, const protocol::AdmittedT& admitted,
                                 std::shared_ptr<const shm::View> wakes, shm::UniqueFd process,
                                 shm::UniqueFd room_event) {
  const auto at = pending_.find(stream_id);
  if (at == pending_.end()) return malformed("admission");
  Pending pending = std::move(at->second);
  pending_.erase(at);
  shm::Reader* reader = pending.attachment.reader.get();
  auto started = reader->start(std::move(wakes), admitted.wake_offset, std::move(process),
                               std::move(room_event));
  if (!started) {
    reader->forsake_page();
    return started;
  }
  held_[stream_id] = {reader, pending.node_id, pending.held, pending.arena, pending.blind};
  const std::lock_guard lock{mutex_};
  inbox_.attachments.push_back(std::move(pending.attachment));
  notify();
  return {};
}

void Subscription::give_up(std::uint64_t stream_id) {
  if (pending_.erase(stream_id) == 0) return;
  const std::lock_guard lock{mutex_};
  inbox_.gone.push_back(stream_id);
  notify();
}

void Subscription::forsake_all() {
  while (!pending_.empty()) {
    pending_.begin()->second.attachment.reader->forsake_page();
    give_up(pending_.begin()->first);
  }
}

void Subscription::abandon() {
  interrupt_ = [] {};
  held_.clear();
}

void Subscription::stream_gone(std::uint64_t stream_id) {
  if (const auto at = held_.find(stream_id); at != held_.end()) lose(stream_id, at->second);
}

void Subscription::node_gone(std::uint64_t node_id) {
  for (const auto& [stream_id, held] : held_) {
    if (held.node_id == node_id) lose(stream_id, held);
  }
}

void Subscription::lose(std::uint64_t stream_id, const Held& held) {
  held.reader->mark_publisher_dead();
  const std::lock_guard lock{mutex_};
  inbox_.gone.push_back(stream_id);
  notify();
}

void Subscription::grown(GrownPool pool) {
  if (!pending_.contains(pool.stream_id) && !held_.contains(pool.stream_id)) return;
  const std::lock_guard lock{mutex_};
  inbox_.pools.push_back(std::move(pool));
  notify();
}

void Subscription::revoke() {
  const std::lock_guard lock{mutex_};
  inbox_.revoked = true;
  notify();
}

bool Subscription::poll_is_blind() const {
  return options_.pollable && std::any_of(held_.begin(), held_.end(),
                                          [](const auto& entry) { return entry.second.blind; });
}

void Subscription::nudge() { interrupt_(); }

bool Subscription::attached_to_node(std::uint64_t node_id) const {
  return std::any_of(held_.begin(), held_.end(),
                     [&](const auto& entry) { return entry.second.node_id == node_id; });
}

std::vector<std::uint64_t> Subscription::bury() {
  std::vector<Attachment> dead;
  {
    const std::lock_guard lock{mutex_};
    dead.swap(graveyard_);
  }
  std::vector<std::uint64_t> streams;
  for (const Attachment& attachment : dead) {
    held_.erase(attachment.stream_id);
    streams.push_back(attachment.stream_id);
  }
  return streams;
}

protocol::SubscribeT Subscription::message() const {
  protocol::SubscribeT message;
  message.subscription_id = id_;
  message.filters = filters_;
  message.want = want_of(options_);
  for (const auto& [stream_id, held] : held_) message.attached.push_back(held.held);
  return message;
}

std::vector<std::pair<protocol::HeldArenaT, SharedFd>> Subscription::held_arenas() const {
  std::vector<std::pair<protocol::HeldArenaT, SharedFd>> all;
  for (const auto& [stream_id, held] : held_) {
    protocol::HeldArenaT message;
    message.subscription_id = id_;
    message.stream_id = stream_id;
    all.emplace_back(message, held.arena);
  }
  return all;
}

}  // namespace sluice::transport
