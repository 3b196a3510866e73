// All spans are in the machine's monotonic clock, so the spans of different processes lie on one
// line without any correction. A hop has three parts: its input waits, from publication until it is
// taken; it is handled, until the last result is published; and the handler finishes. The first
// hop, of a source, waits from capture until the data had come.
//
// A stage may have several workers; to a summary they are the stages that their names say.
#include "tools/sluice/journey.hpp"

#include "sluice/correlation.hpp"
#include "tools/sluice/text.hpp"
#include "tools/sluice/text_table.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <tuple>

namespace sluice::tools {
namespace {

using nlohmann::json;

// What lies further apart is a wrong time: no frame is on its way for an hour.
constexpr std::uint64_t kLongest = 3'600'000'000'000;

std::uint64_t between(std::uint64_t from, std::uint64_t to) {
  return from != 0 && to > from && to - from < kLongest ? to - from : 0;
}

const char* name_of(SpanEnd end) {
  constexpr std::array kNames{"done", "failed", "skipped", "no room"};
  return kNames.at(static_cast<std::size_t>(end));
}

struct StageTimes {
  std::size_t failed = 0;
  std::vector<std::uint64_t> waiting, handling, since_capture;
};

std::uint64_t quantile(std::vector<std::uint64_t> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<std::size_t>(q * static_cast<double>(values.size())))];
}

// In the order in which the journeys reach them.
std::vector<std::pair<std::string, StageTimes>> stages_of(const std::vector<Journey>& journeys) {
  std::map<std::string, StageTimes> times;
  std::map<std::string, std::pair<double, std::size_t>> offsets;
  for (const Journey& journey : journeys) {
    for (const Hop& hop : journey.hops) {
      const std::string name(text_of(hop.span.stage));
      StageTimes& stage = times[name];
      stage.failed += hop.span.end == SpanEnd::failed || hop.span.end == SpanEnd::no_room;
      stage.waiting.push_back(hop.waiting_ns);
      stage.handling.push_back(hop.handling_ns + hop.finishing_ns);
      stage.since_capture.push_back(between(journey.begin_ns(), hop.end_ns()));
      auto& [sum, count] = offsets[name];
      sum += static_cast<double>(between(journey.begin_ns(), hop.begin_ns));
      ++count;
    }
  }
  std::vector<std::pair<std::string, StageTimes>> all(times.begin(), times.end());
  std::stable_sort(all.begin(), all.end(), [&](const auto& a, const auto& b) {
    const auto mean = [&](const std::string& name) {
      return offsets[name].first / static_cast<double>(offsets[name].second);
    };
    return mean(a.first) < mean(b.first);
  });
  return all;
}

std::string bar(const Journey& journey, const Hop& hop, std::size_t columns) {
  const auto total = static_cast<double>(std::max<std::uint64_t>(journey.total_ns(), 1));
  const auto column = [&](std::uint64_t ns) {
    const auto at = static_cast<double>(ns) / total * static_cast<double>(columns);
    return std::min(static_cast<std::size_t>(at), columns);
  };
  const std::uint64_t begin = between(journey.begin_ns(), hop.begin_ns);
  const std::size_t first = std::min(column(begin), columns - 1);
  const std::size_t taken = std::clamp(column(begin + hop.waiting_ns), first, columns - 1);
  // What is handled is seen, however short it was.
  const std::size_t last = std::clamp(
      column(begin + hop.waiting_ns + hop.handling_ns + hop.finishing_ns), taken + 1, columns);
  std::string text(first, ' ');
  for (std::size_t i = first; i < taken; ++i) text += "░";
  for (std::size_t i = taken; i < last; ++i) text += "█";
  return text;
}

}  // namespace

Hop hop_of(const TraceSpan& span) {
  Hop hop;
  hop.span = span;
  const bool source = span.input_ns == 0;
  hop.begin_ns = !source ? span.input_ns : span.origin_ns != 0 ? span.origin_ns : span.taken_ns;
  hop.waiting_ns = between(hop.begin_ns, span.taken_ns);
  const std::uint64_t taken = hop.begin_ns + hop.waiting_ns;
  const std::uint64_t published = span.output_ns != 0 ? span.output_ns : span.done_ns;
  hop.handling_ns = between(taken, published);
  hop.finishing_ns = between(taken + hop.handling_ns, span.done_ns);
  return hop;
}

std::uint64_t Journey::begin_ns() const {
  std::uint64_t begin = hops.empty() ? 0 : hops.front().begin_ns;
  for (const Hop& hop : hops) {
    if (hop.span.origin_ns != 0 && between(hop.span.origin_ns, begin + 1) != 0) {
      begin = std::min(begin, hop.span.origin_ns);
    }
  }
  return begin;
}

