// Write-ahead log with a sync at every commit: what COMMIT has returned from is on the disk. SQLite
// takes back what a power cut left half-done when the file is opened next.
//
// Duplicates are looked for among all that is stored. For the current file an index of ids does
// that; of the dated one before it the newest ids are in memory, since messages that came just
// before a rotation may come again just after it; older files are opened for messages that are
// older than the current file: those that a publisher keeps as its history.
#include "daemons/recorder/store_file.hpp"

#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/rows.hpp"
#include "daemons/recorder/schema.hpp"
#include "shm/kill_point.hpp"

#include <sqlite3.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::recorder {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kSlackNs = 60 * kSecondNs;  ///< Between two clocks' ideas of a time.
constexpr int kRecentIds = 65'536;
constexpr std::uint64_t kRowBytes = 400;  ///< Of a row and its indexes, beside payload and topic.

std::uint64_t mix(std::uint64_t x) noexcept {
  x ^= x >> 33;
  x *= 0xff51'afd7'ed55'8ccd;
  x ^= x >> 33;
  x *= 0xc4ce'b9fe'1a85'ec53;
  return x ^ x >> 33;
}

std::uint64_t key_of(const RecordId& id, std::string_view topic, std::uint64_t copy) noexcept {
  return mix(id.high ^ mix(id.low ^ mix(std::hash<std::string_view>{}(topic) ^ mix(copy))));
}

std::uint64_t size_of(const Record& record) noexcept {
  return record.payload.size() + record.extensions.size() + 2 * record.topic.size() +
         record.node.size() + kRowBytes;
}

// Text in SQL.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

}  // namespace

StoreFile::StoreFile(FileOptions options)
    : options_(std::move(options)),
      files_(options_.files != nullptr ? *options_.files : system_files()) {}

StoreFile::~StoreFile() { close(); }

std::int64_t StoreFile::now_ns() const {
  if (options_.now_ns) return options_.now_ns();
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * kSecondNs + now.tv_nsec;
}

void StoreFile::say(const std::string& sentence, bool damage) const {
  if (options_.report) options_.report(sentence, damage);
}

StoreFile::Failure StoreFile::failure(int code) {
  if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return {};
  const int error = database_.system_errno();
  const Trouble trouble = trouble_of(code, error);
  std::string sentence = options_.path + ": " + database_.message();
  if (trouble == Trouble::failed && error != 0) {
    sentence += std::string(" (") + std::strerror(error) + ")";
  }
  return {trouble == Trouble::none ? Trouble::failed : trouble, std::move(sentence)};
}

void StoreFile::close() noexcept {
  insert_ = {};
  find_id_ = {};
  (void)database_.close();
}

// ---- opening

Result<std::unique_ptr<StoreFile>> StoreFile::open(FileOptions options) {
  std::unique_ptr<StoreFile> file{new StoreFile(std::move(options))};
  Failure failure = file->open_file();
  if (failure.trouble == Trouble::corrupt) failure = file->recover(failure);
  if (!failure.ok()) {
    return Error{failure.trouble == Trouble::full ? Errc::exhausted : Errc::system, 0,
                 failure.sentence + "; the recorder needs a folder that it may write to"};
  }
  return file;
}

// A purge that was cut off leaves a journal beside a dated file, without which that is not whole;
// who only reads cannot roll it back.
void StoreFile::mend_dated_files() {
  for (const DatedFile& file : dated_files(files_, options_.path)) {
    if (!files_.exists(file.path + "-journal")) continue;
    Database dated;
    int code =
        Database::open(file.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, options_.vfs, dated);
    if (code == SQLITE_OK) (void)dated.integer("SELECT count(*) FROM sqlite_master", code);
  }
}

StoreFile::Failure StoreFile::open_file() {
  close();
  mend_dated_files();
  const bool there = files_.size(options_.path) > 0;
  const int code = Database::open(options_.path,
                                  SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                                  options_.vfs, database_);
  Failure failed = failure(code);
  if (failed.ok() && there) failed = check_file();
  if (failed.ok()) failed = prepare();
  if (!failed.ok()) close();
  return failed;
}

