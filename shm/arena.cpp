// Cells are cut from the front and kept in lists by size when given back.
//
// The first cell starts at a random line of the first page: a publisher polls one line of every
// reader page, and when each process's arena begins with its first page those lines would all fall
// into the same set of the publisher's first-level cache.
#include "shm/arena.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "shm/layout.hpp"

namespace sluice::shm {
namespace {

std::uint64_t cache_colour() {
  std::uint8_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != 1) random = 0;
  return (random % 32u) * kCacheLine;
}

}  // namespace

Result<std::shared_ptr<Arena>> Arena::create(const char* name, std::uint64_t bytes) {
  auto segment = Segment::create(name, bytes);
  if (!segment) return std::move(segment).error();
  std::shared_ptr<Arena> arena{new Arena};
  arena->segment_ = std::move(*segment);
  arena->next_ = cache_colour();
  return arena;
}

Result<Cell> Arena::allocate(std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  sweep();
  const std::uint64_t size = round_up(std::max<std::uint64_t>(bytes, kCacheLine), kCacheLine);
  if (auto list = free_.find(size); list != free_.end() && !list->second.empty()) {
    const std::uint64_t offset = list->second.back();
    list->second.pop_back();
    used_ += size;
    return Cell{offset, size, segment_.data() + offset};
  }
  if (size > segment_.size() || next_ > segment_.size() - size) {
    return Error{Errc::exhausted, 0,
                 "an arena of " + std::to_string(segment_.size()) + " bytes has no room for " +
                     std::to_string(size) + " more"};
  }
  if (next_ + size > committed_) {
    if (!segment_.commit(committed_, next_ + size - committed_)) {
      return system_error("committing " + std::to_string(size) + " bytes of an arena");
    }
    committed_ = std::min(round_up(next_ + size, page_bytes()), segment_.size());
  }
  const Cell cell{next_, size, segment_.data() + next_};
  next_ += size;
  used_ += size;
  return cell;
}

void Arena::free(const Cell& cell) {
  const std::lock_guard lock{mutex_};
  free_locked(cell);
}

void Arena::free_when(const Cell& cell, std::function<bool()> unused) {
  const std::lock_guard lock{mutex_};
  leaving_.push_back({cell, std::move(unused)});
}

std::uint64_t Arena::used() {
  const std::lock_guard lock{mutex_};
  sweep();
  return used_;
}

void Arena::sweep() {
  std::erase_if(leaving_, [this](const Leaving& leaving) {
    if (!leaving.unused()) return false;
    free_locked(leaving.cell);
    return true;
  });
}

void Arena::free_locked(const Cell& cell) {
  if (cell.data == nullptr) return;
  // Word by word: a reader elsewhere may be looking at it.
  auto* words = reinterpret_cast<Word64*>(cell.data);
  for (std::uint64_t i = 0; i < cell.bytes / sizeof(Word64); ++i) {
    // relaxed: the cell belongs to nobody now
    words[i].store(0, std::memory_order_relaxed);
  }
  try {
    free_[cell.bytes].push_back(cell.offset);
  } catch (const std::bad_alloc&) {  // nobody will know that it is free: it stays occupied
    return;
  }
  used_ -= cell.bytes;
}

}  // namespace sluice::shm
