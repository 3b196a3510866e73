#include "daemons/recorder/store.hpp"

#include "daemons/recorder/archive.hpp"
#include "tests/support/fragile_disk.hpp"

#include <gtest/gtest.h>

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace sluice::recorder {
namespace {

using namespace std::chrono_literals;

constexpr const char* kPath = "/records.db";
constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kNow = 1'700'000'000 * kSecondNs;

Record message(std::uint64_t number, const std::string& topic = "a/b") {
  Record record;
  record.time_ns = kNow + static_cast<std::int64_t>(number) * kSecondNs;
  record.topic = topic;
  record.id = {1, number};
  record.kind = 1;
  record.payload = "payload " + std::to_string(number);
  return record;
}

class StoreTest : public testing::Test {
 protected:
  FileOptions options() {
    FileOptions options;
    options.path = kPath;
    options.vfs = disk_.name();
    options.files = &disk_;
    options.now_ns = [this] { return now_; };
    options.report = [this](const std::string& sentence, bool damage) {
      const std::lock_guard lock(reports_mutex_);
      (damage ? damages_ : reports_).push_back(sentence);
    };
    return options;
  }
  std::unique_ptr<StoreFile> open(const FileOptions& options) {
    auto file = StoreFile::open(options);
    EXPECT_TRUE(file) << file.error().message;
    return file ? std::move(file).value() : nullptr;
  }
  std::unique_ptr<StoreFile> open() { return open(options()); }

  static Commit commit(StoreFile& file, std::vector<Record> records,
                       std::vector<Place> places = {}) {
    const Commit done = file.commit(records, places);
    file.maintain();
    return done;
  }
  Archive archive() { return Archive{kPath, disk_.name(), disk_}; }
  std::vector<Record> read(const Query& query = {}) {
    auto page = archive().read(query);
    EXPECT_TRUE(page) << page.error().message;
    return page ? page->records : std::vector<Record>{};
  }
  std::vector<std::uint64_t> numbers(const Query& query = {}) {
    std::vector<std::uint64_t> all;
    for (const Record& record : read(query)) all.push_back(record.id.low);
    return all;
  }
  std::size_t count_names(const std::string& part) {
    const auto names = disk_.names();
    return static_cast<std::size_t>(
        std::count_if(names.begin(), names.end(),
                      [&](const std::string& name) { return name.find(part) != name.npos; }));
  }

  test::FragileDisk disk_;
  std::int64_t now_ = kNow;
  std::mutex reports_mutex_;
  std::vector<std::string> reports_, damages_;
};

using Numbers = std::vector<std::uint64_t>;

// ---- what is kept

TEST_F(StoreTest, KeepsAllThatIsSaidAboutAMessage) {
  Record record = message(5, "camera/front/events");
  record.node = "front";
  record.node_id = 0xfedc'ba98'7654'3210;
  record.pid = 123;
  record.uid = 1000;
  record.type_hash = 0x8000'0000'0000'0001;
  record.codec = 3;
  record.kind = 2;
  record.flags = 9;
  record.what = RecordClass::dead_letter;
  record.durable = true;
  record.copy = 3;
  record.correlation = {0x8000'0000'0000'0000, 9};
  record.trace = {1, 2, 3};
  record.span = {4, 5};
  record.trace_flags = 1;
  record.priority = 0;
  record.extensions = std::string{"x\0y", 3};
  record.payload = std::string{"\0\xff binary", 9};
  auto file = open();
  EXPECT_EQ(commit(*file, {record}).stored, 1u);
  const auto got = read();
  ASSERT_EQ(got.size(), 1u);
  const Record& back = got[0];
  EXPECT_EQ(back.row, 1);
  EXPECT_EQ(back.time_ns, record.time_ns);
  EXPECT_EQ(back.topic, record.topic);
  EXPECT_EQ(back.node, record.node);
  EXPECT_EQ(back.node_id, record.node_id);
  EXPECT_EQ(back.pid, record.pid);
  EXPECT_EQ(back.uid, record.uid);
  EXPECT_EQ(back.type_hash, record.type_hash);
  EXPECT_EQ(back.codec, record.codec);
  EXPECT_EQ(back.kind, record.kind);
  EXPECT_EQ(back.flags, record.flags);
  EXPECT_EQ(back.what, record.what);
  EXPECT_EQ(back.durable, record.durable);
  EXPECT_EQ(back.copy, record.copy);
  EXPECT_EQ(back.id, record.id);
  EXPECT_EQ(back.correlation, record.correlation);
  EXPECT_EQ(back.trace, record.trace);
  EXPECT_EQ(back.span, record.span);
  EXPECT_EQ(back.trace_flags, record.trace_flags);
  EXPECT_EQ(back.priority, record.priority);
  EXPECT_EQ(back.extensions, record.extensions);
  EXPECT_EQ(back.payload, record.payload);
}

TEST_F(StoreTest, FindsByTimeTopicCorrelationAndClass) {
  auto file = open();
  std::vector<Record> records;
  for (std::uint64_t n = 1; n <= 20; ++n) {
    records.push_back(message(n, n % 2 == 0 ? "even/x" : "odd/x"));
    records.back().correlation = {9, n / 10};
    if (n == 7) records.back().what = RecordClass::access;
    records.back().durable = n > 18;
  }
  commit(*file, records);
  EXPECT_EQ(numbers().size(), 20u);
  Query query;
  query.since_ns = message(18).time_ns;
  EXPECT_EQ(numbers(query), (Numbers{18, 19, 20}));
  query.until_ns = message(19).time_ns;
  EXPECT_EQ(numbers(query), (Numbers{18, 19}));
  query.filter = "odd/#";
  EXPECT_EQ(numbers(query), (Numbers{19}));
  query = {};
  query.filter = "even/x";
  query.after_row = 16;
  EXPECT_EQ(numbers(query), (Numbers{18, 20}));
  query = {};
  query.correlation = RecordId{9, 2};
  EXPECT_EQ(numbers(query), (Numbers{20}));
  query = {};
  query.what = RecordClass::access;
  EXPECT_EQ(numbers(query), (Numbers{7}));
  query = {};
  query.durable = true;
  EXPECT_EQ(numbers(query), (Numbers{19, 20}));
  query = {};
  query.id = RecordId{1, 3};
  EXPECT_EQ(numbers(query), (Numbers{3}));
  query = {};
  query.since_ns = message(100).time_ns;
  EXPECT_EQ(numbers(query), Numbers{});
}

TEST_F(StoreTest, ReadsInPagesOfNumberAndSize) {
  auto file = open();
  std::vector<Record> records;
  for (std::uint64_t n = 1; n <= 10; ++n) records.push_back(message(n));
  commit(*file, records);
  Query query;
  query.limit = 4;
  auto page = archive().read(query);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->records.size(), 4u);
  EXPECT_TRUE(page->more);
  query.after_row = 8;
  page = archive().read(query);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->records.size(), 2u);
  EXPECT_FALSE(page->more);
  query = {};
  query.max_bytes = 1;
  page = archive().read(query);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->records.size(), 1u) << "a page makes progress, however large a record is";
  EXPECT_TRUE(page->more);
  query = {};
  query.newest_first = true;
  query.limit = 3;
  EXPECT_EQ(numbers(query), (Numbers{10, 9, 8}));
  query.before_row = 8;
  EXPECT_EQ(numbers(query), (Numbers{7, 6, 5}));
}

