// Topics and filters once more, as simply as can be: split into levels, compared one by one. What
// transport/topic.cpp says is compared with this.
#pragma once

#include "sluice/topic.hpp"

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

using LevelList = std::vector<std::string>;

inline LevelList split(std::string_view text) {
  LevelList levels(1);
  for (const char c : text) {
    if (c == '/') {
      levels.emplace_back();
    } else {
      levels.back() += c;
    }
  }
  return levels;
}

inline std::string join(const LevelList& levels) {
  std::string text;
  for (std::size_t i = 0; i < levels.size(); ++i) text += (i == 0 ? "" : "/") + levels[i];
  return text;
}

/// The rules for wildcards alone; not the limits, nor UTF-8.
inline bool naive_is_filter(const LevelList& levels) {
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (levels[i] == "#" && i + 1 < levels.size()) return false;
    if (levels[i].size() > 1 && levels[i].find_first_of("+#") != std::string::npos) return false;
  }
  return true;
}

inline bool naive_exists(const LevelList& topic) {
  const std::size_t bytes = join(topic).size();
  return bytes >= 1 && bytes <= kMaxTopicBytes && topic.size() <= kMaxTopicLevels;
}

inline bool naive_matches(const LevelList& filter, const LevelList& topic) {
  const bool system = topic[0].substr(0, 1) == "$";
  if (system && (filter[0] == "+" || filter[0] == "#")) return false;
  for (std::size_t i = 0; i < filter.size(); ++i) {
    if (filter[i] == "#") return true;  // also where i == topic.size(): the parent
    if (i >= topic.size()) return false;
    if (filter[i] != "+" && filter[i] != topic[i]) return false;
  }
  return filter.size() == topic.size();
}

/// A level that no filter of a test contains.
inline constexpr const char* kFresh = "~";

/// Topics that `narrow` matches, chosen so that one of them escapes any filter that does not
/// include it: what a wildcard stands for is in no filter, and '#' stands for any number of levels.
inline bool naive_includes(const LevelList& wide, const LevelList& narrow) {
  LevelList topic;
  for (const std::string& level : narrow) {
    if (level != "#") topic.push_back(level == "+" ? kFresh : level);
  }
  if (narrow.back() != "#") return naive_matches(wide, topic);
  if (topic.empty()) topic.push_back(kFresh);
  for (std::size_t more = 0; more <= wide.size() + 1; ++more) {
    if (naive_exists(topic) && !naive_matches(wide, topic)) return false;
    topic.push_back(kFresh);
  }
  return true;
}

/// Of each length one topic that both match if any does.
inline bool naive_overlap(const LevelList& a, const LevelList& b) {
  LevelList topic;
  for (std::size_t i = 0; i <= std::max(a.size(), b.size()); ++i) {
    std::string level;
    bool fixed = false;
    for (const LevelList* filter : {&a, &b}) {
      if (fixed || i >= filter->size()) continue;
      fixed = (*filter)[i] != "+" && (*filter)[i] != "#";
      if (fixed) level = (*filter)[i];
    }
    topic.push_back(level);
    // Alone, an empty level is no topic.
    LevelList whole = topic;
    if (whole.size() == 1 && !fixed) whole[0] = kFresh;
    if (naive_exists(whole) && naive_matches(a, whole) && naive_matches(b, whole)) return true;
  }
  return false;
}

}  // namespace sluice::test
