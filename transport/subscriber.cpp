// sluice::Subscriber and sluice::WaitSet.
//
// With a single stream that was connected by hand a wait is the reader's own; everything else waits
// in a set, which the node's thread can interrupt when a stream has come in.
#include "sluice/subscriber.hpp"

#include "shm/clock.hpp"
#include "shm/futex.hpp"
#include "shm/reader.hpp"
#include "transport/handshake.hpp"
#include "transport/stats.hpp"
#include "transport/subscriber_impl.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace sluice {
namespace {

using shm::to_ns;

constexpr std::uint64_t kAgainNs = 10'000'000;  // until it is tried again what lacked memory

SubscriptionStats stats_of(const shm::Reader& reader) {
  SubscriptionStats stats = transport::stats_of(reader.page());
  stats.waiting = reader.waiting();
  stats.held = reader.held();
  return stats;
}

}  // namespace

const char* to_string(DeliveryMode mode) noexcept {
  switch (mode) {
    case DeliveryMode::latest:
      return "latest";
    case DeliveryMode::next:
      return "next";
    case DeliveryMode::reliable:
      return "reliable";
    case DeliveryMode::group:
      return "group";
  }
  return "unknown";
}

// --- Subscriber
// ------------------------------------------------------------------------------------

Subscriber::Impl::~Impl() {
  for (const transport::Attachment& stream : streams) set->set.remove(*stream.reader);
  std::erase(set->members, this);
  if (node) node->unsubscribe(subscription->id());
}

void Subscriber::Impl::join(std::shared_ptr<NodeImpl> with,
                            std::shared_ptr<transport::Subscription> as) {
  node = std::move(with);
  subscription = std::move(as);
  set->members.push_back(this);
}

// Leaves it where it is when there is no memory.
void Subscriber::Impl::add(transport::Attachment&& attachment) {
  attachment.reader->tell_load(worker, worker_backlog);
  if (streams.size() == streams.capacity()) streams.reserve(2 * streams.size() + 1);
  if (!paused) set->set.add(*attachment.reader);
  streams.push_back(std::move(attachment));
}

void Subscriber::Impl::pause(bool now) {
  if (paused == now) return;
  for (const transport::Attachment& stream : streams) {
    set->set.remove(*stream.reader);  // also what an earlier try has left there
    if (!now) set->set.add(*stream.reader);
  }
  paused = now;
}

// Off the path of messages: only when the inbox holds something. Where memory is short it holds it
// on: the next call tries again.
bool Subscriber::Impl::take_in() noexcept {
  if (!subscription || !subscription->has_news()) return false;
  std::size_t taken = 0;
  try {
    subscription->collect(news);
    revoked = news.revoked;
    early.reserve(early.size() + news.pools.size());
    for (; taken < news.attachments.size(); ++taken) add(std::move(news.attachments[taken]));
    news.attachments.clear();
  } catch (const std::bad_alloc&) {
    const auto first = news.attachments.begin();
    news.attachments.erase(first, first + static_cast<std::ptrdiff_t>(taken));
    subscription->remind();
    return false;
  }
  for (transport::GrownPool& pool : news.pools) early.push_back(std::move(pool));
  news.pools.clear();
  std::erase_if(early, [this](transport::GrownPool& pool) { return grow(pool); });
  for (const std::uint64_t gone : news.gone) {
    for (transport::Attachment& stream : streams) {
      stream.publisher_gone = stream.publisher_gone || stream.stream_id == gone;
    }
    std::erase_if(early,
                  [gone](const transport::GrownPool& pool) { return pool.stream_id == gone; });
  }
  news.gone.clear();
  return true;
}

// False when the stream that the pool belongs to is still being attached.
bool Subscriber::Impl::grow(transport::GrownPool& pool) noexcept {
  for (const transport::Attachment& stream : streams) {
    if (stream.stream_id != pool.stream_id) continue;
    if (!stream.reader->add_pool(pool.pool, std::move(pool.fd))) {
      stream.reader->forgo_pool(pool.pool);
    }
    return true;
  }
  return false;
}

