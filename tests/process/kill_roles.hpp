// The cast of the kill tests.
//
// The survivor publishes `frames`, `events` (an event holds a frame) and `tasks` (for a group that
// both are in), and reads `results` and `orders`. The victim does everything that can be done: it
// reads frames in each delivery mode, resolves what events hold, does or rejects tasks, publishes
// results that hold frames (a publisher that evicts) and orders (a publisher that waits), joins,
// leaves and is joined. So every kill point lies on its way, and it dies as a reader and as a
// publisher at once.
//
//   survivor  ── frames, events, tasks ──►  victim
//             ◄── results, orders ─────────
//
// Two sockets: over one the victim asks to read, over the other the survivor does.
#pragma once

#include "shm/layout.hpp"
#include "shm/reader.hpp"
#include "sluice/loan.hpp"
#include "tests/process/pattern.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace sluice::test {

inline constexpr int kVictimAsks = 3;    // descriptor in the victim
inline constexpr int kSurvivorAsks = 4;  // descriptor in the victim

enum class Topic : std::uint8_t {
  frames = 1,
  events = 2,
  results = 3,
  orders = 4,
  tasks = 5,
  leave = 9
};

/// What one side wants of the other.
struct Ask {
  Topic topic;
};

/// Both are members.
inline SubscriptionOptions crew() {
  return {.mode = DeliveryMode::group, .max_held = 4, .spin_ns = 0, .group = "crew", .credits = 4};
}

/// What the survivor is to do to the victim.
struct Plan {
  std::string point;  // die there, …
  long visit = 1;     // … when it is reached this often; no point: as `harm` says
  enum class Harm : std::uint8_t { none, kill, stop } harm = Harm::none;
  unsigned seed = 1;
};

/// Exit codes of the survivor.
inline constexpr int kProven = 0;
inline constexpr int kBroken = 1;
inline constexpr int kNotReached = 77;  // all is well, but the point was not visited so often

int survive(const Plan& plan);
int be_victim(unsigned seed);

/// Frames, events and the others carry a pattern; correlation.low is its serial.
inline void fill(Loan& loan, Topic topic, std::uint64_t serial) {
  fill_pattern(loan.bytes(), static_cast<std::uint64_t>(topic), serial);
  loan.headers.correlation.low = serial;
}
inline bool is_whole(const Sample& sample, Topic topic) {
  return has_pattern(sample.bytes(), static_cast<std::uint64_t>(topic),
                     sample.info().correlation.low);
}

/// Where the next message of each lane is expected, as the reader's own page says.
inline std::uint64_t passed_by(const shm::Reader& reader) {
  const auto* page = reinterpret_cast<const shm::ReaderPage*>(
      reinterpret_cast<const std::byte*>(&reader.counters()) - offsetof(shm::ReaderPage, counters));
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < reader.geometry().lane_count; ++i) sum += page->cursor[i].load();
  return sum;
}

inline std::uint64_t lost_by(const shm::Reader& reader) {
  std::uint64_t sum = 0;
  for (const shm::Word64& cause : reader.counters().lost) sum += cause.load();
  return sum;
}

}  // namespace sluice::test
