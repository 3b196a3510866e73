#include "sluice/topic.hpp"

#include "tests/support/naive_topic.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice {
namespace {

using test::LevelList;

std::string levels(std::size_t n) {
  std::string text = "a";
  for (std::size_t i = 1; i < n; ++i) text += "/a";
  return text;
}

std::string why_no_topic(std::string_view topic) {
  auto checked = check_topic(topic);
  if (checked) return "";
  EXPECT_EQ(checked.error().code, Errc::invalid_argument);
  return checked.error().message;
}

std::string why_no_filter(std::string_view filter) {
  auto checked = check_filter(filter);
  if (checked) return "";
  EXPECT_EQ(checked.error().code, Errc::invalid_argument);
  return checked.error().message;
}

using Strings = std::vector<std::string>;

const Strings kNotUtf8{
    "\x80",              // a continuation without a beginning
    "\xc3",              // cut off
    "a/\xe2\x82",        // cut off
    "\xe2\x82/a",        // cut off before '/'
    "\xf0\x9f\x98",      // cut off
    "\xc0\xaf",          // '/' in two bytes
    "\xe0\x80\xaf",      // '/' in three
    "\xf0\x80\x80\xaf",  // '/' in four
    "\xed\xa0\x80",      // U+D800
    "\xed\xbf\xbf",      // U+DFFF
    "\xf4\x90\x80\x80",  // U+110000
    "\xf5\x80\x80\x80",
    "\xff",
    "\xfe",
};

const Strings kUtf8{
    "caf\xc3\xa9",       // two bytes
    "\xe2\x82\xac/a",    // three
    "\xf0\x9f\x98\x80",  // four
    "\xed\x9f\xbf",      // U+D7FF, before the surrogates
    "\xee\x80\x80",      // U+E000, after them
    "\xf4\x8f\xbf\xbf",  // U+10FFFF
    "\xef\xbb\xbf",      // a byte order mark is a character, and stays
    "\xef\xbf\xbf",      // a non-character: discouraged, not forbidden
};

TEST(Topic, MayHaveEmptyLevelsAndSpaces) {
  for (const char* topic : {"a", "/", "//", "/a", "a/", "a//b", " ", "a b/c", "$", "$sys/x", "a/$b",
                            "camera/front/frames", "\t"}) {
    EXPECT_EQ(why_no_topic(topic), "");
    EXPECT_EQ(why_no_filter(topic), "");
  }
}

TEST(Topic, IsNotEmpty) {
  EXPECT_EQ(why_no_topic(""), "the topic is empty; give it at least one character");
  EXPECT_EQ(why_no_filter(""), "the filter is empty; give it at least one character");
}

TEST(Topic, HasNoWildcardsAnywhere) {
  for (const char* topic : {"+", "#", "a/+", "a/#", "+/a", "a+", "#a", "a/b#/c", "$sys/#"}) {
    EXPECT_NE(why_no_topic(topic), "") << topic;
  }
  EXPECT_EQ(
      why_no_topic("a/b#"),
      "topic 'a/b#' contains the wildcard '#' at byte 3; only filters have wildcards, name the "
      "topic in full");
}

TEST(Topic, IsWellFormedUtf8) {
  for (const std::string& text : kUtf8) {
    EXPECT_EQ(why_no_topic(text), "");
    EXPECT_EQ(why_no_filter(text + "/#"), "");
  }
  for (const std::string& text : kNotUtf8) {
    EXPECT_NE(why_no_topic(text), "");
    EXPECT_NE(why_no_filter(text), "");
    EXPECT_NE(why_no_topic("a/" + text), "");
  }
  EXPECT_EQ(why_no_topic("a/\xff"),
            "topic 'a/\\xff' is not well-formed UTF-8 at byte 2; encode it as UTF-8, without "
            "surrogates");
}

TEST(Topic, ContainsNoNul) {
  const std::string_view text("a/\0b", 4);
  EXPECT_EQ(why_no_topic(text), "topic 'a/\\x00b' contains U+0000 at byte 2; remove it");
  EXPECT_NE(why_no_filter(text), "");
}

TEST(Topic, HasAtMost65535Bytes) {
  const std::string longest(kMaxTopicBytes, 'a');
  EXPECT_EQ(why_no_topic(longest), "");
  EXPECT_EQ(why_no_filter(longest), "");
  EXPECT_EQ(why_no_topic(longest + "a"),
            "topic '" + std::string(64, 'a') + "…' has 65536 bytes; shorten it to 65535 at most");
  EXPECT_NE(why_no_filter(longest + "a"), "");
}

TEST(Topic, HasAtMost128Levels) {
  EXPECT_EQ(why_no_topic(levels(128)), "");
  EXPECT_EQ(why_no_filter(levels(127) + "/#"), "");
  EXPECT_NE(why_no_topic(levels(129)).find("has 129 levels; use 128 at most"), std::string::npos);
  EXPECT_NE(why_no_filter(levels(128) + "/#"), "");
  EXPECT_EQ(why_no_topic(std::string(127, '/')), "");
  EXPECT_NE(why_no_topic(std::string(128, '/')), "");
}

TEST(Filter, HasWildcardsAsWholeLevelsOnly) {
  for (const char* filter :
       {"+", "#", "+/+", "+/#", "/#", "/+", "+/", "a/+/b", "a/#", "$sys/#", "+//#", "a/+"}) {
    EXPECT_EQ(why_no_filter(filter), "") << filter;
  }
  for (const char* filter : {"a+", "+a", "a#", "#a", "a/b+", "a/+b/c", "a/b#", "a/#b", "++", "##",
                             "+#", "#/", "#/a", "a/#/b", "#/#", "a/#/", "+/#/"}) {
    EXPECT_NE(why_no_filter(filter), "") << filter;
  }
  EXPECT_EQ(why_no_filter("a/b#"),
            "filter 'a/b#' has '#' in level 2 beside other characters; a wildcard must be a whole "
            "level");
  EXPECT_EQ(
      why_no_filter("a/#/b"),
      "filter 'a/#/b' has '#' in level 2 before others; '#' must be the last level, '+' stands "
      "for one");
}

struct Pair {
  const char* first;
  const char* second;
};

TEST(Filter, MatchesWhatMqttSays) {
  // Those of section 4.7 first.
  for (const auto& [filter, topic] : {
           Pair{"sport/tennis/player1/#", "sport/tennis/player1"},
           Pair{"sport/tennis/player1/#", "sport/tennis/player1/ranking"},
           Pair{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"},
           Pair{"sport/#", "sport"},
           Pair{"#", "sport/tennis"},
           Pair{"sport/tennis/+", "sport/tennis/player1"},
           Pair{"sport/+", "sport/"},
           Pair{"+/+", "/finance"},
           Pair{"/+", "/finance"},
           Pair{"$SYS/#", "$SYS/"},
           Pair{"$SYS/monitor/+", "$SYS/monitor/Clients"},
           Pair{"a", "a"},
           Pair{"+", "a"},
           Pair{"#", "/"},
           Pair{"+/+", "/"},
           Pair{"/", "/"},
           Pair{"//", "//"},
           Pair{"+/+/+", "//"},
           Pair{"a/+/b", "a//b"},
           Pair{"a/#", "a/"},
           Pair{"a//#", "a/"},
           Pair{"/#", "/"},
           Pair{"/#", "/a"},
           Pair{"+/#", "a"},
           Pair{"+/#", "a/b/c"},
           Pair{"+/b/#", "a/b"},
           Pair{"$SYS/#", "$SYS"},
           Pair{"$/#", "$/a"},
           Pair{"a/+", "a/$b"},
           Pair{"a/#", "a/$b"},
           Pair{"/+", "/$b"},
           Pair{"+/\xc3\xa9", "\xe2\x82\xac/\xc3\xa9"},
       }) {
    EXPECT_TRUE(filter_matches(filter, topic)) << filter << " and " << topic;
  }
}

TEST(Filter, DoesNotMatchMore) {
  for (const auto& [filter, topic] : {
           Pair{"sport/tennis/+", "sport/tennis/player1/ranking"},
           Pair{"sport/+", "sport"},
           Pair{"+", "/finance"},
           Pair{"#", "$SYS/a"},
           Pair{"+/monitor/Clients", "$SYS/monitor/Clients"},
           Pair{"#", "$"},
           Pair{"+", "$"},
           Pair{"+/#", "$SYS"},
           Pair{"+/+", "$SYS/a"},
           Pair{"a", "A"},
           Pair{"a", "a/"},
           Pair{"a", "/a"},
           Pair{"a/", "a"},
           Pair{"a/b", "a//b"},
           Pair{"a/#", "ab"},
           Pair{"a/#", "b"},
           Pair{"a/#", "/a"},
           Pair{"a/b/#", "a"},
           Pair{"a/+/#", "a"},
           Pair{"/#", "a"},
           Pair{"+", "/"},
           Pair{"+/+", "//"},
           Pair{"/+", "//"},
           Pair{"\xc3\xa9", "e\xcc\x81"},  // the same letter, not normalised
           Pair{"$SYS/#", "$SYSTEM"},
       }) {
    EXPECT_FALSE(filter_matches(filter, topic)) << filter << " and " << topic;
  }
}

TEST(Filter, IncludesWhatMatchesLess) {
  for (const auto& [wide, narrow] :
       {Pair{"#", "#"}, Pair{"#", "+"}, Pair{"#", "+/#"}, Pair{"+/#", "#"}, Pair{"#", "a/b"},
        Pair{"a/#", "a/#"}, Pair{"a/#", "a/b/#"}, Pair{"a/#", "a"}, Pair{"a/#", "a/+/#"},
        Pair{"a/+", "a/b"}, Pair{"a/+", "a/"}, Pair{"+/+", "/"}, Pair{"+/b", "a/b"},
        Pair{"$s/#", "$s/+"}, Pair{"a/+/#", "a/+"}, Pair{"+/+/#", "a/b/#"}, Pair{"/+/#", "/#"},
        Pair{"+/+/#", "/#"}}) {
    EXPECT_TRUE(filter_includes(wide, narrow)) << wide << " and " << narrow;
  }
  for (const auto& [wide, narrow] :
       {Pair{"+", "#"}, Pair{"a/+/#", "a/#"}, Pair{"a", "+"}, Pair{"a", "#"}, Pair{"a/#", "#"},
        Pair{"a/#", "+/#"}, Pair{"a/#", "+"}, Pair{"a/+", "a/#"}, Pair{"a/+", "a"},
        Pair{"#", "$s/a"}, Pair{"#", "$s"}, Pair{"#", "$s/#"}, Pair{"+/a", "$s/a"},
        Pair{"+/#", "$s"}, Pair{"$s/#", "#"}, Pair{"+/+/#", "#"}, Pair{"a/b", "a/+"},
        Pair{"a", "a/#"}}) {
    EXPECT_FALSE(filter_includes(wide, narrow)) << wide << " and " << narrow;
  }
}

TEST(Filter, OverlapsWhereOneTopicMatchesBoth) {
  for (const auto& [a, b] :
       {Pair{"a/+", "+/b"}, Pair{"#", "#"}, Pair{"a/#", "+"}, Pair{"a/#", "a"},
        Pair{"a/#", "+/b/c"}, Pair{"+/+", "/"}, Pair{"$s/#", "$s/+"}, Pair{"+", "+"},
        Pair{"a/#", "a/b/#"}, Pair{"+/#", "#"}, Pair{"a/b/#", "+/+"}}) {
    EXPECT_TRUE(filters_overlap(a, b)) << a << " and " << b;
    EXPECT_TRUE(filters_overlap(b, a)) << b << " and " << a;
  }
  for (const auto& [a, b] :
       {Pair{"a/+", "b/+"}, Pair{"a", "a/+"}, Pair{"#", "$s/#"}, Pair{"+/a", "$s/a"},
        Pair{"a/+/#", "a"}, Pair{"a/b/#", "+"}, Pair{"+/#", "$s"}, Pair{"a/#", "b/#"},
        Pair{"/a", "a"}, Pair{"+", "/#"}}) {
    EXPECT_FALSE(filters_overlap(a, b)) << a << " and " << b;
    EXPECT_FALSE(filters_overlap(b, a)) << b << " and " << a;
  }
}

TEST(Filter, DoesNotOverlapInATopicThatWouldBeTooLong) {
  const std::string half(kMaxTopicBytes / 2, 'a');  // two halves and '/' are the limit
  EXPECT_TRUE(filters_overlap(half + "/+", "+/" + half));
  EXPECT_FALSE(filters_overlap(half + "a/+", "+/" + half));
  EXPECT_FALSE(filters_overlap(half + "/#", "+/" + half + "a"));
  EXPECT_FALSE(filters_overlap(half + "a/#", "+/" + half + "/#"));
}

// All lists of one to `most` levels out of `alphabet`.
std::vector<LevelList> all_lists(const Strings& alphabet, std::size_t most) {
  std::vector<LevelList> lists;
  std::vector<LevelList> last{{}};
  for (std::size_t n = 0; n < most; ++n) {
    std::vector<LevelList> next;
    for (const LevelList& list : last) {
      for (const std::string& level : alphabet) {
        next.push_back(list);
        next.back().push_back(level);
      }
    }
    lists.insert(lists.end(), next.begin(), next.end());
    last = std::move(next);
  }
  return lists;
}

// Every filter of up to three levels against every topic of up to four: over what matters, which is
// a literal, an empty level, a level with '$', and one that no filter names.
TEST(Filter, IncludesAndOverlapsAsAllTopicsOfASmallWorldSay) {
  std::vector<LevelList> topics = all_lists({"", "a", "$s", test::kFresh}, 4);
  std::erase_if(topics, [](const LevelList& topic) { return !test::naive_exists(topic); });
  std::vector<LevelList> filters = all_lists({"", "a", "$s", "+", "#"}, 3);
  std::erase_if(filters, [](const LevelList& filter) { return !check_filter(test::join(filter)); });
  ASSERT_EQ(topics.size(), 4u + 16 + 64 + 256 - 1);
  ASSERT_EQ(filters.size(), (4u + 16 + 64) + (1 + 4 + 16) - 1);

  std::vector<std::vector<bool>> matches;
  for (const LevelList& filter : filters) {
    std::vector<bool>& row = matches.emplace_back();
    for (const LevelList& topic : topics) {
      row.push_back(test::naive_matches(filter, topic));
      ASSERT_EQ(filter_matches(test::join(filter), test::join(topic)), row.back())
          << test::join(filter) << " and " << test::join(topic);
    }
  }
  for (std::size_t i = 0; i < filters.size(); ++i) {
    for (std::size_t j = 0; j < filters.size(); ++j) {
      bool includes = true;
      bool overlap = false;
      for (std::size_t t = 0; t < topics.size(); ++t) {
        includes = includes && (matches[i][t] || !matches[j][t]);
        overlap = overlap || (matches[i][t] && matches[j][t]);
      }
      const std::string a = test::join(filters[i]);
      const std::string b = test::join(filters[j]);
      ASSERT_EQ(filter_includes(a, b), includes) << a << " and " << b;
      ASSERT_EQ(filters_overlap(a, b), overlap) << a << " and " << b;
      // The simple reference, which the fuzzer relies on, is checked by the same token.
      ASSERT_EQ(test::naive_includes(filters[i], filters[j]), includes) << a << " and " << b;
      ASSERT_EQ(test::naive_overlap(filters[i], filters[j]), overlap) << a << " and " << b;
    }
  }
}

}  // namespace
}  // namespace sluice
