// Keeping a StoreFile within its limits: dated files go as a whole, rows of the current one by the
// thousand. What a durable consumer waits for stays in any case; where nothing else is left there
// is no room, and durable messages wait at their publishers.
#include "daemons/recorder/store_file.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

namespace sluice::recorder {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kRowsAtOnce = 1'000;
constexpr std::uint64_t kPagesAtOnce = 4'096;

constexpr const char* kWaitedFor =
    "(durable=1 AND EXISTS(SELECT 1 FROM consumers c WHERE c.acknowledged<row AND "
    "sluice_matches(c.filter,topic)))";

}  // namespace

std::uint64_t StoreFile::file_bytes() {
  int code = SQLITE_OK;
  const std::int64_t pages = database_.integer("PRAGMA page_count", code) -
                             database_.integer("PRAGMA freelist_count", code);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, pages)) *
         static_cast<std::uint64_t>(database_.integer("PRAGMA page_size", code));
}

std::uint64_t StoreFile::bytes() {
  std::uint64_t sum = file_bytes();
  for (const DatedFile& file : dated_files(files_, options_.path)) sum += files_.size(file.path);
  return sum;
}

// Whether a consumer waits for anything in it. A damaged one has nothing for anybody.
bool StoreFile::is_waited_for(const std::string& path) {
  Database dated;
  int code = Database::open(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, options_.vfs, dated);
  if (code == SQLITE_OK) (void)dated.integer("SELECT count(*) FROM sqlite_master", code);
  if (trouble_of(code, dated.system_errno()) != Trouble::none) {
    return trouble_of(code, dated.system_errno()) != Trouble::corrupt;
  }
  code = SQLITE_OK;
  return std::any_of(consumers_.begin(), consumers_.end(), [&](const Consumer& consumer) {
    Statement find;
    if (code == SQLITE_OK) {
      code = dated.prepare(
          "SELECT 1 FROM messages WHERE durable=1 AND row>?1 AND sluice_matches(?2,topic) LIMIT 1",
          find);
    }
    if (code != SQLITE_OK) return false;
    find.bind(1, consumer.acknowledged).bind(2, std::string_view{consumer.filter});
    return find.step() == SQLITE_ROW;
  });
}

bool StoreFile::drop_oldest_file() {
  const std::vector<DatedFile> dated = dated_files(files_, options_.path);
  if (dated.empty() || is_waited_for(dated.front().path)) return false;
  return files_.remove(dated.front().path);
}

// Deletes the oldest rows for which the condition holds; how many.
std::int64_t StoreFile::prune_rows(const std::string& condition, std::int64_t from_row) {
  std::int64_t count = 0;
  const Failure wrote = write([&] {
    // The newest row stays: the next one's number follows from it.
    const int code = database_.run(
        "DELETE FROM messages WHERE row IN (SELECT row FROM messages WHERE row>=" +
        std::to_string(from_row) + " AND row<" + std::to_string(last_row()) + " AND " + condition +
        " AND NOT " + kWaitedFor + " ORDER BY row LIMIT " + std::to_string(kRowsAtOnce) + ")");
    if (code == SQLITE_OK) count = sqlite3_changes(database_.handle());
    return code;
  });
  if (!wrote.ok()) return 0;
  pruned_ += static_cast<std::uint64_t>(count);
  return count;
}

bool StoreFile::make_room(std::uint64_t wanted) {
  bool dropped_files = true;
  while (bytes() + wanted > options_.max_bytes) {
    if (dropped_files && (dropped_files = drop_oldest_file())) continue;
    if (prune_rows("1", kept_below_) != 0) continue;
    if (kept_below_ != 0) {
      // Someone may have been forgotten since.
      kept_below_ = 0;
      if (prune_rows("1", 0) != 0) continue;
    }
    kept_below_ = next_row_;
    return false;
  }
  return true;
}

void StoreFile::prune_age() {
  if (options_.max_age_ns == 0) return;
  const std::int64_t oldest = now_ns() - options_.max_age_ns;
  while (prune_rows("time_ns<" + std::to_string(oldest), 0) == kRowsAtOnce) {
  }
  for (const DatedFile& file : dated_files(files_, options_.path)) {
    Database dated;
    int code =
        Database::open(file.path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, options_.vfs, dated);
    const std::int64_t newest =
        code == SQLITE_OK ? dated.integer("SELECT max(time_ns) FROM messages", code) : 0;
    if (code == SQLITE_ROW && newest >= oldest) break;
    dated = {};
    if (!drop_oldest_file()) break;
  }
}

void StoreFile::rotate() {
  int code = SQLITE_OK;
  const std::int64_t pages = database_.integer("PRAGMA page_count", code);
  const std::int64_t page = database_.integer("PRAGMA page_size", code);
  if (static_cast<std::uint64_t>(pages * page) < options_.rotate_bytes) return;
  if (next_row_ == first_row_ || now_ns() < next_rotation_ns_) return;
  // A dated file is whole by itself: no log beside it. Somebody who reads now is in the way of
  // that.
  insert_ = {};
  find_id_ = {};
  Statement mode;
  code = database_.prepare("PRAGMA journal_mode=DELETE", mode);
  const bool whole = code == SQLITE_OK && mode.step() == SQLITE_ROW && mode.bytes(0) == "delete";
  mode = {};
  close();
  const std::string dated = dated_path(options_.path, now_ns(), first_row_);
  const bool moved = whole && files_.sync_folder(options_.path) && !files_.exists(dated) &&
                     files_.rename(options_.path, dated) && files_.sync_folder(options_.path);
  if (!moved) next_rotation_ns_ = now_ns() + kSecondNs;
  // What fails here is tried again by the next commit.
  const Failure opened = recover({Trouble::failed, ""});
  if (!opened.ok()) say(opened.sentence);
}

void StoreFile::maintain() {
  if (database_.handle() == nullptr) return;
  if (options_.rotate_bytes != 0) rotate();
  if (database_.handle() == nullptr) return;
  if (now_ns() >= next_age_check_ns_) {
    next_age_check_ns_ = now_ns() + 10 * kSecondNs;
    forget_old_consumers();
    prune_age();
    while (dated_files(files_, options_.path).size() > options_.keep && drop_oldest_file()) {
    }
  }
  int code = SQLITE_OK;
  if (database_.integer("PRAGMA freelist_count", code) > 0 && code == SQLITE_ROW) {
    (void)database_.run("PRAGMA incremental_vacuum(" + std::to_string(kPagesAtOnce) + ")");
  }
}

}  // namespace sluice::recorder
