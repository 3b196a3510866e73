// Two tables share the lines: streams, and under each its subscriptions, set in by two. Each has a
// column for the name, which takes what is left over, and figures of fixed width. Where they do not
// all fit, the less important ones go, so that 80 columns show what one looks at first and a wider
// terminal shows all; the view of one stream shows everything at any width.
//
// Nothing is coloured but what is wrong, and no line is longer than the width.
#include "tools/sluice/top_view.hpp"

#include "tools/sluice/text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>

namespace sluice::tools {
namespace {

constexpr const char* kNothing = "–";

struct Cell {
  std::string text;
  Style style = Style::plain;
};

template <class Row>
struct Column {
  const char* head;
  std::size_t width;
  int importance;  // the lowest goes first
  bool to_the_right;
  std::function<Cell(const Row&)> cell;
};

std::string duration(const std::optional<std::uint64_t>& ns) {
  return ns ? duration_text(*ns) : kNothing;
}
std::string p50(const std::optional<Spread>& spread) {
  return spread ? duration_text(spread->p50_ns) : kNothing;
}
std::string p99(const std::optional<Spread>& spread) {
  return spread ? duration_text(spread->p99_ns) : kNothing;
}
std::string number(const std::optional<double>& hz) { return hz ? rate_text(*hz) : kNothing; }

std::string picture(const SourceInfo& source) {
  if (source.fourcc == 0 && source.width == 0) return {};
  return format_text(source.fourcc) + " " + std::to_string(source.width) + "x" +
         std::to_string(source.height);
}

bool over(StreamState state) { return state == StreamState::ended || state == StreamState::gone; }

Style style_of(StreamState state) {
  switch (state) {
    case StreamState::stalled:
    case StreamState::stuck:
      return Style::bad;
    case StreamState::ended:
    case StreamState::gone:
      return Style::warning;
    case StreamState::quiet:
    case StreamState::waiting:
      return Style::dim;
    case StreamState::live:
      break;
  }
  return Style::plain;
}

Style style_of(ReaderState state) {
  switch (state) {
    case ReaderState::stuck:
    case ReaderState::unfit:
      return Style::bad;
    case ReaderState::gone:
      return Style::warning;
    case ReaderState::asleep:
    case ReaderState::busy:
    case ReaderState::idle:
      break;
  }
  return Style::plain;
}

Style style_of_losses(const ReaderRow& row) { return row.loses() ? Style::bad : Style::plain; }

Style style_of_rate(const StreamRow& row) {
  const bool slow = row.expected_hz && row.state == StreamState::live && row.rate_hz > 0 &&
                    row.rate_hz < 0.9 * *row.expected_hz;
  return slow ? Style::warning : Style::plain;
}

Style style_of_slots(const StreamRow& row) {
  return row.short_of_slots ? Style::bad : row.nearly_short ? Style::warning : Style::plain;
}

const std::vector<Column<StreamRow>>& stream_columns() {
  using R = const StreamRow&;
  static const std::vector<Column<StreamRow>> columns{
      {"STATE", 7, 100, false,
       [](R r) {
         return Cell{to_string(r.state), style_of(r.state)};
       }},
      {"FORMAT", 15, 20, false, [](R r) { return Cell{picture(r.source)}; }},
      {"RATE", 5, 100, true,
       [](R r) {
         return Cell{rate_text(r.rate_hz), style_of_rate(r)};
       }},
      {"WANT", 5, 90, true, [](R r) { return Cell{number(r.expected_hz)}; }},
      {"JITTR", 5, 60, true, [](R r) { return Cell{duration(r.jitter_ns)}; }},
      {"1%LOW", 5, 55, true, [](R r) { return Cell{number(r.low_hz)}; }},
      {"GAPS", 5, 70, true,
       [](R r) {
         return Cell{count_text(r.source.gaps), r.gaps_hz > 0 ? Style::warning : Style::plain};
       }},
      {"MB/s", 5, 65, true, [](R r) { return Cell{rate_text(r.bytes_per_second / 1e6)}; }},
      {"SLOTS", 8, 80, true,
       [](R r) {
         return Cell{count_text(r.slots_used) + "/" + count_text(r.slots), style_of_slots(r)};
       }},
      {"FREE", 4, 30, true,
       [](R r) { return Cell{r.slots != 0 ? count_text(r.slots_lowest_free) : kNothing}; }},
      {"AGE", 5, 50, true, [](R r) { return Cell{p50(r.publish_age)}; }},
  };
  return columns;
}

const std::vector<Column<ReaderRow>>& reader_columns() {
  using R = const ReaderRow&;
  static const std::vector<Column<ReaderRow>> columns{
      {"PID", 7, 30, true,
       [](R r) {
         return Cell{std::to_string(r.pid), Style::dim};
       }},
      {"STATE", 6, 100, false,
       [](R r) {
         return Cell{to_string(r.state), style_of(r.state)};
       }},
      {"MODE", 6, 62, false, [](R r) { return Cell{r.mode_text()}; }},
      {"RATE", 5, 100, true, [](R r) { return Cell{rate_text(r.rate_hz)}; }},
      {"LOST", 5, 95, true,
       [](R r) {
         return r.refs ? Cell{kNothing} : Cell{rate_text(r.lost_per_second()), style_of_losses(r)};
       }},
      {"WHY", 4, 95, false,
       [](R r) {
         const auto cause = r.main_cause();
         return cause ? Cell{short_name(*cause), style_of_losses(r)} : Cell{};
       }},
      {"QUEU", 4, 60, true, [](R r) { return Cell{r.refs ? kNothing : count_text(r.waiting)}; }},
      {"HLD", 3, 80, true,
       [](R r) {
         return Cell{count_text(r.held), r.starves ? Style::bad : Style::plain};
       }},
      {"SINCE", 5, 75, true,
       [](R r) {
         return Cell{duration(r.oldest_held_ns), r.starves ? Style::bad : Style::plain};
       }},
      {"AGE50", 5, 25, true, [](R r) { return Cell{p50(r.age)}; }},
      {"AGE99", 5, 70, true, [](R r) { return Cell{p99(r.age)}; }},
      {"WORK", 5, 65, true, [](R r) { return Cell{p50(r.processing)}; }},
      {"END99", 5, 85, true, [](R r) { return Cell{p99(r.end_to_end)}; }},
  };
  return columns;
}

constexpr std::size_t kIndent = 2;
constexpr std::size_t kTopicWanted = 19;
constexpr std::size_t kProcessWanted = 16;

// Those that fit beside a name of the wanted width, in their order.
template <class Row>
std::vector<const Column<Row>*> chosen(const std::vector<Column<Row>>& all, std::size_t name,
                                       std::size_t columns) {
  std::vector<const Column<Row>*> kept;
  std::size_t width = name;
  for (const auto& column : all) {
    kept.push_back(&column);
    width += column.width + 1;
  }
  while (width > columns && !kept.empty()) {
    const auto least = std::min_element(kept.begin(), kept.end(), [](const auto* a, const auto* b) {
      return a->importance < b->importance;
    });
    width -= (*least)->width + 1;
    kept.erase(least);
  }
  return kept;
}

template <class Row>
std::size_t width_of(const std::vector<const Column<Row>*>& chosen_columns) {
  std::size_t width = 0;
  for (const auto* column : chosen_columns) width += column->width + 1;
  return width;
}

std::string aligned(const std::string& text, std::size_t width, bool to_the_right) {
  return to_the_right ? right(text, width) : left(text, width);
}

// No blanks at the end of a line: who copies one gets what is to be seen.
void trim(Line& line) {
  while (!line.spans.empty()) {
    std::string& text = line.spans.back().text;
    while (!text.empty() && text.back() == ' ') text.pop_back();
    if (!text.empty()) return;
    line.spans.pop_back();
  }
}

// `name` gives the row's name in a number of columns.
template <class Row, class Name>
Line row_line(const std::vector<Column<Row>>& all, std::size_t wanted, std::size_t indent,
              const Name& name, const Row& row, Style faded, bool fade,
              const ViewOptions& options) {
  const auto columns = chosen(all, wanted, options.columns);
  const std::size_t room = options.columns - std::min(options.columns, width_of(columns));
  Line line;
  const std::size_t inner = room - std::min(indent, room);
  line.spans.push_back(
      {std::string(room - inner, ' ') + left(name(inner), inner), fade          ? faded
                                                                  : indent == 0 ? Style::strong
                                                                                : Style::plain});
  for (const auto* column : columns) {
    Cell cell = column->cell(row);
    const bool fades = fade && cell.style == Style::plain;
    line.spans.push_back({joined({" ", aligned(cell.text, column->width, column->to_the_right)}),
                          fades ? faded : cell.style});
  }
  trim(line);
  return line;
}

template <class Row>
Line heading(const std::vector<Column<Row>>& all, std::size_t wanted, std::size_t indent,
             const char* name, const ViewOptions& options) {
  const auto columns = chosen(all, wanted, options.columns);
  const std::size_t room = options.columns - std::min(options.columns, width_of(columns));
  std::string text = left(std::string(indent, ' ') + name, room);
  for (const auto* column : columns) {
    text += ' ';
    text += aligned(column->head, column->width, column->to_the_right);
  }
  return {{{cut(text, options.columns), Style::heading}}, {}};
}

// The topic, and where several streams are of one topic what tells their processes apart: all of
// the name, or the words in which it differs.
std::string stream_name(const Table& table, const StreamRow& stream, std::size_t columns) {
  std::size_t same = std::string::npos;  // how far the names of all those processes agree
  for (const StreamRow& other : table.streams) {
    if (other.topic != stream.topic || other.process == stream.process) continue;
    const auto differ = std::mismatch(stream.process.begin(), stream.process.end(),
                                      other.process.begin(), other.process.end());
    same = std::min(same, static_cast<std::size_t>(differ.first - stream.process.begin()));
  }
  if (same == std::string::npos) return cut_topic(stream.topic, columns);
  const std::string all = joined({clean(stream.topic), " · ", clean(stream.process)});
  if (columns_of(all) <= columns) return all;
  const std::size_t dash = same != 0 ? stream.process.rfind('-', same - 1) : std::string::npos;
  const std::string which =
      joined({"·", cut_node(stream.process.substr(dash == std::string::npos ? 0 : dash + 1),
                            columns / 2)});
  return cut_topic(stream.topic, columns - columns_of(which)) + which;
}

std::string shortage(const StreamRow& stream) {
  const std::uint64_t unused = stream.slots - std::min(stream.slots, stream.slots_used);
  std::string text =
      stream.short_of_slots
          ? "no slot was free"
          : joined({count_text(unused), " of ", count_text(stream.slots), " slots are free"});
  for (const ReaderRow& reader : stream.readers) {
    if (!reader.starves) continue;
    text += ": " + clean(reader.process) + " holds " + count_text(reader.held);
    if (reader.oldest_held_ns) text += ", the oldest for " + duration_text(*reader.oldest_held_ns);
  }
  return text;
}

void append(std::vector<Line>& lines, std::vector<Line> more) {
  for (Line& line : more) lines.push_back(std::move(line));
}

// "name  value" pairs, as many beside each other as fit.
struct Fact {
  std::string name;
  std::string value;
  Style style = Style::plain;
};

std::vector<Line> fact_lines(const std::vector<Fact>& facts, std::size_t columns) {
  constexpr std::size_t kName = 20;
  constexpr std::size_t kValue = 17;
  constexpr std::size_t kWidth = 2 + kName + 1 + kValue;
  const std::size_t beside = std::clamp<std::size_t>(columns / kWidth, 1, 3);
  const std::size_t rows = (facts.size() + beside - 1) / beside;
  std::vector<Line> lines(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < beside; ++column) {
      const std::size_t i = column * rows + row;
      if (i >= facts.size()) continue;
      lines[row].spans.push_back({joined({"  ", left(facts[i].name, kName), " "}), Style::dim});
      lines[row].spans.push_back({left(facts[i].value, kValue), facts[i].style});
    }
    trim(lines[row]);
  }
  return lines;
}

std::string both(const std::optional<Spread>& spread) {
  if (!spread) return kNothing;
  return duration_text(spread->p50_ns) + " · " + duration_text(spread->p99_ns);
}

std::vector<Fact> facts_of(const StreamRow& s) {
  const auto bad_if = [](bool bad) { return bad ? Style::bad : Style::plain; };
  const auto warn_if = [](bool warn) { return warn ? Style::warning : Style::plain; };
  std::vector<Fact> facts{
      {"state", to_string(s.state), style_of(s.state)},
      {"rate · 1 % low", rate_text(s.rate_hz) + " · " + number(s.low_hz) + " /s", style_of_rate(s)},
      {"expected", s.expected_hz ? rate_text(*s.expected_hz) + " /s" : "not periodic"},
      {"last message", s.silent_ns ? duration_text(*s.silent_ns) + " ago" : kNothing},
      {"jitter", duration(s.jitter_ns)},
      {"interval p50 · p99", both(s.intervals)},
      {"age at publish", both(s.publish_age)},
      {"published", count_text(s.published)},
      {"data", rate_text(s.bytes_per_second / 1e6) + " MB/s, " + bytes_text(s.bytes)},
      {"largest message", bytes_text(s.slot_bytes)},
      {"slots used", count_text(s.slots_used) + " of " + count_text(s.slots), style_of_slots(s)},
      {"lowest free", count_text(s.slots_lowest_free)},
      {"slots committed", count_text(s.slots_committed)},
      {"no slot", count_text(s.no_slot), bad_if(s.short_of_slots)},
      {"refused: full", count_text(s.full)},
      {"waited for readers", count_text(s.full_waits)},
      {"overwritten", count_text(s.overwritten)},
      {"no credit in group", count_text(s.dropped)},
      {"evicted", count_text(s.evicted)},
      {"lost before us", count_text(s.source.gaps), warn_if(s.gaps_hz > 0)},
      {"came, no room", count_text(s.source.dropped), bad_if(s.short_of_slots)},
      {"source reopened", count_text(s.source.reconnects)},
      {"payloads copied", count_text(s.source.copies)},
  };
  if (const std::string shown = picture(s.source); !shown.empty()) {
    facts.insert(facts.begin() + 1, {"format", shown});
  }
  return facts;
}

std::vector<Fact> facts_of(const ReaderRow& r) {
  std::vector<Fact> facts{
      {"state", to_string(r.state), style_of(r.state)},
      {"mode", r.refs ? "refs: resolves only" : to_string(r.mode)},
      {"rate", rate_text(r.rate_hz) + " /s"},
      {"taken", count_text(r.taken)},
      {"queue", r.refs ? kNothing : count_text(r.waiting)},
      {"held", count_text(r.held) + " of " + count_text(r.max_held),
       r.starves ? Style::bad : Style::plain},
      {"oldest held", duration(r.oldest_held_ns), r.starves ? Style::bad : Style::plain},
      {"age p50 · p99", both(r.age)},
      {"work p50 · p99", both(r.processing)},
      {"origin to release", both(r.end_to_end)},
      {"takes over quota", count_text(r.quota)},
  };
  if (r.resolved != 0) facts.push_back({"references resolved", count_text(r.resolved)});
  for (std::size_t i = 0; i < kCauses; ++i) {
    if (r.lost[i] == 0) continue;
    const bool bad = r.lost_hz[i] > 0 &&
                     (static_cast<Cause>(i) != Cause::policy || r.mode != DeliveryMode::latest);
    facts.push_back({std::string("lost: ") + name_of(static_cast<Cause>(i)),
                     count_text(r.lost[i]) + ", " + rate_text(r.lost_hz[i]) + " /s",
                     bad ? Style::bad : Style::plain});
  }
  return facts;
}

}  // namespace

