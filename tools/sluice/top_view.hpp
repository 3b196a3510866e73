// The table of `sluice top` as lines of a width, for a terminal or a pipe: pure. What a line shows
// in which style is said here, what a style looks like is the front end's part.
#pragma once

#include "tools/sluice/top_model.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice::tools {

enum class Style { plain, dim, strong, heading, warning, bad };

struct Span {
  std::string text;
  Style style = Style::plain;
};

struct Line {
  std::vector<Span> spans;
  std::optional<std::uint64_t> stream_id;  ///< The stream that this line begins.

  [[nodiscard]] std::string text() const;
};

struct ViewOptions {
  std::size_t columns = 80;
  SortKey sort = SortKey::name;
  bool frozen = false;
  bool cleared = false;  ///< Totals count from a clear().
};

/// The line above everything: broker, how many of what, over which time.
Line status_line(const Table& table, const ViewOptions& options);
/// The names of the columns, one line for streams and one for subscriptions.
std::vector<Line> heading_lines(const ViewOptions& options);
/// A line per stream, and under it one per subscription, with a line for what is wrong.
std::vector<Line> table_lines(const Table& table, const ViewOptions& options);
/// Everything about one stream; says so when it is not there any more.
std::vector<Line> stream_lines(const Table& table, std::uint64_t stream_id,
                               const ViewOptions& options);
/// Who loses what, and why: the largest losses first.
std::vector<Line> drop_lines(const Table& table, const ViewOptions& options);

/// `text` in lines of at most `columns`, broken between words, each after `indent` blanks.
std::vector<Line> wrapped(const std::string& text, std::size_t indent, std::size_t columns,
                          Style style);

}  // namespace sluice::tools
