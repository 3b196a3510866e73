#include "tools/sluice/top_model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sluice::tools {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kStart = 1'000 * kSecond;

// A camera of 30 frames a second, a detector that takes all of them, and a viewer that wants the
// newest and takes every third.
struct World {
  Snapshot now;
  std::uint64_t at_ns = kStart;

  World() {
    now.broker_connected = true;
    now.nodes = {node(1, "capture-front", 100), node(2, "detect-front", 200),
                 node(3, "viewer", 300)};
    StreamInfo stream;
    stream.id = 10;
    stream.node_id = 1;
    stream.topic = "camera/front/frames";
    stream.source = {kSecond / 30, 0, 0, 0, 0, 0x3231'5559, 1280, 720};
    stream.stats.slots = 12;
    stream.stats.jitter_ns = 1'234'567;
    now.streams = {stream};
    now.subscriptions = {subscription(20, 2, "camera/+/frames", DeliveryMode::next, {attachment()}),
                         subscription(30, 3, "camera/#", DeliveryMode::latest, {attachment()})};
  }

  static NodeInfo node(std::uint64_t id, std::string name, std::uint32_t pid) {
    NodeInfo info;
    info.id = id;
    info.name = std::move(name);
    info.pid = pid;
    return info;
  }
  static SubscriptionInfo subscription(std::uint64_t id, std::uint64_t node_id,
                                       const std::string& filter, DeliveryMode mode,
                                       std::vector<AttachmentInfo> attachments) {
    SubscriptionInfo info;
    info.id = id;
    info.node_id = node_id;
    info.filter = filter;
    info.filters = {filter};
    info.mode = mode;
    info.attachments = std::move(attachments);
    return info;
  }

  static AttachmentInfo attachment() {
    AttachmentInfo info;
    info.stream_id = 10;
    return info;
  }

  StreamInfo& stream() { return now.streams.at(0); }
  AttachmentInfo& detector() { return now.subscriptions.at(0).attachments.at(0); }
  AttachmentInfo& viewer() { return now.subscriptions.at(1).attachments.at(0); }

  static void note(DurationCounts& counts, std::uint64_t ns, std::uint64_t n) {
    // The bucket that answers with this value: found, not known, so that the layout is not
    // repeated.
    for (std::size_t i = 0; i < DurationCounts::kBuckets; ++i) {
      DurationCounts probe;
      probe.count[i] = 1;
      const std::uint64_t value = probe.quantile_ns(0.5);
      if (value >= ns - ns / 5 && value <= ns + ns / 5) {
        counts.count[i] += n;
        return;
      }
    }
    FAIL() << "no bucket for " << ns;
  }

  void frames(std::uint64_t n) {
    stream().stats.published += n;
    stream().stats.bytes += n * 1'382'400;
    stream().stats.last_publish_ns = at_ns;
    note(stream().intervals, kSecond / 30, n);
    detector().stats.taken += n;
    detector().last_take_ns = at_ns;
    note(detector().age, 100'000, n);
    note(detector().processing, 10'000'000, n);
    if (now.subscriptions.size() < 2) return;
    viewer().stats.taken += n / 3;
    viewer().stats.lost_policy += n - n / 3;
    viewer().last_take_ns = at_ns;
  }
  // A second passes, with 30 frames evenly spread.
  void second() {
    at_ns += kSecond;
    frames(30);
  }
  void show(TopModel& model) const { model.add(now, at_ns); }
};

const StreamRow& only(const Table& table) {
  EXPECT_EQ(table.streams.size(), 1u);
  return table.streams.at(0);
}
const ReaderRow* reader(const StreamRow& stream, const std::string& process) {
  const auto at = std::find_if(stream.readers.begin(), stream.readers.end(),
                               [&](const ReaderRow& row) { return row.process == process; });
  return at != stream.readers.end() ? &*at : nullptr;
}

TEST(TopModel, RatesAreOfTheWindow) {
  World world;
  TopModel model;
  world.frames(1'000'000);  // long ago
  world.show(model);
  for (int i = 0; i < 4; ++i) {
    world.second();
    world.show(model);
  }
  const StreamRow& row = only(model.table());
  EXPECT_EQ(row.state, StreamState::live);
  EXPECT_DOUBLE_EQ(row.rate_hz, 30);
  EXPECT_NEAR(*row.expected_hz, 30, 1e-6);
  EXPECT_DOUBLE_EQ(row.bytes_per_second, 30 * 1'382'400.0);
  EXPECT_EQ(row.published, 1'000'120u);
  EXPECT_EQ(*row.jitter_ns, 1'234'567u) << "the publisher's own figure";
  EXPECT_NEAR(static_cast<double>(row.intervals->p50_ns), 33e6, 7e6);
  EXPECT_NEAR(*row.low_hz, 30, 8);
  EXPECT_LE(*row.low_hz, row.rate_hz) << "whatever the buckets say";
  EXPECT_DOUBLE_EQ(model.table().window_s, 2);
  EXPECT_EQ(row.process, "capture-front");
  EXPECT_EQ(row.pid, 100u);

  const ReaderRow* detector = reader(row, "detect-front");
  ASSERT_NE(detector, nullptr);
  EXPECT_DOUBLE_EQ(detector->rate_hz, 30);
  EXPECT_EQ(detector->mode, DeliveryMode::next);
  EXPECT_EQ(detector->lost_per_second(), 0);
  EXPECT_FALSE(detector->main_cause());
  EXPECT_NEAR(static_cast<double>(detector->age->p99_ns), 100'000, 25'000);
  EXPECT_NEAR(static_cast<double>(detector->processing->p50_ns), 10e6, 2.5e6);
  EXPECT_FALSE(detector->end_to_end) << "nothing was measured";
}

TEST(TopModel, ARateDoesNotDependOnHowMessagesFallIntoTheWindow) {
  World world;
  TopModel model;
  // Messages 33.3 ms apart, looked at in seconds that fit nothing.
  std::uint64_t published = 0;
  for (int i = 0; i < 5; ++i) {
    world.at_ns += 970'000'000;
    const std::uint64_t due = (world.at_ns - kStart) * 30 / kSecond;
    world.frames(due - published);
    published = due;
    world.stream().stats.last_publish_ns = kStart + due * kSecond / 30;
    world.show(model);
  }
  EXPECT_NEAR(only(model.table()).rate_hz, 30, 0.001);
}

TEST(TopModel, LossesStandUnderTheirCause) {
  World world;
  TopModel model;
  world.show(model);
  world.second();
  world.detector().stats.lost_full += 5;
  world.show(model);
  const StreamRow& row = only(model.table());
  const ReaderRow* viewer = reader(row, "viewer");
  ASSERT_NE(viewer, nullptr);
  EXPECT_DOUBLE_EQ(viewer->lost_hz[0], 20);
  EXPECT_EQ(viewer->main_cause(), Cause::policy);
  EXPECT_FALSE(viewer->loses()) << "latest skips because it was asked to";
  const ReaderRow* detector = reader(row, "detect-front");
  EXPECT_DOUBLE_EQ(detector->lost_hz[1], 5);
  EXPECT_EQ(detector->main_cause(), Cause::full);
  EXPECT_TRUE(detector->loses());
  EXPECT_DOUBLE_EQ(row.lost_per_second(), 25);
}

TEST(TopModel, TheSlowestHundredthIsNeverFasterThanAllTogether) {
  World world;
  TopModel model;
  world.show(model);
  // Buckets err by an eighth: here towards intervals that are too short.
  world.at_ns += kSecond;
  world.stream().stats.published += 10;
  world.stream().stats.last_publish_ns = world.at_ns;
  World::note(world.stream().intervals, kSecond / 12, 10);
  world.show(model);
  EXPECT_DOUBLE_EQ(only(model.table()).rate_hz, 10);
  EXPECT_DOUBLE_EQ(*only(model.table()).low_hz, 10);
}

TEST(TopModel, AQueueIsNoLongerThanWhatCanStillBeTaken) {
  World world;
  TopModel model;
  world.stream().depth = 4;
  world.stream().lanes = 2;
  world.detector().stats.waiting = 1000;
  world.viewer().stats.waiting = 1000;
  world.show(model);
  EXPECT_EQ(reader(only(model.table()), "detect-front")->waiting, 8u);
  EXPECT_EQ(reader(only(model.table()), "viewer")->waiting, 1u) << "latest takes the newest";
  world.detector().stats.waiting = 3;
  world.viewer().stats.waiting = 0;
  world.show(model);
  EXPECT_EQ(reader(only(model.table()), "detect-front")->waiting, 3u);
  EXPECT_EQ(reader(only(model.table()), "viewer")->waiting, 0u);
}

TEST(TopModel, WhoOnlyResolvesReferencesHasNoQueueAndLosesNothing) {
  World world;
  TopModel model;
  world.stream().depth = 4;
  world.show(model);
  world.second();
  world.viewer().stats.taken = 0;
  world.viewer().stats.waiting = 900;
  world.show(model);
  EXPECT_FALSE(reader(only(model.table()), "viewer")->refs) << "it has resolved nothing";
  world.viewer().stats.resolved = 12;
  world.viewer().stats.lost_full = 3;
  world.show(model);
  const ReaderRow* viewer = reader(only(model.table()), "viewer");
  EXPECT_TRUE(viewer->refs);
  EXPECT_STREQ(viewer->mode_text(), "refs");
  EXPECT_EQ(viewer->waiting, 0u);
  EXPECT_EQ(viewer->lost_in_all(), 0u);
  EXPECT_EQ(viewer->lost_per_second(), 0);
  EXPECT_EQ(viewer->resolved, 12u);
  // Once it takes, it is a subscription like others.
  world.viewer().stats.taken = 1;
  world.show(model);
  EXPECT_FALSE(reader(only(model.table()), "viewer")->refs);
  EXPECT_EQ(reader(only(model.table()), "viewer")->lost_in_all(), 23u);
}

TEST(TopModel, WhoAloneHoldsMostOfANearlyEmptyPoolIsNamed) {
  World world;
  TopModel model;
  world.stream().stats.slots = 40;
  world.stream().stats.slots_in_use = 37;
  world.detector().stats.held = 4;
  world.viewer().stats.held = 20;
  world.show(model);
  EXPECT_FALSE(only(model.table()).nearly_short) << "half is not most";
  world.viewer().stats.held = 21;
  world.show(model);
  EXPECT_TRUE(only(model.table()).nearly_short);
  EXPECT_FALSE(only(model.table()).short_of_slots);
  EXPECT_TRUE(reader(only(model.table()), "viewer")->starves);
  EXPECT_FALSE(reader(only(model.table()), "detect-front")->starves);
  world.stream().stats.slots_in_use = 35;
  world.show(model);
  EXPECT_FALSE(reader(only(model.table()), "viewer")->starves) << "there is room";
}

TEST(TopModel, AStreamThatGivesNothingForThreeIntervalsIsStalled) {
  World world;
  TopModel model;
  world.show(model);
  world.second();
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::live);
  world.at_ns += kSecond;
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::stalled);
  EXPECT_EQ(*only(model.table()).silent_ns, kSecond);
  EXPECT_NEAR(only(model.table()).rate_hz, 15, 0.1) << "the rate sinks while nothing comes";
  world.at_ns += 2 * kSecond;
  world.show(model);
  EXPECT_EQ(only(model.table()).rate_hz, 0);
}

