// The model keeps the snapshots of one window. A rate is the difference between the newest snapshot
// and the oldest one of the window that has the row at all, over the time between the two messages
// that were the last at either moment: a stream of 30 a second shows 30.0, not a count that depends
// on how messages and window fall together. When the last message lies longer back than that rate
// explains, the time between the snapshots counts, and the rate sinks towards zero.
//
// The counters of a row may go backwards only if something is wrong with them; what is then there
// counts as new. While the broker is down the monitor shows what was there; when it is back, it
// forgets all and is told anew, which takes some tenths of a second: rows that are not there yet
// are carried over so long. What is gone for good is shown as gone for some seconds, so that who
// looks sees that a process died, unless the same process is back under a new id.
#include "tools/sluice/top_model.hpp"

#include <algorithm>
#include <tuple>

namespace sluice::tools {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
// A machine that is busy delays a message; that alone is no stall.
constexpr std::uint64_t kLeastStallNs = 100'000'000;

std::uint64_t since(std::uint64_t now, std::uint64_t earlier) {
  return now >= earlier ? now - earlier : now;
}

double per_second(std::uint64_t count, std::uint64_t ns) {
  return ns != 0 ? static_cast<double>(count) * 1e9 / static_cast<double>(ns) : 0;
}

// A counter at two moments, and when it had last moved.
struct Moved {
  std::uint64_t count, last_ns, at_ns;
};

double rate_of(const Moved& earlier, const Moved& now) {
  const std::uint64_t count = since(now.count, earlier.count);
  const double plain = per_second(count, now.at_ns - earlier.at_ns);
  if (count == 0 || earlier.last_ns == 0 || now.last_ns <= earlier.last_ns) return plain;
  const double exact = per_second(count, now.last_ns - earlier.last_ns);
  const auto silent = static_cast<double>(now.at_ns - std::min(now.last_ns, now.at_ns));
  // "About" where a clock is read seldom: a rate far off the plain one is not believed.
  const bool believable =
      silent * exact < 2e9 && exact < 2 * plain + 4e9 / static_cast<double>(std::max<std::uint64_t>(
                                                            now.at_ns - earlier.at_ns, 1));
  return believable ? exact : plain;
}

std::optional<Spread> spread(const DurationCounts& now, const DurationCounts& earlier) {
  const DurationCounts counts = now.since(earlier);
  if (counts.total() == 0) return std::nullopt;
  return Spread{counts.quantile_ns(0.5), counts.quantile_ns(0.99)};
}

std::array<std::uint64_t, kCauses> losses(const SubscriptionStats& stats) {
  return {stats.lost_policy, stats.lost_full, stats.lost_evicted, stats.lost_expired,
          stats.lost_invalid};
}

// A subscription's distance to the newest message may be more than it can still get: `latest` gets
// one, and others what the stream's lanes hold. The rest is lost already, and counted at the next
// take.
std::uint64_t still_to_take(std::uint64_t behind, DeliveryMode mode, const StreamInfo& stream) {
  if (mode == DeliveryMode::latest) return std::min<std::uint64_t>(behind, 1);
  return std::min(behind, std::uint64_t{stream.depth} * stream.lanes);
}

bool by_name(const StreamRow& a, const StreamRow& b) {
  return std::tie(a.topic, a.process, a.id) < std::tie(b.topic, b.process, b.id);
}
bool by_process(const ReaderRow& a, const ReaderRow& b) {
  return std::tie(a.process, a.subscription_id) < std::tie(b.process, b.subscription_id);
}

double figure(const ReaderRow& row, SortKey key) {
  switch (key) {
    case SortKey::name:
      break;
    case SortKey::rate:
    case SortKey::bytes:
      return row.rate_hz;
    case SortKey::drops:
      return row.lost_per_second();
    case SortKey::age:
      return row.age ? static_cast<double>(row.age->p99_ns) : 0;
    case SortKey::held:
      return row.oldest_held_ns ? static_cast<double>(*row.oldest_held_ns) : 0;
  }
  return 0;
}

double figure(const StreamRow& row, SortKey key) {
  if (key == SortKey::rate) return row.rate_hz;
  if (key == SortKey::bytes) return row.bytes_per_second;
  if (key == SortKey::drops) return row.lost_per_second();
  double most = 0;
  for (const ReaderRow& reader : row.readers) most = std::max(most, figure(reader, key));
  return most;
}

template <class Row, class Less>
void sort_rows(std::vector<Row>& rows, SortKey key, bool reversed, Less by_name_of_row) {
  std::sort(rows.begin(), rows.end(), by_name_of_row);
  if (key != SortKey::name) {
    std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
      return reversed ? figure(a, key) < figure(b, key) : figure(a, key) > figure(b, key);
    });
  } else if (reversed) {
    std::reverse(rows.begin(), rows.end());
  }
}

}  // namespace

