// State on retained topics, over a real broker: what its keeper promises to who asks and watches.
#include "sluice/state.hpp"

#include "tests/support/bus_fixture.hpp"
#include "transport/bus/state_protocol.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <set>
#include <thread>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

// A keeper with a node and a thread of its own.
class Keeper {
 public:
  Keeper(Node node, const std::string& bucket, StateKeeperOptions options = {})
      : Keeper(std::move(node), bucket, std::move(options), [](StateKeeper&) {}) {}
  template <class Prepare>
  Keeper(Node node, const std::string& bucket, StateKeeperOptions options, Prepare prepare)
      : node_(std::move(node)),
        keeper_(must(StateKeeper::create(node_, bucket, std::move(options)))) {
    prepare(*keeper_);
    thread_ = std::thread([this] { (void)keeper_->run(); });
  }
  ~Keeper() {
    keeper_->stop();
    thread_.join();
  }

 private:
  static std::unique_ptr<StateKeeper> must(Result<std::unique_ptr<StateKeeper>> made) {
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  Node node_;
  std::unique_ptr<StateKeeper> keeper_;
  std::thread thread_;
};

class StateTest : public BusTest {
 protected:
  static State state(Node& node, const std::string& bucket = "box") {
    return value(State::create(node, bucket));
  }
  static StateWatch watch(Node& node, std::string_view filter = "#") {
    return value(StateWatch::create(node, "box", filter));
  }
  static std::string text(const StateValue& value) {
    return {reinterpret_cast<const char*>(value.value.data()), value.value.size()};
  }
  static std::string text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  struct Seen {
    std::string key;
    std::string value;
    std::uint64_t revision;
    bool deleted;
    bool initial;
  };
  // Steps until `count` changes were seen, or for long.
  static std::vector<Seen> see(StateWatch& watch, std::size_t count) {
    std::vector<Seen> all;
    const Deadline deadline = soon();
    while (all.size() < count && std::chrono::steady_clock::now() < deadline) {
      (void)watch.step(deadline, [&](const StateChange& c) {
        all.push_back({std::string{c.key}, text(c.value), c.revision, c.deleted, c.initial});
      });
    }
    return all;
  }
};

TEST_F(StateTest, SetsGetsAndErases) {
  Keeper keeper{node("k"), "box"};
  Node a = node("a");
  State box = state(a);
  EXPECT_EQ(box.get("x").status.code, StatusCode::not_found);
  const StateValue first = box.set("x", bytes("1"));
  ASSERT_TRUE(first.status.ok()) << first.status.message;
  StateValue got = box.get("x");
  EXPECT_EQ(text(got), "1");
  EXPECT_EQ(got.revision, first.revision);
  const StateValue second = box.set("x", bytes("2"));
  EXPECT_GT(second.revision, first.revision);
  EXPECT_EQ(text(box.get("x")), "2");
  EXPECT_EQ(box.erase("x", first.revision).status.code, StatusCode::aborted);
  EXPECT_TRUE(box.erase("x", second.revision).status.ok());
  EXPECT_EQ(box.get("x").status.code, StatusCode::not_found);
  EXPECT_EQ(box.erase("x").status.code, StatusCode::not_found);
}

TEST_F(StateTest, ComparesAndSets) {
  Keeper keeper{node("k"), "box"};
  Node a = node("a");
  State box = state(a);
  EXPECT_EQ(box.compare_and_set("x", bytes("1"), 7).status.code, StatusCode::aborted);
  const StateValue made = box.compare_and_set("x", bytes("1"), 0);
  ASSERT_TRUE(made.status.ok()) << made.status.message;
  const StateValue again = box.compare_and_set("x", bytes("2"), 0);
  EXPECT_EQ(again.status.code, StatusCode::aborted);
  EXPECT_EQ(again.revision, made.revision) << "who compared is told what it is at";
  EXPECT_TRUE(box.compare_and_set("x", bytes("2"), made.revision).status.ok());
  EXPECT_EQ(text(box.get("x")), "2");
}

TEST_F(StateTest, ThatNobodyKeepsIsUnavailable) {
  Node a = node("a");
  State box = state(a);
  EXPECT_EQ(box.get("x").status.code, StatusCode::unavailable);
  EXPECT_EQ(box.set("x", bytes("1")).status.code, StatusCode::unavailable);
  EXPECT_FALSE(box.keys());
}

TEST_F(StateTest, IsKeptOnce) {
  Keeper keeper{node("k"), "box"};
  Node b = node("b");
  const auto second = StateKeeper::create(b, "box");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::refused);
  EXPECT_NE(second.error().message.find("'box'"), std::string::npos);
  EXPECT_TRUE(StateKeeper::create(b, "other"));
}

