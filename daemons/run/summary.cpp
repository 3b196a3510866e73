// Processes die and come back, workers share a camera: what belongs to one table of pipeline.toml
// is the sum over all nodes that it stands for, in all of their lives.
#include "daemons/run/summary.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <set>

namespace sluice::run {
namespace {

using Json = nlohmann::ordered_json;

// Milliseconds with three decimals.
double ms(std::uint64_t ns) { return std::round(static_cast<double>(ns) / 1e3) / 1e3; }

void add(DurationCounts& total, const DurationCounts& more) {
  for (std::size_t i = 0; i < DurationCounts::kBuckets; ++i) total.count[i] += more.count[i];
}

Json quantiles(const DurationCounts& counts) {
  return {{"p50", ms(counts.quantile_ns(0.50))},
          {"p99", ms(counts.quantile_ns(0.99))},
          {"measured", counts.total()}};
}

// Who resolves references into a stream and takes nothing of it has no queue: what would be counted
// as waiting waits for nobody.
bool only_looks_up(const AttachmentSeen& attachment) {
  return attachment.info.stats.taken == 0 && attachment.info.stats.resolved > 0;
}

// Attachments, summed up.
struct Sum {
  SubscriptionStats stats;
  DurationCounts age;
  DurationCounts processing;
  DurationCounts end_to_end;

  void add(const AttachmentInfo& info) {
    stats.taken += info.stats.taken;
    stats.lost_policy += info.stats.lost_policy;
    stats.lost_full += info.stats.lost_full;
    stats.lost_evicted += info.stats.lost_evicted;
    stats.lost_expired += info.stats.lost_expired;
    stats.lost_invalid += info.stats.lost_invalid;
    stats.waiting += info.stats.waiting;
    run::add(age, info.age);
    run::add(processing, info.processing);
    run::add(end_to_end, info.end_to_end);
  }
};

void put_counts(Json& to, const SubscriptionStats& s) {
  to["published"] = s.taken + s.lost() + s.waiting;
  to["taken"] = s.taken;
  to["lost"] = {{"policy", s.lost_policy},
                {"full", s.lost_full},
                {"evicted", s.lost_evicted},
                {"expired", s.lost_expired},
                {"invalid", s.lost_invalid}};
  to["waiting"] = s.waiting;
}

// Megabytes of 10^6 bytes, with three decimals.
double megabytes(std::uint64_t bytes) { return std::round(static_cast<double>(bytes) / 1e3) / 1e3; }

void put_usage(Json& to, std::uint64_t processor_ns, const std::optional<Memory>& memory,
               double seconds) {
  to["processor_seconds"] = std::round(static_cast<double>(processor_ns) / 1e6) / 1e3;
  to["processor_percent"] =
      seconds > 0 ? Json(std::round(static_cast<double>(processor_ns) / 1e9 / seconds * 1e3) / 10)
                  : Json(nullptr);
  to["memory_pss_mb"] = memory ? Json(megabytes(memory->pss_bytes)) : Json(nullptr);
  to["memory_private_mb"] = memory ? Json(megabytes(memory->private_bytes)) : Json(nullptr);
}

Json total_of(const std::vector<Lives>& lives, double seconds) {
  std::uint64_t processor_ns = 0;
  std::optional<Memory> memory;
  for (const Lives& one : lives) {
    processor_ns += one.processor_ns;
    if (!one.memory) continue;
    if (!memory) memory.emplace();
    memory->pss_bytes += one.memory->pss_bytes;
    memory->private_bytes += one.memory->private_bytes;
  }
  Json json;
  put_usage(json, processor_ns, memory, seconds);
  return json;
}

class Maker {
 public:
  Maker(const Pipeline& pipeline, const Observations& seen, double seconds)
      : pipeline_(pipeline), seen_(seen), seconds_(seconds) {}

  [[nodiscard]] Json cameras() const {
    Json all = Json::array();
    for (const std::string& name : tables(Kind::camera)) all.push_back(camera(name));
    return all;
  }
  [[nodiscard]] Json detectors() const {
    Json all = Json::array();
    for (const std::string& name : tables(Kind::detector)) all.push_back(detector(name));
    return all;
  }
  [[nodiscard]] Json recognizers() const {
    Json all = Json::array();
    for (const std::string& name : tables(Kind::recognizer)) all.push_back(recognizer(name));
    return all;
  }