TEST(TopModel, AStreamThatPromisedNothingIsQuietNotStalled) {
  World world;
  TopModel model;
  world.stream().source.expected_interval_ns = 0;
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::waiting);
  world.second();
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::live);
  for (int i = 0; i < 4; ++i) {
    world.at_ns += kSecond;
    world.show(model);
  }
  EXPECT_EQ(only(model.table()).state, StreamState::quiet);
}

TEST(TopModel, StreamsWithoutTimeStampsAreJudgedByTheirCounters) {
  World world;
  TopModel model;
  const auto step = [&](std::uint64_t frames) {
    world.at_ns += kSecond;
    world.frames(frames);
    world.stream().stats.last_publish_ns = 0;
    world.show(model);
  };
  step(30);
  step(30);
  EXPECT_EQ(only(model.table()).state, StreamState::live);
  EXPECT_DOUBLE_EQ(only(model.table()).rate_hz, 30);
  EXPECT_FALSE(only(model.table()).silent_ns);
  for (int i = 0; i < 4; ++i) step(0);
  EXPECT_EQ(only(model.table()).state, StreamState::stalled);
}

TEST(TopModel, EndedAndStuckAreSaid) {
  World world;
  TopModel model;
  world.second();
  world.now.nodes[0].stuck = true;
  world.now.nodes[1].stuck = true;
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::stuck);
  EXPECT_EQ(reader(only(model.table()), "detect-front")->state, ReaderState::stuck);
  world.stream().ended = true;
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::ended);
}