TEST_F(StoreTest, StoresAMessageOnce) {
  auto file = open();
  EXPECT_EQ(commit(*file, {message(1), message(2), message(1)}).duplicates, 1u);
  const Commit again = commit(*file, {message(2), message(3)});
  EXPECT_EQ(again.stored, 1u);
  EXPECT_EQ(again.duplicates, 1u);
  // The same id on another topic, or sent again on purpose, is no duplicate; none is never one.
  Record copy = message(1);
  copy.copy = 1;
  Record nameless = message(9);
  nameless.id = {};
  EXPECT_EQ(commit(*file, {message(1, "$dlq/a/b"), copy, nameless, nameless}).stored, 4u);
  file = open();
  EXPECT_EQ(commit(*file, {message(3), copy}).duplicates, 2u);
  EXPECT_EQ(read().size(), 7u);
}

TEST_F(StoreTest, StoresAMessageOnceAcrossFiles) {
  FileOptions small = options();
  small.rotate_bytes = 80'000;
  auto file = open(small);
  for (std::uint64_t n = 1; n <= 900; ++n) {
    now_ = message(n).time_ns;
    commit(*file, {message(n)});
  }
  ASSERT_GE(dated_files(disk_, kPath).size(), 2u);
  // Just before the rotation, and long before.
  EXPECT_EQ(commit(*file, {message(899), message(900)}).duplicates, 2u);
  EXPECT_EQ(commit(*file, {message(2)}).duplicates, 1u);
  file = open(small);
  EXPECT_EQ(commit(*file, {message(2), message(898)}).duplicates, 2u);
  Query all;
  all.limit = 1'000;
  EXPECT_EQ(numbers(all).size(), 900u);
}