TEST_F(StateTest, BucketsHaveNamesOfOneLevel) {
  Node a = node("a");
  for (const char* bucket : {"", "a/b", "+", "#", "a+"}) {
    EXPECT_FALSE(StateKeeper::create(a, bucket)) << bucket;
    EXPECT_FALSE(State::create(a, bucket)) << bucket;
    EXPECT_FALSE(StateWatch::create(a, bucket)) << bucket;
  }
}

TEST_F(StateTest, RefusesWhatDoesNotFit) {
  StateKeeperOptions options;
  options.max_keys = 2;
  options.max_value_bytes = 8;
  Keeper keeper{node("k"), "box", options};
  Node a = node("a");
  State box = state(a);
  for (const char* key : {"", "+", "a/#", "a+b"}) {
    EXPECT_EQ(box.set(key, bytes("1")).status.code, StatusCode::invalid_argument) << key;
  }
  EXPECT_EQ(box.set(std::string(257, 'x'), bytes("1")).status.code, StatusCode::invalid_argument);
  EXPECT_EQ(box.set("x", bytes("")).status.code, StatusCode::invalid_argument);
  EXPECT_EQ(box.set("x", bytes("123456789")).status.code, StatusCode::invalid_argument);
  EXPECT_TRUE(box.set("x", bytes("12345678")).status.ok());
  EXPECT_TRUE(box.set(std::string(256, 'y'), bytes("1")).status.ok());
  const StateValue full = box.set("z", bytes("1"));
  EXPECT_EQ(full.status.code, StatusCode::resource_exhausted);
  EXPECT_NE(full.status.message.find("2 keys"), std::string::npos);
  EXPECT_TRUE(box.set("x", bytes("2")).status.ok()) << "a key that is there needs no room";
  EXPECT_TRUE(box.erase("x").status.ok());
  EXPECT_TRUE(box.set("z", bytes("1")).status.ok());
  EXPECT_EQ(text(box.get("z")), "1");
}

TEST_F(StateTest, ListsMoreKeysThanAnAnswerHolds) {
  StateKeeperOptions options;
  options.max_value_bytes = 16;
  Keeper keeper{node("k"), "box", options};
  Node a = node("a");
  State box = state(a);
  std::set<std::string> all;
  for (int i = 0; i < 60; ++i) {
    std::string key = "group" + std::to_string(i % 2) + '/' + std::to_string(i) + '/';
    key.resize(200, 'x');
    ASSERT_TRUE(box.set(key, bytes("1")).status.ok());
    all.insert(key);
  }
  const std::vector<std::string> keys = value(box.keys());
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()), all);
  EXPECT_EQ(keys.size(), all.size());
  EXPECT_EQ(value(box.keys("group1/#")).size(), 30u);
  EXPECT_TRUE(value(box.keys("nothing")).empty());
  EXPECT_FALSE(box.keys("#/x"));
}

