// Publisher and readers as threads, on one mapping. Payloads are ordinary memory: under
// ThreadSanitizer every slot that is written while it is read, and every payload that is read
// before it was published, is reported. Without it the patterns in the payloads show the same.
//
// How long each part runs, in milliseconds: SLUICE_STRESS_MS.
#include "tests/support/local_link.hpp"
#include "tests/support/one_mapping.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <random>
#include <thread>

namespace sluice::test {
namespace {

std::uint64_t duration_ns() {
  const char* text = std::getenv("SLUICE_STRESS_MS");
  return (text != nullptr ? std::strtoull(text, nullptr, 10) : 500) * 1'000'000;
}

struct Verdict {
  std::uint64_t taken = 0;
  std::string trouble;
};

// What one reader does until the stream has ended.
class ReaderLoop {
 public:
  ReaderLoop(shm::ReaderPtr reader, unsigned seed, std::size_t holds)
      : reader_(std::move(reader)), random_(seed), holds_(holds) {}

  Verdict run() {
    while (verdict_.trouble.empty()) {
      const Outcome waited = reader_->wait(soon());
      if (waited == Outcome::timeout) complain("a wake-up was lost");
      Sample sample = reader_->take();
      if (sample.outcome() == Outcome::ended) break;
      if (sample.outcome() == Outcome::evicted) complain("evicted");
      if (sample) handle(std::move(sample));
      if (!held_.empty() && (held_.size() >= holds_ || random_() % 4 == 0)) let_go();
    }
    while (!held_.empty()) let_go();
    const std::uint64_t counted = shm_taken() + lost(*reader_) + reader_->waiting();
    if (verdict_.trouble.empty() && counted != published_) {
      complain("published " + std::to_string(published_) + ", counted " + std::to_string(counted));
    }
    return verdict_;
  }

  // Known when the publisher has ended; read only then.
  void expect(std::uint64_t published) { published_ = published; }

 private:
  std::uint64_t shm_taken() const { return taken(*reader_); }
  void complain(std::string what) {
    if (verdict_.trouble.empty()) verdict_.trouble = std::move(what);
  }
  void handle(Sample sample) {
    ++verdict_.taken;
    const std::uint64_t number = number_of(sample);
    if (number == kBroken) complain("a broken payload was taken");
    if (sample.info().sequence <= last_) complain("out of order, or twice");
    last_ = sample.info().sequence;
    if (random_() % 8 == 0) {
      const Sample again = reader_->resolve(sample.reference());
      if (!again && again.outcome() != Outcome::quota && again.outcome() != Outcome::timeout) {
        complain(std::string("resolving what is held: ") + to_string(again.outcome()));
      }
      if (again && number_of(again) != number) complain("resolved to another payload");
    }
    // A message that nobody may hold any more: found whole, or not at all.
    if (random_() % 8 == 0) {
      const Sample old = reader_->resolve(stale_.second);
      if (old && number_of(old) != stale_.first) complain("a stale reference gave another payload");
      if (old && random_() % 4 == 0) std::this_thread::yield();
      if (old && number_of(old) != stale_.first) complain("a resolved payload was overwritten");
    }
    stale_ = {number, sample.reference()};
    reader_->acknowledge(sample);
    held_.emplace_back(number, std::move(sample));
  }
  void let_go() {
    if (number_of(held_.front().second) != held_.front().first) {
      complain("a held payload was overwritten");
    }
    held_.pop_front();
  }

