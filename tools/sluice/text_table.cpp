// For output that may be piped: nothing is cut off, whatever the terminal's width.
#include "tools/sluice/text_table.hpp"

#include "tools/sluice/text.hpp"

#include <algorithm>

namespace sluice::tools {

TextTable::TextTable(std::vector<std::string> headings) : headings_(std::move(headings)) {
  for (std::string& heading : headings_) {
    to_the_right_.push_back(heading.starts_with('>'));
    if (to_the_right_.back()) heading.erase(0, 1);
  }
}

void TextTable::add(std::vector<std::string> entries) {
  entries.resize(headings_.size());
  for (std::string& entry : entries) entry = clean(entry);
  rows_.push_back(std::move(entries));
}

std::string TextTable::text(std::size_t indent) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < headings_.size(); ++i) {
    widths.push_back(headings_[i].size());
    for (const auto& row : rows_) widths[i] = std::max(widths[i], columns_of(row[i]));
  }
  std::string all;
  const auto put = [&](const std::vector<std::string>& row) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i != 0) line += "  ";
      line += to_the_right_[i] ? right(row[i], widths[i]) : left(row[i], widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    all += line;
    all += '\n';
  };
  put(headings_);
  for (const auto& row : rows_) put(row);
  return all;
}

}  // namespace sluice::tools
