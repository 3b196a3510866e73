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

StreamStats stats_of(const shm::PublisherCounters& c, const shm::Histogram& intervals) {
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
  s.interval_p50_ns = shm::histogram_quantile_ns(intervals, 0.50);
  s.interval_p99_ns = shm::histogram_quantile_ns(intervals, 0.99);
  return s;
}

SubscriptionStats stats_of(const shm::ReaderCounters& c, const shm::Histogram& age,
                           const shm::Histogram& processing) {
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
  s.sleeps = get(c.sleeps);
  s.age_p50_ns = shm::histogram_quantile_ns(age, 0.50);
  s.age_p99_ns = shm::histogram_quantile_ns(age, 0.99);
  s.processing_p50_ns = shm::histogram_quantile_ns(processing, 0.50);
  s.processing_p99_ns = shm::histogram_quantile_ns(processing, 0.99);
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
  total.sleeps += part.sleeps;
  total.age_p50_ns = std::max(total.age_p50_ns, part.age_p50_ns);
  total.age_p99_ns = std::max(total.age_p99_ns, part.age_p99_ns);
  total.processing_p50_ns = std::max(total.processing_p50_ns, part.processing_p50_ns);
  total.processing_p99_ns = std::max(total.processing_p99_ns, part.processing_p99_ns);
}

}  // namespace sluice::transport
