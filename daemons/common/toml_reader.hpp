// Reading TOML without tolerance: a key that is not known, or a value that is not meant, is an
// error, with file, line, column and remedy.
//
// A reader goes through what may be there, key by key, and remembers the error that stands first in
// the text; what it could not read keeps its default, and nobody gets to see it.
#pragma once

#include "daemons/common/log.hpp"
#include "sluice/result.hpp"
#include "transport/quote.hpp"

#include <toml++/toml.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::daemon {

/// The names, as "a, b and c".
template <class Names>
std::string listed(const Names& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i != 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  return text;
}

/// Base of readers; `source` is what errors call the file.
class TomlReader {
 public:
  explicit TomlReader(std::string source) : source_(std::move(source)) {}

  [[nodiscard]] Error syntax_error(const toml::parse_error& problem) const;

 protected:
  struct Field {
    const char* name;
    std::function<void(const toml::node&)> read;
  };

  /// The error that stands first.
  [[nodiscard]] std::optional<Error> first_error() const;
  [[nodiscard]] std::size_t problems() const noexcept { return problems_; }
  [[nodiscard]] const std::string& source() const noexcept { return source_; }

  void fail(const toml::source_position& at, std::string text);
  void fail(const toml::node& node, std::string text) {
    fail(node.source().begin, std::move(text));
  }

  /// Reads the fields that are there, and refuses others. `where` is how messages call the table:
  /// "[log]".
  void read_table(const toml::table& table, const std::string& where,
                  const std::vector<Field>& fields);
  void read_table(const toml::node& node, const std::string& where,
                  const std::vector<Field>& fields);

  std::string read_string(const toml::node& node, const std::string& what);
  bool read_bool(const toml::node& node, const std::string& what);
  /// Within both limits, which the message names.
  std::int64_t read_integer(const toml::node& node, const std::string& what, std::int64_t least,
                            std::int64_t most);
  /// Finite and within both limits; an integer counts too.
  double read_number(const toml::node& node, const std::string& what, double least, double most);
  /// One of the names; its place, or 0.
  template <class Names>
  std::size_t read_choice(const toml::node& node, const std::string& what, const Names& names) {
    const std::size_t before = problems_;
    const std::string name = read_string(node, what);
    if (problems_ != before) return 0;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (name == names[i]) return i;
    }
    fail(node,
         "there is no " + what + " " + transport::quoted(name) + "; choose among " + listed(names));
    return 0;
  }

  /// The table [log]: level and json.
  LogOptions read_log(const toml::node& node);

  /// One string, or an array of them. `use` gets each together with its node.
  template <class Use>
  void read_strings(const toml::node& node, const std::string& what, Use use) {
    if (const auto* text = node.as_string()) {
      use(text->get(), node);
      return;
    }
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      fail(node, what + " is a string or an array of strings; put it between quotation marks");
    } else if (array->empty()) {
      fail(node, what + " is empty; name at least one, or leave the key out");
    } else {
      for (const toml::node& element : *array) {
        if (const auto* text = element.as_string()) {
          use(text->get(), element);
        } else {
          fail(element, what + " has an element that is no string; put it between quotation marks");
        }
      }
    }
  }

 private:
  struct Problem {
    toml::source_position at;
    std::string text;
  };
  [[nodiscard]] Error error(const Problem& problem) const;

  std::string source_;
  std::optional<Problem> first_;
  std::size_t problems_ = 0;
};

/// Bytes of a file of this kind at most.
inline constexpr std::size_t kMaxTomlBytes = std::size_t{1} << 20;

/// Parses `text` and hands its root to reader.read(root), which returns a Result.
template <class Reader>
auto read_toml(std::string_view text, Reader& reader, const std::string& source)
    -> decltype(reader.read(std::declval<const toml::table&>()));

/// What is in the way of parsing it at all: too many bytes, or so many dots that nested tables
/// would use up the stack.
std::optional<Error> too_much_toml(std::string_view text, const std::string& source);

/// The file's text; the error calls it `what`: "the configuration".
Result<std::string> load_toml(const std::string& path, const std::string& what);

template <class Reader>
auto read_toml(std::string_view text, Reader& reader, const std::string& source)
    -> decltype(reader.read(std::declval<const toml::table&>())) {
  if (auto error = too_much_toml(text, source)) return std::move(*error);
  // The one place where somebody else's exceptions are met.
  try {
    return reader.read(toml::parse(text));
  } catch (const toml::parse_error& problem) {
    return reader.syntax_error(problem);
  }
}

}  // namespace sluice::daemon