const char* to_string(StreamState state) {
  switch (state) {
    case StreamState::live:
      return "live";
    case StreamState::quiet:
      return "quiet";
    case StreamState::waiting:
      return "new";
    case StreamState::stalled:
      return "stalled";
    case StreamState::ended:
      return "ended";
    case StreamState::stuck:
      return "stuck";
    case StreamState::gone:
      return "gone";
  }
  return "?";
}

const char* to_string(ReaderState state) {
  switch (state) {
    case ReaderState::busy:
      return "busy";
    case ReaderState::idle:
      return "idle";
    case ReaderState::asleep:
      return "asleep";
    case ReaderState::stuck:
      return "stuck";
    case ReaderState::unfit:
      return "unfit";
    case ReaderState::gone:
      return "gone";
  }
  return "?";
}

bool only_resolves(const SubscriptionStats& stats) {
  return stats.taken == 0 && stats.resolved != 0;
}

const char* to_string(SortKey key) {
  switch (key) {
    case SortKey::name:
      return "name";
    case SortKey::rate:
      return "rate";
    case SortKey::drops:
      return "drops";
    case SortKey::bytes:
      return "MB/s";
    case SortKey::age:
      return "age";
    case SortKey::held:
      return "held";
  }
  return "?";
}

const char* short_name(Cause cause) {
  constexpr std::array kNames{"skip", "late", "out", "old", "bad"};
  return kNames.at(static_cast<std::size_t>(cause));
}

const char* name_of(Cause cause) {
  constexpr std::array kNames{"policy", "full", "evicted", "expired", "invalid"};
  return kNames.at(static_cast<std::size_t>(cause));
}

const char* meaning_of(Cause cause) {
  constexpr std::array kMeanings{
      "skipped for a newer one, as mode latest asks",
      "overwritten before it was taken: too slow for the stream's depth",
      "evicted: held too much or was too slow",
      "time to live passed before it was taken",
      "the descriptor failed validation: the publisher is broken",
  };
  return kMeanings.at(static_cast<std::size_t>(cause));
}

double ReaderRow::lost_per_second() const {
  double sum = 0;
  for (const double rate : lost_hz) sum += rate;
  return sum;
}

std::uint64_t ReaderRow::lost_in_all() const {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : lost) sum += count;
  return sum;
}

std::optional<Cause> ReaderRow::main_cause() const {
  const auto most = std::max_element(lost_hz.begin(), lost_hz.end());
  if (!(*most > 0)) return std::nullopt;
  return static_cast<Cause>(most - lost_hz.begin());
}

bool ReaderRow::loses() const {
  for (std::size_t i = 1; i < kCauses; ++i) {
    if (lost_hz[i] > 0) return true;
  }
  return lost_hz[0] > 0 && mode != DeliveryMode::latest;
}

double StreamRow::lost_per_second() const {
  double sum = 0;
  for (const ReaderRow& reader : readers) sum += reader.lost_per_second();
  return sum;
}