// The stream has nothing more to give. Its memory is unmapped by the node's thread. False where
// there is no memory to tell that thread: it stays, and is found ended again.
bool Subscriber::Impl::drop(std::size_t index) noexcept {
  if (!subscription->can_retire()) return false;
  transport::Attachment gone = std::move(streams[index]);
  streams.erase(streams.begin() + static_cast<std::ptrdiff_t>(index));
  SubscriptionStats last = stats_of(*gone.reader);
  last.held = 0;
  last.waiting = 0;
  transport::add(ended, last);
  set->set.remove(*gone.reader);
  subscription->retire(std::move(gone));
  node->bury_later();
  return true;
}

bool Subscriber::Impl::nothing() const noexcept {
  return streams.size() == 1 && !revoked && !(subscription && subscription->has_news()) &&
         streams.front().reader->idle();
}

Sample Subscriber::Impl::take() noexcept {
  if (subscription && subscription->has_news()) [[unlikely]]
    take_in();
  Outcome why = revoked ? Outcome::not_allowed : Outcome::empty;
  // Each stream once, from where the last one was found on.
  for (std::size_t left = streams.size(); left != 0; --left) {
    if (turn >= streams.size()) turn = 0;
    Sample sample = streams[turn].reader->take();
    if (sample) {
      ++turn;
      return sample;
    }
    if (!subscription) return sample;
    if (streams[turn].publisher_gone && streams[turn].reader->missing_pool()) [[unlikely]] {
      streams[turn].reader->forgo_pool(*streams[turn].reader->missing_pool());
      ++left;
      continue;
    }
    switch (sample.outcome()) {
      case Outcome::evicted:
        if (!keeps_streams) why = Outcome::evicted;
        [[fallthrough]];
      case Outcome::ended:
        if (keeps_streams || !drop(turn)) ++turn;
        break;
      case Outcome::quota:
        why = Outcome::quota;
        [[fallthrough]];
      default:
        ++turn;
    }
  }
  return Sample{why};
}

Outcome Subscriber::Impl::wait(std::uint64_t deadline_ns) noexcept {
  if (!subscription) return streams.front().reader->wait(deadline_ns);
  return set->wait(deadline_ns);
}

SubscriptionStats Subscriber::Impl::stats() const noexcept {
  SubscriptionStats total = ended;
  for (const transport::Attachment& stream : streams) {
    transport::add(total, stats_of(*stream.reader));
  }
  return total;
}

const transport::Attachment* Subscriber::Impl::origin(const Sample& sample,
                                                      const shm::Reader* reader) const noexcept {
  if (!sample) return nullptr;
  for (const transport::Attachment& stream : streams) {
    if (stream.reader.get() == reader) return &stream;
  }
  return nullptr;
}

