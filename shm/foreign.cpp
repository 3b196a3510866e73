// Payloads that stay in another system's memory, and what a program says beside a payload.
//
// A message that is lent has a slot like all others, which holds not its payload but where that
// is: a pool that is flagged foreign, an offset, a size. So claims, retiring, groups, references
// know nothing of it: as long as the slot is claimed its message is held, and when the publisher
// frees the slot (free_slot, the owner's thread) the payload goes back to whom it came from.
//
// Foreign memory has more than one writer and no seals; what lies *in* it is taken as any payload,
// as bytes that may change. Where it lies is said in the slot, in our sealed memory, is read once,
// and checked against the size that was mapped.
//
// It may be taken back while it is read: when its system is gone, or ours. Then its bit in the
// state line is set first (revoked_pools); readers ask for it before they hand a sample out, and
// in intact().
#include "shm/publisher.hpp"
#include "shm/reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <iterator>
#include <string>
#include <utility>

namespace sluice::shm {

// --- publisher

Result<std::uint32_t> Publisher::add_foreign_pool(ForeignMemory memory) {
  if (ended_) return Error{Errc::refused, 0, "the stream has ended"};
  auto pool = plan_foreign_pool(geometry_, memory.bytes);
  if (!pool) return std::move(pool).error();
  // What a reader would refuse is refused here, where somebody can do something about it.
  struct stat status {};
  if (::fstat(memory.fd, &status) != 0) return system_error("fstat of foreign memory");
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) < memory.bytes) {
    return Error{
        Errc::invalid_argument, 0,
        "ForeignMemory::fd is no file in memory of " + std::to_string(memory.bytes) + " bytes"};
  }
  if ((::fcntl(memory.fd, F_GETFL) & O_ACCMODE) != O_RDONLY) {
    return Error{Errc::invalid_argument, 0,
                 "ForeignMemory::fd can be written through, and would be handed to readers so; "
                 "open it with O_RDONLY"};
  }
  UniqueFd fd{::fcntl(memory.fd, F_DUPFD_CLOEXEC, 0)};
  if (!fd.valid()) return system_error("duplicating the descriptor of foreign memory");
  if (lent_.empty()) lent_.resize(geometry_.slot_limit);
  const std::lock_guard lock{visitors_};
  const std::uint32_t index = geometry_.pool_count;
  foreign_[index] = {std::move(fd), std::move(memory.released)};
  slots_.add_foreign(*pool);
  append_pool(*pool);
  return index;
}

Loan Publisher::lend(const ForeignPayload& payload, Priority priority) noexcept {
  const std::uint32_t pool = payload.pool;
  if (pool >= geometry_.pool_count || !geometry_.pools[pool].foreign || foreign_[pool].revoked ||
      payload.bytes == 0 || payload.offset > geometry_.pools[pool].pool_bytes ||
      payload.bytes > geometry_.pools[pool].pool_bytes - payload.offset) {
    return Loan{Outcome::mismatch};
  }
  const std::uint64_t own = sizeof(ForeignPlace);
  const std::uint64_t header =
      payload.user_header_bytes != 0 ? user_header_bytes(own, payload.user_header_bytes) : 0;
  if (header >= kMaxSlotBytes) return Loan{Outcome::too_large};
  Loan loan = this->loan(own + header, priority);
  if (!loan) return loan;
  const ForeignPlace place{pool, 0, payload.offset, payload.bytes};
  std::memcpy(loan.data_, &place, sizeof place);
  lent_[loan.slot_] = {payload.token, pool};
  ++live_references_;
  loan.data_ = nullptr;
  loan.size_ = loan.capacity_ = payload.bytes;
  loan.contents_ = kEntryForeign;
  return loan;
}

void Publisher::revoke_pool(std::uint32_t pool) noexcept {
  if (pool >= geometry_.pool_count || !geometry_.pools[pool].foreign || foreign_[pool].revoked) {
    return;
  }
  foreign_[pool].revoked = true;
  // sync foreign (publisher): before the memory may be used for something else
  state_->revoked_pools.fetch_or(1u << pool, std::memory_order_seq_cst);
  for (std::uint32_t slot = 0; slot < lent_.size(); ++slot) {
    if (lent_[slot].pool == pool) take_back(slot);
  }
}

// What was lent in this slot's message, if anything was.
void Publisher::take_back(std::uint32_t slot) noexcept {
  const Lent lent = std::exchange(lent_[slot], Lent{});
  if (lent.pool == kMaxPools) return;
  --live_references_;
  if (foreign_[lent.pool].released) foreign_[lent.pool].released(lent.token);
}

// Written at once, into the slot: nobody sees it before it is published.
bool Publisher::set_user_header(Loan& loan, std::span<const std::byte> header) noexcept {
  if ((loan.contents_ & kEntryHasUserHeader) != 0) return false;
  const std::uint32_t pool = geometry_.pool_of(loan.slot_);
  const std::uint64_t own =
      (loan.contents_ & kEntryForeign) != 0 ? sizeof(ForeignPlace) : loan.size_;
  if (header.size() > kMaxSlotBytes ||
      own + user_header_bytes(own, header.size()) > geometry_.capacity(pool)) {
    return false;
  }
  std::byte* const at = slots_.address(pool, loan.slot_) + round_up(own, 8);
  const UserHeader head{static_cast<std::uint32_t>(header.size()), 0};
  std::memcpy(at, &head, sizeof head);
  if (!header.empty()) std::memcpy(at + sizeof head, header.data(), header.size());
  loan.contents_ |= kEntryHasUserHeader;
  return true;
}

