// Readers are attached, detached and reaped by other threads while the owner publishes without
// pause. On one mapping, as in thread_stress_test.cpp, so that ThreadSanitizer sees what is done to
// payloads.
//
// How long it runs, in milliseconds: SLUICE_STRESS_MS.
#include "tests/support/local_link.hpp"
#include "tests/support/one_mapping.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

std::uint64_t duration_ns() {
  const char* text = std::getenv("SLUICE_STRESS_MS");
  return (text != nullptr ? std::strtoull(text, nullptr, 10) : 500) * 1'000'000;
}

// The first sequence that belongs to a reader which has taken nothing yet.
std::uint64_t start_of(const shm::Reader& reader) {
  const auto* page = reinterpret_cast<const shm::ReaderPage*>(
      reinterpret_cast<const std::byte*>(&reader.counters()) - offsetof(shm::ReaderPage, counters));
  return value(page->cursor[0]);
}

// A subscription in a thread of its own. One that is `blind` is detached while it reads: what it
// holds is then no longer its own, so it never looks at a payload.
struct Guest {
  shm::ReaderPtr reader;
  std::uint32_t id = 0;
  bool blind = false;
  unsigned takes = 0;  // then it leaves; 0: stays to the end
  std::uint64_t first = 0;
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  std::uint64_t waiting = 0;
  bool ended = false;
  std::string trouble;
  std::atomic<bool> left{false};
  std::jthread thread;

  void complain(const char* what) {
    if (trouble.empty()) trouble = what;
  }
  void look_at(const Sample& sample) {
    if (blind) return;
    if (number_of(sample) != sample.info().sequence) complain("another payload than was published");
  }
  void run() {
    first = start_of(*reader);
    std::uint64_t last = first - 1;
    std::deque<Sample> held;
    for (unsigned i = 0; takes == 0 || i < takes; ++i) {
      if (reader->wait(soon()) == Outcome::timeout) complain("a wake-up was lost");
      Sample sample = reader->take();
      if (sample.outcome() == Outcome::evicted && !blind) complain("evicted");
      ended = sample.outcome() == Outcome::ended;
      if (ended || sample.outcome() == Outcome::evicted || !trouble.empty()) break;
      if (!sample) continue;
      if (sample.info().sequence <= last) complain("out of order, or before its start");
      last = sample.info().sequence;
      look_at(sample);
      reader->acknowledge(sample);
      held.push_back(std::move(sample));
      if (held.size() < 3) continue;
      look_at(held.front());
      held.pop_front();
    }
    for (const Sample& sample : held) look_at(sample);
    held.clear();
    taken = value(reader->counters().taken);
    lost = test::lost(*reader);
    waiting = reader->waiting();
    reader.reset();
    left = true;
  }
};

class House {
 public:
  explicit House(const StreamOptions& options) : link_(options) {}

  shm::Publisher& publisher() { return link_.publisher(); }

  // Lets guests in and sees them out until the stream ends.
  void look_after_guests() {
    while (!closing_) {
      if (guests_.size() < 4) {
        let_in();
      } else {
        see_out(random_() % guests_.size());
      }
      if (random_() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  void reap() {
    while (!closing_) {
      publisher().reap();
      most_readers_ = std::max(most_readers_, publisher().reader_count());
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
  void close() { closing_ = true; }

  void say_good_bye(std::uint64_t published) {
    for (const auto& guest : guests_) {
      guest->thread.join();
      judge(*guest);
      if (!guest->ended) continue;
      ++stayed_;
      EXPECT_EQ(guest->taken + guest->lost + guest->waiting, published + 1 - guest->first);
    }
    guests_.clear();
    EXPECT_GT(visits_, 4u);
    EXPECT_GT(most_readers_, 0u);
  }

 private:
  void let_in() {
    auto guest = std::make_unique<Guest>();
    const auto mode = static_cast<DeliveryMode>(1 + random_() % 3);
    const auto history = static_cast<std::uint32_t>(random_() % 4);
    guest->blind = random_() % 3 == 0;
    guest->takes = random_() % 4 == 0 ? 0 : static_cast<unsigned>(1 + random_() % 500);
    const std::uint64_t spin_ns = random_() % 2 == 0 ? 0 : 20'000;
    auto reader =
        link_.try_attach({.mode = mode, .max_held = 4, .history = history, .spin_ns = spin_ns});
    if (!reader) return;  // those who left have not been reaped yet
    guest->reader = std::move(*reader);
    guest->id = link_.last_reader_id();
    guest->thread = std::jthread{[g = guest.get()] { g->run(); }};
    guests_.push_back(std::move(guest));
    ++visits_;
  }
  void see_out(std::size_t index) {
    Guest& guest = *guests_[index];
    if (!guest.blind && !guest.left) return;
    if (random_() % 2 == 0 || !guest.left) publisher().detach(guest.id);
    guest.thread.join();
    judge(guest);
    std::swap(guests_[index], guests_.back());
    guests_.pop_back();
  }
  static void judge(const Guest& guest) { EXPECT_EQ(guest.trouble, ""); }

  LocalLink link_;
  std::mt19937 random_{11};
  std::vector<std::unique_ptr<Guest>> guests_;
  std::atomic<bool> closing_{false};
  std::uint64_t visits_ = 0;
  std::uint64_t stayed_ = 0;
  std::size_t most_readers_ = 0;
};

class Visits : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Visits, DisturbNeitherTheOwnerNorOtherReaders) {
  StreamOptions options = small_stream(8);
  options.lanes = {{8, 2}};
  options.pools = {{GetParam(), 0}};
  options.max_held = 32;
  options.max_slots = 100;
  options.full_timeout_ns = 10'000'000'000;
  House house{options};
  std::jthread host{[&] { house.look_after_guests(); }};
  std::jthread reaper{[&] { house.reap(); }};
  std::uint64_t published = 0;
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end && !HasFailure()) {
    for (int i = 0; i < 32; ++i) {
      const Outcome outcome = publish_number(house.publisher(), published + 1);
      ASSERT_EQ(outcome, Outcome::ok) << to_string(outcome);
      ++published;
    }
    // Visitors share the pools meanwhile.
    if (published % 2048 == 0 && house.publisher().geometry().pool_count < kMaxPools) {
      ASSERT_TRUE(house.publisher().add_pool({2 * GetParam(), 1}));
    }
  }
  house.close();
  host.join();
  reaper.join();
  house.publisher().end();
  house.say_good_bye(published);
  house.publisher().reap();
  house.publisher().collect();
  EXPECT_EQ(house.publisher().reader_count(), 0u);
  EXPECT_EQ(value(house.publisher().counters().slots_in_use), 2u) << "the history, and no more";
  EXPECT_GT(shared_mappings(), 0u) << "the linker options are missing";
}

INSTANTIATE_TEST_SUITE_P(SlotBytes, Visits, testing::Values(512, shm::kLargeSlotBytes));

}  // namespace
}  // namespace sluice::test
