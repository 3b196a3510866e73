// The store for several threads: what they put is committed by one, many messages at a time.
#pragma once

#include "daemons/recorder/store_file.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace sluice::recorder {

struct StoreOptions {
  FileOptions file;
  /// A commit is begun when so many messages wait, or the one before was begun so long ago: what
  /// comes after a pause waits for nothing, and the disk is not synced more often than that.
  std::uint32_t batch_count = 512;
  std::chrono::nanoseconds batch_time = std::chrono::milliseconds{5};
  std::uint32_t queue_count = 8'192;  ///< What may wait; beyond that put() says no.
  std::uint64_t queue_bytes = std::uint64_t{32} << 20;
  std::chrono::nanoseconds retry_time =
      std::chrono::milliseconds{250};  ///< While the disk is full.
};

enum class Fate : std::uint8_t {
  stored,   ///< On disk, now or before.
  dropped,  ///< There was no room for it, and it is not durable.
};
struct Settled {
  std::uint64_t ticket = 0;
  Fate fate = Fate::stored;
};

/// What is done with. `records` are those of one commit, in order; those with row 0 were there
/// before. Called in the store's thread; must not block for long.
using OnSettled = std::function<void(std::span<const Settled> settled, std::span<Record> records)>;

struct StoreCounts {
  std::uint64_t stored = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t dropped = 0;
  std::uint64_t commits = 0;
  std::uint64_t troubles = 0;  ///< Commits that failed; durable messages wait for the next one.
  std::uint64_t pruned = 0;
  std::uint64_t bytes = 0;
  std::int64_t last_row = 0;
  std::string trouble{};  ///< What is wrong now; empty: nothing.
};

/// Thread-safe.
class Store {
 public:
  /// Errors: as StoreFile::open; a full disk is waited for.
  static Result<std::unique_ptr<Store>> create(StoreOptions options, OnSettled settled);
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  /// Commits what waits, unless there is no room.
  ~Store();

  /// False: too much waits; the record is as it was. Else it is settled later, in order, but that
  /// a durable one is kept, unsettled, as long as it cannot be stored.
  bool put(Record&& record, std::uint64_t ticket);
  /// Is written with the next commit.
  void acknowledge(const std::string& consumer, std::int64_t row);

  // These wait for the writer.
  Result<Consumer> register_consumer(const std::string& name, const std::string& filter,
                                     bool from_start);
  Result<bool> forget_consumer(const std::string& name);
  Result<std::vector<Consumer>> consumers();
  Result<std::uint64_t> purge(const Query& which);

  [[nodiscard]] StoreCounts counts() const;

 private:
  struct Item {
    Record record;
    std::uint64_t ticket = 0;
  };
  using Job = std::function<void(StoreFile&)>;

  Store(StoreOptions options, OnSettled settled);
  void run();
  bool collect();
  void write_batch();
  void settle(std::span<const Settled> settled, std::span<Record> records);
  void drop_what_is_not_durable();
  void take_over(const Commit& commit);
  bool open_again();
  bool do_jobs();
  void said(const std::string& trouble);
  template <class T>
  Result<T> ask(std::function<Result<T>(StoreFile&)> work);

  StoreOptions options_;
  OnSettled settled_;
  std::unique_ptr<StoreFile> file_;

  // The writer's own.
  std::vector<Record> batch_;
  std::vector<std::uint64_t> tickets_;
  std::vector<Place> places_;
  std::chrono::steady_clock::time_point last_begun_ =
      std::chrono::steady_clock::time_point::min();  ///< Of commits.

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  std::uint64_t queue_bytes_ = 0;
  std::map<std::string, std::int64_t> moved_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  StoreCounts counts_;

  std::thread writer_;
};

}  // namespace sluice::recorder