TEST_F(StateTest, AnswersWhatIsNoRequest) {
  Keeper keeper{node("k"), "box"};
  Node a = node("a");
  auto asks = value(Requester::create(a, "state/box"));
  const auto answered = [&](std::string_view payload) { return asks->call(payload).status.code; };
  EXPECT_EQ(answered(""), StatusCode::invalid_argument);
  EXPECT_EQ(answered("nonsense"), StatusCode::invalid_argument);
  bus::StateRequest head{bus::StateOperation::set, 100, 0};  // a key longer than the request
  std::string payload(sizeof head, '\0');
  std::memcpy(payload.data(), &head, sizeof head);
  EXPECT_EQ(answered(payload + "short"), StatusCode::invalid_argument);
  for (const std::uint32_t operation : {0u, 6u, ~0u}) {
    head = {static_cast<bus::StateOperation>(operation), 1, 0};
    std::memcpy(payload.data(), &head, sizeof head);
    EXPECT_EQ(answered(payload + "kv"), StatusCode::invalid_argument) << operation;
  }
  head = {bus::StateOperation::set, 1, 0};  // a key that is not UTF-8
  std::memcpy(payload.data(), &head, sizeof head);
  EXPECT_EQ(answered(payload + "\xffv"), StatusCode::invalid_argument);
  EXPECT_EQ(answered(payload + "kv"), StatusCode::ok);
  State box = state(a);
  EXPECT_EQ(text(box.get("k")), "v");
}

TEST_F(StateTest, IsWatched) {
  Keeper keeper{node("k"), "box"};
  Node a = node("a");
  State box = state(a);
  ASSERT_TRUE(box.set("a/1", bytes("one")).status.ok());
  ASSERT_TRUE(box.set("b", bytes("other")).status.ok());
  Node b = node("b");
  StateWatch all = watch(b);
  StateWatch some = watch(b, "a/+");
  std::map<std::string, Seen> initial;
  for (Seen& seen : see(all, 2)) initial.emplace(seen.key, seen);
  ASSERT_EQ(initial.size(), 2u);
  EXPECT_EQ(initial.at("a/1").value, "one");
  EXPECT_TRUE(initial.at("a/1").initial && initial.at("b").initial);
  ASSERT_EQ(see(some, 1).size(), 1u);

  const StateValue two = box.set("a/1", bytes("two"));
  const auto changed = see(all, 1);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].value, "two");
  EXPECT_EQ(changed[0].revision, two.revision);
  EXPECT_FALSE(changed[0].initial || changed[0].deleted);

  ASSERT_EQ(see(some, 1).size(), 1u);
  ASSERT_TRUE(box.erase("a/1").status.ok());
  const auto erased = see(some, 1);
  ASSERT_EQ(erased.size(), 1u);
  EXPECT_TRUE(erased[0].deleted);
  EXPECT_TRUE(erased[0].value.empty());
  EXPECT_GT(erased[0].revision, two.revision);

  // A key that is made again is a new stream; what comes by it is newer all the same.
  ASSERT_TRUE(box.set("a/1", bytes("three")).status.ok());
  const auto again = see(some, 1);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].value, "three");
  EXPECT_FALSE(again[0].deleted);
  EXPECT_GT(again[0].revision, erased[0].revision);
}

TEST_F(StateTest, WatchersAgreeWithTheKeeperInTheEnd) {
  Keeper keeper{node("k"), "box"};
  Node a = node("a");
  Node b = node("b");
  State box = state(a);
  StateWatch seen = watch(b);
  std::map<std::string, std::string> expected;
  std::uint64_t last = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string key = "k" + std::to_string(i % 5);
    if (i % 7 == 3 && expected.contains(key)) {
      last = box.erase(key).revision;
      expected.erase(key);
    } else {
      const StateValue set = box.set(key, bytes(std::to_string(i)));
      ASSERT_TRUE(set.status.ok()) << set.status.message;
      last = set.revision;
      expected[key] = std::to_string(i);
    }
  }
  std::map<std::string, std::string> found;
  std::map<std::string, std::uint64_t> revisions;
  const Deadline deadline = soon();
  while (found != expected && std::chrono::steady_clock::now() < deadline) {
    (void)seen.step(std::chrono::steady_clock::now() + 100ms, [&](const StateChange& change) {
      const std::string key{change.key};
      EXPECT_GT(change.revision, revisions[key]) << "no step back";
      EXPECT_LE(change.revision, last);
      revisions[key] = change.revision;
      if (change.deleted) {
        found.erase(key);
      } else {
        found[key] = text(change.value);
      }
    });
  }
  EXPECT_EQ(found, expected);
  for (const auto& [key, value] : expected) EXPECT_EQ(text(box.get(key)), value);
}