StoreFile::Failure StoreFile::check_file() {
  Statement check;
  int code = database_.prepare("PRAGMA quick_check(1)", check);
  if (code == SQLITE_OK) code = check.step();
  if (code != SQLITE_ROW) return failure(code);
  const std::string verdict{check.bytes(0)};
  if (verdict == "ok") return {};
  return {Trouble::corrupt, options_.path + ": " + verdict};
}

StoreFile::Failure StoreFile::prepare() {
  int code = set_up_connection(database_, options_.synchronous, options_.checkpoint_pages);
  if (code != SQLITE_OK) return failure(code);
  const int version = schema_version(database_, code);
  if (version < 0) return failure(code);
  if (version > kSchemaVersion) {
    return {Trouble::corrupt, options_.path + ": written by a newer sluice-recorder"};
  }
  if (version == 0) {
    const std::int64_t tables = database_.integer("SELECT count(*) FROM sqlite_master", code);
    if (code != SQLITE_ROW) return failure(code);
    if (tables != 0) return {Trouble::corrupt, options_.path + ": another program's database"};
    if (Failure failed = begin_file(); !failed.ok()) return failed;
  } else if (version < kSchemaVersion) {
    Failure failed = write([&] { return migrate(database_, version); });
    if (!failed.ok()) return failed;
  }
  code = database_.prepare(kInsert, insert_);
  if (code == SQLITE_OK) {
    code = database_.prepare("SELECT topic,copy FROM messages WHERE id=?1", find_id_);
  }
  return code == SQLITE_OK ? read_state() : failure(code);
}

// A new file goes on where the last one ended.
StoreFile::Failure StoreFile::begin_file() {
  const std::int64_t first = seed_row(consumers_);
  Failure failed = write([&] {
    int code = make_tables(database_, first);
    if (code == SQLITE_OK) {
      code = database_.run("INSERT INTO meta VALUES('begun_ns'," + std::to_string(now_ns()) + ")");
    }
    for (const Consumer& consumer : consumers_) {
      if (code != SQLITE_OK) break;
      code = database_.run("INSERT INTO consumers VALUES(" + quoted(consumer.name) + "," +
                           quoted(consumer.filter) + "," + std::to_string(consumer.acknowledged) +
                           "," + std::to_string(consumer.seen_ns) + ")");
    }
    return code;
  });
  if (failed.ok() && !files_.sync_folder(options_.path)) {
    return {Trouble::failed, options_.path + ": its folder cannot be synced"};
  }
  return failed;
}