 private:
  // In the order of the file, each once.
  [[nodiscard]] std::vector<std::string> tables(Kind kind) const {
    std::vector<std::string> names;
    for (const Process& process : pipeline_.processes) {
      if (process.kind != kind) continue;
      if (std::find(names.begin(), names.end(), process.table) == names.end()) {
        names.push_back(process.table);
      }
    }
    return names;
  }
  [[nodiscard]] std::set<std::string> nodes(Kind kind, const std::string& table) const {
    std::set<std::string> names;
    for (const Process& process : pipeline_.processes) {
      if (process.kind == kind && process.table == table) names.insert(process.name);
    }
    return names;
  }

  [[nodiscard]] Json camera(const std::string& name) const {
    const std::string topic = "camera/" + name + "/frames";
    StreamStats stats;
    SourceInfo source;
    DurationCounts age;
    for (const auto& [id, stream] : seen_.streams) {
      if (stream.info.topic != topic) continue;
      stats.published += stream.info.stats.published;
      stats.dropped += stream.info.stats.dropped;
      stats.no_slot += stream.info.stats.no_slot;
      source.gaps += stream.info.source.gaps;
      source.reconnects += stream.info.source.reconnects;
      source.copies += stream.info.source.copies;
      source.dropped += stream.info.source.dropped;
      source.expected_interval_ns = stream.info.source.expected_interval_ns;
      source.width = stream.info.source.width;
      source.height = stream.info.source.height;
      add(age, stream.info.publish_age);
    }
    Json json;
    json["name"] = name;
    json["captured"] = stats.published + source.dropped;
    json["expected"] =
        source.expected_interval_ns == 0
            ? Json(nullptr)
            : Json(std::llround(seconds_ * 1e9 / static_cast<double>(source.expected_interval_ns)));
    json["published"] = stats.published;
    json["gaps"] = source.gaps;
    json["copies"] = source.copies;
    json["dropped"] = source.dropped;
    json["not_given"] = stats.dropped;
    json["reconnects"] = source.reconnects;
    json["width"] = source.width;
    json["height"] = source.height;
    json["age_ms"] = quantiles(age);
    json["subscriptions"] = subscriptions(topic);
    return json;
  }

  // Each by itself; a node that was started again has several.
  [[nodiscard]] Json subscriptions(const std::string& topic) const {
    Json all = Json::array();
    for (const auto& [key, attachment] : seen_.attachments) {
      if (attachment.topic != topic) continue;
      Json one;
      one["node"] = attachment.node;
      if (only_looks_up(attachment)) {
        one["mode"] = "references";
      } else {
        one["mode"] = to_string(attachment.mode);
        put_counts(one, attachment.info.stats);
      }
      one["resolved"] = attachment.info.stats.resolved;
      one["unresolved"] = attachment.info.stats.unresolved;
      all.push_back(std::move(one));
    }
    return all;
  }

  // Of what these nodes took from topics that begin and end so. Who only looks up references in a
  // stream has taken nothing of it, and is left out.
  [[nodiscard]] Sum taken_by(const std::set<std::string>& nodes, const std::string& begin,
                             const std::string& end) const {
    Sum sum;
    for (const auto& [key, attachment] : seen_.attachments) {
      const std::string& topic = attachment.topic;
      if (nodes.count(attachment.node) == 0 || topic.rfind(begin, 0) != 0) continue;
      if (only_looks_up(attachment)) continue;
      if (topic.size() < end.size() || topic.substr(topic.size() - end.size()) != end) continue;
      sum.add(attachment.info);
    }
    return sum;
  }

  void put_stage(Json& json, const std::set<std::string>& nodes, const std::string& output) const {
    std::uint64_t published = 0;
    for (const auto& [id, stream] : seen_.streams) {
      if (stream.info.topic == output) published += stream.info.stats.published;
    }
    Health total;
    for (const auto& [key, health] : seen_.health) {
      if (nodes.count(key.first) == 0) continue;
      total.handled += health.handled;
      total.failed += health.failed;
      total.skipped += health.skipped;
      total.no_room += health.no_room;
      total.copies += health.copies;
      total.handling_p50_ns = std::max(total.handling_p50_ns, health.handling_p50_ns);
      total.handling_p99_ns = std::max(total.handling_p99_ns, health.handling_p99_ns);
    }
    json["results"] = published;
    // Of several the slowest: quantiles cannot be added.
    json["handling_ms"] = {{"p50", ms(total.handling_p50_ns)},
                           {"p99", ms(total.handling_p99_ns)},
                           {"measured", total.handled + total.failed + total.skipped}};
    json["handled"] = total.handled;
    json["failed"] = total.failed;
    json["skipped"] = total.skipped;
    json["no_room"] = total.no_room;
    json["copies"] = total.copies;
  }

