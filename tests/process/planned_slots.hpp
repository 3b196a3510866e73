// The proof that no slot of a stream is lost.
#pragma once

#include "tests/support/local_link.hpp"

#include <string>
#include <utility>
#include <vector>

namespace sluice::test {

/// Whether a stream without readers can still be filled as it was planned: one reader holds
/// `max_held` samples, the lanes are full and a loan is out for each. Empty, or what is wrong.
inline std::string find_lost_slots(LocalLink& link, const StreamOptions& planned) {
  shm::Publisher& publisher = link.publisher();
  publisher.reap();
  if (publisher.reader_count() != 0) return "a reader that has gone is still attached";
  auto attached =
      link.try_attach({.mode = DeliveryMode::next, .max_held = planned.max_held, .spin_ns = 0});
  if (!attached) return "what was granted has not come back: " + attached.error().message;
  shm::ReaderPtr holder = std::move(*attached);
  const auto publish = [&](std::size_t lane) {
    Loan loan = publisher.loan(8, static_cast<Priority>(lane));
    return loan && publisher.publish(std::move(loan)) == Outcome::ok;
  };
  std::vector<Sample> held;
  for (std::uint32_t i = 0; i < planned.max_held; ++i) {
    if (!publish(0)) return "a slot is lost: " + std::to_string(i) + " can be held";
    held.push_back(holder->take());
    if (!held.back()) return std::string("nothing to take: ") + to_string(held.back().outcome());
  }
  std::vector<Loan> loans;
  for (std::size_t lane = 0; lane < planned.lanes.size(); ++lane) {
    for (std::uint32_t i = 0; i + 1 < planned.lanes[lane].depth; ++i) {
      if (!publish(lane)) return "a slot is lost: a lane cannot be filled";
    }
  }
  for (std::size_t lane = 0; lane < planned.lanes.size() && lane < planned.max_loans; ++lane) {
    loans.push_back(publisher.loan(8, static_cast<Priority>(lane)));
    if (!loans.back()) return std::string("a slot is lost: ") + to_string(loans.back().outcome());
  }
  return {};
}

}  // namespace sluice::test
