#include "tools/sluice/top_view.hpp"

#include "tools/sluice/text.hpp"
#include "tools/sluice/top_json.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::tools {
namespace {

// Long names, large numbers, everything wrong at once.
Table crowded() {
  Table table;
  table.connected = false;
  table.disconnected_s = 1e9;
  table.window_s = 2;
  table.nodes = 12345;
  for (const char* topic : {"camera/the one above the front door/of the second house/frames",
                            "\x1b]0;owned\x07/日本語/\xff", "c"}) {
    StreamRow stream;
    stream.id = table.streams.size() + 1;
    stream.topic = topic;
    stream.process = "capture-\x1b[31m\n";
    stream.state = StreamState::stalled;
    stream.source = {1, ~0ull, ~0ull, ~0ull, ~0ull, 0x0a1b'0007, ~0u, ~0u};
    stream.rate_hz = 1e12;
    stream.expected_hz = 1e12;
    stream.jitter_ns = ~0ull;
    stream.low_hz = 1e-9;
    stream.bytes_per_second = 1e15;
    stream.slots = stream.slots_used = ~0ull;
    stream.short_of_slots = true;
    stream.publish_age = Spread{~0ull, ~0ull};
    ReaderRow reader;
    reader.process = "recognize-with-a-name-that-is-far-too-long-\x9b";
    reader.pid = 4'194'304;
    reader.mode = DeliveryMode::reliable;
    reader.lost_hz = {1e9, 1e9, 1e9, 1e9, 1e9};
    reader.lost = {~0ull / 8, 1, 1, 1, 1};
    reader.held = reader.waiting = ~0ull;
    reader.oldest_held_ns = ~0ull;
    reader.age = reader.processing = reader.end_to_end = Spread{~0ull, ~0ull};
    reader.starves = true;
    reader.sentence = std::string(300, 'x') + " y";
    stream.readers = {reader, reader};
    table.streams.push_back(stream);
  }
  return table;
}

std::vector<Line> everything(const Table& table, const ViewOptions& options) {
  std::vector<Line> lines{status_line(table, options)};
  for (auto more :
       {heading_lines(options), table_lines(table, options), stream_lines(table, 1, options),
        stream_lines(table, 99, options), drop_lines(table, options)}) {
    lines.insert(lines.end(), more.begin(), more.end());
  }
  return lines;
}

TEST(TopView, NoLineIsWiderThanTheScreenAndNoneCarriesControlCharacters) {
  const Table table = crowded();
  for (std::size_t columns = 40; columns < 200; ++columns) {
    ViewOptions options;
    options.columns = columns;
    options.frozen = options.cleared = true;
    options.sort = SortKey::drops;
    for (const Line& line : everything(table, options)) {
      EXPECT_LE(columns_of(line.text()), columns) << line.text();
      EXPECT_EQ(clean(line.text()), line.text());
    }
  }
}

TEST(TopView, ColumnsStandUnderTheirNames) {
  Table table;
  table.connected = true;
  StreamRow stream;
  stream.topic = "camera/front/frames";
  stream.rate_hz = 29.97;
  stream.source.gaps = 4;
  stream.slots = 12;
  stream.slots_used = 5;
  ReaderRow reader;
  reader.process = "detect-front-1";
  reader.lost_hz[1] = 14.9;
  stream.readers = {reader};
  table.streams = {stream};
  for (const std::size_t columns : {80u, 100u, 160u}) {
    ViewOptions options;
    options.columns = columns;
    const auto headings = heading_lines(options);
    const auto lines = table_lines(table, options);
    ASSERT_EQ(lines.size(), 2u);
    const auto under = [&](std::size_t row, const std::string& name, const std::string& value) {
      const std::string heading = headings[row].text();
      const std::string line = to_ascii(lines[row].text());  // a byte for each column
      const std::size_t end = heading.find(name) + name.size();
      ASSERT_NE(heading.find(name), std::string::npos) << name;
      EXPECT_EQ(line.substr(end - value.size(), value.size()), value) << heading << "\n"
                                                                      << lines[row].text();
    };
    under(0, "RATE", "30.0");
    under(0, "GAPS", "4");
    under(0, "SLOTS", "5/12");
    under(1, "LOST", "14.9");
    EXPECT_NE(lines[0].text().find("camera/front/frames"), std::string::npos);
    EXPECT_NE(lines[1].text().find("  detect-front-1 "), std::string::npos);
    EXPECT_NE(lines[1].text().find("late"), std::string::npos);
  }
}

TEST(TopView, StreamsOfOneTopicAreToldApart) {
  Table table;
  for (const char* process : {"detect-hall-1", "detect-hall-2"}) {
    StreamRow stream;
    stream.id = table.streams.size() + 1;
    stream.topic = "detect/hall/objects";
    stream.process = process;
    table.streams.push_back(stream);
  }
  StreamRow other;
  other.topic = "recognize/people/identities";
  other.process = "recognize-people";
  table.streams.push_back(other);
  ViewOptions options;
  const auto narrow = table_lines(table, options);
  EXPECT_EQ(narrow[0].text().substr(0, 22), "detect/hall/objects·1") << narrow[0].text();
  EXPECT_NE(narrow[1].text().find("·2 "), std::string::npos) << narrow[1].text();
  EXPECT_NE(narrow[2].text().find("/people/"), std::string::npos) << narrow[2].text();
  EXPECT_EQ(narrow[2].text().find("·"), std::string::npos) << "there is one only";
  options.columns = 120;
  EXPECT_NE(table_lines(table, options)[1].text().find("detect/hall/objects · detect-hall-2 "),
            std::string::npos);
}

TEST(TopView, AWiderScreenShowsMore) {
  ViewOptions narrow;
  ViewOptions wide;
  wide.columns = 140;
  for (std::size_t row = 0; row < 2; ++row) {
    const std::string more = heading_lines(wide)[row].text();
    const std::string less = heading_lines(narrow)[row].text();
    EXPECT_EQ(less.find(row == 0 ? "FORMAT" : "PID"), std::string::npos);
    EXPECT_NE(more.find(row == 0 ? "FORMAT" : "PID"), std::string::npos);
  }
}

TEST(TopView, OnlyWhatIsWrongIsColoured) {
  Table table;
  table.connected = true;
  StreamRow stream;
  stream.topic = "a";
  stream.rate_hz = stream.expected_hz.emplace(30);
  ReaderRow reader;
  reader.process = "viewer";
  reader.mode = DeliveryMode::latest;
  reader.lost_hz[0] = 15;
  stream.readers = {reader};
  table.streams = {stream};
  const auto coloured = [&] {
    std::size_t count = 0;
    for (const Line& line : everything(table, {})) {
      for (const Span& span : line.spans) {
        count += span.style == Style::bad;
        // What is not there any more is a warning of its own: stream 99.
        count += span.style == Style::warning && span.text.find("any more") == std::string::npos;
      }
    }
    return count;
  };
  EXPECT_EQ(coloured(), 0u);
  table.streams[0].readers[0].mode = DeliveryMode::next;
  table.streams[0].readers[0].lost_hz = {0, 15, 0, 0, 0};
  EXPECT_GT(coloured(), 0u);
}

TEST(TopView, LossesComeWithAReasonTheLargestFirst) {
  Table table;
  StreamRow stream;
  stream.topic = "camera/front/frames";
  ReaderRow small;
  small.process = "small";
  small.lost_hz[1] = 1;
  small.lost[1] = 10;
  ReaderRow large = small;
  large.process = "large";
  large.lost_hz[1] = 9;
  stream.readers = {small, large};
  table.streams = {stream};
  std::string text;
  for (const Line& line : drop_lines(table, {})) text += line.text() + "\n";
  EXPECT_LT(text.find("large"), text.find("small"));
  EXPECT_NE(text.find("too slow"), std::string::npos);
  table.streams.clear();
  EXPECT_EQ(drop_lines(table, {}).back().text(), "nothing is lost");
}

TEST(TopJson, NamesAndUnitsAndNullForWhatWasNotMeasured) {
  const nlohmann::json all = nlohmann::json::parse(dumped(to_json(crowded())));
  EXPECT_EQ(all["broker_connected"], false);
  EXPECT_EQ(all["streams"].size(), 3u);
  EXPECT_EQ(all["streams"][0]["id"], "0000000000000001");
  EXPECT_EQ(all["streams"][0]["subscriptions"][0]["lost"]["full"], 1);
  Table table;
  table.streams.resize(1);
  const nlohmann::json row = to_json(table)["streams"][0];
  EXPECT_TRUE(row["jitter_ms"].is_null());
  EXPECT_TRUE(row["expected_hz"].is_null());
  EXPECT_TRUE(row["publish_age_p50_ms"].is_null());
  EXPECT_EQ(row["rate_hz"], 0);
}

}  // namespace
}  // namespace sluice::tools
