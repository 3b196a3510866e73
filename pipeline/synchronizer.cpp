// Joining streams.
//
// Each input has a queue of messages whose partners have not come yet. A message that comes in
// looks for one of every other input. By correlation that is the oldest with the same id. By time a
// set is allowed when its newest and its oldest lie no further apart than the tolerance; of all
// sets with the new message the one whose members lie nearest to it is taken. Such a set has an
// oldest member, so it is enough to try every message that is not newer than the new one as the
// oldest, and to take from each input what is nearest within the tolerance of that. Queues are
// short.
#include "sluice/synchronizer.hpp"

#include "shm/clock.hpp"

#include <algorithm>
#include <deque>
#include <utility>

namespace sluice {
namespace {

struct Waiting {
  Sample sample;
  std::uint64_t since_ns = 0;
};
using Queue = std::deque<Waiting>;

std::uint64_t distance(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : b - a; }

std::uint64_t origin_of(const Sample& sample) { return sample.info().origin_ns; }

// A place in each queue but the one of the message that looks.
struct Choice {
  std::vector<std::size_t> places;
  std::uint64_t distance = 0;  // summed up
};

}  // namespace

struct Synchronizer::Impl {
  [[nodiscard]] std::optional<Choice> choose(std::size_t index, const Sample& sample) const;
  [[nodiscard]] std::optional<Choice> same_correlation(std::size_t index,
                                                       const CorrelationId& id) const;
  [[nodiscard]] std::optional<Choice> not_before(std::size_t index, std::uint64_t origin,
                                                 std::uint64_t oldest) const;
  void give_up(Queue& queue) {
    queue.pop_front();
    ++stats.given_up;
  }

  SynchronizerOptions options;
  std::vector<Queue> queues;
  SynchronizerStats stats;
};

Synchronizer::Synchronizer(SynchronizerOptions options) : impl_(std::make_unique<Impl>()) {
  options.inputs = std::clamp<std::size_t>(options.inputs, 2, 16);
  options.capacity = std::clamp<std::size_t>(options.capacity, 1, 4'096);
  impl_->options = options;
  impl_->queues.resize(options.inputs);
}
Synchronizer::Synchronizer(Synchronizer&&) noexcept = default;
Synchronizer& Synchronizer::operator=(Synchronizer&&) noexcept = default;
Synchronizer::~Synchronizer() = default;

std::optional<std::vector<Sample>> Synchronizer::add(std::size_t index, Sample sample) {
  Impl& s = *impl_;
  const std::uint64_t now = shm::now_ns();
  if (s.options.patience_ns != 0) expire(now);
  if (!sample) return std::nullopt;
  if (index >= s.queues.size()) {
    ++s.stats.given_up;
    return std::nullopt;
  }
  auto choice = s.choose(index, sample);
  if (!choice) {
    Queue& queue = s.queues[index];
    if (queue.size() == s.options.capacity) s.give_up(queue);
    queue.push_back({std::move(sample), now});
    return std::nullopt;
  }
  std::vector<Sample> set(s.queues.size());
  set[index] = std::move(sample);
  for (std::size_t i = 0; i < s.queues.size(); ++i) {
    if (i == index) continue;
    const auto at = s.queues[i].begin() + static_cast<std::ptrdiff_t>(choice->places[i]);
    set[i] = std::move(at->sample);
    s.queues[i].erase(at);
  }
  ++s.stats.joined;
  return set;
}

void Synchronizer::expire(std::uint64_t now_ns) {
  const std::uint64_t patience = impl_->options.patience_ns;
  if (patience == 0) return;
  for (Queue& queue : impl_->queues) {
    while (!queue.empty() && now_ns > queue.front().since_ns &&
           now_ns - queue.front().since_ns > patience) {
      impl_->give_up(queue);
    }
  }
}

SynchronizerStats Synchronizer::stats() const noexcept { return impl_->stats; }

std::size_t Synchronizer::waiting() const noexcept {
  std::size_t count = 0;
  for (const Queue& queue : impl_->queues) count += queue.size();
  return count;
}

std::optional<Choice> Synchronizer::Impl::choose(std::size_t index, const Sample& sample) const {
  if (options.tolerance_ns == 0) return same_correlation(index, sample.info().correlation);
  const std::uint64_t origin = origin_of(sample);
  auto best = not_before(index, origin, origin);
  for (const Queue& queue : queues) {
    if (&queue == &queues[index]) continue;
    for (const Waiting& other : queue) {
      const std::uint64_t oldest = origin_of(other.sample);
      if (oldest >= origin || origin - oldest > options.tolerance_ns) continue;
      auto choice = not_before(index, origin, oldest);
      // Of two that are as near, the older: its time runs out.
      if (choice && (!best || choice->distance <= best->distance)) best = std::move(choice);
    }
  }
  return best;
}

std::optional<Choice> Synchronizer::Impl::same_correlation(std::size_t index,
                                                           const CorrelationId& id) const {
  if (id == CorrelationId{}) return std::nullopt;  // belongs to nothing
  Choice choice{std::vector<std::size_t>(queues.size()), 0};
  for (std::size_t i = 0; i < queues.size(); ++i) {
    if (i == index) continue;
    const auto at = std::find_if(queues[i].begin(), queues[i].end(), [&](const Waiting& waiting) {
      return waiting.sample.info().correlation == id;
    });
    if (at == queues[i].end()) return std::nullopt;
    choice.places[i] = static_cast<std::size_t>(at - queues[i].begin());
  }
  return choice;
}

// The nearest of each other input among those from `oldest` on, within the tolerance of it.
std::optional<Choice> Synchronizer::Impl::not_before(std::size_t index, std::uint64_t origin,
                                                     std::uint64_t oldest) const {
  Choice choice{std::vector<std::size_t>(queues.size()), 0};
  for (std::size_t i = 0; i < queues.size(); ++i) {
    if (i == index) continue;
    std::optional<std::uint64_t> nearest;
    for (std::size_t place = 0; place < queues[i].size(); ++place) {
      const std::uint64_t at = origin_of(queues[i][place].sample);
      if (at < oldest || at - oldest > options.tolerance_ns) continue;
      if (nearest && *nearest <= distance(at, origin)) continue;
      nearest = distance(at, origin);
      choice.places[i] = place;
    }
    if (!nearest) return std::nullopt;
    choice.distance += *nearest;
  }
  return choice;
}

}  // namespace sluice