void sort_table(Table& table, SortKey key, bool reversed) {
  for (StreamRow& stream : table.streams) sort_rows(stream.readers, key, reversed, by_process);
  sort_rows(table.streams, key, reversed, by_name);
}

TopModel::Seen TopModel::see(Snapshot snapshot, std::uint64_t at_ns) {
  Seen seen;
  seen.at_ns = at_ns;
  for (NodeInfo& node : snapshot.nodes) seen.nodes[node.id] = std::move(node);
  for (StreamInfo& stream : snapshot.streams) seen.streams[stream.id] = std::move(stream);
  for (SubscriptionInfo& subscription : snapshot.subscriptions) {
    for (AttachmentInfo& attachment : subscription.attachments) {
      seen.attachments[{attachment.stream_id, subscription.id}] = attachment;
    }
    subscription.attachments.clear();
    seen.subscriptions[subscription.id] = std::move(subscription);
  }
  for (UnfitInfo& unfit : snapshot.unfit) {
    seen.unfit[{unfit.stream_id, unfit.subscription_id}] = std::move(unfit.sentence);
  }
  return seen;
}

// What was there a moment ago and is not there now, because a new broker does not know it yet.
void TopModel::carry_over(Seen& now) const {
  const Seen& before = seen_.back();
  now.nodes.insert(before.nodes.begin(), before.nodes.end());
  now.streams.insert(before.streams.begin(), before.streams.end());
  now.attachments.insert(before.attachments.begin(), before.attachments.end());
  now.subscriptions.insert(before.subscriptions.begin(), before.subscriptions.end());
  for (const auto& [pair, sentence] : before.unfit) {
    if (now.attachments.count(pair) == 0) now.unfit.emplace(pair, sentence);
  }
}

void TopModel::add(Snapshot snapshot, std::uint64_t at_ns) {
  if (seen_.empty() || snapshot.broker_connected != connected_) changed_ns_ = at_ns;
  const bool first = seen_.empty();
  if (!first && snapshot.broker_connected && !connected_) rejoin_until_ns_ = at_ns + kRejoinNs;
  connected_ = snapshot.broker_connected;
  Seen now = see(std::move(snapshot), at_ns);
  if (!first && (!connected_ || at_ns < rejoin_until_ns_)) carry_over(now);
  seen_.push_back(std::move(now));
  while (seen_.size() > 2 && at_ns - seen_[1].at_ns >= window_ns_) seen_.pop_front();

  table_ = {};
  table_.at_ns = at_ns;
  table_.connected = connected_;
  if (!connected_) table_.disconnected_s = static_cast<double>(at_ns - changed_ns_) / 1e9;
  table_.window_s = static_cast<double>(at_ns - seen_.front().at_ns) / 1e9;
  table_.nodes = seen_.back().nodes.size();
  table_.streams = rows();
  add_gone(table_.streams);
  std::sort(table_.streams.begin(), table_.streams.end(), by_name);
}

void TopModel::clear() {
  base_ = {};
  if (seen_.empty()) return;
  for (const auto& [id, stream] : seen_.back().streams) {
    base_.streams[id] = {stream.stats, stream.source};
  }
  for (const auto& [pair, attachment] : seen_.back().attachments) {
    base_.readers[pair] = attachment.stats;
  }
  gone_streams_.clear();
  gone_readers_.clear();
}

std::vector<StreamRow> TopModel::rows() const {
  const Seen& now = seen_.back();
  std::map<std::uint64_t, StreamRow> rows;
  for (const auto& [id, info] : now.streams) rows[id] = stream_row(info);
  for (const auto& [pair, info] : now.attachments) {
    const auto row = rows.find(pair.first);
    if (row != rows.end()) row->second.readers.push_back(reader_row(pair, info));
  }
  for (const auto& [pair, sentence] : now.unfit) {
    const auto row = rows.find(pair.first);
    if (row != rows.end()) row->second.readers.push_back(unfit_row(pair, sentence));
  }
  std::vector<StreamRow> all;
  for (auto& [id, row] : rows) {
    std::sort(row.readers.begin(), row.readers.end(), by_process);
    blame(row);
    all.push_back(std::move(row));
  }
  return all;
}

