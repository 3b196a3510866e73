// Topics and filters: the checks against simple ones, the answers against a split into levels.
#include "sluice/topic.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/support/naive_topic.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace sluice::fuzz {
namespace {

// A program for JSON knows UTF-8 too.
bool is_utf8(const std::string& text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

bool simple_check(const std::string& text, bool is_topic) {
  const test::LevelList levels = test::split(text);
  return test::naive_exists(levels) && is_utf8(text) && text.find('\0') == std::string::npos &&
         (is_topic ? text.find_first_of("+#") == std::string::npos : test::naive_is_filter(levels));
}

// Arbitrary bytes, or the few characters that mean something, which get further.
std::string read_text(Input& in, bool any_byte) {
  static constexpr std::string_view kAlphabet = "ab$/+#//++#/a";
  std::string text;
  // 0xfe ends a text in both ways of reading.
  while (in.left() != 0) {
    const std::uint8_t byte = in.byte();
    if (byte == 0xfe) break;
    text += any_byte ? static_cast<char>(byte) : kAlphabet[byte % kAlphabet.size()];
  }
  return text;
}

void compare(const std::string& a, const std::string& b) {
  const test::LevelList one = test::split(a);
  const test::LevelList other = test::split(b);
  // The reference needs a level that no filter has.
  for (const test::LevelList* levels : {&one, &other}) {
    if (std::find(levels->begin(), levels->end(), test::kFresh) != levels->end()) return;
  }
  require(filter_includes(a, b) == test::naive_includes(one, other), "includes, as defined");
  require(filters_overlap(a, b) == test::naive_overlap(one, other), "overlap, as defined");
  require(filters_overlap(a, b) == filters_overlap(b, a), "overlap is mutual");
  require(!filter_includes(a, b) || filters_overlap(a, b), "what is included overlaps");
  if (check_topic(b)) {
    require(filter_matches(a, b) == test::naive_matches(one, other), "matches, as defined");
  }
}

}  // namespace
}  // namespace sluice::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sluice;
  using namespace sluice::fuzz;
  Input in{data, size};
  const bool any_byte = in.byte() % 2 == 1;
  const std::string a = read_text(in, any_byte);
  const std::string b = read_text(in, any_byte);
  for (const std::string* text : {&a, &b}) {
    require(check_topic(*text).has_value() == simple_check(*text, true), "a topic, as defined");
    require(check_filter(*text).has_value() == simple_check(*text, false), "a filter, as defined");
  }
  // Invalid ones get some answer.
  (void)filter_includes(a, b);
  (void)filters_overlap(a, b);
  if (check_filter(a) && check_filter(b)) {
    compare(a, b);
    compare(b, a);
  }
  return 0;
}