std::string Line::text() const {
  std::string all;
  for (const Span& span : spans) all += span.text;
  return all;
}

std::vector<Line> wrapped(const std::string& text, std::size_t indent, std::size_t columns,
                          Style style) {
  const std::size_t room = columns > indent + 10 ? columns - indent : 10;
  std::vector<Line> lines;
  std::string line;
  std::string rest = clean(text);
  const auto put = [&] {
    lines.push_back({{{cut(std::string(indent, ' ') + line, columns), style}}, {}});
    line.clear();
  };
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    const std::string word = rest.substr(0, end);
    rest.erase(0, std::min(end + 1, rest.size()));
    if (!line.empty() && columns_of(line) + 1 + columns_of(word) > room) put();
    if (!line.empty()) line += ' ';
    line += word;
  }
  if (!line.empty()) put();
  return lines;
}

Line status_line(const Table& table, const ViewOptions& options) {
  std::size_t readers = 0;
  for (const StreamRow& stream : table.streams) readers += stream.readers.size();
  Line line;
  if (table.connected) {
    line.spans.push_back({"broker up", Style::plain});
  } else {
    line.spans.push_back(
        {"BROKER DOWN for " +
             duration_text(static_cast<std::uint64_t>(table.disconnected_s * 1e9)) +
             ", counters go on",
         Style::bad});
  }
  std::array<char, 32> window{};
  std::snprintf(window.data(), window.size(), "%.1f s", table.window_s);
  std::vector<std::string> parts{
      plural(table.nodes, "node"), plural(table.streams.size(), "stream"),
      plural(readers, "subscription"), std::string("over ") + window.data()};
  if (options.sort != SortKey::name) {
    parts.push_back(std::string("by ") + to_string(options.sort));
  }
  if (options.cleared) parts.push_back("cleared");
  std::size_t used = columns_of(line.spans[0].text) + (options.frozen ? 9 : 0);
  for (const std::string& part : parts) {
    const std::string text = joined({" · ", part});
    used += columns_of(text);
    if (used > options.columns) break;
    line.spans.push_back({text, Style::dim});
  }
  if (options.frozen) line.spans.push_back({" · FROZEN", Style::warning});
  if (columns_of(line.text()) > options.columns) {
    line.spans = {{cut(line.text(), options.columns), line.spans[0].style}};
  }
  return line;
}