StreamRow TopModel::stream_row(const StreamInfo& info) const {
  const Seen& now = seen_.back();
  StreamRow row;
  row.id = info.id;
  row.topic = info.topic;
  row.type_name = info.type_name;
  row.source = info.source;
  row.slots = info.stats.slots;
  row.slots_used = info.stats.slots_in_use;
  row.slots_committed = info.stats.slots_committed;
  row.slots_lowest_free = row.slots - std::min(row.slots, info.stats.slots_in_use_most);
  row.slot_bytes = info.slot_bytes;
  row.planned_bytes = info.planned_bytes;
  bool stuck = false;
  if (const auto node = now.nodes.find(info.node_id); node != now.nodes.end()) {
    row.process = node->second.name;
    row.pid = node->second.pid;
    stuck = node->second.stuck;
  }

  const auto base = base_.streams.find(info.id);
  const auto [zero, zero_source] =
      base != base_.streams.end() ? base->second : std::pair<StreamStats, SourceInfo>{};
  row.published = since(info.stats.published, zero.published);
  row.bytes = since(info.stats.bytes, zero.bytes);
  row.no_slot = since(info.stats.no_slot, zero.no_slot);
  row.full = since(info.stats.full, zero.full);
  row.full_waits = since(info.stats.full_waits, zero.full_waits);
  row.overwritten = since(info.stats.overwritten, zero.overwritten);
  row.dropped = since(info.stats.dropped, zero.dropped);
  row.evicted = since(info.stats.evicted, zero.evicted);
  row.source.gaps = since(info.source.gaps, zero_source.gaps);
  row.source.reconnects = since(info.source.reconnects, zero_source.reconnects);
  row.source.copies = since(info.source.copies, zero_source.copies);
  row.source.dropped = since(info.source.dropped, zero_source.dropped);

  if (info.source.expected_interval_ns != 0) {
    row.expected_hz = 1e9 / static_cast<double>(info.source.expected_interval_ns);
  }
  const std::uint64_t last = info.stats.last_publish_ns;
  if (last != 0) row.silent_ns = now.at_ns - std::min(last, now.at_ns);

  bool moved = false;
  for (const Seen& earlier : seen_) {
    const auto at = earlier.streams.find(info.id);
    if (at == earlier.streams.end() || &earlier == &now) continue;
    const StreamInfo& then = at->second;
    const std::uint64_t span = now.at_ns - earlier.at_ns;
    row.rate_hz = rate_of({then.stats.published, then.stats.last_publish_ns, earlier.at_ns},
                          {info.stats.published, last, now.at_ns});
    moved = info.stats.published != then.stats.published;
    const std::uint64_t count = since(info.stats.published, then.stats.published);
    if (count != 0) {
      row.bytes_per_second = row.rate_hz *
                             static_cast<double>(since(info.stats.bytes, then.stats.bytes)) /
                             static_cast<double>(count);
    }
    row.gaps_hz = per_second(since(info.source.gaps, then.source.gaps), span);
    row.intervals = spread(info.intervals, then.intervals);
    if (row.intervals) row.jitter_ns = info.stats.jitter_ns;
    // The slowest cannot be above the mean; where it would be, that is the buckets' error.
    if (row.intervals && row.intervals->p99_ns != 0) {
      row.low_hz = std::min(1e9 / static_cast<double>(row.intervals->p99_ns), row.rate_hz);
    }
    row.publish_age = spread(info.publish_age, then.publish_age);
    row.short_of_slots = since(info.stats.no_slot, then.stats.no_slot) != 0 ||
                         since(info.source.dropped, then.source.dropped) != 0;
    break;
  }

  const std::uint64_t patience = std::max(3 * info.source.expected_interval_ns, kLeastStallNs);
  if (info.ended) {
    row.state = StreamState::ended;
  } else if (stuck) {
    row.state = StreamState::stuck;
  } else if (info.stats.published == 0) {
    row.state = StreamState::waiting;
  } else if (info.source.expected_interval_ns != 0) {
    const bool silent = row.silent_ns ? *row.silent_ns > patience
                                      : !moved && now.at_ns - seen_.front().at_ns > patience;
    row.state = silent ? StreamState::stalled : StreamState::live;
  } else {
    const bool recent = row.silent_ns ? *row.silent_ns < window_ns_ : moved;
    row.state = moved || recent ? StreamState::live : StreamState::quiet;
  }
  return row;
}

