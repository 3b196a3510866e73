// Shared counters as plain numbers.
#pragma once

#include "shm/layout.hpp"
#include "sluice/stats.hpp"

namespace sluice::transport {

StreamStats stats_of(const shm::PublisherCounters& counters, const shm::Histogram& intervals);

/// `waiting` and `held` are the caller's to add: they are not counters.
SubscriptionStats stats_of(const shm::ReaderCounters& counters, const shm::Histogram& age,
                           const shm::Histogram& processing);

/// Sums what can be summed; of the quantiles the larger.
void add(SubscriptionStats& total, const SubscriptionStats& part);

}  // namespace sluice::transport
