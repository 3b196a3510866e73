// No wake-up is lost: every hand-shake between sleeping and waking, as often as possible, with
// sleeps that nothing but a wake-up ends.
//
// How long each part runs, in milliseconds: SLUICE_STRESS_MS.
#include "shm/futex.hpp"
#include "shm/wait_set.hpp"
#include "tests/conformance/ways_to_wait.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/patient_futex.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

namespace sluice::test {
namespace {

std::uint64_t duration_ns() {
  const char* text = std::getenv("SLUICE_STRESS_MS");
  return (text != nullptr ? std::strtoull(text, nullptr, 10) : 300) * 1'000'000;
}

// A little work of varying length, so that the two sides meet at every possible point.
void dawdle(std::uint64_t n) {
  for (std::uint64_t i = 0; i < n % 61 * (n % 7); ++i) shm::cpu_relax();
}

class Turns : public testing::TestWithParam<std::tuple<WaitKind, bool>> {};

// Each message is waited for by the other side.
TEST_P(Turns, LoseNoWakeUp) {
  const auto [kind, batches] = GetParam();
  const auto here_waiter = make_waiter(kind);
  const auto there_waiter = make_waiter(kind);
  if (!here_waiter) GTEST_SKIP() << "this kernel cannot wait in this way";
  LocalLink there(small_stream(2));
  LocalLink back(small_stream(2));
  const shm::ReaderPtr ping = there_waiter->attach(there, {.spin_ns = 0});
  const shm::ReaderPtr pong = here_waiter->attach(back, {.spin_ns = 0});
  const auto send = [&, by_batch = batches](shm::Publisher& publisher, std::uint64_t number) {
    if (!by_batch) return publish_number(publisher, number);
    Loan loan = publisher.loan(64);
    if (!loan) return loan.outcome();
    write_number(loan.data(), 64, number);
    return publisher.publish(std::span<Loan>{&loan, 1});
  };
  std::jthread echo([&] {
    while (ping->over() == Outcome::ok) {
      if (there_waiter->wait(*ping, soon()) != Outcome::ok) break;
      for (const std::uint64_t n : drain(*ping)) {
        dawdle(n);
        send(back.publisher(), n);
      }
    }
    back.publisher().end();
  });
  const std::uint64_t end = shm::deadline_in(duration_ns());
  std::uint64_t number = 0;
  while (shm::now_ns() < end && !HasFailure()) {
    EXPECT_EQ(send(there.publisher(), ++number), Outcome::ok);
    dawdle(number / 61);
    EXPECT_EQ(here_waiter->wait(*pong, soon()), Outcome::ok) << "round trip " << number;
    EXPECT_EQ(drain(*pong), std::vector<std::uint64_t>{number});
  }
  there.publisher().end();
  echo.join();
  EXPECT_GT(patient_sleeps(), 0u) << "the linker options are missing";
}

INSTANTIATE_TEST_SUITE_P(Ways, Turns,
                         testing::Combine(testing::Values(WaitKind::futex, WaitKind::waitv,
                                                          WaitKind::event, WaitKind::poll),
                                          testing::Bool()),
                         [](const auto& param_info) {
                           return std::string(name_of(std::get<0>(param_info.param))) +
                                  (std::get<1>(param_info.param) ? "_Batches" : "_Single");
                         });

// The next message comes at about the moment at which the reader, having found nothing, falls
// asleep.
TEST_P(Turns, LoseNoWakeUpOnTheVergeOfSleep) {
  const auto [kind, batches] = GetParam();
  const auto waiter = make_waiter(kind);
  if (!waiter) GTEST_SKIP() << "this kernel cannot wait in this way";
  LocalLink link(small_stream(2));
  const shm::ReaderPtr reader = waiter->attach(link, {.spin_ns = 0});
  std::atomic<std::uint64_t> seen{0};
  std::jthread sleeper([&] {
    for (;;) {
      if (waiter->wait(*reader, soon()) != Outcome::ok) break;
      const Sample sample = reader->take();
      if (sample.outcome() == Outcome::ended) break;
      if (sample) seen.store(number_of(sample), std::memory_order_release);
    }
    seen = kBroken;
  });
  std::minstd_rand random{5};
  const std::uint64_t end = shm::deadline_in(duration_ns());
  for (std::uint64_t number = 1; shm::now_ns() < end; ++number) {
    const unsigned delay = static_cast<unsigned>(random() % 200);
    Loan loan = link.publisher().loan(64);
    ASSERT_TRUE(loan);
    write_number(loan.data(), 64, number);
    for (volatile unsigned i = 0; i < delay;) i = i + 1;
    if (batches) {
      link.publisher().publish(std::span<Loan>{&loan, 1});
    } else {
      link.publisher().publish(std::move(loan));
    }
    std::uint64_t now_seen = 0;
    for (unsigned spins = 0; (now_seen = seen.load(std::memory_order_acquire)) < number; ++spins) {
      if (spins > 10'000) std::this_thread::yield();
    }
    ASSERT_NE(now_seen, kBroken) << "the wake-up for " << number << " was lost";
  }
  link.publisher().end();
  sleeper.join();
}

// The publisher waits for a reliable reader's acknowledgement, and is woken by it alone.
TEST(Room, IsAnnouncedToThePublisherThatWaitsForIt) {
  for (const std::uint32_t depth : {1u, 2u, 3u}) {
    StreamOptions options = small_stream(depth);
    options.full_timeout_ns = 10'000'000'000;
    LocalLink link(options);
    const shm::ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable, .spin_ns = 0});
    std::uint64_t last = 0;
    std::jthread consumer([&] {
      while (reader->wait(soon()) == Outcome::ok) {
        for (const std::uint64_t n : drain(*reader)) {
          if (n != last + 1) return;
          last = n;
        }
        if (last % 5 == 0) std::this_thread::yield();
        dawdle(last);
      }
    });
    const std::uint64_t end = shm::deadline_in(duration_ns());
    std::uint64_t published = 0;
    while (shm::now_ns() < end && !HasFailure()) {
      EXPECT_EQ(publish_number(link.publisher(), ++published), Outcome::ok);
    }
    link.publisher().end();
    consumer.join();
    EXPECT_EQ(last, published);
  }
}

// The acknowledgement comes at about the moment at which the publisher stops spinning and falls
// asleep.
TEST(Room, IsAnnouncedToAPublisherOnTheVergeOfSleep) {
  StreamOptions options = small_stream(1);
  options.full_timeout_ns = 10'000'000'000;
  LocalLink link(options);
  const shm::ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable, .max_held = 1});
  std::atomic<std::uint64_t> began{0};
  std::atomic<bool> done{false};
  std::jthread consumer([&] {
    std::minstd_rand random{3};
    for (std::uint64_t last = 0; !done;) {
      const Sample sample = reader->take();
      if (!sample) continue;
      // The publisher spins for 20 us after it began to look for room.
      while (began.load(std::memory_order_acquire) == last && !done) shm::cpu_relax();
      last = began.load(std::memory_order_acquire);
      const std::uint64_t then = last + 19'000 + random() % 4'000;
      while (shm::now_ns() < then && !done) {
      }
      reader->acknowledge(sample);
    }
  });
  std::uint64_t number = 0;
  EXPECT_EQ(publish_number(link.publisher(), ++number), Outcome::ok);
  const std::uint64_t end = shm::deadline_in(duration_ns());
  while (shm::now_ns() < end && !HasFailure()) {
    began.store(shm::now_ns(), std::memory_order_release);
    EXPECT_EQ(publish_number(link.publisher(), ++number), Outcome::ok);
  }
  done = true;
  consumer.join();
}