// Where the references go, from the start of the slot.
std::uint64_t Publisher::contents_end(const Loan& loan, std::uint64_t own) const noexcept {
  const std::uint64_t end = round_up(own, 8);
  if ((loan.contents_ & kEntryHasUserHeader) == 0) return end;
  UserHeader head;
  std::memcpy(&head, slots_.address(geometry_.pool_of(loan.slot_), loan.slot_) + end, sizeof head);
  return round_up(end + sizeof head + head.bytes, 8);
}

// --- reader

Result<View> Reader::open_pool(int fd, const char* what, const PoolGeometry& pool) {
  return pool.foreign ? View::open_foreign(fd, what, pool.pool_bytes)
                      : View::open(fd, what, pool.pool_bytes);
}

// Where the payload is of a message whose slot we hold and that is flagged kEntryForeign.
Reader::Place Reader::find_foreign(std::uint32_t slot, Payload& out) noexcept {
  const std::uint32_t slot_pool = geometry_.pool_of(slot);
  if (geometry_.capacity(slot_pool) < sizeof(ForeignPlace)) return Place::nowhere;
  // Its writer may change it, against the rules: from here on only the copy is used.
  ForeignPlace place;
  const auto* words = reinterpret_cast<const Word64*>(address_of(slot));
  std::uint64_t copy[sizeof place / sizeof(std::uint64_t)];
  for (std::size_t i = 0; i < std::size(copy); ++i) {
    // relaxed: written before the message was published
    copy[i] = words[i].load(std::memory_order_relaxed);
  }
  std::memcpy(&place, copy, sizeof place);
  if (place.pool >= geometry_.pool_count) (void)learn_pools(control_.data(), geometry_);
  if (place.pool >= geometry_.pool_count || !geometry_.pools[place.pool].foreign ||
      (forgone_pools_ >> place.pool & 1) != 0) {
    return Place::nowhere;
  }
  const PoolGeometry& pool = geometry_.pools[place.pool];
  if (place.bytes == 0 || place.offset > pool.pool_bytes ||
      place.bytes > pool.pool_bytes - place.offset) {
    return Place::nowhere;
  }
  // sync foreign (reader): what is revoked is not handed out any more
  if ((state_->revoked_pools.load(std::memory_order_seq_cst) >> place.pool & 1) != 0) {
    return Place::nowhere;
  }
  if (!pools_[place.pool].valid()) {
    missing_pool_ = place.pool;
    return Place::elsewhere;
  }
  out = {pools_[place.pool].data() + place.offset, place.bytes};
  return Place::here;
}

// Asks the slot again which pool it was: we hold it, and its writer could have lied before as well.
bool Reader::foreign_is_intact(const Sample& sample) const noexcept {
  const auto* place = reinterpret_cast<const Word64*>(sample.behind_ - sizeof(ForeignPlace));
  // relaxed: written before the message was published
  const auto pool = static_cast<std::uint32_t>(place->load(std::memory_order_relaxed));
  // sync foreign (reader): our reads of the payload before it
  const std::uint32_t revoked = state_->revoked_pools.load(std::memory_order_seq_cst);
  if (pool >= kMaxPools || (revoked >> pool & 1) != 0) return false;
  // relaxed: only spares the kernel the question
  return !publisher_dead_.load(std::memory_order_relaxed) && !has_died(process_);
}

// Found and checked here, by the owner's thread: samples are read in any. What claims more than the
// slot has is taken as not there.
void Reader::find_contents(Sample& sample, std::uint64_t own) noexcept {
  const std::uint64_t capacity = geometry_.capacity(geometry_.pool_of(sample.slot_));
  if (own > capacity) {
    sample.contents_ = 0;
    return;
  }
  sample.behind_ = address_of(sample.slot_) + round_up(own, 8);
  if ((sample.contents_ & kEntryHasUserHeader) == 0) return;
  const std::uint64_t begin = round_up(own, 8) + sizeof(UserHeader);
  // sync publish (reader): written before, and not again unless its writer breaks the rules
  const std::uint32_t bytes =
      begin <= capacity
          // relaxed: as above
          ? reinterpret_cast<const Word32*>(sample.behind_)->load(std::memory_order_relaxed)
          : 0;
  if (begin > capacity || bytes > capacity - begin) {
    sample.contents_ &= kEntryForeign;
    return;
  }
  sample.user_header_bytes_ = bytes;
}

}  // namespace sluice::shm

namespace sluice {

bool Loan::set_user_header(std::span<const std::byte> header) noexcept {
  return publisher_ != nullptr && publisher_->set_user_header(*this, header);
}

std::span<const std::byte> Sample::user_header() const noexcept {
  if (reader_ == nullptr || (contents_ & shm::kEntryHasUserHeader) == 0) return {};
  return {behind_ + sizeof(shm::UserHeader), user_header_bytes_};
}

}  // namespace sluice
