// Rows of text in columns that are as wide as their longest entry. A value.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace sluice::tools {

class TextTable {
 public:
  /// A heading that begins with '>' makes a column of numbers, aligned at the right.
  explicit TextTable(std::vector<std::string> headings);

  /// As many entries as headings. Entries are cleaned.
  void add(std::vector<std::string> entries);
  [[nodiscard]] bool empty() const { return rows_.empty(); }
  /// With the headings first, each line after `indent` blanks.
  [[nodiscard]] std::string text(std::size_t indent = 0) const;

 private:
  std::vector<std::string> headings_;
  std::vector<bool> to_the_right_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace sluice::tools
