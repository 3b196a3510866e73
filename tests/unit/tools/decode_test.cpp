#include "tools/sluice/decode.hpp"

#include "tools/sluice/intervals.hpp"
#include "tools/sluice/text.hpp"

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

namespace sluice::tools {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Decode, TextIsShownAsText) {
  const Decoded all = decode_bytes(bytes(std::string("21.5 °C\0\0\0", 11)), 256);
  ASSERT_EQ(all.lines.size(), 1u);
  EXPECT_EQ(all.lines[0], "\"21.5 °C\"");
  EXPECT_EQ(all.json["text"], "21.5 °C");
}

TEST(Decode, OtherBytesAreDumped) {
  std::string data;
  for (int i = 0; i < 40; ++i) data += static_cast<char>(i * 7);
  const Decoded all = decode_bytes(bytes(data), 256);
  ASSERT_EQ(all.lines.size(), 3u);
  EXPECT_EQ(all.lines[0],
            "000000  00 07 0e 15 1c 23 2a 31  38 3f 46 4d 54 5b 62 69  .....#*18?FMT[bi");
  EXPECT_EQ(all.json["hex"].get<std::string>().size(), 80u);
  for (const std::string& line : all.lines) EXPECT_EQ(clean(line), line);
}

TEST(Decode, LongPayloadsAreCutOffAndSayIt) {
  const Decoded all = decode_bytes(bytes(std::string(1000, '\x01')), 32);
  ASSERT_EQ(all.lines.size(), 3u);
  EXPECT_EQ(all.lines[2], "… and 968 bytes more");
  EXPECT_EQ(all.json["truncated"], true);
}

TEST(Decode, NothingIsNoCrash) { EXPECT_TRUE(decode_bytes({}, 256).lines.empty()); }

TEST(Intervals, RateAndDeviationAreOfTheTimesBetweenMessages) {
  Intervals intervals;
  EXPECT_EQ(intervals.rate_hz(), 0);
  intervals.add(1'000'000'000);
  EXPECT_EQ(intervals.rate_hz(), 0) << "one message is no rate";
  intervals.add(1'030'000'000);
  intervals.add(1'080'000'000);
  EXPECT_NEAR(intervals.rate_hz(), 25, 1e-9);
  EXPECT_EQ(intervals.least_ns(), 30'000'000u);
  EXPECT_EQ(intervals.most_ns(), 50'000'000u);
  EXPECT_NEAR(intervals.deviation_ns(), 14'142'135.6, 1);
  intervals.restart();
  intervals.add(1'180'000'000);
  EXPECT_NEAR(intervals.rate_hz(), 10, 1e-9) << "the interval begins at the last message before";
  EXPECT_EQ(intervals.messages(), 1u);
}

}  // namespace
}  // namespace sluice::tools