TEST_F(StateTest, RacersLoseNoUpdate) {
  Keeper keeper{node("k"), "box"};
  constexpr int kRacers = 3;
  constexpr int kEach = 100;
  std::atomic<int> lost_races{0};
  std::vector<std::thread> racers;
  {
    Node a = node("a");
    State box = state(a);
    ASSERT_TRUE(box.set("n", bytes("0")).status.ok());
  }
  for (int r = 0; r < kRacers; ++r) {
    racers.emplace_back([&, r] {
      Node mine = node("racer" + std::to_string(r));
      State box = state(mine);
      for (int done = 0; done < kEach;) {
        const StateValue now = box.get("n");
        ASSERT_TRUE(now.status.ok()) << now.status.message;
        const std::string next = std::to_string(std::stoi(text(now)) + 1);
        const StateValue set = box.compare_and_set("n", bytes(next), now.revision);
        if (set.status.ok()) {
          ++done;
        } else {
          ASSERT_EQ(set.status.code, StatusCode::aborted) << set.status.message;
          ++lost_races;
        }
      }
    });
  }
  for (std::thread& racer : racers) racer.join();
  Node a = node("a");
  State box = state(a);
  EXPECT_EQ(text(box.get("n")), std::to_string(kRacers * kEach));
  std::fprintf(stderr, "%d updates, %d races lost\n", kRacers * kEach, lost_races.load());
}

TEST_F(StateTest, AKeeperThatIsStartedAnewGoesOn) {
  std::map<std::string, std::pair<std::string, std::uint64_t>> disk;
  const auto kept = [&disk] {
    StateKeeperOptions options;
    options.store = [&disk](std::string_view key, std::span<const std::byte> value,
                            std::uint64_t revision, bool deleted) -> Result<void> {
      if (deleted) {
        disk.erase(std::string{key});
      } else {
        disk[std::string{key}] = {text(value), revision};
      }
      return {};
    };
    return options;
  };
  Node a = node("a");
  State box = state(a);
  Node b = node("b");
  StateWatch seen = watch(b);
  std::uint64_t last = 0;
  {
    Keeper keeper{node("k"), "box", kept()};
    ASSERT_TRUE(eventually([&] { return box.set("x", bytes("1")).status.ok(); }));
    ASSERT_TRUE(box.set("y", bytes("2")).status.ok());
    ASSERT_TRUE(box.set("gone", bytes("3")).status.ok());
    last = box.erase("gone").revision;
    // Of quick changes a watcher may see the last alone; a key's end before its stream it never
    // saw.
    EXPECT_GE(see(seen, 2).size(), 2u);
  }
  EXPECT_EQ(box.get("x").status.code, StatusCode::unavailable);
  const auto restore = [&](StateKeeper& keeper) {
    for (const auto& [key, entry] : disk) {
      const auto restored = keeper.restore(key, bytes(entry.first), entry.second);
      ASSERT_TRUE(restored) << restored.error().message;
      EXPECT_FALSE(keeper.restore(key, bytes(entry.first), entry.second)) << "only once";
    }
  };
  Keeper keeper{node("k2"), "box", kept(), restore};
  ASSERT_TRUE(eventually([&] { return box.get("x").status.ok(); }));
  EXPECT_EQ(text(box.get("x")), "1");
  EXPECT_EQ(box.get("x").revision, disk.at("x").second);
  EXPECT_EQ(box.get("gone").status.code, StatusCode::not_found);
  const StateValue set = box.set("x", bytes("4"));
  ASSERT_TRUE(set.status.ok());
  EXPECT_GT(set.revision, last) << "revisions never repeat";
  const Deadline deadline = soon();
  bool there = false;
  while (!there && std::chrono::steady_clock::now() < deadline) {
    (void)seen.step(deadline, [&](const StateChange& c) { there = there || text(c.value) == "4"; });
  }
  EXPECT_TRUE(there) << "a watch outlives the keeper";
}