Subscriber::Subscriber(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Subscriber::Subscriber(Subscriber&&) noexcept = default;
Subscriber& Subscriber::operator=(Subscriber&&) noexcept = default;
Subscriber::~Subscriber() = default;

Result<Subscriber> Subscriber::connect(int socket, const SubscriptionOptions& options, WaitSet* set,
                                       std::chrono::milliseconds timeout) {
  if (options.durable && options.mode != DeliveryMode::group) return transport::only_groups_last();
  std::shared_ptr<WaitSet::Impl> waits_in;
  shm::UniqueFd event;
  if (set != nullptr) {
    waits_in = set->impl_;
  } else {
    auto own = WaitSet::Impl::create();
    if (!own) return std::move(own).error();
    waits_in = std::move(*own);
  }
  if (set != nullptr || options.pollable) {
    auto copy = waits_in->set.event();
    if (!copy) return std::move(copy).error();
    event = std::move(*copy);
  }
  SubscriptionOptions asked = options;
  asked.pollable = event.valid();
  const auto ns = std::chrono::nanoseconds{timeout}.count();
  auto reader = transport::subscribe(socket, asked, std::move(event),
                                     shm::deadline_in(static_cast<std::uint64_t>(ns)));
  if (!reader) return std::move(reader).error();
  auto impl = std::make_unique<Impl>(std::move(waits_in));
  impl->add({(*reader)->geometry().stream_id, {}, {}, std::move(*reader)});
  return Subscriber{std::move(impl)};
}

Result<Subscriber> Subscriber::connect(int socket, const SubscriptionOptions& options,
                                       std::chrono::milliseconds timeout) {
  return connect(socket, options, nullptr, timeout);
}

Result<Subscriber> Subscriber::connect(int socket, const SubscriptionOptions& options, WaitSet& set,
                                       std::chrono::milliseconds timeout) {
  return connect(socket, options, &set, timeout);
}

Sample Subscriber::take() noexcept {
  if (impl_->nothing()) return Sample{Outcome::empty};
  return impl_->take();
}
std::size_t Subscriber::take(std::span<Sample> out) noexcept {
  std::size_t n = 0;
  while (n < out.size()) {
    out[n] = impl_->take();
    if (!out[n]) break;
    ++n;
    impl_->keeps_streams = true;
  }
  impl_->keeps_streams = false;
  return n;
}
Outcome Subscriber::wait(Deadline deadline) noexcept { return impl_->wait(to_ns(deadline)); }

void Subscriber::acknowledge(const Sample& sample) noexcept {
  if (impl_->origin(sample, sample.reader_) != nullptr) sample.reader_->acknowledge(sample);
}
void Subscriber::reject(Sample&& sample) noexcept {
  if (impl_->origin(sample, sample.reader_) == nullptr) return sample.release();
  sample.reader_->reject(std::move(sample));
}
void Subscriber::acknowledge(Sample&& sample) noexcept {
  if (impl_->origin(sample, sample.reader_) == nullptr) return sample.release();
  sample.reader_->acknowledge(std::move(sample));
}

Receipt Subscriber::receipt(const Sample& sample) const noexcept {
  Receipt receipt;
  const transport::Attachment* stream = impl_->origin(sample, sample.reader_);
  if (stream == nullptr || (sample.resolved_ && !sample.again_)) return receipt;
  receipt.stream_id_ = stream->stream_id;
  receipt.sequence_ = sample.info_.sequence;
  receipt.lane_ = sample.info_.priority;
  receipt.assignment_ = sample.assignment_;
  return receipt;
}

void Subscriber::acknowledge(const Receipt& receipt) noexcept { close(receipt, false); }
void Subscriber::reject(const Receipt& receipt) noexcept { close(receipt, true); }

void Subscriber::close(const Receipt& receipt, bool rejected) noexcept {
  if (!receipt) return;
  for (const transport::Attachment& stream : impl_->streams) {
    if (stream.stream_id != receipt.stream_id_) continue;
    // Stands for the sample as the reader looks at it, and holds nothing.
    Sample stand_in;
    stand_in.info_.sequence = receipt.sequence_;
    stand_in.info_.priority = receipt.lane_;
    stand_in.assignment_ = receipt.assignment_;
    stand_in.reader_ = stream.reader.get();
    if (rejected) {
      stream.reader->reject(std::as_const(stand_in));
    } else {
      stream.reader->acknowledge(std::as_const(stand_in));
    }
    stand_in.reader_ = nullptr;
    return;
  }
}

std::uint64_t Subscriber::backlog() const noexcept {
  std::uint64_t total = 0;
  for (const transport::Attachment& stream : impl_->streams) total += stream.reader->unsettled();
  return total;
}

void Subscriber::tell_load(WorkerState state, std::uint32_t backlog) noexcept {
  impl_->worker = state;
  impl_->worker_backlog = backlog;
  if (impl_->subscription) impl_->subscription->tell_load(state, backlog);
  for (const transport::Attachment& stream : impl_->streams)
    stream.reader->tell_load(state, backlog);
}

Sample Subscriber::resolve(const Reference& reference) noexcept {
  impl_->take_in();
  for (transport::Attachment& stream : impl_->streams) {
    if (stream.stream_id != reference.stream_id) continue;
    Sample sample = stream.reader->resolve(reference);
    stream.resolved_from = stream.resolved_from || sample;
    return sample;
  }
  return Sample{Outcome::mismatch};
}

// Of what has ended, results that are still under way may speak; so it is kept until it was of no
// use for the time between two calls.
void Subscriber::forget_ended() noexcept {
  impl_->take_in();
  for (std::size_t i = impl_->streams.size(); i-- != 0;) {
    transport::Attachment& stream = impl_->streams[i];
    const bool idle = !std::exchange(stream.resolved_from, false);
    if (impl_->subscription && idle && stream.forgettable) {
      (void)impl_->drop(i);
    } else {
      stream.forgettable = stream.publisher_gone;
    }
  }
}

void Subscriber::pause(bool paused) { impl_->pause(paused); }

int Subscriber::fd() const noexcept { return impl_->set->set.fd(); }
bool Subscriber::arm() noexcept { return impl_->set->arm(); }
void Subscriber::disarm() noexcept { impl_->set->set.disarm(); }

std::uint64_t Subscriber::stream_id() const noexcept {
  return impl_->subscription ? 0 : impl_->streams.front().stream_id;
}
const std::string& Subscriber::label() const noexcept {
  static const std::string none;
  return impl_->subscription ? none : impl_->streams.front().reader->geometry().label;
}
std::string_view Subscriber::topic(const Sample& sample) const noexcept {
  const transport::Attachment* stream = impl_->origin(sample, sample.reader_);
  return stream != nullptr && stream->topic ? std::string_view{*stream->topic} : std::string_view{};
}
std::uint64_t Subscriber::node_id(const Sample& sample) const noexcept {
  const transport::Attachment* stream = impl_->origin(sample, sample.reader_);
  return stream != nullptr ? stream->node_id : 0;
}
std::uint64_t Subscriber::held() const noexcept {
  std::uint64_t total = 0;
  for (const transport::Attachment& stream : impl_->streams) total += stream.reader->held();
  return total;
}
std::size_t Subscriber::stream_count() const noexcept {
  impl_->take_in();
  return impl_->streams.size();
}
SubscriptionStats Subscriber::stats() const noexcept { return impl_->stats(); }

// --- WaitSet
// ---------------------------------------------------------------------------------------

Result<std::shared_ptr<WaitSet::Impl>> WaitSet::Impl::create() {
  auto set = shm::WaitSet::create();
  if (!set) return std::move(set).error();
  return std::make_shared<Impl>(std::move(*set));
}

bool WaitSet::Impl::take_in() noexcept {
  bool any = false;
  for (Subscriber::Impl* member : members) any = member->take_in() || any;
  return any;
}

bool WaitSet::Impl::short_of_memory() const noexcept {
  return std::any_of(members.begin(), members.end(), [](const Subscriber::Impl* member) {
    return member->subscription->has_news();
  });
}

bool WaitSet::Impl::settled() const noexcept {
  return std::any_of(members.begin(), members.end(), [](const Subscriber::Impl* member) {
    return member->revoked && !member->paused;
  });
}

// The reader, when there is nothing but one: its own sleep is cheaper than a set's, and is
// interrupted too when its subscription has news. Not where the set itself can be interrupted.
shm::Reader* WaitSet::Impl::only_reader() const noexcept {
  const bool alone =
      own && members.size() == 1 && members[0]->streams.size() == 1 && set.readers().size() == 1;
  return alone ? members[0]->streams[0].reader.get() : nullptr;
}

// A set that was interrupted looks into the inboxes; that a stream has come in is not yet a
// message.
Outcome WaitSet::Impl::wait(std::uint64_t deadline_ns) noexcept {
  for (;;) {
    // A signal handler has set this before it interrupted the set; whatever else comes from there
    // is looked for in any case.
    if (interrupted.exchange(false)) return Outcome::interrupted;
    take_in();
    if (settled()) return Outcome::ok;
    shm::Reader* only = only_reader();
    const std::uint64_t until =
        std::min(deadline_ns, short_of_memory() ? shm::deadline_in(kAgainNs) : shm::kNever);
    const Outcome outcome = only != nullptr ? only->wait(until) : set.wait(until);
    if (outcome == Outcome::timeout && until != deadline_ns) continue;
    if (outcome == Outcome::timeout) return outcome;
    if (outcome != Outcome::interrupted) return Outcome::ok;  // take() says what it is
  }
}

bool WaitSet::Impl::arm() noexcept {
  if (interrupted.exchange(false)) return false;
  take_in();
  return !settled() && set.arm();
}

WaitSet::WaitSet(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
WaitSet::WaitSet(WaitSet&&) noexcept = default;
WaitSet& WaitSet::operator=(WaitSet&&) noexcept = default;
WaitSet::~WaitSet() = default;

Result<WaitSet> WaitSet::create() {
  auto impl = Impl::create();
  if (!impl) return std::move(impl).error();
  return WaitSet{std::move(*impl)};
}

Outcome WaitSet::wait(Deadline deadline) noexcept { return impl_->wait(to_ns(deadline)); }
void WaitSet::interrupt() noexcept {
  impl_->interrupted.store(true);
  impl_->set.interrupt();
}
int WaitSet::fd() const noexcept { return impl_->set.fd(); }
bool WaitSet::arm() noexcept { return impl_->arm(); }
void WaitSet::disarm() noexcept { impl_->set.disarm(); }

}  // namespace sluice
