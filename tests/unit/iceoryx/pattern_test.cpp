#include "daemons/iceoryx/pattern.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::iceoryx {
namespace {

using Words = std::vector<std::string>;

TEST(IceoryxPattern, AStarStandsForAnyCharacters) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*", "Radar"));
  EXPECT_TRUE(glob_matches("Front*", "FrontLeft"));
  EXPECT_TRUE(glob_matches("*Left", "FrontLeft"));
  EXPECT_TRUE(glob_matches("F*t*t", "FrontLeft"));
  EXPECT_TRUE(glob_matches("a**b", "ab"));
  EXPECT_TRUE(glob_matches("*ab", "aab"));
  EXPECT_FALSE(glob_matches("Front*", "Rear"));
  EXPECT_FALSE(glob_matches("*Left", "LeftRear"));
  EXPECT_FALSE(glob_matches("", "x"));
  EXPECT_FALSE(glob_matches("a*b", "a"));
  EXPECT_FALSE(glob_matches("[R]adar", "Radar"));
}

TEST(IceoryxPattern, TwoPatternsOverlapWhereATextMatchesBoth) {
  for (const auto& [a, b] : {std::pair{"*", ""},
                             {"*", "*"},
                             {"a*", "*b"},
                             {"a*c", "ab*"},
                             {"Radar", "Radar"},
                             {"*a*", "b*b"},
                             {"a*", "a"},
                             {"*", "x"}}) {
    EXPECT_TRUE(globs_overlap(a, b)) << a << " " << b;
    EXPECT_TRUE(globs_overlap(b, a)) << b << " " << a;
  }
  for (const auto& [a, b] : {std::pair{"a", "b"},
                             {"a*", "b*"},
                             {"*a", "*b"},
                             {"", "a"},
                             {"a*b", "a"},
                             {"Radar", "Rada"},
                             {"a*c", "b"}}) {
    EXPECT_FALSE(globs_overlap(a, b)) << a << " " << b;
    EXPECT_FALSE(globs_overlap(b, a)) << b << " " << a;
  }
}

// Overlap says the same as trying all short texts.
TEST(IceoryxPattern, OverlapAgreesWithMatching) {
  const auto all = [](const std::string& letters, std::size_t most) {
    Words words{""};
    for (std::size_t i = 0; i < words.size() && words[i].size() < most; ++i) {
      for (const char c : letters) words.push_back(words[i] + c);
    }
    return words;
  };
  const Words patterns = all("ab*", 3);
  const Words texts = all("ab", 6);
  for (const std::string& a : patterns) {
    for (const std::string& b : patterns) {
      bool both = false;
      for (const std::string& text : texts) {
        both = both || (glob_matches(a, text) && glob_matches(b, text));
      }
      EXPECT_EQ(globs_overlap(a, b), both) << "'" << a << "' '" << b << "'";
    }
  }
}

TEST(IceoryxPattern, WhatCannotStandInATopicIsWrittenInHex) {
  EXPECT_EQ(as_level("FrontLeft"), "FrontLeft");
  EXPECT_EQ(as_level("a/b+c#d%"), "a%2Fb%2Bc%23d%25");
  EXPECT_EQ(as_level("$sys"), "%24sys");
  EXPECT_EQ(as_level("a$"), "a$");
  EXPECT_EQ(as_level(std::string("\n\x7f", 2)), "%0A%7F");
  EXPECT_EQ(as_level(""), "");
}

TEST(IceoryxPattern, WildcardsStandForWhatTheTopicHasThere) {
  EXPECT_EQ(captures("camera/+/frames", "camera/front/frames"), (Words{"front"}));
  EXPECT_EQ(captures("+/x/#", "a/x/b/c"), (Words{"a", "b/c"}));
  EXPECT_EQ(captures("a/#", "a"), (Words{""}));
  EXPECT_EQ(captures("a/b", "a/b"), Words{});
  EXPECT_EQ(captures("+/+", "/"), (Words{"", ""}));
  EXPECT_EQ(wildcards("+/x/#"), 2u);
}

TEST(IceoryxPattern, ATemplateExpands) {
  const Words names{"service", "instance"};
  const auto made = Template::parse("x/{instance}-{service}/{instance}", names);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->expand({"S", "I"}), "x/I-S/I");
  EXPECT_EQ(made->as_filter(), "x/+/+");
  EXPECT_EQ(made->as_glob(), "x/*-*/*");
  const auto first = Template::parse("{service}", names);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->as_filter(), "+");
  const auto empty = Template::parse("/a/", names);
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->as_filter(), "/a/");
}

TEST(IceoryxPattern, AnUnknownPlaceholderIsRefusedWithThoseThatThereAre) {
  const Words names{"topic", "1"};
  const auto made = Template::parse("a{2}", names);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message, "there is no placeholder '2' here; it may have {topic}, {1}");
  for (const char* text : {"{", "}", "a{b", "{topic", "topic}", "{{topic}}", "{to{1}pic}"}) {
    EXPECT_FALSE(Template::parse(text, names)) << text;
  }
}

}  // namespace
}  // namespace sluice::iceoryx