std::vector<Line> heading_lines(const ViewOptions& options) {
  return {heading(stream_columns(), kTopicWanted, 0, "STREAM", options),
          heading(reader_columns(), kProcessWanted, kIndent, "SUBSCRIBER", options)};
}

std::vector<Line> table_lines(const Table& table, const ViewOptions& options) {
  std::vector<Line> lines;
  for (const StreamRow& stream : table.streams) {
    const auto topic = [&](std::size_t columns) { return stream_name(table, stream, columns); };
    lines.push_back(row_line(stream_columns(), kTopicWanted, 0, topic, stream, Style::dim,
                             over(stream.state), options));
    lines.back().stream_id = stream.id;
    if (stream.short_of_slots || stream.nearly_short) {
      append(lines, wrapped(shortage(stream), 4, options.columns, style_of_slots(stream)));
    }
    for (const ReaderRow& reader : stream.readers) {
      const auto node = [&](std::size_t columns) { return cut_node(reader.process, columns); };
      lines.push_back(row_line(reader_columns(), kProcessWanted, kIndent, node, reader, Style::dim,
                               reader.state == ReaderState::gone, options));
      append(lines, wrapped(reader.sentence, 4, options.columns, Style::bad));
    }
  }
  return lines;
}

std::vector<Line> stream_lines(const Table& table, std::uint64_t stream_id,
                               const ViewOptions& options) {
  const auto at = std::find_if(table.streams.begin(), table.streams.end(),
                               [&](const StreamRow& row) { return row.id == stream_id; });
  if (at == table.streams.end()) {
    return {{{{cut("This stream is not there any more.", options.columns), Style::warning}}, {}}};
  }
  std::vector<Line> lines;
  lines.push_back({{{cut_middle(at->topic, options.columns), Style::strong}}, {}});
  std::string of = joined({"by ", clean(at->process), ", pid ", std::to_string(at->pid)});
  if (!at->type_name.empty()) of += ", type " + clean(at->type_name);
  lines.push_back({{{cut(of, options.columns), Style::dim}}, {}});
  append(lines, fact_lines(facts_of(*at), options.columns));
  if (at->short_of_slots || at->nearly_short) {
    append(lines, wrapped(shortage(*at), 2, options.columns, style_of_slots(*at)));
  }
  for (const ReaderRow& reader : at->readers) {
    lines.push_back({});
    lines.push_back({{{cut(clean(reader.process) + ", pid " + std::to_string(reader.pid) +
                               ", subscribes to " + clean(reader.filter),
                           options.columns),
                       Style::strong}},
                     {}});
    if (!reader.sentence.empty()) {
      append(lines, wrapped(reader.sentence, 2, options.columns, Style::bad));
      continue;
    }
    append(lines, fact_lines(facts_of(reader), options.columns));
  }
  if (at->readers.empty()) {
    lines.push_back({});
    lines.push_back({{{"nobody subscribes", Style::dim}}, {}});
  }
  return lines;
}

