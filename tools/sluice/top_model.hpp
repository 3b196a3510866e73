// What `sluice top` shows, worked out from snapshots of the counters: pure, without a clock, a
// broker or a terminal.
//
// Snapshots go in with the time they were taken at; a table comes out: a row per stream, and in it
// a row per subscription that is attached to it, or that would be if it fitted. Rates are over the
// snapshots of a window that slides along; totals count from the last clear(), or from the start of
// the stream. Rows are of a stream id and a subscription id: a process that comes back has new
// ones, so its counters begin anew in rows of their own.
#pragma once

#include "sluice/monitor.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice::tools {

enum class StreamState {
  live,
  quiet,    ///< Nothing in the window, and nothing was to be expected.
  waiting,  ///< Nothing published yet.
  stalled,  ///< Nothing for three expected intervals.
  ended,    ///< By its publisher, or the publisher's death.
  stuck,    ///< Its process shows no sign of life.
  gone,     ///< Not there any more; shown for some seconds.
};
enum class ReaderState { busy, idle, asleep, stuck, unfit, gone };

const char* to_string(StreamState state);
const char* to_string(ReaderState state);

/// Whether a subscription takes nothing and only resolves references: its delivery mode says
/// nothing then, and what is published passes it by.
bool only_resolves(const SubscriptionStats& stats);

/// Why a subscription lost messages.
enum class Cause : std::size_t { policy, full, evicted, expired, invalid };
inline constexpr std::size_t kCauses = 5;
/// At most 4 characters: "skip", "late", "out", "old", "bad".
const char* short_name(Cause cause);
/// As in the documents and in JSON: "policy", "full", …
const char* name_of(Cause cause);
/// A sentence for people.
const char* meaning_of(Cause cause);

/// Two quantiles of what was measured in the window; nothing when nothing was.
struct Spread {
  std::uint64_t p50_ns = 0;
  std::uint64_t p99_ns = 0;
};

struct ReaderRow {
  std::uint64_t subscription_id = 0;
  std::string process;  ///< The node's name.
  std::uint32_t pid = 0;
  std::string filter;
  DeliveryMode mode = DeliveryMode::next;
  bool refs = false;  ///< Only resolves references: no queue, and nothing to lose.
  ReaderState state = ReaderState::idle;
  double rate_hz = 0;  ///< Taken.
  std::array<double, kCauses> lost_hz{};
  std::array<std::uint64_t, kCauses> lost{};  ///< In all.
  std::uint64_t taken = 0;                    ///< In all.
  std::uint64_t quota = 0;                    ///< Takes refused, in all.
  std::uint64_t waiting = 0;                  ///< What can still be taken.
  std::uint64_t resolved = 0;                 ///< In all.
  std::uint64_t held = 0;
  std::uint32_t max_held = 0;
  std::optional<std::uint64_t> oldest_held_ns;  ///< How long ago it was published.
  std::optional<Spread> age;
  std::optional<Spread> processing;
  std::optional<Spread> end_to_end;
  bool starves = false;  ///< Holds most of a pool that has run out of slots, or nearly.
  std::string sentence;  ///< Of what does not fit.

  [[nodiscard]] const char* mode_text() const { return refs ? "refs" : to_string(mode); }
  [[nodiscard]] double lost_per_second() const;
  [[nodiscard]] std::uint64_t lost_in_all() const;
  /// The cause of most of what was lost in the window.
  [[nodiscard]] std::optional<Cause> main_cause() const;
  /// Losses that nobody asked for: all but what `latest` skips.
  [[nodiscard]] bool loses() const;
};

