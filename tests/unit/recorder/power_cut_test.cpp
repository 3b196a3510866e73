// The power is cut at each operation on the disk, in turn: what was acknowledged is there
// afterwards, in order, once, and nobody is refused a start.
//
// Each cut runs the same work (numbered messages in batches, with a durable consumer, checkpoints
// and rotations) on a disk in memory (tests/support/fragile_disk.hpp), loses what was at risk,
// opens what is left, goes on from where acknowledgement had come, and counts. SLUICE_POWER_CUTS
// says how many cuts; they are spread over all operations, and beyond that done again with other
// seeds.
#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/store_file.hpp"
#include "tests/support/fragile_disk.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
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

}  // namespace
}  // namespace sluice::recorder
