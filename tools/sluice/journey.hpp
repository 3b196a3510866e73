// What became of one frame in every process: the spans of one correlation id put together. Pure.
#pragma once

#include "sluice/tracing.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tools {

/// The parts of one stage's work on a message, one after the other. A part that cannot be told from
/// the span's times is 0.
struct Hop {
  TraceSpan span;
  std::uint64_t begin_ns = 0;      ///< The input was published; of a source: captured.
  std::uint64_t waiting_ns = 0;    ///< Until it was taken.
  std::uint64_t handling_ns = 0;   ///< Until the last output was published, or the handler ended.
  std::uint64_t finishing_ns = 0;  ///< From there to the end of the handler.
  [[nodiscard]] std::uint64_t end_ns() const {
    return begin_ns + waiting_ns + handling_ns + finishing_ns;
  }
};
/// Times of other processes that contradict each other are taken as no time, never as a huge one.
Hop hop_of(const TraceSpan& span);

struct Journey {
  CorrelationId correlation;
  std::vector<Hop> hops;  ///< In the order in which they began.
  /// What the first of them is about: which camera's frame this is. Not cleaned.
  [[nodiscard]] std::string_view topic() const;
  [[nodiscard]] std::uint64_t begin_ns() const;
  [[nodiscard]] std::uint64_t end_ns() const;
  [[nodiscard]] std::uint64_t total_ns() const { return end_ns() - begin_ns(); }
};

/// Gathers spans, of any order, by correlation id; those without one are left out. Keeps the
/// newest `max_journeys`.
class Journeys {
 public:
  explicit Journeys(std::size_t max_journeys = 16'384) : max_(max_journeys) {}
  void add(const TraceSpan& span);
  [[nodiscard]] std::size_t size() const { return journeys_.size(); }
  /// In the order of their beginning.
  [[nodiscard]] std::vector<Journey> all() const;
  /// The slowest first.
  [[nodiscard]] std::vector<Journey> slowest(std::size_t count) const;
  /// Empty hops when there is none.
  [[nodiscard]] Journey find(const CorrelationId& correlation) const;

 private:
  struct Less {
    bool operator()(const CorrelationId& a, const CorrelationId& b) const {
      return a.high != b.high ? a.high < b.high : a.low < b.low;
    }
  };
  std::size_t max_;
  std::map<CorrelationId, Journey, Less> journeys_;
};

/// A line per hop with the times of its parts and a bar; at most `columns` wide.
std::string waterfall(const Journey& journey, std::size_t columns);
nlohmann::json to_json(const Journey& journey);
/// Per stage over all journeys: how many, and waiting and handling p50 and p99.
std::string stage_summary(const std::vector<Journey>& journeys);
nlohmann::json stage_summary_json(const std::vector<Journey>& journeys);
/// In the Trace Event Format that Perfetto and Chrome load: a process for each pid, a thread for
/// each node in it, a slice for each handling, an async slice for each wait, a flow for each
/// journey.
nlohmann::json chrome_trace(const std::vector<Journey>& journeys);

}  // namespace sluice::tools
