// sluice::Subscriber and sluice::WaitSet: the public faces of shm::Reader and shm::WaitSet.
#include "sluice/subscriber.hpp"

#include "shm/clock.hpp"
#include "shm/histogram.hpp"
#include "shm/reader.hpp"
#include "shm/wait_set.hpp"
#include "transport/handshake.hpp"

namespace sluice {
namespace {

// steady_clock is CLOCK_MONOTONIC in libstdc++ and libc++.
std::uint64_t to_ns(Deadline deadline) {
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
  return ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
}

}  // namespace

struct WaitSet::Impl {
  shm::WaitSet set;
};

struct Subscriber::Impl {
  shm::ReaderPtr reader;
  std::shared_ptr<WaitSet::Impl> set;

  ~Impl() {
    if (set != nullptr) set->set.remove(*reader);
  }
};

Subscriber::Subscriber(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Subscriber::Subscriber(Subscriber&&) noexcept = default;
Subscriber& Subscriber::operator=(Subscriber&&) noexcept = default;
Subscriber::~Subscriber() = default;

Result<Subscriber> Subscriber::connect(int socket, const SubscriptionOptions& options,
                                       WaitSet* set, std::chrono::milliseconds timeout) {
  shm::UniqueFd event;
  if (set != nullptr) {
    auto copy = set->impl_->set.event();
    if (!copy) return std::move(copy).error();
    event = std::move(*copy);
  }
  const auto ns = std::chrono::nanoseconds{timeout}.count();
  auto reader = transport::subscribe(socket, options, std::move(event),
                                     shm::deadline_in(static_cast<std::uint64_t>(ns)));
  if (!reader) return std::move(reader).error();
  auto impl = std::make_unique<Impl>();
  impl->reader = std::move(*reader);
  if (set != nullptr) {
    impl->set = set->impl_;
    impl->set->set.add(*impl->reader);
  }
  return Subscriber{std::move(impl)};
}

Result<Subscriber> Subscriber::connect(int socket, const SubscriptionOptions& options,
                                       std::chrono::milliseconds timeout) {
  return connect(socket, options, nullptr, timeout);
}

Result<Subscriber> Subscriber::connect(int socket, const SubscriptionOptions& options,
                                       WaitSet& set, std::chrono::milliseconds timeout) {
  return connect(socket, options, &set, timeout);
}

Sample Subscriber::take() noexcept { return impl_->reader->take(); }
std::size_t Subscriber::take(std::span<Sample> out) noexcept { return impl_->reader->take(out); }
Outcome Subscriber::wait(Deadline deadline) noexcept {
  return impl_->reader->wait(to_ns(deadline));
}
void Subscriber::acknowledge(const Sample& sample) noexcept { impl_->reader->acknowledge(sample); }
void Subscriber::acknowledge(Sample&& sample) noexcept {
  impl_->reader->acknowledge(std::move(sample));
}
Sample Subscriber::resolve(const Reference& reference) noexcept {
  return impl_->reader->resolve(reference);
}
std::uint64_t Subscriber::stream_id() const noexcept {
  return impl_->reader->geometry().stream_id;
}
const std::string& Subscriber::label() const noexcept { return impl_->reader->geometry().label; }

SubscriptionStats Subscriber::stats() const noexcept {
  const shm::Reader& reader = *impl_->reader;
  const shm::ReaderCounters& c = reader.counters();
  const auto get = [](const shm::Word64& word) {
    // relaxed: counters
    return word.load(std::memory_order_relaxed);
  };
  const auto lost = [&](shm::LossCause cause) {
    return get(c.lost[static_cast<std::size_t>(cause)]);
  };
  SubscriptionStats s;
  s.taken = get(c.taken);
  s.lost_policy = lost(shm::LossCause::policy);
  s.lost_full = lost(shm::LossCause::full);
  s.lost_evicted = lost(shm::LossCause::evicted);
  s.lost_expired = lost(shm::LossCause::expired);
  s.lost_invalid = lost(shm::LossCause::invalid);
  s.waiting = reader.waiting();
  s.held = reader.held();
  s.bytes = get(c.bytes);
  s.acknowledged = get(c.acknowledged);
  s.sleeps = get(c.sleeps);
  s.age_p50_ns = shm::histogram_quantile_ns(reader.age(), 0.50);
  s.age_p99_ns = shm::histogram_quantile_ns(reader.age(), 0.99);
  s.processing_p50_ns = shm::histogram_quantile_ns(reader.processing(), 0.50);
  s.processing_p99_ns = shm::histogram_quantile_ns(reader.processing(), 0.99);
  return s;
}

WaitSet::WaitSet(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
WaitSet::WaitSet(WaitSet&&) noexcept = default;
WaitSet& WaitSet::operator=(WaitSet&&) noexcept = default;
WaitSet::~WaitSet() = default;

Result<WaitSet> WaitSet::create() {
  auto set = shm::WaitSet::create();
  if (!set) return std::move(set).error();
  return WaitSet{std::make_shared<Impl>(Impl{std::move(*set)})};
}

Outcome WaitSet::wait(Deadline deadline) noexcept { return impl_->set.wait(to_ns(deadline)); }
int WaitSet::fd() const noexcept { return impl_->set.fd(); }
bool WaitSet::arm() noexcept { return impl_->set.arm(); }
void WaitSet::disarm() noexcept { impl_->set.disarm(); }

}  // namespace sluice