TEST(TopModel, AReaderIsAsleepBusyOrIdle) {
  World world;
  TopModel model;
  world.second();
  world.detector().asleep = true;
  world.viewer().stats.held = 1;
  world.viewer().oldest_held_ns = world.at_ns - 250'000'000;
  world.show(model);
  const StreamRow& row = only(model.table());
  EXPECT_EQ(reader(row, "detect-front")->state, ReaderState::asleep);
  EXPECT_EQ(reader(row, "viewer")->state, ReaderState::busy);
  EXPECT_EQ(*reader(row, "viewer")->oldest_held_ns, 250'000'000u);
  EXPECT_FALSE(reader(row, "detect-front")->oldest_held_ns);
  world.viewer().stats.held = 0;
  world.show(model);
  EXPECT_EQ(reader(only(model.table()), "viewer")->state, ReaderState::idle);
}

TEST(TopModel, WhoHoldsMostOfAnEmptyPoolIsToBlame) {
  World world;
  TopModel model;
  world.stream().stats.no_slot = 3;  // of long ago: nobody is to blame for that
  world.detector().stats.held = 1;
  world.viewer().stats.held = 4;
  world.show(model);
  world.second();
  world.show(model);
  EXPECT_FALSE(only(model.table()).short_of_slots);
  EXPECT_FALSE(reader(only(model.table()), "viewer")->starves);
  world.second();
  world.stream().stats.no_slot += 2;
  world.show(model);
  EXPECT_TRUE(only(model.table()).short_of_slots);
  EXPECT_TRUE(reader(only(model.table()), "viewer")->starves);
  EXPECT_FALSE(reader(only(model.table()), "detect-front")->starves);
}

