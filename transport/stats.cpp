#include "transport/stats.hpp"

#include "shm/histogram.hpp"

#include <algorithm>

namespace sluice::transport {
namespace {

std::uint64_t get(const shm::Word64& word) {
  // relaxed: counters
  return word.load(std::memory_order_relaxed);
}

}  // namespace

StreamStats stream_stats(const std::byte* control) noexcept {
  const auto& c =
      *reinterpret_cast<const shm::PublisherCounters*>(control + shm::kPublisherCountersOffset);
  const auto& intervals = *reinterpret_cast<const shm::Histogram*>(control + shm::kIntervalsOffset);
  StreamStats s;
  s.published = get(c.published);
  s.bytes = get(c.bytes);
  s.wakes = get(c.wakes);
  s.overwritten = get(c.overwritten);
  s.no_slot = get(c.no_slot);
  s.full = get(c.full);
  s.full_waits = get(c.full_waits);
  s.dropped = get(c.dropped);
  s.evicted = get(c.evicted);
  s.slots_committed = get(c.slots_committed);
  s.slots_in_use = get(c.slots_in_use);
  s.slots_in_use_most = get(c.slots_in_use_most);
  const DurationCounts counts = shm::counts_of(intervals);
  s.interval_p50_ns = counts.quantile_ns(0.50);
  s.interval_p99_ns = counts.quantile_ns(0.99);
  s.jitter_ns = get(c.jitter_ns);
  s.last_publish_ns = get(c.last_publish_ns);
  return s;
}

SourceInfo source_of(const std::byte* control) noexcept {
  const auto& line = *reinterpret_cast<const shm::SourceLine*>(control + shm::kSourceOffset);
  SourceInfo source;
  source.expected_interval_ns = get(line.expected_interval_ns);
  source.gaps = get(line.gaps);
  source.reconnects = get(line.reconnects);
  source.copies = get(line.copies);
  source.dropped = get(line.dropped);
  source.fourcc = static_cast<std::uint32_t>(get(line.fourcc));
  const std::uint64_t size = get(line.size);
  source.width = static_cast<std::uint32_t>(size);
  source.height = static_cast<std::uint32_t>(size >> 32);
  return source;
}

SubscriptionStats stats_of(const shm::ReaderPage& page) noexcept {
  const shm::ReaderCounters& c = page.counters;
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
  s.bytes = get(c.bytes);
  s.acknowledged = get(c.acknowledged);
  s.rejected = get(c.rejected);
  s.sleeps = get(c.sleeps);
  s.resolved = get(c.resolved);
  s.unresolved = get(c.unresolved);
  s.quota = get(c.quota);
  const auto quantiles = [](const shm::Histogram& histogram, std::uint64_t& p50,
                            std::uint64_t& p99) {
    const DurationCounts counts = shm::counts_of(histogram);
    p50 = counts.quantile_ns(0.50);
    p99 = counts.quantile_ns(0.99);
  };
  quantiles(page.age, s.age_p50_ns, s.age_p99_ns);
  quantiles(page.processing, s.processing_p50_ns, s.processing_p99_ns);
  quantiles(page.end_to_end, s.end_to_end_p50_ns, s.end_to_end_p99_ns);
  return s;
}

void add(SubscriptionStats& total, const SubscriptionStats& part) {
  total.taken += part.taken;
  total.lost_policy += part.lost_policy;
  total.lost_full += part.lost_full;
  total.lost_evicted += part.lost_evicted;
  total.lost_expired += part.lost_expired;
  total.lost_invalid += part.lost_invalid;
  total.waiting += part.waiting;
  total.held += part.held;
  total.bytes += part.bytes;
  total.acknowledged += part.acknowledged;
  total.rejected += part.rejected;
  total.sleeps += part.sleeps;
  total.age_p50_ns = std::max(total.age_p50_ns, part.age_p50_ns);
  total.age_p99_ns = std::max(total.age_p99_ns, part.age_p99_ns);
  total.processing_p50_ns = std::max(total.processing_p50_ns, part.processing_p50_ns);
  total.processing_p99_ns = std::max(total.processing_p99_ns, part.processing_p99_ns);
  total.end_to_end_p50_ns = std::max(total.end_to_end_p50_ns, part.end_to_end_p50_ns);
  total.end_to_end_p99_ns = std::max(total.end_to_end_p99_ns, part.end_to_end_p99_ns);
  total.resolved += part.resolved;
  total.unresolved += part.unresolved;
  total.quota += part.quota;
}

}  // namespace sluice::transport