struct StreamRow {
  std::uint64_t id = 0;
  std::string topic;
  std::string type_name;
  std::string process;
  std::uint32_t pid = 0;
  StreamState state = StreamState::live;
  SourceInfo source;  ///< The counts in all.
  double rate_hz = 0;
  std::optional<double> expected_hz;
  std::optional<std::uint64_t> silent_ns;  ///< Since the last message.
  std::optional<std::uint64_t> jitter_ns;  ///< Of the intervals, as in RFC 3550.
  std::optional<Spread> intervals;         ///< Between two messages; 12.5 % exact.
  std::optional<double> low_hz;  ///< The rate at the 99th percentile interval, at most rate_hz.
  double gaps_hz = 0;
  double bytes_per_second = 0;
  std::uint64_t published = 0;  ///< In all, and so the following.
  std::uint64_t bytes = 0;
  std::uint64_t no_slot = 0;
  std::uint64_t full = 0;
  std::uint64_t full_waits = 0;
  std::uint64_t overwritten = 0;
  std::uint64_t dropped = 0;  ///< No member of a group had a credit.
  std::uint64_t evicted = 0;
  std::uint64_t slots = 0;  ///< Now, and so the following.
  std::uint64_t slots_used = 0;
  std::uint64_t slots_committed = 0;
  std::uint64_t slots_lowest_free = 0;  ///< Since the stream was made.
  std::uint64_t slot_bytes = 0;
  std::uint64_t planned_bytes = 0;
  std::optional<Spread> publish_age;
  bool short_of_slots = false;  ///< In the window a loan found none, or the source had to drop.
  bool nearly_short = false;    ///< Hardly a slot is free, and one subscription holds most of them.
  std::vector<ReaderRow> readers;

  [[nodiscard]] double lost_per_second() const;  ///< Of all its subscriptions.
};

struct Table {
  std::uint64_t at_ns = 0;
  double window_s = 0;
  bool connected = false;
  double disconnected_s = 0;
  std::size_t nodes = 0;
  std::vector<StreamRow> streams;  ///< In the order of topic and process.
};

enum class SortKey { name, rate, drops, bytes, age, held };
const char* to_string(SortKey key);
/// Streams and the subscriptions in them; by name upwards, by figures downwards, `reversed` the
/// other way round. Equal ones stay in the order of their names.
void sort_table(Table& table, SortKey key, bool reversed);

class TopModel {
 public:
  explicit TopModel(std::uint64_t window_ns = 2'000'000'000) : window_ns_(window_ns) {}

  /// CLOCK_MONOTONIC; later than the one before.
  void add(Snapshot snapshot, std::uint64_t at_ns);
  /// Totals count from here on.
  void clear();
  [[nodiscard]] const Table& table() const { return table_; }

  static constexpr std::uint64_t kGoneForNs = 10'000'000'000;
  /// How long a broker that came back may take to learn everything again.
  static constexpr std::uint64_t kRejoinNs = 3'000'000'000;

 private:
  using Pair = std::pair<std::uint64_t, std::uint64_t>;  // stream, subscription
  struct Seen {
    std::uint64_t at_ns = 0;
    std::map<std::uint64_t, NodeInfo> nodes;
    std::map<std::uint64_t, StreamInfo> streams;
    std::map<Pair, AttachmentInfo> attachments;
    std::map<std::uint64_t, SubscriptionInfo> subscriptions;  // without attachments
    std::map<Pair, std::string> unfit;
  };
  struct Base {  // what clear() takes as zero
    std::map<std::uint64_t, std::pair<StreamStats, SourceInfo>> streams;
    std::map<Pair, SubscriptionStats> readers;
  };
  static Seen see(Snapshot snapshot, std::uint64_t at_ns);
  void carry_over(Seen& now) const;
  [[nodiscard]] StreamRow stream_row(const StreamInfo& info) const;
  [[nodiscard]] ReaderRow reader_row(const Pair& pair, const AttachmentInfo& info) const;
  [[nodiscard]] ReaderRow unfit_row(const Pair& pair, const std::string& sentence) const;
  void name_reader(ReaderRow& row, const Pair& pair) const;
  static void blame(StreamRow& row);
  [[nodiscard]] std::vector<StreamRow> rows() const;
  void add_gone(std::vector<StreamRow>& now);

  std::uint64_t window_ns_;
  std::deque<Seen> seen_;  // the newest last; the first is as old as the window, or younger
  Base base_;
  bool connected_ = false;
  std::uint64_t changed_ns_ = 0;  // when connected_ did
  std::uint64_t rejoin_until_ns_ = 0;
  std::map<std::uint64_t, std::pair<StreamRow, std::uint64_t>> gone_streams_;
  std::map<Pair, std::pair<ReaderRow, std::uint64_t>> gone_readers_;
  std::vector<StreamRow> last_rows_;  // without what is gone
  Table table_;
};

}  // namespace sluice::tools
