#include "sluice/codec.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sluice::test {
namespace {

TEST(Json, IsOneValue) {
  for (const char* text :
       {"{}", "[]", "1", "\"x\"", "null", " {\"a\": [1, 2.5, true]} ", "{\"ä\":1}"}) {
    EXPECT_TRUE(is_json(text)) << text;
  }
  for (const char* text :
       {"", "{", "{}{}", "{a:1}", "[1,]", "nul", "{\"a\":\"\xff\"}", "01", "\"\\x\""}) {
    EXPECT_FALSE(is_json(text)) << text;
  }
}

TEST(Json, IsNestedSixtyFourDeepAtMost) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(is_json(nested(64)));
  EXPECT_FALSE(is_json(nested(65)));
  EXPECT_FALSE(is_json(std::string(1'000'000, '[')));
}

TEST(TypeHash, OfANameIsItsFnv) {
  EXPECT_EQ(type_hash_of_name(""), 0xcbf2'9ce4'8422'2325u);
  EXPECT_EQ(type_hash_of_name("a"),
            0xaf63'dc4c'8601'ec8cu);  // the published test vectors of FNV-1a
  EXPECT_EQ(type_hash_of_name("foobar"), 0x8594'4171'f739'67e8u);
}

}  // namespace
}  // namespace sluice::test