TEST_F(StateTest, AKeeperThatCountsFromBelowIsSeenAllTheSame) {
  Node a = node("a");
  State box = state(a);
  Node b = node("b");
  StateWatch seen = watch(b);
  {
    StateKeeperOptions options;
    options.first_revision = std::uint64_t{1} << 62;
    Keeper keeper{node("k"), "box", options};
    ASSERT_TRUE(eventually([&] { return box.set("x", bytes("1")).status.ok(); }));
    ASSERT_EQ(see(seen, 1).size(), 1u);
  }
  Keeper keeper{node("k2"), "box"};  // as if the clock had been set back
  ASSERT_TRUE(eventually([&] { return box.set("x", bytes("2")).status.ok(); }));
  const auto changed = see(seen, 1);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].value, "2");
}

TEST_F(StateTest, RevisionsBeginAboveWhatIsSaid) {
  StateKeeperOptions options;
  options.first_revision = std::uint64_t{1} << 62;  // the clock stands far below
  Keeper keeper{node("k"), "box", options};
  Node a = node("a");
  State box = state(a);
  EXPECT_GT(box.set("x", bytes("1")).revision, options.first_revision);
}

TEST_F(StateTest, WhatCannotBeStoredIsNotChanged) {
  std::atomic<bool> full{false};
  StateKeeperOptions options;
  options.store = [&](std::string_view, std::span<const std::byte>, std::uint64_t,
                      bool) -> Result<void> {
    if (full) return Error{Errc::system, 28, "no space left"};
    return {};
  };
  Keeper keeper{node("k"), "box", options};
  Node a = node("a");
  State box = state(a);
  const StateValue one = box.set("x", bytes("1"));
  ASSERT_TRUE(one.status.ok());
  full = true;
  const StateValue two = box.set("x", bytes("2"));
  EXPECT_EQ(two.status.code, StatusCode::internal);
  EXPECT_NE(two.status.message.find("no space left"), std::string::npos);
  EXPECT_EQ(box.set("new", bytes("2")).status.code, StatusCode::internal);
  EXPECT_EQ(box.erase("x").status.code, StatusCode::internal);
  EXPECT_EQ(text(box.get("x")), "1");
  EXPECT_EQ(box.get("x").revision, one.revision);
  EXPECT_EQ(box.get("new").status.code, StatusCode::not_found);
  Node b = node("b");
  StateWatch seen = watch(b);
  const auto there = see(seen, 1);
  ASSERT_EQ(there.size(), 1u);
  EXPECT_EQ(there[0].value, "1");
  full = false;
  EXPECT_TRUE(box.set("new", bytes("3")).status.ok());
}

TEST_F(StateTest, OutlivesTheBroker) {
  Keeper keeper{node("k"), "box"};
  Node a = node("a");
  State box = state(a);
  ASSERT_TRUE(box.set("x", bytes("1")).status.ok());
  broker_.kill(SIGKILL);
  EXPECT_TRUE(box.set("x", bytes("2")).status.ok()) << "a key that is there needs no broker";
  EXPECT_EQ(text(box.get("x")), "2");
  broker_.start();
  Node late = node("late");
  StateWatch seen = watch(late);
  const auto there = see(seen, 1);
  ASSERT_EQ(there.size(), 1u);
  EXPECT_EQ(there[0].value, "2");
}

}  // namespace
}  // namespace sluice::test