std::string_view Journey::topic() const {
  return hops.empty() ? std::string_view() : text_of(hops.front().span.topic);
}

std::uint64_t Journey::end_ns() const {
  const std::uint64_t begin = begin_ns();
  std::uint64_t end = begin;
  for (const Hop& hop : hops) end = std::max(end, begin + between(begin, hop.end_ns()));
  return end;
}

void Journeys::add(const TraceSpan& span) {
  if (span.correlation == CorrelationId{} || !valid(span)) return;
  Journey& journey = journeys_[span.correlation];
  journey.correlation = span.correlation;
  journey.hops.push_back(hop_of(span));
  // Ids begin with the time, so the first is the oldest.
  if (journeys_.size() > max_) journeys_.erase(journeys_.begin());
}

std::vector<Journey> Journeys::all() const {
  std::vector<Journey> all;
  for (const auto& [id, journey] : journeys_) {
    all.push_back(journey);
    std::stable_sort(
        all.back().hops.begin(), all.back().hops.end(), [](const Hop& a, const Hop& b) {
          return std::tuple(a.begin_ns, a.end_ns()) < std::tuple(b.begin_ns, b.end_ns());
        });
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Journey& a, const Journey& b) { return a.begin_ns() < b.begin_ns(); });
  return all;
}

std::vector<Journey> Journeys::slowest(std::size_t count) const {
  std::vector<Journey> journeys = all();
  std::stable_sort(journeys.begin(), journeys.end(),
                   [](const Journey& a, const Journey& b) { return a.total_ns() > b.total_ns(); });
  journeys.resize(std::min(count, journeys.size()));
  return journeys;
}

Journey Journeys::find(const CorrelationId& correlation) const {
  for (Journey& journey : all()) {
    if (journey.correlation == correlation) return journey;
  }
  return {};
}

std::string waterfall(const Journey& journey, std::size_t columns) {
  constexpr std::size_t kFigures = 4 * 10;
  std::size_t name = 5;
  for (const Hop& hop : journey.hops) {
    name = std::max(name, columns_of(clean(text_of(hop.span.stage))));
  }
  name = std::min<std::size_t>(name, 24);
  const std::size_t used = name + kFigures + 2;
  const std::size_t room = columns > used + 8 ? std::min<std::size_t>(columns - used, 60) : 0;
  std::string all = joined({to_string(journey.correlation), "  ", ms_text(journey.total_ns()),
                            " ms, ", plural(journey.hops.size(), "stage"), "  "});
  all += cut_topic(journey.topic(), columns - std::min(columns, columns_of(all)));
  all.erase(all.find_last_not_of(' ') + 1);
  all += '\n';
  all += joined({left("STAGE", name), right("AT ms", 10), right("WAIT ms", 10),
                 right("HANDLE ms", 10), right("FINISH ms", 10), "\n"});
  for (const Hop& hop : journey.hops) {
    std::string line =
        joined({left(text_of(hop.span.stage), name),
                right(ms_text(between(journey.begin_ns(), hop.begin_ns)), 10),
                right(ms_text(hop.waiting_ns), 10), right(ms_text(hop.handling_ns), 10),
                right(ms_text(hop.finishing_ns), 10)});
    if (room != 0) line += joined({"  ", bar(journey, hop, room)});
    all += line;
    if (hop.span.end != SpanEnd::done) all += joined({"  ", name_of(hop.span.end)});
    all += '\n';
  }
  return all;
}

json to_json(const Journey& journey) {
  const auto ms = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e6; };
  json hops = json::array();
  for (const Hop& hop : journey.hops) {
    hops.push_back({{"stage", clean(text_of(hop.span.stage))},
                    {"pid", hop.span.pid},
                    {"topic", clean(text_of(hop.span.topic))},
                    {"end", name_of(hop.span.end)},
                    {"at_ms", ms(between(journey.begin_ns(), hop.begin_ns))},
                    {"waiting_ms", ms(hop.waiting_ns)},
                    {"handling_ms", ms(hop.handling_ns)},
                    {"finishing_ms", ms(hop.finishing_ns)}});
  }
  return {{"correlation", to_string(journey.correlation)},
          {"topic", clean(journey.topic())},
          {"origin_ns", journey.begin_ns()},
          {"total_ms", ms(journey.total_ns())},
          {"hops", std::move(hops)}};
}