TEST(TopModel, WhatDoesNotFitIsARowWithItsSentence) {
  World world;
  TopModel model;
  world.now.subscriptions.push_back(
      World::subscription(40, 3, "camera/front/frames", DeliveryMode::reliable, {}));
  world.now.unfit.push_back({10, 40, "wants reliable, but the publisher waits for nobody"});
  world.show(model);
  const auto& readers = only(model.table()).readers;
  const auto row = std::find_if(readers.begin(), readers.end(),
                                [](const ReaderRow& r) { return r.state == ReaderState::unfit; });
  ASSERT_NE(row, readers.end());
  EXPECT_EQ(row->process, "viewer");
  EXPECT_EQ(row->mode, DeliveryMode::reliable);
  EXPECT_EQ(row->sentence, "wants reliable, but the publisher waits for nobody");
}

TEST(TopModel, AProcessThatDiesIsShownAsGoneForAWhile) {
  World world;
  TopModel model;
  world.second();
  world.show(model);
  world.second();
  world.now.subscriptions.pop_back();
  world.now.nodes.pop_back();
  world.show(model);
  const ReaderRow* viewer = reader(only(model.table()), "viewer");
  ASSERT_NE(viewer, nullptr);
  EXPECT_EQ(viewer->state, ReaderState::gone);
  EXPECT_EQ(viewer->rate_hz, 0);
  EXPECT_EQ(viewer->pid, 300u);
  for (std::uint64_t i = 0; i <= TopModel::kGoneForNs / kSecond; ++i) {
    world.second();
    world.show(model);
  }
  EXPECT_EQ(reader(only(model.table()), "viewer"), nullptr);

  world.now.streams.clear();
  world.show(model);
  EXPECT_EQ(only(model.table()).state, StreamState::gone);
  EXPECT_EQ(only(model.table()).rate_hz, 0);
}

TEST(TopModel, AProcessThatComesBackHasNewIdsAndBeginsAnew) {
  World world;
  TopModel model;
  world.frames(5000);
  world.show(model);
  world.second();
  world.show(model);
  // The camera's process died and is back, with counters from zero and an id of its own.
  world.now.nodes[0] = World::node(7, "capture-front", 107);
  world.stream().id = 70;
  world.stream().node_id = 7;
  world.stream().stats.published = 0;
  world.stream().intervals = {};
  world.detector() = World::attachment();
  world.viewer() = World::attachment();
  world.detector().stream_id = world.viewer().stream_id = 70;
  world.second();
  world.show(model);
  const StreamRow& row = only(model.table());
  EXPECT_EQ(row.id, 70u) << "the old one is explained by the new one";
  EXPECT_EQ(row.pid, 107u);
  EXPECT_EQ(row.published, 30u);
  EXPECT_EQ(row.rate_hz, 0) << "one look is no rate";
  world.second();
  world.show(model);
  EXPECT_DOUBLE_EQ(only(model.table()).rate_hz, 30);
  EXPECT_DOUBLE_EQ(reader(only(model.table()), "detect-front")->rate_hz, 30);
}

