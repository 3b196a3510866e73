// sluice::Publisher: the public face of shm::Publisher, with or without a node.
#include "sluice/publisher.hpp"

#include "shm/clock.hpp"
#include "shm/publisher.hpp"
#include "transport/handshake.hpp"
#include "transport/publisher_impl.hpp"
#include "transport/stats.hpp"

#include <algorithm>

namespace sluice {

Publisher::Impl::~Impl() {
  // First, so that the node's thread leaves the stream alone.
  if (node) node->withdraw(stream->geometry().stream_id);
}

// To those who are attached already; others get it with the stream.
Result<void> Publisher::Impl::announce(std::uint32_t pool) {
  if (!node) return {};
  auto fd = stream->share_pool(pool);
  if (!fd) return std::move(fd).error();
  return node->announce_pool(stream->geometry().stream_id, pool, std::move(*fd));
}

Publisher::Publisher(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Publisher::Publisher(Publisher&&) noexcept = default;
Publisher& Publisher::operator=(Publisher&&) noexcept = default;
Publisher::~Publisher() = default;

Result<Publisher> Publisher::create(const StreamOptions& options) {
  auto stream = shm::Publisher::create(options);
  if (!stream) return std::move(stream).error();
  auto impl = std::make_unique<Impl>();
  impl->stream = std::move(*stream);
  impl->sensitive = options.sensitive;
  return Publisher{std::move(impl)};
}

Loan Publisher::loan(std::uint64_t size_bytes, Priority priority) noexcept {
  if (impl_->revoked()) [[unlikely]]
    return Loan{Outcome::not_allowed};
  return impl_->stream->loan(size_bytes, priority);
}
Outcome Publisher::publish(Loan&& loan) noexcept { return impl_->stream->publish(std::move(loan)); }
Outcome Publisher::publish(Loan&& loan, Reference& published) noexcept {
  const std::uint32_t slot = loan.slot_;
  const std::uint32_t lane = loan.lane_;
  const Outcome outcome = publish(std::move(loan));
  if (outcome == Outcome::ok)
    published = {stream_id(), impl_->stream->last_sequence(lane), slot, lane};
  return outcome;
}
Outcome Publisher::publish(std::span<Loan> loans) noexcept { return impl_->stream->publish(loans); }
void Publisher::collect() noexcept { impl_->stream->collect(); }
std::size_t Publisher::reap() noexcept { return impl_->stream->reap(); }
void Publisher::end() noexcept { impl_->stream->end(); }
std::size_t Publisher::subscriber_count() const noexcept {
  return impl_->publication ? impl_->publication->told_count() : impl_->stream->reader_count();
}
std::size_t Publisher::acknowledging_count() const noexcept {
  return impl_->stream->acknowledging_count();
}
std::uint32_t Publisher::backlog(Priority priority) noexcept {
  return impl_->stream->backlog(priority);
}
Reach Publisher::reached(const Reference& message) noexcept {
  return impl_->stream->reached(message);
}
bool Publisher::is_assigned(const Reference& message) noexcept {
  return impl_->stream->is_assigned(message);
}
Outcome Publisher::handled_by(const Reference& message, const GroupName& group) noexcept {
  return impl_->stream->handled_by(message, group);
}
Outcome Publisher::wait_reached(const Reference& message, ReachLevel level,
                                std::chrono::steady_clock::time_point deadline) noexcept {
  return impl_->stream->wait_reached(message, level, shm::to_ns(deadline));
}
std::byte* Publisher::amend(const Reference& message) noexcept {
  return impl_->stream->amend(message);
}

std::uint64_t Publisher::stream_id() const noexcept { return impl_->stream->geometry().stream_id; }
const std::string& Publisher::topic() const noexcept {
  static const std::string none;
  return impl_->publication ? impl_->publication->topic() : none;
}

// Who is attached counts in any case: a broker that was just started again learns of it by and by.
std::size_t Publisher::matching_count() const noexcept {
  const std::size_t attached = subscriber_count();
  if (!impl_->publication) return attached;
  return std::max<std::size_t>(attached, impl_->publication->matching());
}
bool Publisher::matching_is_known() const noexcept {
  return !impl_->publication || impl_->publication->matching_is_known();
}
std::size_t Publisher::taker_count() const noexcept { return impl_->stream->taker_count(); }
bool Publisher::sensitive() const noexcept {
  return impl_->publication ? impl_->publication->sensitive() : impl_->sensitive;
}
bool Publisher::durable() const noexcept {
  return impl_->publication && impl_->publication->durable();
}
std::uint64_t Publisher::messages_per_second() const noexcept {
  return impl_->publication ? impl_->publication->messages_per_second() : 0;
}

Result<void> Publisher::add_pool(const PoolOptions& pool) {
  const auto index = impl_->stream->add_pool(pool);
  return index ? impl_->announce(*index) : index.error();
}

Result<std::uint32_t> Publisher::add_foreign_pool(ForeignMemory memory) {
  auto index = impl_->stream->add_foreign_pool(std::move(memory));
  if (!index) return index;
  if (auto announced = impl_->announce(*index); !announced) {
    revoke_pool(*index);
    return std::move(announced).error();
  }
  return index;
}

Loan Publisher::lend(const ForeignPayload& payload, Priority priority) noexcept {
  if (impl_->revoked()) [[unlikely]]
    return Loan{Outcome::not_allowed};
  return impl_->stream->lend(payload, priority);
}

void Publisher::revoke_pool(std::uint32_t pool) noexcept { impl_->stream->revoke_pool(pool); }

Result<void> Publisher::accept(int socket, std::chrono::milliseconds timeout) {
  const auto ns = std::chrono::nanoseconds{timeout}.count();
  return transport::serve(
      socket, *impl_->stream,
      [this](uid_t uid) -> Result<std::shared_ptr<shm::Arena>> {
        auto wakes = impl_->wakes.for_user(uid);
        if (!wakes) return std::move(wakes).error();
        return wakes->arena;
      },
      shm::deadline_in(static_cast<std::uint64_t>(ns)));
}

void Publisher::describe(const SourceInfo& source) noexcept { impl_->stream->describe(source); }

StreamStats Publisher::stats() const noexcept {
  StreamStats stats = transport::stream_stats(impl_->stream->control());
  stats.slots = impl_->stream->geometry().slots;
  return stats;
}

}  // namespace sluice
