#include "tests/bench/report.hpp"

#include "tests/bench/gates.hpp"
#include "tests/bench/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <sstream>
#include <string_view>
#include <utility>

namespace sluice::bench {
namespace {

using nlohmann::json;

/// To the best of the reference peers.
std::optional<double> ratio_of(const Series& series, const std::vector<Series>& all,
                               const Metric& metric) {
  const std::optional<double> best =
      best_reference(all, series.workload->id, metric.key, metric.more_is_better);
  const std::optional<Spread> own = spread_of(series, metric.key);
  if (!own || !best || *best <= 0) return std::nullopt;
  return own->median / *best;
}

using Row = std::vector<std::string>;

/// Columns on a terminal: bytes that continue a UTF-8 character take none.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

/// The first two columns to the left, numbers to the right.
void print_rows(std::ostream& out, const std::vector<Row>& rows) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  for (const Row& row : rows) {
    std::string line = " ";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width_of(row[i]), ' ');
      line += i < 2 ? " " + row[i] + padding + " " : " " + padding + row[i] + " ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

Row header_of(const Workload& workload) {
  Row row{"peer", "payload"};
  for (const Metric& metric : metrics_of(workload)) {
    if (!metric.headline) continue;
    row.insert(row.end(), {metric.title, "min – max"});
    if (workload.is_compared()) row.push_back("ratio");
  }
  for (const Metric& metric : metrics_of(workload)) {
    if (!metric.headline) row.push_back(metric.title);
  }
  return row;
}

Row row_of(const Series& series, const std::vector<Series>& all) {
  Row row{std::string(series.peer->name), std::string(series.peer->payload)};
  for (const Metric& metric : metrics_of(*series.workload)) {
    if (!metric.headline) continue;
    const std::optional<Spread> spread = spread_of(series, metric.key);
    if (!spread) {
      row.insert(row.end(), {"failed", ""});
      if (series.workload->is_compared()) row.push_back("");
      continue;
    }
    const std::optional<double> ratio = ratio_of(series, all, metric);
    row.push_back(number(spread->median * metric.scale));
    std::string range = number(spread->min * metric.scale);
    range.append(" – ").append(number(spread->max * metric.scale));
    row.push_back(std::move(range));
    if (series.workload->is_compared()) row.push_back(ratio ? number(*ratio) : "–");
  }
  for (const Metric& metric : metrics_of(*series.workload)) {
    if (metric.headline) continue;
    const std::optional<Spread> spread = spread_of(series, metric.key);
    row.push_back(spread ? number(spread->median * metric.scale) : "");
  }
  return row;
}

/// What the cells say about their surroundings.
std::string note_of(const std::vector<Series>& all, const Workload& workload) {
  for (const Series& series : all) {
    if (series.workload != &workload) continue;
    for (const json& round : series.rounds) {
      if (round.contains("note")) return "; " + round["note"].get<std::string>();
    }
  }
  return {};
}

/// How many cores other processes kept busy meanwhile, median over everything that ran.
double foreign_cores(const std::vector<Series>& all, const Workload& workload) {
  Series together{.workload = &workload, .peer = nullptr, .rounds = {}};
  for (const Series& series : all) {
    if (series.workload != &workload) continue;
    together.rounds.insert(together.rounds.end(), series.rounds.begin(), series.rounds.end());
  }
  const std::optional<Spread> spread = spread_of(together, "foreign_cores");
  return spread ? spread->median : 0;
}

}  // namespace

std::vector<std::string> failures(const std::vector<Series>& all) {
  std::vector<std::string> lines;
  for (const Series& series : all) {
    for (std::size_t i = 0; i < series.rounds.size(); ++i) {
      const json& round = series.rounds[i];
      if (round.value("ok", false)) continue;
      std::string line = std::string(series.workload->id) + "/" + std::string(series.peer->name) +
                         ", round " + std::to_string(i + 1) + ": " +
                         round.value("error", "unknown");
      if (const std::string log = round.value("log", ""); !log.empty()) line += "\n" + log;
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

std::string table(const std::vector<Series>& all) {
  std::ostringstream out;
  const std::vector<Verdict> verdicts = judge(all, gates());
  for (const Workload& workload : workloads()) {
    std::vector<Row> rows{header_of(workload)};
    for (const Series& series : all) {
      if (series.workload == &workload) rows.push_back(row_of(series, all));
    }
    if (rows.size() == 1) continue;
    out << '\n' << workload.title << "   (" << workload.id << ")\n";
    out << "  " << explanation_of(workload);
    if (workload.is_compared()) {
      out << "; other processes kept "
          << number(std::round(foreign_cores(all, workload) * 100) / 100)
          << " cores busy meanwhile";
    }
    out << note_of(all, workload) << '\n';
    print_rows(out, rows);
    for (const Verdict& verdict : verdicts) {
      if (verdict.gate->workload == workload.id) out << "  target: " << sentence(verdict) << '\n';
    }
  }
  return out.str();
}

json summary(const std::vector<Series>& all) {
  json workloads_json = json::object();
  for (const Series& series : all) {
    json& workload = workloads_json[std::string(series.workload->id)];
    workload["title"] = series.workload->title;
    workload["foreign_cores"] = foreign_cores(all, *series.workload);
    json& peer = workload["peers"][std::string(series.peer->name)];
    for (const Metric& metric : metrics_of(*series.workload)) {
      const std::optional<Spread> spread = spread_of(series, metric.key);
      if (!spread) continue;
      json& figure = peer["figures"][metric.key];
      figure = {{"median", spread->median}, {"min", spread->min}, {"max", spread->max}};
      if (!metric.headline) continue;
      if (const auto ratio = ratio_of(series, all, metric)) figure["ratio"] = *ratio;
    }
    peer["rounds"] = series.rounds;
  }
  for (const Verdict& verdict : judge(all, gates())) {
    workloads_json[std::string(verdict.gate->workload)]["targets"].push_back(to_json(verdict));
  }
  return workloads_json;
}

}  // namespace sluice::bench
