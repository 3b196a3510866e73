// sluice::Publisher: the public face of shm::Publisher.
#include "sluice/publisher.hpp"

#include <map>

#include "shm/clock.hpp"
#include "shm/histogram.hpp"
#include "shm/publisher.hpp"
#include "transport/handshake.hpp"

namespace sluice {

struct Publisher::Impl {
  shm::PublisherPtr stream;
  // Wake pages are shared with processes of one user only: whoever can map a futex word can wake it.
  std::map<uid_t, std::shared_ptr<shm::Arena>> wake_arenas;

  Result<std::shared_ptr<shm::Arena>> wake_arena_of(uid_t uid) {
    std::shared_ptr<shm::Arena>& arena = wake_arenas[uid];
    if (!arena) {
      const std::uint64_t bytes =
          shm::page_bytes() + sizeof(shm::WakePage) * stream->geometry().max_readers;
      auto created = shm::Arena::create("sluice-wakes", bytes);
      if (!created) return std::move(created).error();
      arena = std::move(*created);
    }
    return arena;
  }
};

Publisher::Publisher(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Publisher::Publisher(Publisher&&) noexcept = default;
Publisher& Publisher::operator=(Publisher&&) noexcept = default;
Publisher::~Publisher() = default;

Result<Publisher> Publisher::create(const StreamOptions& options) {
  auto stream = shm::Publisher::create(options);
  if (!stream) return std::move(stream).error();
  auto impl = std::make_unique<Impl>();
  impl->stream = std::move(*stream);
  return Publisher{std::move(impl)};
}

Loan Publisher::loan(std::uint64_t size_bytes, Priority priority) noexcept {
  return impl_->stream->loan(size_bytes, priority);
}
Outcome Publisher::publish(Loan&& loan) noexcept { return impl_->stream->publish(std::move(loan)); }
Outcome Publisher::publish(std::span<Loan> loans) noexcept { return impl_->stream->publish(loans); }
void Publisher::collect() noexcept { impl_->stream->collect(); }
std::size_t Publisher::reap() noexcept { return impl_->stream->reap(); }
void Publisher::end() noexcept { impl_->stream->end(); }
std::size_t Publisher::subscriber_count() const noexcept { return impl_->stream->reader_count(); }
std::uint64_t Publisher::stream_id() const noexcept {
  return impl_->stream->geometry().stream_id;
}

Result<void> Publisher::accept(int socket, std::chrono::milliseconds timeout) {
  const auto ns = std::chrono::nanoseconds{timeout}.count();
  return transport::serve(
      socket, *impl_->stream, [this](uid_t uid) { return impl_->wake_arena_of(uid); },
      shm::deadline_in(static_cast<std::uint64_t>(ns)));
}

StreamStats Publisher::stats() const noexcept {
  const shm::PublisherCounters& c = impl_->stream->counters();
  const auto get = [](const shm::Word64& word) {
    // relaxed: counters
    return word.load(std::memory_order_relaxed);
  };
  StreamStats s;
  s.published = get(c.published);
  s.bytes = get(c.bytes);
  s.wakes = get(c.wakes);
  s.overwritten = get(c.overwritten);
  s.no_slot = get(c.no_slot);
  s.full = get(c.full);
  s.full_waits = get(c.full_waits);
  s.evicted = get(c.evicted);
  s.slots_committed = get(c.slots_committed);
  s.slots_in_use = get(c.slots_in_use);
  s.slots_in_use_most = get(c.slots_in_use_most);
  s.interval_p50_ns = shm::histogram_quantile_ns(impl_->stream->intervals(), 0.50);
  s.interval_p99_ns = shm::histogram_quantile_ns(impl_->stream->intervals(), 0.99);
  return s;
}

}  // namespace sluice