TEST(TopModel, CountersThatGoBackCountFromZero) {
  World world;
  TopModel model;
  world.frames(1000);
  world.detector().stats.lost_full = 90;
  world.show(model);
  world.at_ns += kSecond;
  world.stream().stats.published = 12;
  world.stream().stats.last_publish_ns = 0;
  world.detector().stats.lost_full = 4;
  world.show(model);
  EXPECT_DOUBLE_EQ(only(model.table()).rate_hz, 12);
  EXPECT_DOUBLE_EQ(reader(only(model.table()), "detect-front")->lost_hz[1], 4);
}

TEST(TopModel, WhileTheBrokerIsDownCountersGoOn) {
  World world;
  TopModel model;
  world.second();
  world.show(model);
  world.now.broker_connected = false;
  for (int i = 0; i < 3; ++i) {
    world.second();
    world.show(model);
  }
  EXPECT_FALSE(model.table().connected);
  EXPECT_DOUBLE_EQ(model.table().disconnected_s, 2);
  EXPECT_DOUBLE_EQ(only(model.table()).rate_hz, 30);
  EXPECT_EQ(only(model.table()).state, StreamState::live);
}

TEST(TopModel, ABrokerThatIsBackMayTakeAMomentToKnowEverything) {
  World world;
  TopModel model;
  world.second();
  world.show(model);
  world.now.broker_connected = false;
  world.second();
  world.show(model);
  const Snapshot full = world.now;
  world.now = {};
  world.now.broker_connected = true;  // and knows nothing yet
  world.at_ns += kSecond / 4;
  world.show(model);
  EXPECT_EQ(only(model.table()).readers.size(), 2u);
  EXPECT_NE(only(model.table()).state, StreamState::gone);
  // The viewer died meanwhile: when the time is up, it is gone.
  world.now = full;
  world.now.broker_connected = true;
  world.now.subscriptions.pop_back();
  for (int i = 0; i < 4; ++i) {
    world.at_ns += kSecond;
    world.stream().stats.published += 30;
    world.stream().stats.last_publish_ns = world.at_ns;
    world.show(model);
  }
  EXPECT_EQ(only(model.table()).state, StreamState::live);
  EXPECT_EQ(reader(only(model.table()), "viewer")->state, ReaderState::gone);
  EXPECT_NE(reader(only(model.table()), "detect-front")->state, ReaderState::gone);
}

TEST(TopModel, ClearMakesTotalsCountFromNow) {
  World world;
  TopModel model;
  world.frames(900);
  world.stream().source.gaps = 7;
  world.show(model);
  EXPECT_EQ(only(model.table()).source.gaps, 7u);
  model.clear();
  world.second();
  world.stream().source.gaps = 9;
  world.show(model);
  const StreamRow& row = only(model.table());
  EXPECT_EQ(row.published, 30u);
  EXPECT_EQ(row.source.gaps, 2u);
  EXPECT_EQ(reader(row, "viewer")->lost[0], 20u);
  EXPECT_DOUBLE_EQ(row.rate_hz, 30) << "rates do not care";
}

TEST(TopModel, RowsAreSortedByWhatIsAskedFor) {
  Table table;
  for (const auto& [topic, rate] : {std::pair{"b", 10.0}, {"a", 30.0}, {"c", 10.0}}) {
    StreamRow row;
    row.topic = topic;
    row.rate_hz = rate;
    table.streams.push_back(row);
  }
  const auto order = [&] {
    std::string topics;
    for (const StreamRow& row : table.streams) topics += row.topic;
    return topics;
  };
  sort_table(table, SortKey::name, false);
  EXPECT_EQ(order(), "abc");
  sort_table(table, SortKey::rate, false);
  EXPECT_EQ(order(), "abc");
  sort_table(table, SortKey::rate, true);
  EXPECT_EQ(order(), "bca");
  table.streams[0].readers.resize(1);
  table.streams[0].readers[0].lost_hz[1] = 3;
  sort_table(table, SortKey::drops, false);
  EXPECT_EQ(order(), "bac");
  sort_table(table, SortKey::name, true);
  EXPECT_EQ(order(), "cba");
}

}  // namespace
}  // namespace sluice::tools
