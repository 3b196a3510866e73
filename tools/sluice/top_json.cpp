// Every figure stands under a name that ends in its unit. What was not measured is null, never 0.
#include "tools/sluice/top_json.hpp"

#include "tools/sluice/text.hpp"

#include <array>
#include <cmath>
#include <cstdio>

namespace sluice::tools {
namespace {

using nlohmann::json;

double rounded(double value) { return std::round(value * 1000) / 1000; }

json ms(const std::optional<std::uint64_t>& ns) {
  return ns ? json(rounded(static_cast<double>(*ns) / 1e6)) : json();
}

void put(json& object, const std::string& name, const std::optional<Spread>& spread) {
  const auto value = [&](std::uint64_t Spread::*which) {
    return ms(spread ? std::optional((*spread).*which) : std::nullopt);
  };
  object[name + "_p50_ms"] = value(&Spread::p50_ns);
  object[name + "_p99_ms"] = value(&Spread::p99_ns);
}

json reader_json(const ReaderRow& row) {
  json lost;
  json lost_hz;
  for (std::size_t i = 0; i < kCauses; ++i) {
    lost[name_of(static_cast<Cause>(i))] = row.lost[i];
    lost_hz[name_of(static_cast<Cause>(i))] = rounded(row.lost_hz[i]);
  }
  json all{
      {"id", id_text(row.subscription_id)},
      {"process", row.process},
      {"pid", row.pid},
      {"filter", row.filter},
      {"mode", row.mode_text()},
      {"state", to_string(row.state)},
      {"rate_hz", rounded(row.rate_hz)},
      {"taken", row.taken},
      {"resolved", row.resolved},
      {"lost", std::move(lost)},
      {"lost_hz", std::move(lost_hz)},
      {"lost_total", row.lost_in_all()},
      {"waiting", row.refs ? json() : json(row.waiting)},
      {"held", row.held},
      {"max_held", row.max_held},
      {"oldest_held_ms", ms(row.oldest_held_ns)},
      {"quota_refused", row.quota},
      {"starves_the_pool", row.starves},
  };
  put(all, "age", row.age);
  put(all, "processing", row.processing);
  put(all, "end_to_end", row.end_to_end);
  if (!row.sentence.empty()) all["sentence"] = row.sentence;
  return all;
}

json stream_json(const StreamRow& row) {
  json readers = json::array();
  for (const ReaderRow& reader : row.readers) readers.push_back(reader_json(reader));
  json all{
      {"id", id_text(row.id)},
      {"topic", row.topic},
      {"type", row.type_name},
      {"process", row.process},
      {"pid", row.pid},
      {"state", to_string(row.state)},
      {"format", row.source.fourcc != 0 ? json(format_text(row.source.fourcc)) : json()},
      {"width", row.source.width},
      {"height", row.source.height},
      {"rate_hz", rounded(row.rate_hz)},
      {"expected_hz", row.expected_hz ? json(rounded(*row.expected_hz)) : json()},
      {"silent_ms", ms(row.silent_ns)},
      {"jitter_ms", ms(row.jitter_ns)},
      {"low_1pct_hz", row.low_hz ? json(rounded(*row.low_hz)) : json()},
      {"gaps", row.source.gaps},
      {"gaps_hz", rounded(row.gaps_hz)},
      {"source_dropped", row.source.dropped},
      {"source_reconnects", row.source.reconnects},
      {"copies", row.source.copies},
      {"mb_per_s", rounded(row.bytes_per_second / 1e6)},
      {"published", row.published},
      {"bytes", row.bytes},
      {"slots_total", row.slots},
      {"slots_used", row.slots_used},
      {"slots_committed", row.slots_committed},
      {"slots_lowest_free", row.slots_lowest_free},
      {"no_slot", row.no_slot},
      {"short_of_slots", row.short_of_slots},
      {"nearly_short_of_slots", row.nearly_short},
      {"full", row.full},
      {"full_waits", row.full_waits},
      {"overwritten", row.overwritten},
      {"dropped", row.dropped},
      {"evicted", row.evicted},
      {"subscriptions", std::move(readers)},
  };
  put(all, "interval", row.intervals);
  put(all, "publish_age", row.publish_age);
  return all;
}

}  // namespace

std::string id_text(std::uint64_t id) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(id));
  return text.data();
}

std::string dumped(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

json to_json(const Table& table) {
  json streams = json::array();
  for (const StreamRow& stream : table.streams) streams.push_back(stream_json(stream));
  return {
      {"monotonic_ns", table.at_ns},
      {"window_s", rounded(table.window_s)},
      {"broker_connected", table.connected},
      {"broker_down_s", rounded(table.disconnected_s)},
      {"nodes", table.nodes},
      {"streams", std::move(streams)},
  };
}

}  // namespace sluice::tools
