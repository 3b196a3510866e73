// What the shared counters say, as the public structs.
#pragma once

#include "shm/layout.hpp"
#include "sluice/stats.hpp"

namespace sluice::transport {

/// Of a control segment whose geometry was verified. `slots` is left 0.
StreamStats stream_stats(const std::byte* control) noexcept;
SourceInfo source_of(const std::byte* control) noexcept;

/// What the reader's page says; `waiting` and `held` are left 0.
SubscriptionStats stats_of(const shm::ReaderPage& page) noexcept;

/// Sums; of the quantiles the largest.
void add(SubscriptionStats& total, const SubscriptionStats& part);

}  // namespace sluice::transport