// ---- limits

TEST_F(StoreTest, RotatesAndReadsAcrossFiles) {
  FileOptions small = options();
  small.rotate_bytes = 80'000;
  small.keep = 100;
  auto file = open(small);
  Numbers expected;
  for (std::uint64_t n = 1; n <= 900; ++n) {
    commit(*file, {message(n)});
    expected.push_back(n);
  }
  EXPECT_GE(dated_files(disk_, kPath).size(), 3u);
  EXPECT_EQ(count_names("-wal"), 1u) << "dated files are whole by themselves";
  Query query;
  query.limit = 1'000;
  EXPECT_EQ(numbers(query), expected);
  query.after_row = 450;
  EXPECT_EQ(numbers(query).front(), 451u);
  EXPECT_EQ(numbers(query).size(), 450u);
  query.newest_first = true;
  std::reverse(expected.begin(), expected.end());
  query.after_row = 0;
  EXPECT_EQ(numbers(query), expected);
  // Rows go on after a restart.
  file = open(small);
  EXPECT_EQ(file->last_row(), 900);
}

TEST_F(StoreTest, KeepsTheNewestDatedFiles) {
  FileOptions small = options();
  small.rotate_bytes = 80'000;
  small.keep = 2;
  auto file = open(small);
  for (std::uint64_t n = 1; n <= 1'000; ++n) {
    now_ += 20 * kSecondNs;
    commit(*file, {message(n)});
  }
  EXPECT_LE(dated_files(disk_, kPath).size(), 3u);
  Query query;
  query.limit = 1'000;
  const Numbers left = numbers(query);
  ASSERT_FALSE(left.empty());
  EXPECT_GT(left.front(), 1u);
  EXPECT_EQ(left.back(), 1'000u);
  EXPECT_EQ(left.back() - left.front() + 1, left.size());
}

TEST_F(StoreTest, PrunesTheOldestBeyondItsSizeAndGivesTheRoomBack) {
  FileOptions small = options();
  small.max_bytes = 300'000;
  auto file = open(small);
  for (std::uint64_t n = 1; n <= 300; ++n) {
    Record record = message(n);
    record.payload.assign(5'000, 'x');
    ASSERT_EQ(commit(*file, {record}).trouble, Trouble::none);
    EXPECT_LE(file->bytes(), small.max_bytes + 20'000);
  }
  EXPECT_GT(file->pruned(), 200u);
  const Numbers left = numbers();
  EXPECT_EQ(left.back(), 300u);
  EXPECT_GT(left.front(), 200u);
  file.reset();
  EXPECT_LE(disk_.size(kPath), 2 * small.max_bytes);
}

TEST_F(StoreTest, PrunesByAge) {
  FileOptions old = options();
  old.max_age_ns = 100 * kSecondNs;
  auto file = open(old);
  std::vector<Record> records;
  for (std::uint64_t n = 1; n <= 50; ++n) records.push_back(message(n));
  commit(*file, records);
  now_ = message(140).time_ns;
  file->maintain();
  EXPECT_EQ(numbers().front(), 40u);
  // All but the newest may go; its row is what the next one's follows from.
  now_ = message(100'000).time_ns;
  file->maintain();
  EXPECT_EQ(numbers(), (Numbers{50}));
  commit(*file, {message(51)});
  EXPECT_EQ(read().back().row, 51);
}

TEST_F(StoreTest, KeepsWhatADurableConsumerWaitsFor) {
  FileOptions small = options();
  small.max_bytes = 300'000;
  auto file = open(small);
  ASSERT_TRUE(file->register_consumer("worker", "job/#", false));
  std::uint64_t n = 0;
  const auto put = [&](const std::string& topic, bool durable) {
    Record record = message(++n, topic);
    record.durable = durable;
    record.payload.assign(5'000, 'x');
    return commit(*file, {record}).trouble;
  };
  for (int i = 0; i < 20; ++i) ASSERT_EQ(put("job/1", true), Trouble::none);
  // What is not durable gives way, and what is durable and nobody waits for.
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(put("other/1", true), Trouble::none);
    ASSERT_EQ(put("job/1", false), Trouble::none);
  }
  Query jobs;
  jobs.filter = "job/1";
  jobs.durable = true;
  EXPECT_EQ(read(jobs).size(), 20u);
  // Nothing else left to give way: no room.
  Trouble trouble = Trouble::none;
  for (int i = 0; i < 100 && trouble == Trouble::none; ++i) trouble = put("job/1", true);
  EXPECT_EQ(trouble, Trouble::full);
  EXPECT_EQ(read(jobs).front().id.low, 1u);
  // There is when the consumer has gone on.
  EXPECT_EQ(commit(*file, {}, {{"worker", 15}}).trouble, Trouble::none);
  EXPECT_EQ(put("job/1", true), Trouble::none);
  // Also when that is said together with what needs the room.
  while (put("job/1", true) == Trouble::none) {
  }
  Record last = message(++n, "job/1");
  last.durable = true;
  last.payload.assign(5'000, 'x');
  EXPECT_EQ(commit(*file, {last}).trouble, Trouble::full);
  EXPECT_EQ(commit(*file, {last}, {{"worker", file->last_row()}}).trouble, Trouble::none);
}

TEST_F(StoreTest, KeepsDatedFilesThatADurableConsumerWaitsFor) {
  FileOptions small = options();
  small.rotate_bytes = 80'000;
  small.keep = 1;
  auto file = open(small);
  ASSERT_TRUE(file->register_consumer("worker", "a/#", true));
  std::int64_t half = 0;
  for (std::uint64_t n = 1; n <= 900; ++n) {
    now_ += 20 * kSecondNs;
    Record record = message(n);
    record.durable = true;
    commit(*file, {record});
    if (n == 450) half = file->last_row();
  }
  Query query;
  query.limit = 1'000;
  EXPECT_EQ(numbers(query).size(), 900u);
  // Its place goes with it from file to file.
  commit(*file, {}, {{"worker", half}});
  file = open(small);
  ASSERT_EQ(file->consumers().size(), 1u);
  EXPECT_EQ(file->consumers()[0].acknowledged, half);
  now_ += 20 * kSecondNs;
  file->maintain();
  EXPECT_LT(numbers(query).size(), 900u);
  query.after_row = half;
  EXPECT_EQ(numbers(query).size(), 450u);
}

// ---- consumers

TEST_F(StoreTest, RemembersTheConsumersPlaces) {
  auto file = open();
  commit(*file, {message(1), message(2), message(3)});
  EXPECT_EQ(file->register_consumer("new", "#", false)->acknowledged, 3);
  EXPECT_EQ(file->register_consumer("all", "#", true)->acknowledged, 0);
  commit(*file, {}, {{"all", 2}, {"nobody", 9}});
  commit(*file, {}, {{"all", 1}});
  file = open();
  EXPECT_EQ(file->register_consumer("all", "#", true)->acknowledged, 2);
  const auto other = file->register_consumer("all", "a/#", true);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("'all'"), std::string::npos);
  EXPECT_TRUE(*file->forget_consumer("all"));
  EXPECT_FALSE(*file->forget_consumer("all"));
}

TEST_F(StoreTest, ForgetsConsumersThatAreGoneForLong) {
  FileOptions quick = options();
  quick.consumer_keep_ns = 100 * kSecondNs;
  auto file = open(quick);
  ASSERT_TRUE(file->register_consumer("gone", "#", false));
  ASSERT_TRUE(file->register_consumer("there", "#", false));
  now_ += 90 * kSecondNs;
  commit(*file, {}, {{"there", 0}});
  now_ += 20 * kSecondNs;
  file->maintain();
  ASSERT_EQ(file->consumers().size(), 1u);
  EXPECT_EQ(file->consumers()[0].name, "there");
  EXPECT_EQ(reports_.size(), 1u);
}

// ---- dead letters

TEST_F(StoreTest, PurgedDeadLettersLeaveTheirTrace) {
  FileOptions small = options();
  small.rotate_bytes = 80'000;
  auto file = open(small);
  for (std::uint64_t n = 1; n <= 400; ++n) {
    Record letter = message(n, n % 2 == 0 ? "$dlq/a" : "$dlq/b");
    letter.what = RecordClass::dead_letter;
    letter.payload = "secret";
    now_ = letter.time_ns;
    commit(*file, {letter, message(1'000 + n)});
  }
  Query which;
  which.filter = "$dlq/a";
  EXPECT_EQ(*file->purge(which), 200u);
  EXPECT_EQ(*file->purge(which), 0u);
  Query purged;
  purged.what = RecordClass::purged;
  purged.limit = 1'000;
  EXPECT_EQ(read(purged).size(), 200u);
  EXPECT_EQ(read(purged)[0].payload, "");
  // Its publisher still has it, and brings it again: it stays purged.
  Record again = message(2, "$dlq/a");
  again.what = RecordClass::dead_letter;
  EXPECT_EQ(commit(*file, {again}).duplicates, 1u);
}

// ---- damage

TEST_F(StoreTest, SetsADamagedFileAside) {
  {
    auto file = open();
    std::vector<Record> records;
    for (std::uint64_t n = 1; n <= 200; ++n) records.push_back(message(n));
    commit(*file, records);
  }
  const std::string whole = disk_.contents(kPath);
  const std::string cut = whole.substr(0, whole.size() / 2 + 100);
  std::string holes = whole;
  for (std::size_t at = 4'096; at + 2'000 < holes.size(); at += 8'192) {
    std::fill_n(holes.begin() + static_cast<std::ptrdiff_t>(at), 2'000, '\x5a');
  }
  std::size_t expected = 0;
  for (const std::string& damaged : {std::string(5'000, 'x'), cut, holes}) {
    disk_.set_contents(kPath, damaged);
    auto file = open();
    ASSERT_NE(file, nullptr);
    ++expected;
    EXPECT_EQ(damages_.size(), expected);
    EXPECT_EQ(count_names(".corrupt-"), expected);
    // Rows never come twice, though nobody knows how far the damaged one had come.
    EXPECT_GE(file->last_row(), now_ / 1'000 - 1);
    EXPECT_EQ(commit(*file, {message(1)}).stored, 1u);
    EXPECT_EQ(read().size(), 1u);
  }
  EXPECT_NE(damages_[0].find("set aside as /records.db.corrupt-20231114T"), std::string::npos)
      << damages_[0];
}

TEST_F(StoreTest, SetsForeignAndNewerFilesAside) {
  auto make = [&](const char* sql) {
    Database foreign;
    ASSERT_EQ(
        Database::open(kPath, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, disk_.name(), foreign),
        SQLITE_OK);
    ASSERT_EQ(foreign.run(sql), SQLITE_OK);
  };
  make("CREATE TABLE recipes(name)");
  EXPECT_NE(open(), nullptr);
  ASSERT_EQ(damages_.size(), 1u);
  EXPECT_NE(damages_[0].find("another program's"), std::string::npos);
  make("PRAGMA user_version=99");
  EXPECT_NE(open(), nullptr);
  ASSERT_EQ(damages_.size(), 2u);
  EXPECT_NE(damages_[1].find("newer"), std::string::npos);
}

TEST_F(StoreTest, GoesOnWhenItsFileIsDamagedMeanwhile) {
  FileOptions options = this->options();
  options.checkpoint_pages = 1;
  auto file = open(options);
  ASSERT_TRUE(file->register_consumer("worker", "#", true));
  for (std::uint64_t n = 1; n <= 2'000;) {
    std::vector<Record> records;
    for (int i = 0; i < 100; ++i) {
      records.push_back(message(n++));
      records.back().payload.assign(5'000, 'x');
    }
    commit(*file, records);
  }
  // Under its feet: it is met where SQLite reads what it has not in memory.
  std::string& bytes = disk_.contents_of(kPath);
  std::fill(bytes.begin() + 4'096, bytes.end(), '\x5a');
  std::uint64_t n = 10'000;
  while (damages_.empty() && n < 14'000) {
    const Commit done = commit(*file, {message(n), message(n - 9'000)});
    ASSERT_EQ(done.trouble, Trouble::none) << done.sentence;
    ++n;
  }
  ASSERT_EQ(damages_.size(), 1u);
  EXPECT_EQ(commit(*file, {message(20'000)}).stored, 1u);
  EXPECT_EQ(count_names(".corrupt-"), 1u);
  EXPECT_GT(read().front().row, 2'000);
  ASSERT_EQ(file->consumers().size(), 1u);
}

// ---- disk full

TEST_F(StoreTest, AFullDiskIsAnAnswerAndNotTheEnd) {
  auto file = open();
  disk_.set_capacity(600'000);
  std::uint64_t n = 1;
  Commit done;
  for (; n < 1'000 && done.trouble == Trouble::none; ++n) {
    Record record = message(n);
    record.payload.assign(5'000, 'x');
    done = commit(*file, {record});
  }
  ASSERT_EQ(done.trouble, Trouble::full);
  EXPECT_FALSE(done.sentence.empty());
  const std::size_t before = read().size();
  EXPECT_EQ(before, n - 2);
  disk_.set_capacity(0);
  EXPECT_EQ(commit(*file, {message(n - 1)}).trouble, Trouble::none);
  EXPECT_EQ(read().size(), before + 1);
  EXPECT_TRUE(damages_.empty());
}

// ---- several threads

class Collected {
 public:
  OnSettled take() {
    return [this](std::span<const Settled> settled, std::span<Record>) {
      const std::lock_guard lock(mutex_);
      all_.insert(all_.end(), settled.begin(), settled.end());
      changed_.notify_all();
    };
  }
  bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] { return all_.size() >= count; });
  }
  std::vector<Settled> all() {
    const std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Settled> all_;
};

TEST_F(StoreTest, CommitsManyAtATime) {
  Collected collected;
  StoreOptions options;
  options.file = this->options();
  options.batch_time = 50ms;
  options.batch_count = 100;
  auto store = Store::create(options, collected.take());
  ASSERT_TRUE(store);
  for (std::uint64_t n = 1; n <= 250; ++n) ASSERT_TRUE((*store)->put(message(n), n));
  ASSERT_TRUE(collected.wait_for(250));
  const auto settled = collected.all();
  for (std::size_t i = 0; i < settled.size(); ++i) {
    EXPECT_EQ(settled[i].ticket, i + 1);
    EXPECT_EQ(settled[i].fate, Fate::stored);
  }
  EXPECT_LE((*store)->counts().commits, 20u);
  EXPECT_EQ((*store)->counts().stored, 250u);
  store->reset();
  EXPECT_EQ(read().size(), 250u);
}

TEST_F(StoreTest, WhatComesAfterAPauseIsCommittedAtOnceAndThenManyAtATime) {
  Collected collected;
  StoreOptions options;
  options.file = this->options();
  options.batch_time = 1h;
  options.batch_count = 3;
  auto store = Store::create(options, collected.take());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->put(message(1), 1));
  ASSERT_TRUE(collected.wait_for(1)) << "nobody is waited for";
  for (std::uint64_t n = 2; n <= 4; ++n) ASSERT_TRUE((*store)->put(message(n), n));
  ASSERT_TRUE(collected.wait_for(4));
  EXPECT_EQ((*store)->counts().commits, 2u);
}

TEST_F(StoreTest, StoresWhatWaitsWhenItEnds) {
  StoreOptions options;
  options.file = this->options();
  options.batch_time = 10s;
  auto store = Store::create(options, {});
  ASSERT_TRUE(store);
  for (std::uint64_t n = 1; n <= 10; ++n) ASSERT_TRUE((*store)->put(message(n), n));
  store->reset();
  EXPECT_EQ(read().size(), 10u);
}

TEST_F(StoreTest, SaysNoWhenTooMuchWaits) {
  StoreOptions options;
  options.file = this->options();
  options.batch_time = 1h;
  options.queue_count = 5;
  Collected collected;
  auto store = Store::create(options, collected.take());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->put(message(1), 1));
  ASSERT_TRUE(collected.wait_for(1));
  for (std::uint64_t n = 2; n <= 6; ++n) ASSERT_TRUE((*store)->put(message(n), n));
  Record seventh = message(7);
  EXPECT_FALSE((*store)->put(std::move(seventh), 7));
  EXPECT_EQ(seventh.topic, "a/b") << "what was refused is still the caller's";
}

TEST_F(StoreTest, WhileTheDiskIsFullDurableMessagesWaitAndOthersAreDropped) {
  Collected collected;
  StoreOptions options;
  options.file = this->options();
  options.batch_time = 1ms;
  options.retry_time = 5ms;
  auto store = Store::create(options, collected.take());
  ASSERT_TRUE(store);
  ASSERT_TRUE((*store)->put(message(1), 1));
  ASSERT_TRUE(collected.wait_for(1));
  disk_.set_capacity(1);
  for (std::uint64_t n = 2; n <= 11; ++n) {
    Record record = message(n);
    record.durable = n % 2 == 0;
    ASSERT_TRUE((*store)->put(std::move(record), n));
  }
  ASSERT_TRUE(collected.wait_for(6));
  for (const Settled& settled : collected.all()) {
    if (settled.ticket == 1) continue;
    EXPECT_EQ(settled.ticket % 2, 1u);
    EXPECT_EQ(settled.fate, Fate::dropped);
  }
  EXPECT_FALSE((*store)->counts().trouble.empty());
  EXPECT_EQ((*store)->counts().dropped, 5u);
  EXPECT_TRUE((*store)->consumers()) << "who asks has an answer all the same";
  disk_.set_capacity(0);
  ASSERT_TRUE(collected.wait_for(11));
  EXPECT_TRUE((*store)->counts().trouble.empty());
  store->reset();
  EXPECT_EQ(numbers(), (Numbers{1, 2, 4, 6, 8, 10}));
  EXPECT_EQ(damages_.size(), 1u) << "said once";
  EXPECT_EQ(reports_.size(), 1u) << "and when it was over";
}

TEST_F(StoreTest, StartsOnAFullDisk) {
  Collected collected;
  disk_.set_capacity(1);
  StoreOptions options;
  options.file = this->options();
  options.batch_time = 1ms;
  options.retry_time = 5ms;
  auto store = Store::create(options, collected.take());
  ASSERT_TRUE(store) << store.error().message;
  Record durable = message(1);
  durable.durable = true;
  ASSERT_TRUE((*store)->put(std::move(durable), 1));
  EXPECT_FALSE((*store)->consumers());
  disk_.set_capacity(0);
  EXPECT_TRUE(collected.wait_for(1));
  store->reset();
  EXPECT_EQ(numbers(), (Numbers{1}));
}

TEST_F(StoreTest, AFolderThatIsNotThereIsAnError) {
  FileOptions nowhere;
  nowhere.path = "/no/such/folder/records.db";
  const auto store = Store::create({nowhere}, {});
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().message.find("/no/such/folder/records.db"), std::string::npos);
}

TEST(ArchiveTest, AFileThatIsNotThereIsAnError) {
  const auto page = Archive{"/no/such/file.db"}.read({});
  ASSERT_FALSE(page);
  EXPECT_NE(page.error().message.find("/no/such/file.db"), std::string::npos);
}

}  // namespace
}  // namespace sluice::recorder