std::string stage_summary(const std::vector<Journey>& journeys) {
  TextTable table({"STAGE", ">SPANS", ">FAILED", ">WAIT p50 ms", ">p99", ">HANDLE p50 ms", ">p99",
                   ">SINCE CAPTURE p50 ms", ">p99"});
  for (const auto& [name, times] : stages_of(journeys)) {
    table.add({name, std::to_string(times.waiting.size()), std::to_string(times.failed),
               ms_text(quantile(times.waiting, 0.5)), ms_text(quantile(times.waiting, 0.99)),
               ms_text(quantile(times.handling, 0.5)), ms_text(quantile(times.handling, 0.99)),
               ms_text(quantile(times.since_capture, 0.5)),
               ms_text(quantile(times.since_capture, 0.99))});
  }
  return table.text();
}

json stage_summary_json(const std::vector<Journey>& journeys) {
  json all = json::array();
  for (const auto& [name, times] : stages_of(journeys)) {
    json stage{{"stage", clean(name)}, {"spans", times.waiting.size()}, {"failed", times.failed}};
    for (const auto& [part, values] : {std::pair{"waiting", &times.waiting},
                                       {"handling", &times.handling},
                                       {"since_capture", &times.since_capture}}) {
      stage[std::string(part) + "_p50_ms"] = static_cast<double>(quantile(*values, 0.5)) / 1e6;
      stage[std::string(part) + "_p99_ms"] = static_cast<double>(quantile(*values, 0.99)) / 1e6;
    }
    all.push_back(std::move(stage));
  }
  return all;
}

json chrome_trace(const std::vector<Journey>& journeys) {
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  json events = json::array();
  // A process is named after its first node; its nodes are threads of it.
  std::map<std::uint32_t, std::map<std::string, int>> threads;
  for (const Journey& journey : journeys) {
    for (const Hop& hop : journey.hops) {
      auto& of_process = threads[hop.span.pid];
      const std::string stage = clean(text_of(hop.span.stage));
      if (of_process.count(stage) == 0) {
        const int id = static_cast<int>(of_process.size()) + 1;
        if (id == 1) {
          events.push_back({{"ph", "M"},
                            {"name", "process_name"},
                            {"pid", hop.span.pid},
                            {"args", {{"name", stage}}}});
        }
        events.push_back({{"ph", "M"},
                          {"name", "thread_name"},
                          {"pid", hop.span.pid},
                          {"tid", id},
                          {"args", {{"name", stage}}}});
        of_process[stage] = id;
      }
    }
  }
  for (const Journey& journey : journeys) {
    const std::string id = to_string(journey.correlation);
    for (std::size_t i = 0; i < journey.hops.size(); ++i) {
      const Hop& hop = journey.hops[i];
      const std::string stage = clean(text_of(hop.span.stage));
      const int thread = threads[hop.span.pid][stage];
      const std::uint64_t taken = hop.begin_ns + hop.waiting_ns;
      const json where{{"pid", hop.span.pid}, {"tid", thread}};
      const auto put = [&](json event) {
        event.update(where);
        events.push_back(std::move(event));
      };
      // Waits overlap, since messages queue: they are asynchronous slices of their own.
      if (hop.waiting_ns != 0) {
        const json wait{{"cat", "waiting"}, {"name", "waiting"}, {"id", joined({id, "/", stage})}};
        json begin = wait;
        begin.update({{"ph", "b"}, {"ts", us(hop.begin_ns)}});
        put(std::move(begin));
        json end = wait;
        end.update({{"ph", "e"}, {"ts", us(taken)}});
        put(std::move(end));
      }
      put({{"ph", "X"},
           {"cat", "handling"},
           {"name", stage},
           {"ts", us(taken)},
           {"dur", us(hop.handling_ns + hop.finishing_ns)},
           {"args",
            {{"correlation", id},
             {"topic", clean(text_of(hop.span.topic))},
             {"end", name_of(hop.span.end)},
             {"waiting_ms", us(hop.waiting_ns) / 1e3},
             {"since_capture_ms", us(between(journey.begin_ns(), hop.end_ns())) / 1e3}}}});
      if (journey.hops.size() < 2) continue;
      json flow{{"ph", i == 0                         ? "s"
                       : i + 1 == journey.hops.size() ? "f"
                                                      : "t"},
                {"cat", "frame"},
                {"name", "frame"},
                {"id", id},
                {"ts", us(taken)}};
      if (i + 1 == journey.hops.size()) flow["bp"] = "e";
      put(std::move(flow));
    }
  }
  return {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
}

}  // namespace sluice::tools
