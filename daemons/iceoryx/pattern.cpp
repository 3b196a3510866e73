#include "daemons/iceoryx/pattern.hpp"

#include "transport/quote.hpp"

#include <algorithm>
#include <utility>

namespace sluice::iceoryx {
namespace {

std::vector<std::string_view> levels_of(std::string_view topic) {
  std::vector<std::string_view> levels;
  for (;;) {
    const auto slash = topic.find('/');
    levels.push_back(topic.substr(0, slash));
    if (slash == std::string_view::npos) return levels;
    topic.remove_prefix(slash + 1);
  }
}

Error invalid(std::string text) { return {Errc::invalid_argument, 0, std::move(text)}; }

std::string in_braces(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "{" : ", {") + name + "}";
  return text;
}

}  // namespace

std::string to_string(const ServiceIds& ids) {
  return ids.service + "/" + ids.instance + "/" + ids.event;
}

bool glob_matches(std::string_view pattern, std::string_view text) noexcept {
  // Where the last star was, and what it stood for: tried again, one byte longer, on a mismatch.
  std::size_t p = 0, t = 0, star = std::string_view::npos, after = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++after;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool globs_overlap(std::string_view a, std::string_view b) {
  // reachable[j]: some text is matched by the first i bytes of a and the first j of b.
  std::vector<char> reachable(b.size() + 1, 0);
  for (std::size_t i = 0; i <= a.size(); ++i) {
    std::vector<char> next(b.size() + 1, 0);
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 && j == 0) {
        next[j] = 1;
        continue;
      }
      // A star may stand for nothing, or for what the other one has.
      const bool star_a = i > 0 && a[i - 1] == '*';
      const bool star_b = j > 0 && b[j - 1] == '*';
      const bool same = i > 0 && j > 0 && (star_a || star_b || a[i - 1] == b[j - 1]);
      next[j] = (star_a && reachable[j] != 0) || (star_b && next[j - 1] != 0) ||
                (star_a && j > 0 && next[j - 1] != 0) || (star_b && i > 0 && reachable[j] != 0) ||
                (same && reachable[j - 1] != 0);
    }
    reachable = std::move(next);
  }
  return reachable[b.size()] != 0;
}

bool matches(const ServiceIds& patterns, const ServiceIds& ids) noexcept {
  return glob_matches(patterns.service, ids.service) &&
         glob_matches(patterns.instance, ids.instance) && glob_matches(patterns.event, ids.event);
}

std::string as_level(std::string_view id) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string level;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const auto byte = static_cast<unsigned char>(id[i]);
    const bool cannot_stand = byte < 0x20 || byte == 0x7f || (id[i] == '$' && i == 0) ||
                              std::string_view{"/+#%"}.find(id[i]) != std::string_view::npos;
    if (cannot_stand) {
      level += {'%', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      level += id[i];
    }
  }
  return level;
}

std::size_t wildcards(std::string_view filter) noexcept {
  return static_cast<std::size_t>(
      std::count_if(filter.begin(), filter.end(), [](char c) { return c == '+' || c == '#'; }));
}

std::vector<std::string> captures(std::string_view filter, std::string_view topic) {
  const auto wanted = levels_of(filter);
  const auto given = levels_of(topic);
  std::vector<std::string> found;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == "#") {
      std::string rest;
      for (std::size_t j = i; j < given.size(); ++j) {
        if (j != i) rest += '/';
        rest += given[j];
      }
      found.push_back(std::move(rest));
    } else if (wanted[i] == "+") {
      found.emplace_back(i < given.size() ? given[i] : std::string_view{});
    }
  }
  return found;
}

Result<Template> Template::parse(std::string_view text, const std::vector<std::string>& names) {
  Template made;
  while (!text.empty()) {
    const auto brace = text.find_first_of("{}");
    if (brace != 0) made.parts_.push_back({std::string(text.substr(0, brace)), std::nullopt});
    if (brace == std::string_view::npos) break;
    const auto end = text.find_first_of("{}", brace + 1);
    if (text[brace] == '}' || end == std::string_view::npos || text[end] == '{') {
      return invalid("a brace has no partner; write placeholders as " + in_braces(names));
    }
    const std::string_view name = text.substr(brace + 1, end - brace - 1);
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) {
      return invalid("there is no placeholder " + transport::quoted(name) + " here; it may have " +
                     in_braces(names));
    }
    made.parts_.push_back({{}, static_cast<std::size_t>(at - names.begin())});
    text.remove_prefix(end + 1);
  }
  return made;
}

std::string Template::expand(const std::vector<std::string>& values) const {
  std::string text;
  for (const Part& part : parts_) {
    text += part.name ? (*part.name < values.size() ? values[*part.name] : "") : part.text;
  }
  return text;
}

std::string Template::as_glob() const {
  std::string text;
  for (const Part& part : parts_) text += part.name ? "*" : part.text;
  return text;
}

std::string Template::as_filter() const {
  constexpr char kPlace = '\x01';  // no topic has it
  std::string text;
  for (const Part& part : parts_) {
    part.name ? text.push_back(kPlace) : static_cast<void>(text += part.text);
  }
  std::string filter;
  for (const std::string_view level : levels_of(text)) {
    if (!filter.empty() || level.data() != text.data()) filter += '/';
    filter += level.find(kPlace) == std::string_view::npos ? level : std::string_view{"+"};
  }
  return filter;
}

bool Template::has_placeholders() const noexcept {
  return std::any_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.name; });
}

}  // namespace sluice::iceoryx
