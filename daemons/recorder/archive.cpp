// Rows ascend from file to file, and each dated file's name says where it begins: a range is read
// from those that can have a part of it. Should the writer rotate meanwhile, what was the current
// file has become a dated one that is not in the list; the list is looked at again afterwards, and
// all of it read again when it has grown.
#include "daemons/recorder/archive.hpp"

#include "daemons/recorder/rows.hpp"
#include "daemons/recorder/schema.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace sluice::recorder {
namespace {

enum Parameter : int {
  kSince = 1,
  kUntil,
  kTopic,
  kCorrelation,
  kId,
  kClass,
  kAfter,
  kBefore,
};

bool is_literal(const std::string& filter) {
  return filter.find_first_of("+#") == std::string::npos;
}

std::string number(int parameter) {
  std::string text = "?";
  text += std::to_string(parameter);
  return text;
}

// For SQLite's URI syntax.
std::string escaped(const std::string& path) {
  constexpr const char* kHex = "0123456789abcdef";
  std::string text;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7f || c == '%' || c == '?' || c == '#') {
      text += {'%', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      text += c;
    }
  }
  return text;
}

// A file in a folder that we may not write to cannot be shared with a writer, and has none.
int open_for_reading(const std::string& path, const std::string& vfs, Database& database) {
  int code = Database::open(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, vfs, database);
  if (code == SQLITE_OK) (void)database.integer("SELECT count(*) FROM sqlite_master", code);
  if (code == SQLITE_ROW) return SQLITE_OK;
  const int primary = code & 0xff;
  if (primary != SQLITE_CANTOPEN && primary != SQLITE_READONLY) return code;
  code =
      Database::open("file:" + escaped(path) + "?immutable=1",
                     SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI, vfs, database);
  if (code == SQLITE_OK) (void)database.integer("SELECT count(*) FROM sqlite_master", code);
  return code == SQLITE_ROW ? SQLITE_OK : code;
}

}  // namespace

std::string conditions(const Query& query) {
  std::string text = " row > " + number(kAfter) + " AND row < " + number(kBefore);
  const bool since = query.since_ns != Query{}.since_ns;
  // Rows stand nearly in the order of time; the unary plus keeps them in that of rows, which the
  // answer has, instead of sorting all that is newer.
  if (since) {
    text += " AND row >= (SELECT min(row) FROM messages WHERE time_ns >= " + number(kSince) +
            ") AND +time_ns >= " + number(kSince);
  }
  if (query.until_ns != Query{}.until_ns) text += " AND +time_ns <= " + number(kUntil);
  if (!query.filter.empty()) {
    text += is_literal(query.filter) ? " AND topic = " + number(kTopic)
                                     : " AND sluice_matches(" + number(kTopic) + ",topic)";
  }
  if (query.correlation) text += " AND correlation = " + number(kCorrelation);
  if (query.id) text += " AND id = " + number(kId);
  if (query.what) text += " AND class = " + number(kClass);
  if (query.durable) text += " AND durable = 1";
  return text;
}

void bind_conditions(Statement& statement, const Query& query, const std::string& correlation,
                     const std::string& id) {
  statement.bind(kAfter, query.after_row).bind(kBefore, query.before_row);
  statement.bind(kSince, query.since_ns).bind(kUntil, query.until_ns);
  statement.bind(kTopic, std::string_view{query.filter});
  statement.bind_blob(kCorrelation, correlation).bind_blob(kId, id);
  if (query.what) statement.bind(kClass, static_cast<std::int64_t>(*query.what));
}

int QueryStatement::prepare(Database& database, const std::string& head, const Query& query,
                            const std::string& tail) {
  correlation_ = query.correlation ? std::string{view(id_bytes(*query.correlation))} : "";
  id_ = query.id ? std::string{view(id_bytes(*query.id))} : "";
  const int code = database.prepare(head + conditions(query) + tail, statement_);
  if (code == SQLITE_OK) bind_conditions(statement_, query, correlation_, id_);
  return code;
}

Result<bool> Archive::read_file(const std::string& path, const Query& query, Page& page) const {
  const auto fail = [&](const Database& database, int code) {
    const std::string why = database.message();
    const bool damaged = trouble_of(code, database.system_errno()) == Trouble::corrupt;
    return Error{damaged ? Errc::untrusted : Errc::system, database.system_errno(),
                 path + ": " + why + (damaged ? "; it is damaged, or not a recorder's" : "")};
  };
  Database database;
  int code = open_for_reading(path, vfs_, database);
  if (code != SQLITE_OK) return fail(database, code);
  const int version = schema_version(database, code);
  if (version < 0) return fail(database, code);
  if (version == 0) return false;  // just being begun
  if (version > kSchemaVersion) {
    return Error{Errc::unsupported, 0,
                 path + ": written by a newer sluice-recorder (tables of version " +
                     std::to_string(version) + "); use that version's tools"};
  }
  QueryStatement wanted;
  code = wanted.prepare(database, std::string("SELECT ") + kColumns + " FROM messages WHERE", query,
                        query.newest_first ? " ORDER BY row DESC" : " ORDER BY row");
  if (code != SQLITE_OK) return fail(database, code);
  std::uint64_t bytes = 0;
  for (const Record& record : page.records) bytes += record.payload.size();
  while ((code = wanted.statement().step()) == SQLITE_ROW) {
    const std::uint64_t size = wanted.statement().bytes(19).size();
    if (page.records.size() >= query.limit ||
        (!page.records.empty() && bytes + size > query.max_bytes)) {
      page.more = true;
      return true;
    }
    bytes += size;
    page.records.push_back(read_row(wanted.statement()));
  }
  if (code != SQLITE_DONE) return fail(database, code);
  return false;
}

Result<Page> Archive::read(const Query& query) const {
  constexpr int kAttempts = 5;
  for (int attempt = 0;; ++attempt) {
    const std::vector<DatedFile> dated = dated_files(*files_, path_);
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < dated.size(); ++i) {
      const bool over = i + 1 < dated.size() && dated[i + 1].first_row <= query.after_row + 1;
      if (!over && dated[i].first_row < query.before_row) paths.push_back(dated[i].path);
    }
    if (files_->exists(path_)) paths.push_back(path_);
    if (paths.empty() && dated.empty()) {
      return Error{Errc::system, ENOENT, path_ + ": there is no such file; name the recorder's"};
    }
    if (query.newest_first) std::reverse(paths.begin(), paths.end());
    Page page;
    std::optional<Error> failed;
    for (const std::string& path : paths) {
      auto full = read_file(path, query, page);
      if (!full) failed = std::move(full).error();
      if (failed || *full) break;
    }
    if (dated_files(*files_, path_).size() == dated.size() || attempt == kAttempts) {
      if (failed) return std::move(*failed);
      return page;
    }
  }
}

}  // namespace sluice::recorder