void TopModel::name_reader(ReaderRow& row, const Pair& pair) const {
  const Seen& now = seen_.back();
  row.subscription_id = pair.second;
  const auto subscription = now.subscriptions.find(pair.second);
  if (subscription == now.subscriptions.end()) return;
  row.filter = subscription->second.filter;
  row.mode = subscription->second.mode;
  const auto node = now.nodes.find(subscription->second.node_id);
  if (node == now.nodes.end()) return;
  row.process = node->second.name;
  row.pid = node->second.pid;
  if (node->second.stuck) row.state = ReaderState::stuck;
}

ReaderRow TopModel::reader_row(const Pair& pair, const AttachmentInfo& info) const {
  const Seen& now = seen_.back();
  ReaderRow row;
  name_reader(row, pair);
  row.refs = only_resolves(info.stats);
  if (const auto stream = now.streams.find(pair.first); stream != now.streams.end() && !row.refs) {
    row.waiting = still_to_take(info.stats.waiting, row.mode, stream->second);
  }
  row.held = info.stats.held;
  row.max_held = info.max_held;
  if (info.stats.held != 0 && info.oldest_held_ns != 0) {
    row.oldest_held_ns = now.at_ns - std::min(info.oldest_held_ns, now.at_ns);
  }
  const auto base = base_.readers.find(pair);
  const SubscriptionStats zero = base != base_.readers.end() ? base->second : SubscriptionStats{};
  row.taken = since(info.stats.taken, zero.taken);
  row.resolved = since(info.stats.resolved, zero.resolved);
  row.quota = since(info.stats.quota, zero.quota);
  const auto lost_now = row.refs ? std::array<std::uint64_t, kCauses>{} : losses(info.stats);
  for (std::size_t i = 0; i < kCauses; ++i) row.lost[i] = since(lost_now[i], losses(zero)[i]);

  for (const Seen& earlier : seen_) {
    const auto at = earlier.attachments.find(pair);
    if (at == earlier.attachments.end() || &earlier == &now) continue;
    const AttachmentInfo& then = at->second;
    const std::uint64_t span = now.at_ns - earlier.at_ns;
    row.rate_hz = rate_of({then.stats.taken, then.last_take_ns, earlier.at_ns},
                          {info.stats.taken, info.last_take_ns, now.at_ns});
    const auto lost_then = losses(then.stats);
    for (std::size_t i = 0; i < kCauses; ++i) {
      row.lost_hz[i] = per_second(since(lost_now[i], lost_then[i]), span);
    }
    row.age = spread(info.age, then.age);
    row.processing = spread(info.processing, then.processing);
    row.end_to_end = spread(info.end_to_end, then.end_to_end);
    break;
  }
  if (row.state == ReaderState::stuck) return row;
  row.state = info.asleep                        ? ReaderState::asleep
              : row.held != 0 || row.rate_hz > 0 ? ReaderState::busy
                                                 : ReaderState::idle;
  return row;
}

