// The power is cut at each operation on the disk, in turn: what was acknowledged is there
// afterwards, in order, once, and nobody is refused a start.
//
// Each cut runs the same work (numbered messages in batches, with a durable consumer, checkpoints
// and rotations) on a disk in memory (tests/support/fragile_disk.hpp), loses what was at risk,
// opens what is left, goes on from where acknowledgement had come, and counts. SLUICE_POWER_CUTS
// says how many cuts; they are spread over all operations, and beyond that done again with other
// seeds.
//
// The same is done to what the store does to its files on its own account (it prunes by size and by
// age, drops dated files, purges dead letters, forgets consumers), and to a start that sets a
// damaged file aside.
#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/store_file.hpp"
#include "tests/support/fragile_disk.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace sluice::recorder {
namespace {

constexpr const char* kPath = "/records.db";
constexpr std::uint64_t kMessages = 120;
constexpr std::uint64_t kHalf = 60;

std::uint64_t cuts_wanted() {
  const char* text = std::getenv("SLUICE_POWER_CUTS");
  return text == nullptr ? 60 : std::strtoull(text, nullptr, 10);
}

std::string payload_of(std::uint64_t number) {
  std::mt19937_64 random{number};
  std::string text(20 + random() % 3'000, '\0');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

Record message(std::uint64_t number) {
  Record record;
  record.time_ns = static_cast<std::int64_t>(1'000'000'000'000 + number);
  record.topic = "job/" + std::to_string(number % 3);
  record.id = {7, number};
  record.durable = true;
  record.kind = 1;
  record.payload = payload_of(number);
  return record;
}

struct Acknowledged {
  std::uint64_t message = 0;  ///< The last one that was.
  std::int64_t place = 0;     ///< Of the consumer; 0: not even registered.
};

FileOptions options_on(test::FragileDisk& disk, const std::string& synchronous) {
  FileOptions options;
  options.path = kPath;
  options.vfs = disk.name();
  options.files = &disk;
  options.synchronous = synchronous;
  options.rotate_bytes = 100'000;
  options.keep = 100;
  options.checkpoint_pages = 12;
  options.now_ns = [] { return std::int64_t{1'000'000'000'000}; };
  return options;
}

// Stores the messages from `next` to `last`; stops where the power does.
void work(test::FragileDisk& disk, const std::string& synchronous, std::uint64_t next,
          std::uint64_t last, Acknowledged& acknowledged, std::vector<std::string>* reports) {
  FileOptions options = options_on(disk, synchronous);
  options.report = [&](const std::string& sentence, bool damage) {
    if (damage && reports != nullptr) reports->push_back(sentence);
  };
  auto file = StoreFile::open(options);
  if (!file) {
    // Without power there is no start. With it there always is.
    EXPECT_TRUE(disk.is_off()) << file.error().message;
    return;
  }
  auto consumer = (*file)->register_consumer("reader", "job/#", true);
  if (!consumer) return;
  if (synchronous == "FULL") {
    EXPECT_GE(consumer->acknowledged, acknowledged.place) << "the consumer's place went back";
  }
  std::mt19937_64 random{next};
  while (next <= last && !disk.is_off()) {
    std::vector<Record> batch;
    for (std::uint64_t n = 1 + random() % 6; n != 0 && next + batch.size() <= last; --n) {
      batch.push_back(message(next + batch.size()));
    }
    const Place place{"reader", (*file)->last_row() / 2};
    const Commit commit = (*file)->commit(batch, {&place, 1});
    if (commit.trouble != Trouble::none) return;
    next += batch.size();
    acknowledged.message = next - 1;
    acknowledged.place = std::max(acknowledged.place, place.row);
    (*file)->maintain();
  }
}

// How many messages are there, if they are the first ones, whole, in order and once each.
std::uint64_t count(test::FragileDisk& disk) {
  const Archive archive{kPath, disk.name(), disk};
  std::uint64_t expected = 1;
  std::int64_t last_row = 0;
  Query query;
  query.limit = 50;
  for (bool more = true; more;) {
    auto page = archive.read(query);
    if (!page) {
      ADD_FAILURE() << page.error().message;
      return 0;
    }
    for (const Record& record : page->records) {
      EXPECT_EQ(record.id.low, expected);
      EXPECT_GT(record.row, last_row);
      EXPECT_EQ(record.payload, payload_of(record.id.low));
      EXPECT_EQ(record.topic, message(record.id.low).topic);
      last_row = record.row;
      expected = record.id.low + 1;
    }
    more = page->more;
    query.after_row = last_row;
  }
  return expected - 1;
}

std::uint64_t operations_of_all(const std::string& synchronous) {
  test::FragileDisk disk;
  Acknowledged acknowledged;
  work(disk, synchronous, 1, kHalf, acknowledged, nullptr);
  work(disk, synchronous, kHalf + 1, kMessages, acknowledged, nullptr);
  EXPECT_EQ(acknowledged.message, kMessages);
  EXPECT_EQ(count(disk), kMessages);
  EXPECT_GE(dated_files(disk, kPath).size(), 2u) << "the work does not reach rotation";
  return disk.operations();
}

struct Tally {
  std::uint64_t lost = 0;       ///< Cuts after which something acknowledged was missing.
  std::uint64_t set_aside = 0;  ///< Cuts that damaged a file.
};

// One cut at the n-th operation; and, often, another one while starting again.
void cut(const std::string& synchronous, std::uint64_t n, std::uint64_t seed, Tally& tally) {
  SCOPED_TRACE("power cut at operation " + std::to_string(n) + ", seed " + std::to_string(seed));
  test::FragileDisk disk;
  Acknowledged acknowledged;
  std::vector<std::string> reports;
  std::mt19937_64 random{seed};
  disk.cut_at(n);
  work(disk, synchronous, 1, kHalf, acknowledged, &reports);
  if (!disk.is_off()) {
    work(disk, synchronous, kHalf + 1, kMessages, acknowledged, &reports);
  }
  disk.restore(random());
  if (random() % 2 == 0) {
    disk.cut_at(1 + random() % 12);
    Acknowledged ignored = acknowledged;
    work(disk, synchronous, acknowledged.message + 1, acknowledged.message + 1, ignored, &reports);
    acknowledged = ignored;
    disk.restore(random());
  }
  if (synchronous == "FULL") {
    work(disk, synchronous, acknowledged.message + 1, kMessages, acknowledged, &reports);
    EXPECT_EQ(acknowledged.message, kMessages);
    EXPECT_EQ(count(disk), kMessages);
    EXPECT_TRUE(reports.empty()) << reports.front();
    return;
  }
  // Only counts: what a store that promises too much loses.
  auto file = StoreFile::open([&] {
    FileOptions options = options_on(disk, synchronous);
    options.report = [&](const std::string&, bool damage) { tally.set_aside += damage ? 1 : 0; };
    return options;
  }());
  EXPECT_TRUE(file) << file.error().message;
  std::uint64_t there = 0;
  if (file) {
    const Archive archive{kPath, disk.name(), disk};
    Query query;
    query.limit = 1;
    query.newest_first = true;
    auto page = archive.read(query);
    if (page && !page->records.empty()) there = page->records.front().id.low;
  }
  tally.lost += there < acknowledged.message ? 1 : 0;
}

TEST(PowerCut, LosesNothingAcknowledgedAndRefusesNoStart) {
  const std::uint64_t operations = operations_of_all("FULL");
  const std::uint64_t wanted = cuts_wanted();
  ASSERT_GT(operations, 100u);
  Tally tally;
  for (std::uint64_t i = 0; i < wanted && !HasFailure(); ++i) {
    const std::uint64_t n = wanted >= operations ? i % operations + 1 : i * operations / wanted + 1;
    cut("FULL", n, i * 7'919 + 1, tally);
  }
  RecordProperty("operations", std::to_string(operations));
  RecordProperty("cuts", std::to_string(wanted));
}

// The test can fail: stores that acknowledge without syncing, or sync only now and then, are found
// out.
class PowerCutFinds : public testing::TestWithParam<const char*> {};

TEST_P(PowerCutFinds, AStoreThatSyncsTooLittle) {
  const std::uint64_t operations = operations_of_all(GetParam());
  Tally tally;
  for (std::uint64_t i = 1; i <= 30; ++i) cut(GetParam(), i * operations / 31, i, tally);
  EXPECT_GE(tally.lost, 5u);
}

INSTANTIATE_TEST_SUITE_P(Synchronous, PowerCutFinds, testing::Values("OFF", "NORMAL"));

// ---- upkeep

constexpr std::uint64_t kUpkept = 300;
constexpr std::uint64_t kWaitedFor = 12;  // so many messages behind the last is the reader
constexpr std::int64_t kStartNs = 1'000'000'000'000;
constexpr std::int64_t kSecondNs = 1'000'000'000;

bool is_letter(std::uint64_t number) { return number % 4 == 0; }
bool is_durable(std::uint64_t number) { return number % 4 >= 2; }

// One in a second.
Record upkept_message(std::uint64_t number) {
  Record record = message(number);
  record.time_ns = kStartNs + static_cast<std::int64_t>(number) * kSecondNs;
  record.durable = is_durable(number);
  if (is_letter(number)) {
    record.what = RecordClass::dead_letter;
    record.topic = "$dlq/" + record.topic;
  }
  return record;
}

// What the store has said is done, by the numbers of messages.
struct Told {
  std::uint64_t stored = 0;
  std::uint64_t place = 0;        ///< The reader's.
  std::uint64_t asked_place = 0;  ///< Perhaps it is here already.
  std::uint64_t purged = 0;       ///< Letters up to this one.
  std::optional<bool> spare{};    ///< Whether the other consumer is known; nothing: perhaps.
  std::map<std::uint64_t, std::int64_t> rows{};
  // What the work has reached.
  std::uint64_t pruned = 0, purges = 0, dropped = 0;
  std::vector<std::uint64_t> purge_operations{};  ///< Of the disk.
};

class Upkeep {
 public:
  // `by_age`: else by size.
  Upkeep(test::FragileDisk& disk, bool by_age, Told& told) : disk_(disk), told_(told) {
    options_ = options_on(disk, "FULL");
    options_.now_ns = [this] {
      return kStartNs + static_cast<std::int64_t>(told_.stored) * kSecondNs;
    };
    if (by_age) {
      options_.max_age_ns = 10 * kSecondNs;
    } else {
      options_.max_bytes = 250'000;
      options_.rotate_bytes = 0;
    }
    options_.report = [](const std::string& sentence, bool damage) {
      if (damage) ADD_FAILURE() << sentence;
    };
  }

  // Stores the messages up to `last`; stops where the power does.
  void run(std::uint64_t last) {
    auto file = StoreFile::open(options_);
    if (!file) {
      EXPECT_TRUE(disk_.is_off()) << file.error().message;
      return;
    }
    compare(**file);
    std::uint64_t next = told_.stored + 1;
    std::mt19937_64 random{next};
    for (int step = 0; next <= last && !disk_.is_off(); ++step) {
      std::vector<Record> batch;
      for (std::uint64_t n = 1 + random() % 6; n != 0 && next + batch.size() <= last; --n) {
        batch.push_back(upkept_message(next + batch.size()));
      }
      if (!commit(**file, batch)) break;
      next += batch.size();
      look_after(**file, step);
      const std::size_t dated = dated_files(disk_, kPath).size();
      (*file)->maintain();
      told_.dropped += dated_files(disk_, kPath).size() < dated ? 1 : 0;
    }
    told_.pruned += (*file)->pruned();
  }

 private:
  // With what was said before the power went.
  void compare(StoreFile& file) {
    bool spare = false;
    std::int64_t reader = -1;
    for (const Consumer& consumer : file.consumers()) {
      if (consumer.name == "reader") reader = consumer.acknowledged;
      spare = spare || consumer.name == "spare";
    }
    if (told_.place != 0) {
      EXPECT_GE(reader, told_.rows.at(told_.place)) << "the consumer's place went back";
      if (reader > told_.rows.at(told_.place)) told_.place = told_.asked_place;
    }
    if (told_.spare) {
      EXPECT_EQ(spare, *told_.spare);
    }
    (void)file.register_consumer("reader", "job/#", true);
  }

  bool commit(StoreFile& file, std::vector<Record>& batch) {
    std::vector<Place> places;
    auto at = told_.rows.upper_bound(told_.stored - std::min(told_.stored, kWaitedFor));
    if (at != told_.rows.begin()) {
      --at;
      places.push_back({"reader", at->second});
      told_.asked_place = std::max(told_.place, at->first);
    }
    const Commit commit = file.commit(batch, places);
    if (commit.trouble != Trouble::none) {
      EXPECT_TRUE(disk_.is_off()) << commit.sentence;
      return false;
    }
    for (const Record& record : batch) {
      if (record.row != 0) told_.rows[record.id.low] = record.row;
    }
    told_.place = told_.asked_place;
    told_.stored = batch.back().id.low;
    return true;
  }

  void look_after(StoreFile& file, int step) {
    if (step % 5 == 1) {
      told_.spare.reset();
      if (file.register_consumer("spare", "job/#", false)) told_.spare = true;
    }
    if (step % 5 == 3) {
      told_.spare.reset();
      if (file.forget_consumer("spare")) told_.spare = false;
    }
    if (step % 7 == 4) {
      Query all;
      all.filter = "$dlq/#";
      const std::uint64_t before = disk_.operations();
      const auto count = file.purge(all);
      for (std::uint64_t n = before; n < disk_.operations(); ++n) {
        told_.purge_operations.push_back(n + 1);
      }
      if (!count) {
        EXPECT_TRUE(disk_.is_off()) << count.error().message;
        return;
      }
      told_.purged = told_.stored;
      told_.purges += *count;
    }
  }

  test::FragileDisk& disk_;
  Told& told_;
  FileOptions options_;
};

// All that somebody waits for is there, whole, in order and once; what was purged stays so.
void expect_kept(test::FragileDisk& disk, const Told& told) {
  const Archive archive{kPath, disk.name(), disk};
  std::set<std::uint64_t> there;
  Query query;
  query.limit = 50;
  for (bool more = true; more;) {
    auto page = archive.read(query);
    ASSERT_TRUE(page) << page.error().message;
    for (const Record& record : page->records) {
      const std::uint64_t number = record.id.low;
      EXPECT_TRUE(there.empty() || number > *there.rbegin()) << number << " comes again";
      there.insert(number);
      const bool purged = record.what == RecordClass::purged;
      EXPECT_TRUE(!is_letter(number) || purged || number > told.purged) << number << " is back";
      EXPECT_EQ(record.payload, purged && is_letter(number) ? "" : payload_of(number));
      query.after_row = record.row;
    }
    more = page->more;
  }
  for (std::uint64_t number = told.place + 1; number <= told.stored; ++number) {
    EXPECT_TRUE(!is_durable(number) || there.contains(number)) << number << " is lost";
  }
}

// How many operations there are, and which of them are those of purges.
std::pair<std::uint64_t, std::vector<std::uint64_t>> operations_of_upkeep() {
  test::FragileDisk disk;
  Told told;
  Upkeep(disk, true, told).run(kUpkept / 3);
  expect_kept(disk, told);
  EXPECT_GT(told.pruned, 0u) << "the work does not reach what is too old";
  told.pruned = 0;
  Upkeep(disk, false, told).run(kUpkept);
  expect_kept(disk, told);
  EXPECT_EQ(told.stored, kUpkept);
  EXPECT_GT(told.pruned, 0u) << "the work does not reach its limit";
  EXPECT_GT(told.purges, 0u);
  EXPECT_GT(told.dropped, 0u) << "no dated file was dropped";
  return {disk.operations(), told.purge_operations};
}

void cut_upkeep(std::uint64_t n, std::uint64_t seed) {
  SCOPED_TRACE("power cut at operation " + std::to_string(n) + ", seed " + std::to_string(seed));
  test::FragileDisk disk;
  Told told;
  std::mt19937_64 random{seed};
  disk.cut_at(n);
  Upkeep(disk, true, told).run(kUpkept / 3);
  if (!disk.is_off()) Upkeep(disk, false, told).run(kUpkept);
  disk.restore(random());
  if (random() % 2 == 0) {
    disk.cut_at(1 + random() % 12);
    Upkeep(disk, random() % 2 == 0, told).run(told.stored + 3);
    disk.restore(random());
  }
  Upkeep(disk, false, told).run(told.stored);  // only starts
  expect_kept(disk, told);
  Upkeep(disk, true, told).run(std::max(told.stored, kUpkept / 3));
  Upkeep(disk, false, told).run(kUpkept);
  EXPECT_EQ(told.stored, kUpkept);
  expect_kept(disk, told);
}

TEST(PowerCut, LosesNothingThatIsWaitedForWhileItCleansUp) {
  const auto [operations, purges] = operations_of_upkeep();
  const std::uint64_t wanted = cuts_wanted();
  ASSERT_GT(operations, 100u);
  ASSERT_FALSE(purges.empty());
  for (std::uint64_t i = 0; i < wanted && !HasFailure(); ++i) {
    // Every other one in a purge, which is the one that writes without a log.
    std::uint64_t n = wanted >= operations ? i % operations + 1 : i * operations / wanted + 1;
    if (i % 2 == 1) n = purges[static_cast<std::size_t>(i * 31) % purges.size()];
    cut_upkeep(n, i * 7'919 + 1);
  }
  RecordProperty("operations", std::to_string(operations));
  RecordProperty("cuts", std::to_string(wanted));
}

// ---- a damaged file

// Messages up to kHalf, the last of them in a file that is damaged then.
std::uint64_t make_damaged(test::FragileDisk& disk) {
  Acknowledged acknowledged;
  work(disk, "FULL", 1, kHalf, acknowledged, nullptr);
  std::string contents = disk.contents(kPath);
  for (std::size_t at = 4'096; at < contents.size(); ++at) contents[at] = '\x5a';
  disk.set_contents(kPath, contents);
  // What is not in it stands in the dated files.
  const Archive dated{dated_files(disk, kPath).back().path, disk.name(), disk};
  Query last;
  last.newest_first = true;
  last.limit = 1;
  auto page = dated.read(last);
  EXPECT_TRUE(page) << page.error().message;
  return page ? page->records.at(0).id.low : 0;
}

// Goes on from there; the number of the last message that is on the disk.
std::uint64_t go_on(test::FragileDisk& disk, std::uint64_t next, std::uint64_t& reports) {
  FileOptions options = options_on(disk, "FULL");
  options.report = [&](const std::string&, bool damage) { reports += damage ? 1 : 0; };
  auto file = StoreFile::open(options);
  EXPECT_TRUE(file || disk.is_off()) << file.error().message;
  if (!file) return next - 1;
  for (; next <= kMessages; ++next) {
    std::vector<Record> batch{message(next)};
    if ((*file)->commit(batch).trouble != Trouble::none) break;
    (*file)->maintain();
  }
  return next - 1;
}

TEST(PowerCut, ADamagedFileIsSetAsideHoweverOftenItIsTried) {
  std::uint64_t operations = 0, reports = 0, dated = 0;
  {
    test::FragileDisk disk;
    dated = make_damaged(disk);
    const std::uint64_t before = disk.operations();
    ASSERT_EQ(go_on(disk, kHalf + 1, reports), kMessages);
    ASSERT_EQ(reports, 1u);
    operations = disk.operations() - before;
  }
  ASSERT_GT(dated, 0u);
  // Those of the start are few, and are what this is about: each of them, with several seeds.
  const std::uint64_t wanted = cuts_wanted();
  for (std::uint64_t i = 0; i < wanted && !HasFailure(); ++i) {
    const std::uint64_t n = i % (i % 2 == 0 ? 20 : operations) + 1;
    SCOPED_TRACE("power cut at operation " + std::to_string(n) + ", " + std::to_string(i));
    test::FragileDisk disk;
    make_damaged(disk);
    std::mt19937_64 random{i};
    disk.cut_at(n);
    std::uint64_t stored = go_on(disk, kHalf + 1, reports);
    disk.restore(random());
    reports = 0;
    stored = go_on(disk, stored + 1, reports);
    EXPECT_EQ(stored, kMessages);
    EXPECT_LE(reports, 1u) << "what was begun anew is whole";
    Query query;
    query.limit = kMessages;
    query.max_bytes = ~std::uint64_t{0} >> 1;
    auto page = Archive{kPath, disk.name(), disk}.read(query);
    ASSERT_TRUE(page) << page.error().message;
    std::uint64_t expected = 1;
    for (const Record& record : page->records) {
      EXPECT_EQ(record.id.low, expected);
      EXPECT_EQ(record.payload, payload_of(record.id.low));
      expected = expected == dated ? kHalf + 1 : expected + 1;
    }
    EXPECT_EQ(expected, kMessages + 1);
  }
}

}  // namespace
}  // namespace sluice::recorder
