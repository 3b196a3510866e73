// A group at full speed: the publisher's thread publishes, a second one tends the stream as a
// node's thread does, three members work, and others come and go. On one mapping, as in
// thread_stress_test.cpp, so that ThreadSanitizer sees what is done to payloads.
//
// How long it runs, in milliseconds: SLUICE_STRESS_MS.
#include "tests/support/local_link.hpp"
#include "tests/support/one_mapping.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

std::uint64_t duration_ns() {
  const char* text = std::getenv("SLUICE_STRESS_MS");
  return (text != nullptr ? std::strtoull(text, nullptr, 10) : 500) * 1'000'000;
}

// What the members say they have done, by number: 1 for each acknowledgement.
class Ledger {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 22;

  void note(std::uint64_t number) { done_[number % kMost].fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint8_t times(std::uint64_t number) const {
    return done_[number % kMost].load(std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<std::atomic<std::uint8_t>[]> done_ =
      std::make_unique<std::atomic<std::uint8_t>[]>(kMost);
};

struct Member {
  shm::ReaderPtr reader;
  std::uint32_t id = 0;
  unsigned takes = 0;  // then it vanishes with what it holds; 0: works to the end
  unsigned seed = 0;
  bool rejects = false;  // some of what it takes
  std::string trouble;
  std::jthread thread;

  void run(Ledger& ledger) {
    std::mt19937 random{seed};
    std::vector<Sample> held;
    std::deque<Sample> kept;  // of what it rejected
    for (unsigned i = 0; takes == 0 || i < takes; ++i) {
      if (held.size() == 4 || (!held.empty() && random() % 2 == 0) || !reader->ready()) {
        if (!held.empty()) {
          std::swap(held.back(), held[random() % held.size()]);
          finish(std::move(held.back()), random, ledger, kept);
          held.pop_back();
          continue;
        }
      }
      const Outcome outcome = reader->wait(soon());
      if (outcome == Outcome::timeout) trouble = "a wake-up was lost";
      if (outcome != Outcome::ok) break;
      Sample sample = reader->take();
      if (!sample) continue;
      if (number_of(sample) == kBroken) trouble = "another payload than was published";
      held.push_back(std::move(sample));
    }
    held.clear();
    kept.clear();
    if (takes != 0) reader.reset();
  }

  // Half of the samples of what it rejects it keeps for a while: the message may come again
  // meanwhile.
  void finish(Sample sample, std::mt19937& random, Ledger& ledger, std::deque<Sample>& kept) {
    if (!rejects || random() % 4 != 0) {
      ledger.note(number_of(sample));
      reader->acknowledge(std::move(sample));
      return;
    }
    if (random() % 2 == 0) {
      reader->reject(std::move(sample));
      return;
    }
    reader->reject(sample);
    kept.push_back(std::move(sample));
    if (kept.size() <= 2) return;
    if (number_of(kept.front()) == kBroken && kept.front().intact()) {
      trouble = "what is held has changed";
    }
    kept.pop_front();
  }
};

struct Way {
  bool deaths = false;
  bool rejects = false;
};
class GroupStress : public testing::TestWithParam<Way> {};

TEST_P(GroupStress, EveryEntryIsAcknowledged) {
  const bool deaths = GetParam().deaths;
  StreamOptions options = small_stream(32);
  options.max_held = 64;
  options.full_timeout_ns = 20'000'000'000;
  LocalLink link(options);
  link.use_room_event(shm::UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)});
  Ledger ledger;
  std::vector<std::unique_ptr<Member>> members;
  const auto come = [&](unsigned takes, unsigned seed) {
    auto reader = link.try_attach({.mode = DeliveryMode::group,
                                   .max_held = 8,
                                   .spin_ns = seed % 2 == 0 ? 0u : 20'000u,
                                   .group = "workers",
                                   .credits = 1 + seed % 5});
    if (!reader) return;
    auto member = std::make_unique<Member>();
    member->reader = std::move(*reader);
    member->id = link.last_reader_id();
    member->takes = takes;
    member->seed = seed;
    member->rejects = GetParam().rejects;
    member->thread = std::jthread{[m = member.get(), &ledger] { m->run(ledger); }};
    members.push_back(std::move(member));
  };
  for (unsigned i = 0; i < 3; ++i) come(0, i);

  // Only told by the event, or a lost one would not be noticed.
  std::atomic<bool> closing{false};
  std::jthread tender{[&] {
    while (!closing) {
      pollfd p{link.room_event(), POLLIN, 0};
      if (::poll(&p, 1, 50) != 1) continue;
      eventfd_t ignored = 0;
      (void)::eventfd_read(link.room_event(), &ignored);
      link.publisher().tend();
    }
  }};
  std::jthread guests{[&] {
    std::mt19937 random{5};
    while (deaths && !closing) {
      if (members.size() < 6)
        come(static_cast<unsigned>(1 + random() % 300), static_cast<unsigned>(random()));
      std::this_thread::sleep_for(std::chrono::microseconds(300));
      if (members.size() < 5) continue;
      const std::size_t at = 3 + random() % (members.size() - 3);
      members[at]->thread.join();
      EXPECT_EQ(members[at]->trouble, "");
      members.erase(members.begin() + static_cast<std::ptrdiff_t>(at));
      link.publisher().reap();
    }
  }};

  std::uint64_t published = 0;
  std::mt19937 random{7};
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end && published + 64 < Ledger::kMost && !HasFailure()) {
    for (std::uint64_t burst = 1 + random() % 48; burst != 0; --burst) {
      const Outcome outcome = publish_number(link.publisher(), published + 1);
      ASSERT_EQ(outcome, Outcome::ok) << to_string(outcome);
      ++published;
    }
    // Idle for a moment: then only the other thread gives out.
    if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  link.publisher().end();
  const std::uint64_t patience = shm::deadline_in(10'000'000'000);
  const auto all_done = [&] {
    for (std::uint64_t i = 1; i <= published; ++i) {
      if (ledger.times(i) == 0) return false;
    }
    return true;
  };
  while (!all_done() && shm::now_ns() < patience) {
    link.publisher().reap();  // the last guests leave without another entry that would tell
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(all_done());
  closing = true;
  guests.join();
  tender.join();
  link.publisher().reap();
  link.publisher().collect();
  for (const auto& member : members) {
    member->thread.join();
    EXPECT_EQ(member->trouble, "");
  }
  std::uint64_t repeated = 0;
  for (std::uint64_t i = 1; i <= published; ++i) repeated += ledger.times(i) != 1;
  if (!deaths) {
    EXPECT_EQ(repeated, 0u);
  }
  EXPECT_GT(published, 100u);
  EXPECT_EQ(value(link.publisher().counters().overwritten), 0u);
  EXPECT_GT(shared_mappings(), 0u) << "the linker options are missing";
}

INSTANTIATE_TEST_SUITE_P(Ways, GroupStress,
                         testing::Values(Way{false, false}, Way{true, false}, Way{false, true},
                                         Way{true, true}),
                         [](const auto& way) {
                           return std::string(way.param.deaths ? "Deaths" : "NoDeaths") +
                                  (way.param.rejects ? "AndRejects" : "");
                         });

// OnFull::drop: entries that members are about to claim are taken from them all the time.
TEST(GroupThatDrops, NobodySeesAnEntryThatWasGivenUp) {
  StreamOptions options = small_stream(4);
  options.max_held = 64;
  options.on_full = OnFull::drop;
  LocalLink link(options);
  link.use_room_event(shm::UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)});
  Ledger ledger;
  std::vector<std::unique_ptr<Member>> members;
  for (unsigned i = 0; i < 2; ++i) {
    auto member = std::make_unique<Member>();
    member->reader = link.attach(
        {.mode = DeliveryMode::group, .max_held = 8, .group = "workers", .credits = 2 + i});
    member->seed = i;
    members.push_back(std::move(member));
  }
  for (auto& member : members) {
    member->thread = std::jthread{[m = member.get(), &ledger] { m->run(ledger); }};
  }
  // Tells the members of the end, too, when the last has acknowledged.
  std::jthread tender{[&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd p{link.room_event(), POLLIN, 0};
      if (::poll(&p, 1, 50) != 1) continue;
      eventfd_t ignored = 0;
      (void)::eventfd_read(link.room_event(), &ignored);
      link.publisher().tend();
    }
  }};
  std::uint64_t published = 0;
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end && published + 64 < Ledger::kMost && !HasFailure()) {
    const Outcome outcome = publish_number(link.publisher(), published + 1);
    ASSERT_EQ(outcome, Outcome::ok) << to_string(outcome);
    ++published;
    if (published % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  link.publisher().end();
  const std::uint64_t patience = shm::deadline_in(10'000'000'000);
  std::uint64_t given = 0;
  std::uint64_t done = 0;
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    given = published - value(link.publisher().counters().dropped);
    done = 0;
    for (const auto& member : members) {
      const auto& counters = member->reader->counters();
      done += value(counters.taken) +
              value(counters.lost[static_cast<std::size_t>(shm::LossCause::full)]);
    }
  } while (done != given && shm::now_ns() < patience);
  EXPECT_EQ(done, given) << "published " << published;
  for (const auto& member : members) {
    member->thread.join();
    EXPECT_EQ(member->trouble, "");
    EXPECT_EQ(
        value(member->reader->counters().lost[static_cast<std::size_t>(shm::LossCause::invalid)]),
        0u);
  }
  for (std::uint64_t i = 1; i <= published; ++i) ASSERT_LE(ledger.times(i), 1u) << i;
  EXPECT_GT(value(link.publisher().counters().dropped), 0u);
}

}  // namespace
}  // namespace sluice::test
