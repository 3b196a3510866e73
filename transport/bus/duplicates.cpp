// A hash table with linear probing over a fixed number of entries, which a list keeps in the order
// they came. Only the oldest can be over time first, so each insertion drops at most two of them:
// the list never grows stale, and no call has more than a constant amount to do.
//
//   table_    twice as many places as entries, or more: number of an entry, or kNone
//   entries_  id, time, neighbours in order of age; those not in use are chained by `newer`
//
// Ids are chosen by other processes. The hash begins with a secret, so that nobody can make them
// all fall onto one place.
#include "sluice/duplicates.hpp"

#include "sluice/correlation.hpp"
#include "transport/splitmix.hpp"

#include <algorithm>
#include <bit>
#include <vector>

namespace sluice {
namespace {

constexpr std::uint32_t kNone = UINT32_MAX;
constexpr std::uint32_t kMaxCount = 1u << 20;
constexpr int kDroppedAtOnce = 2;

using splitmix::mix;

}  // namespace

struct DuplicateWindow::Impl {
  explicit Impl(DuplicateWindowOptions options)
      : window_ns(options.window_ns),
        mask(std::bit_ceil(options.count * 2) - 1),
        table(std::size_t{mask} + 1, kNone),
        entries(options.count) {
    for (std::uint32_t i = 0; i < options.count; ++i) entries[i].newer = i + 1;
    entries.back().newer = kNone;
    const CorrelationId chance = new_correlation_id();
    secret = mix(chance.low ^ mix(chance.high));
  }

  struct Entry {
    MessageId id;
    std::uint64_t at_ns = 0;
    std::uint32_t older = kNone;
    std::uint32_t newer = kNone;
  };

  [[nodiscard]] std::uint32_t home(const MessageId& id) const {
    return static_cast<std::uint32_t>(mix(mix(id.high ^ secret) + id.low)) & mask;
  }
  // The place in the table that has it, or the empty one where it would stand.
  [[nodiscard]] std::uint32_t find(const MessageId& id) const {
    std::uint32_t place = home(id);
    while (table[place] != kNone && !(entries[table[place]].id == id)) place = (place + 1) & mask;
    return place;
  }
  [[nodiscard]] bool over(const Entry& entry, std::uint64_t now_ns) const {
    return now_ns > entry.at_ns && now_ns - entry.at_ns > window_ns;
  }

  void add(const MessageId& id, std::uint64_t now_ns) {
    const std::uint32_t number = free;
    Entry& entry = entries[number];
    free = entry.newer;
    entry = {id, now_ns, newest, kNone};
    (newest != kNone ? entries[newest].newer : oldest) = number;
    newest = number;
    table[find(id)] = number;
    ++size;
  }

  void drop(std::uint32_t place) {
    const std::uint32_t number = table[place];
    Entry& entry = entries[number];
    (entry.older != kNone ? entries[entry.older].newer : oldest) = entry.newer;
    (entry.newer != kNone ? entries[entry.newer].older : newest) = entry.older;
    entry.newer = free;
    free = number;
    --size;
    close_gap(place);
  }
  // What stood behind the gap and belongs in front of it moves up (Knuth, 6.4, algorithm R).
  void close_gap(std::uint32_t gap) {
    for (std::uint32_t place = (gap + 1) & mask; table[place] != kNone;
         place = (place + 1) & mask) {
      const std::uint32_t away = (place - home(entries[table[place]].id)) & mask;
      if (away < ((place - gap) & mask)) continue;
      table[gap] = table[place];
      gap = place;
    }
    table[gap] = kNone;
  }
  void drop_oldest() { drop(find(entries[oldest].id)); }

  std::uint64_t window_ns;
  std::uint64_t secret = 0;
  std::uint32_t mask;
  std::uint32_t oldest = kNone;
  std::uint32_t newest = kNone;
  std::uint32_t free = 0;
  std::size_t size = 0;
  std::vector<std::uint32_t> table;
  std::vector<Entry> entries;
};

DuplicateWindow::DuplicateWindow(DuplicateWindowOptions options) {
  options.count = std::min(options.count, kMaxCount);
  if (options.count != 0) impl_ = std::make_unique<Impl>(options);
}
DuplicateWindow::DuplicateWindow(DuplicateWindow&&) noexcept = default;
DuplicateWindow& DuplicateWindow::operator=(DuplicateWindow&&) noexcept = default;
DuplicateWindow::~DuplicateWindow() = default;

bool DuplicateWindow::contains(const MessageId& id, std::uint64_t now_ns) const noexcept {
  if (impl_ == nullptr) return false;
  const std::uint32_t number = impl_->table[impl_->find(id)];
  return number != kNone && !impl_->over(impl_->entries[number], now_ns);
}

bool DuplicateWindow::insert(const MessageId& id, std::uint64_t now_ns) noexcept {
  if (impl_ == nullptr || id == MessageId{}) return true;
  const std::uint32_t place = impl_->find(id);
  if (const std::uint32_t number = impl_->table[place]; number != kNone) {
    if (!impl_->over(impl_->entries[number], now_ns)) return false;
    impl_->drop(place);
  }
  for (int i = 0; i < kDroppedAtOnce && impl_->oldest != kNone; ++i) {
    if (impl_->size != impl_->entries.size() &&
        !impl_->over(impl_->entries[impl_->oldest], now_ns)) {
      break;
    }
    impl_->drop_oldest();
  }
  impl_->add(id, now_ns);
  return true;
}

void DuplicateWindow::erase(const MessageId& id) noexcept {
  if (impl_ == nullptr) return;
  const std::uint32_t place = impl_->find(id);
  if (impl_->table[place] != kNone) impl_->drop(place);
}

std::size_t DuplicateWindow::size() const noexcept { return impl_ != nullptr ? impl_->size : 0; }

}  // namespace sluice
