// Topics and filters as sets.
//
// A filter is a set of topics, and a topic, which is a filter without wildcards, the set of itself.
// "Matches" and "includes" are therefore one question, whether one set lies in another, and it is
// answered level by level, with two points where the levels alone would mislead:
//
//   the parent   "a/#" matches "a" too. "#" has no parent, since a topic has at least one level, so
//                "#" and "+/#" are the same set; nor has "/#", since the empty topic does not
//                exist, so "/#" and "/+/#" are the same.
//   the system   a wildcard that begins a filter does not stand for a level that begins with '$'.
//
// Topics beyond the limits do not exist either. That matters to overlaps only: each of two filters
// can be within the limit, and what they have in common beyond it.
#include "sluice/topic.hpp"

#include "transport/quote.hpp"

#include <boost/locale/utf.hpp>

#include <string>

namespace sluice {
namespace {

// Walks over the levels of a filter.
class Levels {
 public:
  explicit Levels(std::string_view text) noexcept : rest_(text) { next(); }

  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] bool first() const noexcept { return first_; }
  [[nodiscard]] std::string_view level() const noexcept { return level_; }
  [[nodiscard]] bool is_rest() const noexcept { return !ended_ && level_ == "#"; }
  [[nodiscard]] bool is_any() const noexcept { return !ended_ && level_ == "+"; }
  // Whether no wildcard at the front of a filter stands for this level.
  [[nodiscard]] bool is_system() const noexcept { return first_ && level_.substr(0, 1) == "$"; }

  void advance() noexcept {
    first_ = false;
    next();
  }

 private:
  void next() noexcept {
    if (!more_) {
      ended_ = true;
      level_ = {};
      return;
    }
    const std::size_t end = rest_.find('/');
    level_ = rest_.substr(0, end);
    more_ = end != std::string_view::npos;
    if (more_) rest_.remove_prefix(end + 1);
  }

  std::string_view rest_;
  std::string_view level_;
  bool more_ = true;
  bool ended_ = false;
  bool first_ = true;
};

Error refuse(const char* what, std::string_view text, const std::string& why) {
  return {Errc::invalid_argument, 0, std::string(what) + " " + transport::quoted(text) + " " + why};
}

Result<void> check_text(const char* what, std::string_view text) {
  if (text.empty()) {
    return Error{Errc::invalid_argument, 0,
                 std::string("the ") + what + " is empty; give it at least one character"};
  }
  if (text.size() > kMaxTopicBytes) {
    return refuse(what, text,
                  "has " + std::to_string(text.size()) + " bytes; shorten it to " +
                      std::to_string(kMaxTopicBytes) + " at most");
  }
  using Utf8 = boost::locale::utf::utf_traits<char>;
  for (auto at = text.begin(); at != text.end();) {
    const auto begin = at - text.begin();
    const boost::locale::utf::code_point c = Utf8::decode(at, text.end());
    if (c == 0) {
      return refuse(what, text, "contains U+0000 at byte " + std::to_string(begin) + "; remove it");
    }
    if (c == boost::locale::utf::illegal || c == boost::locale::utf::incomplete) {
      return refuse(what, text,
                    "is not well-formed UTF-8 at byte " + std::to_string(begin) +
                        "; encode it as UTF-8, without surrogates");
    }
  }
  std::size_t levels = 1;
  for (const char c : text) levels += c == '/' ? 1 : 0;
  if (levels > kMaxTopicLevels) {
    return refuse(what, text,
                  "has " + std::to_string(levels) + " levels; use " +
                      std::to_string(kMaxTopicLevels) + " at most");
  }
  return {};
}

}  // namespace

Result<void> check_topic(std::string_view topic) {
  if (auto checked = check_text("topic", topic); !checked) return checked;
  const std::size_t at = topic.find_first_of("+#");
  if (at == std::string_view::npos) return {};
  return refuse("topic", topic,
                std::string("contains the wildcard '") + topic[at] + "' at byte " +
                    std::to_string(at) + "; only filters have wildcards, name the topic in full");
}

Result<void> check_filter(std::string_view filter) {
  if (auto checked = check_text("filter", filter); !checked) return checked;
  std::size_t number = 1;
  for (Levels at(filter); !at.ended(); at.advance(), ++number) {
    const std::size_t wildcard = at.level().find_first_of("+#");
    if (wildcard == std::string_view::npos) continue;
    const std::string place =
        std::string("has '") + at.level()[wildcard] + "' in level " + std::to_string(number);
    if (at.level().size() > 1) {
      return refuse("filter", filter,
                    place + " beside other characters; a wildcard must be a whole level");
    }
    // The only '/' that may follow is none.
    if (at.is_rest() && &at.level().back() != &filter.back()) {
      return refuse("filter", filter,
                    place + " before others; '#' must be the last level, '+' stands for one");
    }
  }
  return {};
}

bool filter_matches(std::string_view filter, std::string_view topic) noexcept {
  return filter_includes(filter, topic);
}

bool filter_includes(std::string_view wide, std::string_view narrow) noexcept {
  Levels w(wide);
  Levels n(narrow);
  for (; !w.ended() && !n.ended(); w.advance(), n.advance()) {
    if ((w.is_rest() || w.is_any()) && n.is_system()) return false;
    if (w.is_rest()) return true;
    if (n.is_rest()) {
      // All further levels, and none: what is not '#' cannot do both, unless there is no parent.
      if ((!n.first() && narrow != "/#") || !w.is_any()) return false;
      w.advance();
      return w.is_rest();
    }
    if (!w.is_any() && w.level() != n.level()) return false;
  }
  return (w.ended() && n.ended()) || w.is_rest();
}

bool filters_overlap(std::string_view a, std::string_view b) noexcept {
  Levels x(a);
  Levels y(b);
  // The shortest topic that both match: its levels' bytes, and the separators.
  std::size_t bytes = 0;
  std::size_t levels = 0;
  for (; !x.is_rest() && !y.is_rest(); x.advance(), y.advance()) {
    if (x.ended() != y.ended()) return false;
    if (x.ended()) break;
    if ((x.is_any() && y.is_system()) || (y.is_any() && x.is_system())) return false;
    if (!x.is_any() && !y.is_any() && x.level() != y.level()) return false;
    if (!x.is_any() || !y.is_any()) bytes += x.is_any() ? y.level().size() : x.level().size();
    ++levels;
  }
  if ((x.is_rest() && y.is_system()) || (y.is_rest() && x.is_system())) return false;
  // Where one has '#', the other says what follows, unless that is '#' as well.
  for (Levels* longer : {&x, &y}) {
    for (; !longer->ended() && !longer->is_rest(); longer->advance()) {
      if (!longer->is_any()) bytes += longer->level().size();
      ++levels;
    }
  }
  // '+' and "/#" have nothing but the empty topic in common.
  if ((a == "/#" && b == "+") || (a == "+" && b == "/#")) return false;
  return levels == 0 || bytes + levels - 1 <= kMaxTopicBytes;
}

}  // namespace sluice