// The first row of a new file; consumers, where memory does not have them.
std::int64_t StoreFile::seed_row(std::vector<Consumer>& consumers) {
  std::int64_t first = next_row_;
  const std::vector<DatedFile> dated = dated_files(files_, options_.path);
  bool unknown = false;
  if (!dated.empty()) {
    Database before;
    int code = Database::open(dated.back().path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                              options_.vfs, before);
    const std::int64_t last =
        code == SQLITE_OK ? before.integer("SELECT coalesce(max(row),0) FROM messages", code) : 0;
    unknown = code != SQLITE_ROW;
    first = std::max({first, last + 1, dated.back().first_row});
    if (consumers.empty()) (void)read_consumers(before, consumers);
  }
  if (first == 1) {
    for (const std::string& name : files_.beside(options_.path)) {
      unknown = unknown || name.starts_with(options_.path + ".corrupt-");
    }
  }
  // Nobody knows how far a damaged file had come. There is less than a row in a microsecond, so
  // that the time is beyond it.
  return unknown ? std::max(first, now_ns() / 1'000) : first;
}

int StoreFile::read_consumers(Database& database, std::vector<Consumer>& out) {
  Statement all;
  int code = database.prepare("SELECT name,filter,acknowledged,seen_ns FROM consumers", all);
  std::vector<Consumer> found;
  while (code == SQLITE_OK || code == SQLITE_ROW) {
    code = all.step();
    if (code != SQLITE_ROW) break;
    found.push_back(
        {std::string{all.bytes(0)}, std::string{all.bytes(1)}, all.integer(2), all.integer(3)});
  }
  if (code == SQLITE_DONE) out = std::move(found);
  return code == SQLITE_DONE ? SQLITE_OK : code;
}

StoreFile::Failure StoreFile::read_state() {
  int code = SQLITE_OK;
  first_row_ = database_.integer("SELECT value FROM meta WHERE key='first_row'", code);
  if (code == SQLITE_DONE) return {Trouble::corrupt, options_.path + ": its first row is missing"};
  if (code != SQLITE_ROW) return failure(code);
  begun_ns_ = database_.integer("SELECT value FROM meta WHERE key='begun_ns'", code);
  if (code != SQLITE_ROW && code != SQLITE_DONE) return failure(code);
  const std::int64_t last = database_.integer("SELECT coalesce(max(row),0) FROM messages", code);
  if (code != SQLITE_ROW) return failure(code);
  next_row_ = std::max(first_row_, last + 1);
  kept_below_ = 0;
  if (code = read_consumers(database_, consumers_); code != SQLITE_OK) return failure(code);
  read_recent_ids();
  return {};
}

void StoreFile::read_recent_ids() {
  recent_.clear();
  const std::vector<DatedFile> dated = dated_files(files_, options_.path);
  if (dated.empty() || next_row_ - first_row_ > kRecentIds) return;
  Database before;
  Statement ids;
  int code = Database::open(dated.back().path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX,
                            options_.vfs, before);
  if (code == SQLITE_OK) {
    code = before.prepare(
        "SELECT id,topic,copy FROM messages WHERE id IS NOT NULL ORDER BY row DESC LIMIT " +
            std::to_string(kRecentIds),
        ids);
  }
  if (code != SQLITE_OK) return;
  while (ids.step() == SQLITE_ROW) {
    recent_.insert(
        key_of(id_of(ids.bytes(0)), ids.bytes(1), static_cast<std::uint64_t>(ids.integer(2))));
  }
}

// ---- damage

StoreFile::Failure StoreFile::set_aside(const std::string& why) {
  close();
  const std::string base = options_.path + ".corrupt-" + compact_utc(now_ns());
  std::string aside = base;
  for (int n = 2; files_.exists(aside); ++n) aside = base + "-" + std::to_string(n);
  if (!files_.rename(options_.path, aside)) {
    return {Trouble::failed, why + "; it cannot be set aside as " + aside};
  }
  // The log may have what the file has not; what looks at both must find it by its name.
  if (files_.exists(options_.path + "-wal")) {
    (void)files_.rename(options_.path + "-wal", aside + "-wal");
  }
  for (const char* rest : {"-shm", "-journal"}) {
    if (files_.exists(options_.path + rest)) (void)files_.remove(options_.path + rest);
  }
  if (!files_.sync_folder(options_.path)) {
    return {Trouble::failed, why + "; its folder cannot be synced"};
  }
  say(why + "; set aside as " + aside + ", a new file is begun", true);
  return {};
}

// A damaged file gives way to a new one; after any other failure the file is opened again.
StoreFile::Failure StoreFile::recover(Failure cause) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (cause.trouble == Trouble::full || cause.trouble == Trouble::busy) return cause;
    if (cause.trouble == Trouble::corrupt) {
      if (Failure failed = set_aside(cause.sentence); !failed.ok()) return failed;
    }
    cause = open_file();
    if (cause.trouble != Trouble::corrupt) return cause;
  }
  return cause;
}

// ---- writing

StoreFile::Failure StoreFile::write(const std::function<int()>& work) {
  int code = database_.run("BEGIN IMMEDIATE");
  if (code == SQLITE_OK) code = work();
  if (code == SQLITE_OK) code = database_.run("COMMIT");
  if (code == SQLITE_OK) return {};
  Failure failed = failure(code);
  if (sqlite3_get_autocommit(database_.handle()) == 0) (void)database_.run("ROLLBACK");
  return failed;
}