  shm::ReaderPtr reader_;
  std::minstd_rand random_;
  std::size_t holds_;
  std::deque<std::pair<std::uint64_t, Sample>> held_;
  std::pair<std::uint64_t, Reference> stale_;
  std::uint64_t last_ = 0;
  std::uint64_t published_ = 0;
  Verdict verdict_;
};

struct Scenario {
  const char* name;
  std::uint32_t depth;
  std::uint64_t slot_bytes;
  std::uint32_t slot_count;
  std::vector<DeliveryMode> modes;
};

constexpr auto kLatest = DeliveryMode::latest;
constexpr auto kNext = DeliveryMode::next;
constexpr auto kReliable = DeliveryMode::reliable;

class Threads : public testing::TestWithParam<Scenario> {};

TEST_P(Threads, SeeWholePayloadsInOrderAndCountTheRest) {
  const Scenario& scenario = GetParam();
  StreamOptions options = small_stream(scenario.depth);
  options.pools = {{scenario.slot_bytes, scenario.slot_count}};
  options.max_held = static_cast<std::uint32_t>(3 * scenario.modes.size());
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  std::vector<std::unique_ptr<ReaderLoop>> loops;
  for (const DeliveryMode mode : scenario.modes) {
    const auto index = static_cast<unsigned>(loops.size());
    const std::uint64_t spin_ns = index % 2 == 0 ? 0 : 20'000;
    loops.push_back(std::make_unique<ReaderLoop>(
        link.attach({.mode = mode, .max_held = 3, .spin_ns = spin_ns}), index + 1, 1 + index % 3));
  }
  ASSERT_GT(shared_mappings(), 0u) << "the linker options are missing";
  std::vector<Verdict> verdicts(loops.size());
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < loops.size(); ++i) {
    threads.emplace_back([&, i] { verdicts[i] = loops[i]->run(); });
  }
  std::minstd_rand random{7};
  std::uint64_t published = 0;
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end) {
    for (int i = 0; i < 32; ++i) {
      const std::uint64_t bytes =
          8 + random() % std::min<std::uint64_t>(scenario.slot_bytes - 7, 512);
      const Outcome outcome = publish_number(link.publisher(), published + 1, bytes);
      if (outcome == Outcome::no_slot) break;
      ASSERT_EQ(outcome, Outcome::ok) << to_string(outcome);
      ++published;
    }
    if (random() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  for (const auto& loop : loops) loop->expect(published);
  link.publisher().end();
  for (std::jthread& thread : threads) thread.join();
  for (std::size_t i = 0; i < loops.size(); ++i) {
    EXPECT_EQ(verdicts[i].trouble, "") << "reader " << i;
    EXPECT_GT(verdicts[i].taken, 0u);
    if (scenario.modes[i] == kReliable) {
      EXPECT_EQ(verdicts[i].taken, published);
    }
  }
  loops.clear();
  link.publisher().collect();
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u) << "a slot leaked";
}

INSTANTIATE_TEST_SUITE_P(
    Streams, Threads,
    testing::Values(Scenario{"OneNextTinyRing", 1, 64, 0, {kNext}},
                    Scenario{"OneLatest", 4, 64, 0, {kLatest}},
                    Scenario{"OneReliableTinyRing", 2, 64, 0, {kReliable}},
                    Scenario{"MixedSmall", 8, 512, 0, {kLatest, kNext, kReliable}},
                    Scenario{"MixedLarge", 4, 65'536, 0, {kLatest, kNext, kReliable}},
                    Scenario{"FewSlots", 16, 512, 4, {kNext, kLatest}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// Samples travel to a second thread and end there, while the first goes on taking.
TEST(ThreadsOfOneReader, ReleaseEachOthersSamples) {
  StreamOptions options = small_stream(8);
  options.max_held = 8;
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  shm::ReaderPtr reader = link.attach({.mode = kReliable, .max_held = 8});
  std::mutex mutex;
  std::deque<Sample> queue;
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> broken{0};
  std::jthread releaser([&] {
    for (;;) {
      const bool last = done;
      std::deque<Sample> mine;
      {
        const std::lock_guard lock{mutex};
        mine.swap(queue);
      }
      for (const Sample& sample : mine) broken += number_of(sample) == kBroken;
      if (mine.empty()) {
        if (last) break;
        std::this_thread::yield();
      }
    }
  });
  std::jthread taker([&] {
    while (reader->wait(soon()) == Outcome::ok) {
      Sample sample = reader->take();
      if (sample.outcome() == Outcome::quota) std::this_thread::yield();
      if (!sample) continue;
      reader->acknowledge(sample);
      const Sample twin = reader->resolve(sample.reference());
      const std::lock_guard lock{mutex};
      queue.push_back(std::move(sample));
    }
    reader.reset();  // samples are still on their way
    done = true;
  });
  std::uint64_t published = 0;
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end) {
    ASSERT_EQ(publish_number(link.publisher(), ++published), Outcome::ok);
  }
  link.publisher().end();
  taker.join();
  releaser.join();
  EXPECT_EQ(broken, 0u);
  link.publisher().collect();
  EXPECT_EQ(link.publisher().reader_count(), 0u);
}

// Camera, detector and viewer: frames are held by events, and found again through them.
TEST(ThreadsInAChain, FindTheFrameOfEachEvent) {
  StreamOptions frame_options = small_stream(4);
  frame_options.pools = {{512, 0}};
  StreamOptions event_options = small_stream(4);
  event_options.max_references = 1;
  event_options.full_timeout_ns = 10'000'000'000;
  LocalLink frames(frame_options);
  LocalLink events(event_options);
  // An event in the ring or in a viewer's hands holds its frame.
  const shm::ReaderPtr detector = frames.attach({.max_held = 10});
  const shm::ReaderPtr frame_view = frames.attach({.max_held = 2});
  const shm::ReaderPtr viewer = events.attach({.mode = kReliable, .max_held = 1});
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> seen{0};
  std::jthread detecting([&] {
    while (detector->wait(soon()) == Outcome::ok) {
      Sample frame = detector->take();
      if (frame.outcome() == Outcome::quota) {
        events.publisher().collect();
        std::this_thread::yield();
      }
      if (!frame) continue;
      const std::uint64_t number = number_of(frame);
      Loan event = events.publisher().loan(16);
      if (!event || event.attach(std::move(frame)) != Outcome::ok) {
        ++wrong;
        break;
      }
      write_number(event.data(), 16, number);
      events.publisher().publish(std::move(event));
    }
    events.publisher().end();
  });
  std::jthread viewing([&] {
    while (viewer->wait(soon()) == Outcome::ok) {
      Sample event = viewer->take();
      if (!event) continue;
      Sample frame = frame_view->resolve(event.reference_at(0));
      while (frame.outcome() == Outcome::timeout)
        frame = frame_view->resolve(event.reference_at(0));
      wrong += number_of(frame) != number_of(event);
      ++seen;
      viewer->acknowledge(event);
    }
  });
  const std::uint64_t end = shm::deadline_in(duration_ns());
  for (std::uint64_t i = 1; shm::now_ns() < end; ++i) {
    publish_number(frames.publisher(), i, 512);
    if (i % 8 == 0) std::this_thread::yield();
  }
  frames.publisher().end();
  detecting.join();
  viewing.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(seen, 0u);
}

// Readers come and go while the publisher works. Attaching is the publisher's business, so its
// thread does it; leaving is not.
TEST(ThreadsThatComeAndGo, DisturbNobody) {
  StreamOptions options = small_stream(8);
  options.max_held = 12;
  LocalLink link(options);
  std::vector<std::jthread> threads;
  std::atomic<std::uint64_t> wrong{0};
  std::uint64_t published = 0;
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end) {
    if (threads.size() < 3) {
      auto reader =
          link.try_attach({.mode = threads.size() % 2 == 0 ? kNext : kLatest, .max_held = 3});
      if (reader) {
        threads.emplace_back([&wrong, mine = std::move(*reader)]() mutable {
          std::vector<Sample> held;
          std::uint64_t last = 0;
          for (int i = 0; i < 200; ++i) {
            if (held.size() == 3) held.clear();
            Sample sample = mine->take();
            if (!sample) continue;
            const std::uint64_t number = number_of(sample);
            wrong += number == kBroken || number <= last;
            last = number;
            held.push_back(std::move(sample));
          }
          mine.reset();
          for (const Sample& sample : held) wrong += number_of(sample) == kBroken;
        });
      }
    } else {
      for (std::jthread& thread : threads) thread.join();
      threads.clear();
      link.publisher().reap();
    }
    for (int i = 0; i < 50; ++i) {
      ASSERT_EQ(publish_number(link.publisher(), ++published), Outcome::ok);
    }
  }
  for (std::jthread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  link.publisher().collect();
  EXPECT_EQ(link.publisher().reader_count(), 0u);
  EXPECT_EQ(value(link.publisher().counters().slots_in_use), 0u);
}

}  // namespace
}  // namespace sluice::test