  [[nodiscard]] Json detector(const std::string& name) const {
    const std::set<std::string> workers = nodes(Kind::detector, name);
    const std::string topic = "detect/" + name + "/objects";
    const Sum sum = taken_by(workers, "camera/", "/frames");
    Json json;
    json["name"] = name;
    json["nodes"] = workers;
    put_counts(json, sum.stats);
    put_stage(json, workers, topic);
    const auto results = seen_.results.find(topic);
    json["detections"] = results != seen_.results.end() ? results->second.results : 0;
    json["age_ms"] = quantiles(sum.age);
    json["processing_ms"] = quantiles(sum.processing);
    return json;
  }

  [[nodiscard]] Json recognizer(const std::string& name) const {
    const std::set<std::string> own = nodes(Kind::recognizer, name);
    const std::string topic = "recognize/" + name + "/identities";
    const Sum sum = taken_by(own, "detect/", "/objects");
    Json json;
    json["name"] = name;
    json["nodes"] = own;
    put_counts(json, sum.stats);
    put_stage(json, own, topic);
    Json identities = Json::array();
    std::uint64_t unknown = 0;
    if (const auto results = seen_.results.find(topic); results != seen_.results.end()) {
      for (const auto& [person, seen] : results->second.names) {
        if (person == kUnknownName) {
          unknown = seen.count;
          continue;
        }
        // Rounded as a decimal, or it would be printed with the digits of a double.
        const double confidence = std::round(static_cast<double>(seen.best_confidence) * 1e3) / 1e3;
        identities.push_back(
            {{"name", person}, {"count", seen.count}, {"best_confidence", confidence}});
      }
    }
    json["identities"] = std::move(identities);
    json["unknown"] = unknown;
    json["age_ms"] = quantiles(sum.age);
    json["processing_ms"] = quantiles(sum.processing);
    json["end_to_end_ms"] = quantiles(sum.end_to_end);
    return json;
  }

  const Pipeline& pipeline_;
  const Observations& seen_;
  double seconds_;
};

// --- for people
// ---------------------------------------------------------------------------------------

class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  [[nodiscard]] std::string text() const {
    std::string all;
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        widths[i] = std::max(widths[i], columns(row[i]));
      }
    }
    for (const auto& row : rows_) {
      std::string line = " ";
      for (std::size_t i = 0; i < row.size(); ++i) {
        const std::string space(widths[i] - columns(row[i]), ' ');
        line += ' ';
        line += i == 0 ? row[i] + space : space + row[i];
      }
      line.erase(line.find_last_not_of(' ') + 1);
      all += line + '\n';
    }
    return all;
  }

 private:
  // UTF-8: bytes that begin a character.
  static std::size_t columns(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
  }
  std::vector<std::vector<std::string>> rows_;
};

std::string number(const Json& value) { return value.is_null() ? "-" : value.dump(); }

std::string tenths(const Json& value) {
  if (value.is_null()) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", value.get<double>());
  return text;
}

// "1.2 / 8.3"; a dash where nothing was measured.
std::string times(const Json& quantiles) {
  if (quantiles["measured"].get<std::uint64_t>() == 0) return "-";
  char text[64];
  std::snprintf(text, sizeof text, "%.1f / %.1f", quantiles["p50"].get<double>(),
                quantiles["p99"].get<double>());
  return text;
}

// "12 policy, 3 full"
std::string losses(const Json& stage) {
  std::string text;
  for (const auto& [cause, count] : stage["lost"].items()) {
    if (count.get<std::uint64_t>() == 0) continue;
    text += (text.empty() ? "" : ", ") + count.dump() + " " + cause;
  }
  return text.empty() ? "0" : text;
}