bool StoreFile::in_dated_file(const Record& record) {
  if (recent_.contains(key_of(record.id, record.topic, record.copy))) return true;
  if (record.time_ns > begun_ns_ - kSlackNs) return false;
  std::vector<DatedFile> dated = dated_files(files_, options_.path);
  return std::any_of(dated.rbegin(), dated.rend(), [&](const DatedFile& file) {
    Database before;
    Statement find;
    int code =
        Database::open(file.path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, options_.vfs, before);
    if (code == SQLITE_OK) {
      code = before.prepare("SELECT topic,copy FROM messages WHERE id=?1", find);
    }
    bool found = false;
    return code == SQLITE_OK && find_copy(find, record, found) == SQLITE_OK && found;
  });
}

int StoreFile::find_copy(Statement& find, const Record& record, bool& found) {
  const IdBytes id = id_bytes(record.id);
  find.bind_blob(1, view(id));
  int code = SQLITE_ROW;
  found = false;
  while (!found && (code = find.step()) == SQLITE_ROW) {
    found =
        find.bytes(0) == record.topic && static_cast<std::uint64_t>(find.integer(1)) == record.copy;
  }
  find.reset();
  return found || code == SQLITE_DONE ? SQLITE_OK : code;
}

int StoreFile::insert(Record& record, Commit& commit) {
  bool found = false;
  if (record.id) {
    if (const int code = find_copy(find_id_, record, found); code != SQLITE_OK) return code;
    found = found || in_dated_file(record);
  }
  if (found) {
    ++commit.duplicates;
    return SQLITE_OK;
  }
  record.row = next_row_;
  const int code = insert_row(insert_, record);
  if (code != SQLITE_OK) return code;
  ++next_row_;
  ++commit.stored;
  return SQLITE_OK;
}

int StoreFile::move_places(std::span<const Place> places) {
  if (places.empty()) return SQLITE_OK;
  Statement move;
  int code = database_.prepare(
      "UPDATE consumers SET acknowledged=max(acknowledged,?2),seen_ns=?3 WHERE name=?1", move);
  for (const Place& place : places) {
    if (code != SQLITE_OK) break;
    code = move.bind(1, std::string_view{place.name}).bind(2, place.row).bind(3, now_ns()).run();
  }
  return code;
}

void StoreFile::places_moved(std::span<const Place> places) {
  for (const Place& place : places) {
    for (Consumer& known : consumers_) {
      if (known.name != place.name) continue;
      known.acknowledged = std::max(known.acknowledged, place.row);
      known.seen_ns = now_ns();
    }
  }
  if (!places.empty()) kept_below_ = 0;
}

// What consumers have dealt with may give way, once that is written down.
bool StoreFile::make_room_behind(std::span<const Place> places, std::uint64_t bytes) {
  if (places.empty() || !write([&] { return move_places(places); }).ok()) return false;
  places_moved(places);
  return make_room(bytes);
}

Commit StoreFile::commit(std::span<Record> records, std::span<const Place> places) {
  std::uint64_t bytes = 0;
  for (const Record& record : records) bytes += size_of(record);
  Failure failed;
  if (database_.handle() == nullptr) failed = recover({Trouble::failed, ""});
  if (failed.ok() && !records.empty() && !make_room(bytes) && !make_room_behind(places, bytes)) {
    failed = {Trouble::full, options_.path + ": the limit of " +
                                 std::to_string(options_.max_bytes) +
                                 " bytes is reached, and durable consumers wait for what is there"};
  }
  Commit commit;
  for (int attempt = 0; failed.ok() && attempt < 2; ++attempt) {
    commit = {};
    const std::int64_t next_row = next_row_;
    Failure wrote = write([&] {
      int code = SQLITE_OK;
      for (Record& record : records) {
        record.row = 0;
        if (code == SQLITE_OK) code = insert(record, commit);
      }
      if (code == SQLITE_OK) code = move_places(places);
      SLUICE_KILL_POINT("store.before_commit");
      return code;
    });
    if (wrote.ok()) {
      places_moved(places);
      return commit;
    }
    next_row_ = next_row;
    failed = recover(wrote);
    if (failed.ok() && attempt == 1) failed = wrote;
  }
  for (Record& record : records) record.row = 0;
  return {failed.trouble, failed.sentence, 0, 0};
}