ReaderRow TopModel::unfit_row(const Pair& pair, const std::string& sentence) const {
  ReaderRow row;
  name_reader(row, pair);
  row.state = ReaderState::unfit;
  row.sentence = sentence;
  return row;
}

// Who holds most of a pool that has run out; of equals, who holds longest. A pool with hardly a
// free slot is worth a word too when one subscription alone holds most of it: entries that wait
// fill many a pool, and that is as it should be.
void TopModel::blame(StreamRow& row) {
  const auto most = std::max_element(
      row.readers.begin(), row.readers.end(), [](const ReaderRow& a, const ReaderRow& b) {
        return std::tuple(a.held, a.oldest_held_ns) < std::tuple(b.held, b.oldest_held_ns);
      });
  if (most == row.readers.end() || most->held == 0) return;
  row.nearly_short = !row.short_of_slots && row.slots_used >= row.slots - row.slots / 10 &&
                     most->held > row.slots / 2;
  most->starves = row.short_of_slots || row.nearly_short;
}

void TopModel::add_gone(std::vector<StreamRow>& now) {
  const std::uint64_t at_ns = seen_.back().at_ns;
  const auto same = [](std::vector<StreamRow>& rows, std::uint64_t id) {
    return std::find_if(rows.begin(), rows.end(), [id](const StreamRow& r) { return r.id == id; });
  };
  const auto same_reader = [](const StreamRow& row, std::uint64_t id) {
    return std::find_if(row.readers.begin(), row.readers.end(),
                        [id](const ReaderRow& r) { return r.subscription_id == id; });
  };
  // What was there the last time, and is not now.
  for (StreamRow& before : last_rows_) {
    const auto row = same(now, before.id);
    if (row == now.end()) {
      before.readers.clear();
      before.state = StreamState::gone;
      before.rate_hz = before.bytes_per_second = before.gaps_hz = 0;
      before.jitter_ns.reset();
      before.low_hz.reset();
      before.publish_age.reset();
      before.short_of_slots = before.nearly_short = false;
      before.intervals.reset();
      gone_streams_[before.id] = {std::move(before), at_ns};
      continue;
    }
    for (ReaderRow& reader : before.readers) {
      if (same_reader(*row, reader.subscription_id) != row->readers.end()) continue;
      if (reader.state == ReaderState::unfit) continue;  // a sentence that holds no more
      reader.state = ReaderState::gone;
      reader.rate_hz = 0;
      reader.lost_hz = {};
      reader.waiting = reader.held = 0;
      reader.oldest_held_ns.reset();
      reader.age.reset();
      reader.processing.reset();
      reader.end_to_end.reset();
      reader.starves = false;
      gone_readers_[{row->id, reader.subscription_id}] = {std::move(reader), at_ns};
    }
  }
  last_rows_ = now;

  // A process that is back under a new id explains what became of the old one.
  std::erase_if(gone_streams_, [&](const auto& gone) {
    const auto& [row, since_ns] = gone.second;
    return at_ns - since_ns > kGoneForNs ||
           std::any_of(now.begin(), now.end(), [&row = row](const StreamRow& r) {
             return r.id == row.id || (r.topic == row.topic && r.process == row.process &&
                                       r.state != StreamState::ended);
           });
  });
  std::erase_if(gone_readers_, [&](const auto& gone) {
    const auto& [row, since_ns] = gone.second;
    const auto stream = same(now, gone.first.first);
    return at_ns - since_ns > kGoneForNs || stream == now.end() ||
           std::any_of(
               stream->readers.begin(), stream->readers.end(), [&row = row](const ReaderRow& r) {
                 return r.subscription_id == row.subscription_id ||
                        (r.process == row.process && r.filter == row.filter && r.pid != row.pid);
               });
  });
  for (const auto& [pair, gone] : gone_readers_) {
    same(now, pair.first)->readers.push_back(gone.first);
  }
  for (const auto& [id, gone] : gone_streams_) now.push_back(gone.first);
}

}  // namespace sluice::tools
