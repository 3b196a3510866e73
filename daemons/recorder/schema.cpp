// One table of messages, in the order of arrival; its row number is what readers and durable
// consumers go on from, and never comes twice: not after pruning (the newest row always stays), and
// not after rotation (the new file's first row is written down).
#include "daemons/recorder/schema.hpp"

#include <sqlite3.h>

#include <array>

namespace sluice::recorder {
namespace {

constexpr const char* kTables = R"(
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE messages(
  row INTEGER PRIMARY KEY,
  time_ns INTEGER NOT NULL,      -- CLOCK_REALTIME, of publishing
  topic TEXT NOT NULL,
  class INTEGER NOT NULL,        -- 0 message, 1 access, 2 life cycle, 3 dead letter, 4 purged
  durable INTEGER NOT NULL,
  kind INTEGER NOT NULL,         -- 1 event, 2 request, 3 reply, 4 dead letter
  codec INTEGER NOT NULL,        -- 0 bytes, 1 flat, 2 flatbuffer, 3 json, 4 text
  flags INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  id BLOB,                       -- 16 bytes, big-endian; NULL: none
  copy INTEGER NOT NULL,
  correlation BLOB,
  trace BLOB,                    -- trace id, span id, flags: 25 bytes; NULL: none
  node TEXT NOT NULL,
  node_id INTEGER NOT NULL,
  pid INTEGER NOT NULL,          -- -1: not known
  uid INTEGER NOT NULL,
  type_hash INTEGER NOT NULL,
  extensions BLOB NOT NULL,
  payload BLOB NOT NULL);
CREATE INDEX messages_time ON messages(time_ns);
CREATE INDEX messages_topic ON messages(topic, row);
CREATE INDEX messages_id ON messages(id) WHERE id IS NOT NULL;
CREATE INDEX messages_correlation ON messages(correlation) WHERE correlation IS NOT NULL;
CREATE TABLE consumers(
  name TEXT PRIMARY KEY,
  filter TEXT NOT NULL,
  acknowledged INTEGER NOT NULL, -- row up to which all is dealt with
  seen_ns INTEGER NOT NULL);     -- CLOCK_REALTIME, when it last asked
)";

// migrations[n] takes tables of version n + 1 to n + 2.
constexpr std::array<const char*, kSchemaVersion - 1> kMigrations{};

}  // namespace

int set_up_connection(Database& database, const std::string& synchronous,
                      std::uint32_t checkpoint_pages) {
  // auto_vacuum must be said before the first table.
  int code = database.run("PRAGMA auto_vacuum=INCREMENTAL");
  if (code == SQLITE_OK) code = database.run("PRAGMA journal_mode=WAL");
  if (code == SQLITE_OK) code = database.run("PRAGMA synchronous=" + synchronous);
  if (code == SQLITE_OK) {
    code = database.run("PRAGMA wal_autocheckpoint=" + std::to_string(checkpoint_pages));
  }
  if (code == SQLITE_OK) code = database.run("PRAGMA journal_size_limit=67108864");
  if (code == SQLITE_OK) code = database.run("PRAGMA secure_delete=OFF");
  return code;
}

int schema_version(Database& database, int& code) {
  const std::int64_t version = database.integer("PRAGMA user_version", code);
  if (code != SQLITE_ROW) return -1;
  code = SQLITE_OK;
  return static_cast<int>(version);
}

int make_tables(Database& database, std::int64_t first_row) {
  int code = database.run(kTables);
  if (code == SQLITE_OK) {
    code = database.run("INSERT INTO meta VALUES('first_row'," + std::to_string(first_row) + ")");
  }
  if (code == SQLITE_OK) {
    code = database.run("PRAGMA application_id=" + std::to_string(kApplicationId));
  }
  if (code == SQLITE_OK) {
    code = database.run("PRAGMA user_version=" + std::to_string(kSchemaVersion));
  }
  return code;
}

int migrate(Database& database, int from) {
  for (std::size_t step = static_cast<std::size_t>(from) - 1; step < kMigrations.size(); ++step) {
    if (const int code = database.run(kMigrations[step]); code != SQLITE_OK) return code;
  }
  return database.run("PRAGMA user_version=" + std::to_string(kSchemaVersion));
}

}  // namespace sluice::recorder
