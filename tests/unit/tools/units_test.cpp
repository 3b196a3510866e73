#include "tools/sluice/units.hpp"

#include <gtest/gtest.h>

namespace sluice::tools {
namespace {

using namespace std::chrono_literals;

TEST(Units, ReadsDurationsWithAndWithoutUnits) {
  EXPECT_EQ(parse_duration("5"), 5s);
  EXPECT_EQ(parse_duration("0"), 0s);
  EXPECT_EQ(parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(parse_duration("100ms"), 100ms);
  EXPECT_EQ(parse_duration("20us"), 20us);
  EXPECT_EQ(parse_duration("7ns"), 7ns);
  EXPECT_EQ(parse_duration("2m"), 2min);
  EXPECT_EQ(parse_duration("3h"), 3h);
  EXPECT_EQ(parse_duration("1d"), 24h);
}

TEST(Units, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "s", "5 s", "-1", "-1s", "5x", "nan", "inf", "1e99", "5ss", "0x10",
                           "99999999999d", " 5"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Units, KnowsPriorities) {
  for (const Priority priority :
       {Priority::critical, Priority::high, Priority::normal, Priority::low}) {
    EXPECT_EQ(parse_priority(to_string(priority)), priority);
  }
  EXPECT_FALSE(parse_priority(""));
  EXPECT_FALSE(parse_priority("urgent"));
}

TEST(Units, ReadsIdsAsTheyAreShown) {
  EXPECT_EQ(hex16(0x1a), "000000000000001a");
  EXPECT_EQ(parse_hex16("000000000000001a"), 0x1au);
  EXPECT_EQ(parse_hex16("ffffffffffffffff"), ~std::uint64_t{0});
  for (const char* text : {"", "1a", "00000000000000001", "000000000000001g", "0x0000000000001a"}) {
    EXPECT_FALSE(parse_hex16(text)) << text;
  }
}

TEST(Units, TellsTextFromBytes) {
  EXPECT_TRUE(is_text(""));
  EXPECT_TRUE(is_text("grün ✓\n"));
  EXPECT_FALSE(is_text(std::string("a\0b", 3)));
  EXPECT_FALSE(is_text("\xff"));
  EXPECT_FALSE(is_text("\xed\xa0\x80"));  // a surrogate
  EXPECT_FALSE(is_text("\xc3"));          // cut off
}

}  // namespace
}  // namespace sluice::tools
