// Reading what was recorded: from the file that is written to, by whomever, and the dated ones.
#pragma once

#include "daemons/recorder/database.hpp"
#include "daemons/recorder/files.hpp"
#include "daemons/recorder/record.hpp"
#include "sluice/result.hpp"

#include <string>
#include <vector>

namespace sluice::recorder {

/// The conditions of a query, as SQL over `messages`, and their values for a statement.
std::string conditions(const Query& query);
void bind_conditions(Statement& statement, const Query& query, const std::string& correlation,
                     const std::string& id);

/// The same, prepared for `head conditions tail`; keeps what is bound alive.
class QueryStatement {
 public:
  /// A code of SQLite. `query` must outlive it.
  int prepare(Database& database, const std::string& head, const Query& query,
              const std::string& tail);
  Statement& statement() noexcept { return statement_; }

 private:
  std::string correlation_, id_;
  Statement statement_;
};

struct Page {
  std::vector<Record> records;
  bool more = false;  ///< Limit or size ended it: go on after (before) the last row.
};

/// Opens files when it reads and closes them again, so that nothing stands in the writer's way.
/// A value.
class Archive {
 public:
  explicit Archive(std::string path, std::string vfs = {}, Files& files = system_files())
      : path_(std::move(path)), vfs_(std::move(vfs)), files_(&files) {}

  /// In the order of arrival, or the newest first. The error names the file and what is wrong.
  [[nodiscard]] Result<Page> read(const Query& query) const;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  [[nodiscard]] Result<bool> read_file(const std::string& path, const Query& query,
                                       Page& page) const;

  std::string path_;
  std::string vfs_;
  Files* files_;
};

}  // namespace sluice::recorder