// Names come from other processes.
std::string plain(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}
std::string plain(const Json& text) { return plain(text.get<std::string>()); }

}  // namespace

nlohmann::ordered_json summary_of(const Pipeline& pipeline, const Observations& seen,
                                  const std::vector<Lives>& lives, double seconds) {
  const Maker maker{pipeline, seen, seconds};
  Json json;
  json["seconds"] = std::round(seconds * 1e3) / 1e3;
  json["cameras"] = maker.cameras();
  json["detectors"] = maker.detectors();
  json["recognizers"] = maker.recognizers();
  json["results_missed"] = seen.results_missed;
  Json processes = Json::array();
  for (const Lives& one : lives) {
    Json process{{"name", one.name},
                 {"starts", one.starts},
                 {"restarts", one.starts > 0 ? one.starts - 1 : 0},
                 {"failures", one.failures},
                 {"last_exit", one.last_exit}};
    put_usage(process, one.processor_ns, one.memory, seconds);
    processes.push_back(std::move(process));
  }
  json["processes"] = std::move(processes);
  json["total"] = total_of(lives, seconds);
  return json;
}

std::string summary_text(const nlohmann::ordered_json& summary) {
  std::string text = "In " + summary["seconds"].dump() + " s (times in ms, p50 / p99):\n";
  if (!summary["cameras"].empty()) {
    Table table{{"camera", "captured", "expected", "gaps", "copies", "dropped", "not given",
                 "reconnects", "age"}};
    for (const Json& c : summary["cameras"]) {
      table.add({plain(c["name"]), number(c["captured"]), number(c["expected"]), number(c["gaps"]),
                 number(c["copies"]), number(c["dropped"]), number(c["not_given"]),
                 number(c["reconnects"]), times(c["age_ms"])});
    }
    text += '\n' + table.text();
  }
  if (!summary["detectors"].empty()) {
    Table table{{"detector", "published", "taken", "lost", "waiting", "results", "detections",
                 "failed", "age", "handling"}};
    for (const Json& d : summary["detectors"]) {
      table.add({plain(d["name"]), number(d["published"]), number(d["taken"]), losses(d),
                 number(d["waiting"]), number(d["results"]), number(d["detections"]),
                 number(d["failed"]), times(d["age_ms"]), times(d["handling_ms"])});
    }
    text += '\n' + table.text();
  }
  if (!summary["recognizers"].empty()) {
    Table table{{"recognizer", "published", "taken", "lost", "waiting", "results", "failed", "age",
                 "handling", "end to end"}};
    for (const Json& r : summary["recognizers"]) {
      table.add({plain(r["name"]), number(r["published"]), number(r["taken"]), losses(r),
                 number(r["waiting"]), number(r["results"]), number(r["failed"]),
                 times(r["age_ms"]), times(r["handling_ms"]), times(r["end_to_end_ms"])});
    }
    text += '\n' + table.text();
    Table people{{"recognized", "by", "times", "best"}};
    for (const Json& r : summary["recognizers"]) {
      for (const Json& person : r["identities"]) {
        people.add({plain(person["name"]), plain(r["name"]), number(person["count"]),
                    number(person["best_confidence"])});
      }
      people.add({std::string(kUnknownName), plain(r["name"]), number(r["unknown"]), "-"});
    }
    text += '\n' + people.text();
  }
  Table processes{
      {"process", "restarts", "failures", "processor s", "% of a core", "PSS MB", "private MB"}};
  for (const Json& p : summary["processes"]) {
    processes.add({plain(p["name"]), number(p["restarts"]), number(p["failures"]),
                   tenths(p["processor_seconds"]), tenths(p["processor_percent"]),
                   tenths(p["memory_pss_mb"]), tenths(p["memory_private_mb"])});
  }
  const Json& total = summary["total"];
  processes.add({"total", "", "", tenths(total["processor_seconds"]),
                 tenths(total["processor_percent"]), tenths(total["memory_pss_mb"]),
                 tenths(total["memory_private_mb"])});
  text += '\n' + processes.text();
  for (const Json& p : summary["processes"]) {
    if (p["failures"] != 0) text += "  " + plain(p["name"]) + ": " + plain(p["last_exit"]) + '\n';
  }
  return text;
}

}  // namespace sluice::run