// Each interruption ends a wait, whether it comes before, during or after the moment of going to
// sleep.
class Interruptions : public testing::TestWithParam<WaitKind> {};

TEST_P(Interruptions, AreNotLost) {
  const bool alone = GetParam() == WaitKind::futex;
  if (GetParam() == WaitKind::waitv && !shm::has_futex_waitv()) GTEST_SKIP() << "no futex_waitv";
  StreamOptions options = small_stream(1);
  options.max_readers = kMaxReaders;
  options.max_held = kMaxReaders;
  LocalLink link(options);
  auto set = must(shm::WaitSet::create());
  std::vector<shm::ReaderPtr> readers;
  if (GetParam() == WaitKind::event) {
    for (std::size_t i = 0; i < shm::kFutexWaitvMax; ++i) {
      readers.push_back(link.attach({.max_held = 1}, must(set.event())));
      set.add(*readers.back());
    }
  }
  const shm::ReaderPtr reader = link.attach({.max_held = 1, .spin_ns = 0});
  std::atomic<std::uint64_t> noticed{0};
  std::atomic<bool> done{false};
  std::jthread sleeper([&] {
    for (std::uint64_t n = 0; !done; ++n) {
      const Outcome outcome = alone ? reader->wait(soon()) : set.wait(soon());
      EXPECT_EQ(outcome, Outcome::interrupted) << to_string(outcome);
      if (outcome != Outcome::interrupted) done = true;
      dawdle(n / 61);
      ++noticed;
    }
  });
  const std::uint64_t end = shm::deadline_in(duration_ns());
  for (std::uint64_t n = 1; !done; ++n) {
    if (shm::now_ns() >= end) done = true;
    dawdle(n);
    alone ? reader->interrupt() : set.interrupt();
    while (noticed < n && !done) std::this_thread::yield();
  }
  sleeper.join();
}

INSTANTIATE_TEST_SUITE_P(Ways, Interruptions,
                         testing::Values(WaitKind::futex, WaitKind::waitv, WaitKind::event),
                         [](const auto& param_info) { return name_of(param_info.param); });

// The end of a stream and the farewell of a reader wake whoever sleeps.
TEST(Farewells, WakeWhoSleeps) {
  const std::uint64_t end = shm::deadline_in(duration_ns());
  for (std::uint64_t n = 0; shm::now_ns() < end && !HasFailure(); ++n) {
    StreamOptions options = small_stream(1);
    options.full_timeout_ns = 10'000'000'000;
    LocalLink link(options);
    shm::ReaderPtr leaving = link.attach({.mode = DeliveryMode::reliable, .max_held = 1});
    const shm::ReaderPtr staying = link.attach({.max_held = 1, .spin_ns = 0});
    ASSERT_EQ(publish_number(link.publisher(), 1), Outcome::ok);
    std::jthread leaver([&] {
      dawdle(n);
      leaving.reset();
    });
    ASSERT_EQ(publish_number(link.publisher(), 2), Outcome::ok);
    leaver.join();
    Outcome outcome = Outcome::empty;
    std::jthread sleeper([&] {
      drain(*staying);
      outcome = staying->wait(soon());
    });
    dawdle(n * 31);
    link.publisher().end();
    sleeper.join();
    EXPECT_NE(outcome, Outcome::timeout);
  }
}

}  // namespace
}  // namespace sluice::test
