// The file that records go to, and those that it leaves behind. One thread, no waiting but for the
// disk.
//
// What commit() says is stored is on the disk: it survives a power cut. A damaged file never stops
// anything: it is set aside as PATH.corrupt-<UTC>, reported, and a new one is begun.
#pragma once

#include "daemons/recorder/database.hpp"
#include "daemons/recorder/files.hpp"
#include "daemons/recorder/record.hpp"
#include "sluice/result.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace sluice::recorder {

/// `damage`: a file had to be set aside; operators shall know.
using Report = std::function<void(const std::string& sentence, bool damage)>;

struct FileOptions {
  std::string path;
  /// Of all files together; the oldest goes first, but for what a durable consumer waits for.
  std::uint64_t max_bytes = std::uint64_t{1} << 30;
  std::int64_t max_age_ns = std::int64_t{30} * 24 * 3'600 * 1'000'000'000;  ///< 0: for ever.
  std::uint64_t rotate_bytes = 0;  ///< A new file is begun when this one is so large; 0: never.
  std::uint32_t keep = 8;          ///< Dated files, the newest.
  /// A durable consumer that has not been there for so long is forgotten.
  std::int64_t consumer_keep_ns = std::int64_t{30} * 24 * 3'600 * 1'000'000'000;
  std::uint32_t checkpoint_pages = 1'000;
  Report report{};
  // For tests.
  std::string vfs{};  ///< Empty: the system's.
  Files* files = nullptr;
  std::string synchronous = "FULL";
  std::function<std::int64_t()> now_ns{};  ///< CLOCK_REALTIME.
};

struct Consumer {
  std::string name;
  std::string filter;
  std::int64_t acknowledged = 0;  ///< Row up to which all is dealt with.
  std::int64_t seen_ns = 0;
};

/// How far a consumer has come.
struct Place {
  std::string name;
  std::int64_t row = 0;
};

/// What became of a commit.
struct Commit {
  Trouble trouble = Trouble::none;  ///< none: all of it is on disk.
  std::string sentence{};           ///< Where there was trouble.
  std::uint32_t stored = 0;
  std::uint32_t duplicates = 0;  ///< Were there already, and so need not be stored.
};

class StoreFile {
 public:
  /// Opens or begins it. Errors are those of the folder: not there, not writable, no room.
  static Result<std::unique_ptr<StoreFile>> open(FileOptions options);
  StoreFile(const StoreFile&) = delete;
  StoreFile& operator=(const StoreFile&) = delete;
  ~StoreFile();

  /// All or nothing, in this order, and moves the consumers' places. Gives each record its row;
  /// duplicates get 0.
  Commit commit(std::span<Record> records, std::span<const Place> places = {});
  /// Keeps the size and the age: prunes, rotates. After commits, and now and then.
  void maintain();

  /// Makes it known, with its place behind everything that there is or, `from_start`, before it;
  /// one that is known keeps its place. An error names what is wrong.
  Result<Consumer> register_consumer(const std::string& name, const std::string& filter,
                                     bool from_start);
  Result<bool> forget_consumer(const std::string& name);
  [[nodiscard]] const std::vector<Consumer>& consumers() const noexcept { return consumers_; }
  /// Takes the payloads of these dead letters away; how many there were.
  Result<std::uint64_t> purge(const Query& which);

  [[nodiscard]] std::int64_t last_row() const noexcept { return next_row_ - 1; }
  [[nodiscard]] std::uint64_t bytes();  ///< In use, of all files.
  [[nodiscard]] std::uint64_t pruned() const noexcept { return pruned_; }

 private:
  explicit StoreFile(FileOptions options);
  struct Failure {
    Trouble trouble = Trouble::none;
    std::string sentence{};
    [[nodiscard]] bool ok() const noexcept { return trouble == Trouble::none; }
  };
  Failure failure(int code);
  void mend_dated_files();
  Failure open_file();
  Failure check_file();
  Failure prepare();
  Failure begin_file();
  Failure read_state();
  void read_recent_ids();
  static int read_consumers(Database& database, std::vector<Consumer>& out);
  int insert(Record& record, Commit& commit);
  static int find_copy(Statement& find, const Record& record, bool& found);
  bool in_dated_file(const Record& record);
  int move_places(std::span<const Place> places);
  void places_moved(std::span<const Place> places);
  Failure write(const std::function<int()>& work);
  void close() noexcept;
  Failure set_aside(const std::string& why);
  Failure recover(Failure cause);
  [[nodiscard]] std::int64_t seed_row(std::vector<Consumer>& consumers);
  [[nodiscard]] std::uint64_t file_bytes();
  bool is_waited_for(const std::string& path);
  bool make_room(std::uint64_t bytes);
  bool make_room_behind(std::span<const Place> places, std::uint64_t bytes);
  bool drop_oldest_file();
  std::int64_t prune_rows(const std::string& condition, std::int64_t from_row);
  void prune_age();
  void rotate();
  void forget_old_consumers();
  void say(const std::string& sentence, bool damage = false) const;
  [[nodiscard]] std::int64_t now_ns() const;

  FileOptions options_;
  Files& files_;
  Database database_;
  Statement insert_, find_id_;
  std::vector<Consumer> consumers_;
  std::unordered_set<std::uint64_t> recent_;  ///< Of the newest dated file: ids, topics, copies.
  std::int64_t first_row_ = 1;                ///< Of this file.
  std::int64_t next_row_ = 1;
  std::int64_t begun_ns_ = 0;
  std::int64_t kept_below_ = 0;  ///< Rows below are waited for; not looked at again.
  std::uint64_t pruned_ = 0;
  std::int64_t next_rotation_ns_ = 0;
  std::int64_t next_age_check_ns_ = 0;
};

}  // namespace sluice::recorder