std::vector<Line> drop_lines(const Table& table, const ViewOptions& options) {
  struct Loss {
    double per_second;
    std::uint64_t total;
    std::string who;
    std::string why;
    Style style;
  };
  std::vector<Loss> losses;
  const auto add = [&](double rate, std::uint64_t total, const std::string& who, std::string why,
                       Style style) {
    if (total != 0 || rate > 0) {
      losses.push_back({rate, total, who, std::move(why), rate > 0 ? style : Style::plain});
    }
  };
  for (const StreamRow& s : table.streams) {
    const std::string source = s.topic + ", " + s.process;
    add(s.gaps_hz, s.source.gaps, source, "lost before it came to us: camera, driver or network",
        Style::warning);
    add(0, s.source.dropped, source, "came, but no slot was free",
        s.short_of_slots ? Style::bad : Style::plain);
    add(0, s.no_slot, source, "loans that found no slot: somebody holds too long",
        s.short_of_slots ? Style::bad : Style::plain);
    add(0, s.full, source, "refused because of a reliable subscriber", Style::warning);
    add(0, s.dropped, source, "no member of the group had a credit", Style::warning);
    for (const ReaderRow& r : s.readers) {
      for (std::size_t i = 0; i < kCauses; ++i) {
        const auto cause = static_cast<Cause>(i);
        const bool wanted = cause == Cause::policy && r.mode == DeliveryMode::latest;
        add(r.lost_hz[i], r.lost[i], r.process + " of " + s.topic, meaning_of(cause),
            wanted ? Style::plain : Style::bad);
      }
    }
  }
  std::stable_sort(losses.begin(), losses.end(), [](const Loss& a, const Loss& b) {
    return a.per_second != b.per_second ? a.per_second > b.per_second : a.total > b.total;
  });
  std::vector<Line> lines;
  lines.push_back({{{cut(" LOST/s    TOTAL  WHO, AND WHY", options.columns), Style::heading}}, {}});
  for (const Loss& loss : losses) {
    const std::string figures =
        right(rate_text(loss.per_second), 7) + "  " + right(count_text(loss.total), 7) + "  ";
    const std::size_t room = options.columns - std::min(options.columns, columns_of(figures));
    lines.push_back({{{figures, loss.style}, {cut_middle(loss.who, room), Style::strong}}, {}});
    append(lines, wrapped(loss.why, columns_of(figures), options.columns, Style::dim));
  }
  if (losses.empty()) lines.push_back({{{cut("nothing is lost", options.columns)}}, {}});
  return lines;
}

}  // namespace sluice::tools