// ---- consumers

Result<Consumer> StoreFile::register_consumer(const std::string& name, const std::string& filter,
                                              bool from_start) {
  Consumer consumer{name, filter, from_start ? 0 : last_row(), now_ns()};
  const auto known = std::find_if(consumers_.begin(), consumers_.end(),
                                  [&](const Consumer& c) { return c.name == name; });
  if (known != consumers_.end()) {
    if (known->filter != filter) {
      return Error{Errc::refused, 0,
                   "the durable consumer '" + name + "' has the filter '" + known->filter +
                       "'; use another name for '" + filter + "'"};
    }
    consumer.acknowledged = known->acknowledged;
  }
  Statement put;
  const Failure wrote = write([&] {
    const int code = database_.prepare(
        "INSERT INTO consumers VALUES(?1,?2,?3,?4) ON CONFLICT(name) DO UPDATE SET seen_ns=?4",
        put);
    if (code != SQLITE_OK) return code;
    return put.bind(1, std::string_view{name})
        .bind(2, std::string_view{filter})
        .bind(3, consumer.acknowledged)
        .bind(4, consumer.seen_ns)
        .run();
  });
  if (!wrote.ok()) return Error{Errc::system, 0, wrote.sentence};
  if (known != consumers_.end()) {
    *known = consumer;
  } else {
    consumers_.push_back(consumer);
  }
  return consumer;
}

Result<bool> StoreFile::forget_consumer(const std::string& name) {
  Statement forget;
  const Failure wrote = write([&] {
    const int code = database_.prepare("DELETE FROM consumers WHERE name=?1", forget);
    return code == SQLITE_OK ? forget.bind(1, std::string_view{name}).run() : code;
  });
  if (!wrote.ok()) return Error{Errc::system, 0, wrote.sentence};
  kept_below_ = 0;
  return std::erase_if(consumers_, [&](const Consumer& c) { return c.name == name; }) != 0;
}

void StoreFile::forget_old_consumers() {
  if (options_.consumer_keep_ns == 0) return;
  const std::vector<Consumer> all = consumers_;
  for (const Consumer& consumer : all) {
    if (consumer.seen_ns > now_ns() - options_.consumer_keep_ns) continue;
    if (forget_consumer(consumer.name)) {
      say("the durable consumer '" + consumer.name +
          "' has not been there for too long; it is forgotten");
    }
  }
}

// ---- dead letters

Result<std::uint64_t> StoreFile::purge(const Query& which) {
  Query query = which;
  query.what = RecordClass::dead_letter;
  constexpr const char* kPurge = "UPDATE messages SET class=4,payload=x'',extensions=x'' WHERE";
  std::uint64_t count = 0;
  const auto purge_in = [&](Database& database) {
    QueryStatement purge;
    int code = purge.prepare(database, kPurge, query, "");
    if (code == SQLITE_OK) code = purge.statement().run();
    if (code == SQLITE_OK) {
      count += static_cast<std::uint64_t>(sqlite3_changes(database.handle()));
    }
    return code;
  };
  for (const DatedFile& file : dated_files(files_, options_.path)) {
    Database dated;
    int code =
        Database::open(file.path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, options_.vfs, dated);
    // EXTRA: without a log it is the journal's removal that commits, and that is to be synced too.
    if (code == SQLITE_OK) code = dated.run("PRAGMA synchronous=EXTRA");
    if (code == SQLITE_OK) code = purge_in(dated);
    if (code != SQLITE_OK) return Error{Errc::system, 0, file.path + ": " + dated.message()};
  }
  const Failure wrote = write([&] { return purge_in(database_); });
  if (!wrote.ok()) return Error{Errc::system, 0, wrote.sentence};
  return count;
}

}  // namespace sluice::recorder
