#include "tools/sluice/text.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace sluice::tools {
namespace {

TEST(Text, WhatATerminalWouldObeyIsReplaced) {
  EXPECT_EQ(clean("camera/front"), "camera/front");
  EXPECT_EQ(clean("a\x1b[2Jb\n\x7f"), "a?[2Jb??");
  EXPECT_EQ(clean("a\xc2\x9b"
                  "b"),
            "a?b");  // C1: another way to say ESC [
  EXPECT_EQ(clean("\xe2\x80\xae"
                  "gpj.exe"),
            "?gpj.exe");                  // right-to-left override
  EXPECT_EQ(clean("\xe2\x80\x8b"), "?");  // no width
}

TEST(Text, WhatIsNotUtf8IsReplacedByteByByte) {
  EXPECT_EQ(clean("\xff\xc3"), "??");
  EXPECT_EQ(clean("\xc0\xaf"), "??");            // overlong
  EXPECT_EQ(clean("\xed\xa0\x80"), "???");       // half of a surrogate pair
  EXPECT_EQ(clean("\xf4\x90\x80\x80"), "????");  // beyond Unicode
  EXPECT_EQ(clean("Tür/küche"), "Tür/küche");
}

TEST(Text, AccentsThatCombineStandOnALetterAndAreNotPiledUp) {
  EXPECT_EQ(columns_of(clean("e\xcc\x81")), 1u);
  EXPECT_EQ(clean("\xcc\x81"), "?");
  std::string piled = "e";
  for (int i = 0; i < 50; ++i) piled += "\xcc\x81";
  EXPECT_GT(columns_of(clean(piled)), 40u);
}

TEST(Text, CutTextNeverTakesMoreColumnsThanItMay) {
  for (const std::string text :
       {"camera/front/frames", "日本語カメラ/映像", "e\xcc\x81tage/\xcc\x81", "\xff\x1b"}) {
    for (std::size_t columns = 0; columns < 24; ++columns) {
      EXPECT_LE(columns_of(cut(text, columns)), columns) << text;
      EXPECT_LE(columns_of(cut_middle(text, columns)), columns) << text;
      EXPECT_EQ(columns_of(left(text, columns)), columns) << text;
      EXPECT_EQ(columns_of(right(text, columns)), columns) << text;
      EXPECT_EQ(cut_middle(text, columns), clean(cut_middle(text, columns)));
    }
  }
  EXPECT_EQ(cut("camera/front", 7), "camera…");
  EXPECT_EQ(cut_middle("camera/front/frames", 11), "camer…rames");
}

TEST(Text, WhatIdentifiesATopicOrANodeSurvivesShortening) {
  EXPECT_EQ(cut_topic("recognize/people/identities", 21), "recog…/people/identi…");
  EXPECT_EQ(cut_topic("recognize/guests/identities", 21), "recog…/guests/identi…");
  EXPECT_EQ(cut_topic("camera/street-2/frames", 19), "cam…/street-2/fram…");
  EXPECT_EQ(cut_topic("trace/recognize-people", 21), "tra…/recognize-people");
  EXPECT_EQ(cut_topic("camera/front/frames", 19), "camera/front/frames");
  EXPECT_EQ(cut_topic("temperatures", 8), "temp…res");
  EXPECT_EQ(cut_node("recognize-people", 14), "recogn…-people");
  EXPECT_EQ(cut_node("detect-street-2", 14), "dete…-street-2");
  EXPECT_EQ(cut_node("detect-front-door-of-the-house-12", 14), "det…-fron…e-12");
  EXPECT_EQ(cut_node("detect-hall-1", 14), "detect-hall-1");
  for (const std::string text :
       {"camera/the one above the front door/frames", "a/b/c/d/e/f", "//",
        "日本語カメラ/正面玄関/映像データ", "x-日本語カメラ-12", "-", "/-"}) {
    for (std::size_t columns = 0; columns < 50; ++columns) {
      EXPECT_LE(columns_of(cut_topic(text, columns)), columns) << text;
      EXPECT_LE(columns_of(cut_node(text, columns)), columns) << text;
    }
  }
}

TEST(Text, AsciiTakesAsManyColumns) {
  for (const std::string text : {"850µs", "camer…", "日本", "–", "a · b"}) {
    EXPECT_EQ(to_ascii(text).size(), columns_of(text)) << text;
  }
  EXPECT_EQ(to_ascii("850µs…"), "850us~");
}

TEST(Text, NumbersKeepToFiveColumnsWhateverTheirSize) {
  for (unsigned shift = 0; shift < 64; ++shift) {
    for (const std::uint64_t value :
         {std::uint64_t{1} << shift, (std::uint64_t{1} << shift) - 1, ~std::uint64_t{0} >> shift}) {
      EXPECT_LE(columns_of(duration_text(value)), 5u) << value << " " << duration_text(value);
      EXPECT_LE(columns_of(count_text(value)), 5u) << value << " " << count_text(value);
      EXPECT_LE(columns_of(rate_text(static_cast<double>(value) / 16)), 5u) << value;
    }
  }
}

TEST(Text, NumbersCarryUnits) {
  EXPECT_EQ(duration_text(999), "999ns");
  EXPECT_EQ(duration_text(1'234), "1.2µs");
  EXPECT_EQ(duration_text(850'000), "850µs");
  EXPECT_EQ(duration_text(33'333'333), "33ms");
  EXPECT_EQ(duration_text(2'100'000'000), "2.1s");
  EXPECT_EQ(duration_text(900'000'000'000), "15m");
  EXPECT_EQ(rate_text(29.97), "30.0");
  EXPECT_EQ(rate_text(0.001), "<0.01");
  EXPECT_EQ(rate_text(0), "0");
  EXPECT_EQ(count_text(99'999), "99999");
  EXPECT_EQ(count_text(123'456), "123k");
  EXPECT_EQ(bytes_text(1'382'400), "1.4 MB");
  EXPECT_EQ(ms_text(1'234'567), "1.235");
  EXPECT_EQ(plural(1, "stream"), "1 stream");
  EXPECT_EQ(plural(0, "stream"), "0 streams");
}

TEST(Text, FormatsHaveTheNamesThatPeopleUse) {
  EXPECT_EQ(format_text(0x3132'5559), "YU21");  // unknown to us: its four characters
  EXPECT_EQ(format_text(0x3231'5559), "I420");
  EXPECT_EQ(format_text(0x2020'3852), "GREY");
  EXPECT_EQ(format_text(0), "");
  EXPECT_EQ(columns_of(format_text(0x0a1b'0007)), 4u);  // no control characters
}

}  // namespace
}  // namespace sluice::tools
