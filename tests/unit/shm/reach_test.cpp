// What a publisher knows of the fate of a message.
#include "tests/support/forged_reader.hpp"
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <ostream>
#include <thread>
#include <vector>

namespace sluice {

bool operator==(const Reach& a, const Reach& b) {
  return a.subscriptions == b.subscriptions && a.delivered == b.delivered &&
         a.handled == b.handled && a.retired == b.retired;
}
std::ostream& operator<<(std::ostream& out, const Reach& r) {
  return out << r.subscriptions << " subscriptions, " << r.delivered << " delivered, " << r.handled
             << " handled" << (r.retired ? ", retired" : "");
}

namespace shm {
namespace {

using namespace test;

constexpr SubscriptionOptions kReliable{.mode = DeliveryMode::reliable};

SubscriptionOptions worker(const char* group = "workers", std::uint32_t credits = 8) {
  return {.mode = DeliveryMode::group, .max_held = 8, .group = group, .credits = credits};
}

StreamOptions stream(std::uint32_t depth = 8) {
  StreamOptions options = small_stream(depth);
  options.max_held = 64;
  return options;
}

Reference publish(LocalLink& link, std::uint64_t number) {
  Loan loan = link.publisher().loan(64);
  if (!loan) {
    ADD_FAILURE() << "no loan for " << number << ": " << to_string(loan.outcome());
    return {};
  }
  write_number(loan.data(), 64, number);
  const std::byte* const data = loan.data();
  EXPECT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
  Reference reference{link.publisher().geometry().stream_id, link.publisher().last_sequence(0), 0,
                      0};
  // There is one pool, from whose first slot the others are counted.
  for (; reference.slot < link.publisher().geometry().slots; ++reference.slot) {
    if (link.publisher().amend(reference) == data) break;
  }
  return reference;
}

Outcome wait(LocalLink& link, const Reference& message, ReachLevel level, std::uint64_t ns = 0) {
  return link.publisher().wait_reached(message, level, deadline_in(ns));
}

TEST(Reached, CountsWhoPromisesToHandleIt) {
  LocalLink link(stream());
  const Reference nobody = publish(link, 1);
  EXPECT_EQ(link.publisher().reached(nobody), (Reach{0, 0, 0, false}));
  EXPECT_EQ(wait(link, nobody, ReachLevel::handled), Outcome::no_subscriber);
  const ReaderPtr next = link.attach({.mode = DeliveryMode::next});
  const ReaderPtr latest = link.attach({.mode = DeliveryMode::latest});
  EXPECT_EQ(link.publisher().acknowledging_count(), 0u);
  const ReaderPtr a = link.attach(kReliable);
  const ReaderPtr b = link.attach(worker());
  const ReaderPtr c = link.attach(worker());
  const ReaderPtr d = link.attach(worker("others"));
  EXPECT_EQ(link.publisher().acknowledging_count(), 4u);
  const Reference m = publish(link, 2);
  EXPECT_EQ(link.publisher().reached(m), (Reach{3, 0, 0, false}));
  Sample of_a = a->take();
  EXPECT_EQ(link.publisher().reached(m), (Reach{3, 1, 0, false}));
  Sample of_b = b->take();
  Sample of_d = d->take();
  EXPECT_EQ(wait(link, m, ReachLevel::delivered), Outcome::ok);
  EXPECT_EQ(wait(link, m, ReachLevel::handled), Outcome::timeout);
  EXPECT_EQ(link.publisher().reached(m), (Reach{3, 3, 0, false}));
  a->acknowledge(std::move(of_a));
  d->acknowledge(std::move(of_d));
  EXPECT_EQ(link.publisher().reached(m), (Reach{3, 3, 2, false}));
  EXPECT_EQ(link.publisher().handled_by(m, "others"), Outcome::ok);
  EXPECT_NE(link.publisher().handled_by(m, "workers"), Outcome::ok);
  EXPECT_EQ(link.publisher().handled_by(m, "strangers"), Outcome::no_subscriber);
  b->acknowledge(std::move(of_b));
  EXPECT_EQ(link.publisher().reached(m), (Reach{3, 3, 3, false}));
  EXPECT_EQ(wait(link, m, ReachLevel::handled), Outcome::ok);
  EXPECT_EQ(link.publisher().handled_by(m, "workers"), Outcome::ok);
}

TEST(Reached, LeavesOutWhoCameLater) {
  StreamOptions options = stream();
  options.lanes = {{8, 4}};
  LocalLink link(options);
  const Reference m = publish(link, 1);
  const ReaderPtr late = link.attach(kReliable);
  const ReaderPtr late_group = link.attach(worker());
  EXPECT_EQ(link.publisher().reached(m), (Reach{0, 0, 0, false}));
  SubscriptionOptions with_history = kReliable;
  with_history.history = 4;
  const ReaderPtr reader = link.attach(with_history);
  EXPECT_EQ(link.publisher().reached(m), (Reach{1, 0, 0, false}));
}

TEST(Reached, OfWhatIsNoMessageOfThisStreamSaysNothing) {
  LocalLink link(stream());
  const ReaderPtr a = link.attach(kReliable);
  const Reference m = publish(link, 1);
  Reference other = m;
  other.stream_id ^= 1;
  Reference future = m;
  ++future.sequence;
  Reference zero = m;
  zero.sequence = 0;
  Reference lane = m;
  lane.lane = 3;
  for (const Reference& bad : {other, future, zero, lane, Reference{}}) {
    EXPECT_EQ(link.publisher().reached(bad), Reach{});
    EXPECT_EQ(wait(link, bad, ReachLevel::handled), Outcome::mismatch);
    EXPECT_NE(link.publisher().handled_by(bad, "workers"), Outcome::ok);
    EXPECT_EQ(link.publisher().amend(bad), nullptr);
  }
}

TEST(Reached, WhatIsRetiredWasHandled) {
  LocalLink link(stream(4));
  const ReaderPtr a = link.attach(kReliable);
  const ReaderPtr b = link.attach(worker());
  const Reference m = publish(link, 1);
  drain(*a);
  drain(*b);
  link.publisher().collect();
  EXPECT_EQ(link.publisher().reached(m), (Reach{0, 0, 0, true}));
  EXPECT_EQ(wait(link, m, ReachLevel::handled), Outcome::ok);
  EXPECT_EQ(link.publisher().handled_by(m, "workers"), Outcome::ok);
  for (std::uint64_t n = 2; n <= 40; ++n) {
    publish(link, n);
    drain(*a);
    drain(*b);
  }
  EXPECT_EQ(wait(link, m, ReachLevel::handled), Outcome::ok);
  EXPECT_EQ(link.publisher().handled_by(m, "workers"), Outcome::ok);
}

TEST(Reached, WhoWasEvictedHasNotHandledIt) {
  for (const bool group : {false, true}) {
    StreamOptions options = stream(4);
    options.on_full = OnFull::evict;
    LocalLink link(options);
    const ReaderPtr slow = link.attach(group ? worker() : kReliable);
    const ReaderPtr quick = link.attach(kReliable);
    const Reference first = publish(link, 1);
    for (std::uint64_t n = 2; n <= 4; ++n) publish(link, n);
    drain(*quick);
    const Reference fifth = publish(link, 5);  // evicts the slow one
    drain(*quick);
    EXPECT_EQ(slow->take().outcome(), Outcome::evicted);
    EXPECT_EQ(wait(link, first, ReachLevel::handled), Outcome::evicted) << "retired by now";
    EXPECT_NE(link.publisher().handled_by(first, "workers"), Outcome::ok);
    EXPECT_EQ(link.publisher().reached(fifth),
              (group ? Reach{2, 1, 1, false} : Reach{1, 1, 1, false}));
    EXPECT_EQ(wait(link, fifth, ReachLevel::handled), group ? Outcome::evicted : Outcome::ok);
  }
}

TEST(Reached, WhoLeftIsCountedWithWhatItHadDone) {
  LocalLink link(stream());
  ReaderPtr a = link.attach(kReliable);
  const Reference first = publish(link, 1);
  const Reference second = publish(link, 2);
  const Reference third = publish(link, 3);
  a->acknowledge(a->take());
  Sample held = a->take();
  link.publisher().detach(link.last_reader_id());
  EXPECT_EQ(link.publisher().reached(first), (Reach{1, 1, 1, false}));
  EXPECT_EQ(link.publisher().reached(second), (Reach{1, 1, 0, false}));
  EXPECT_EQ(link.publisher().reached(third), (Reach{1, 0, 0, false}));
  EXPECT_EQ(wait(link, first, ReachLevel::handled), Outcome::ok);
  EXPECT_EQ(wait(link, second, ReachLevel::handled), Outcome::evicted);
  EXPECT_EQ(wait(link, second, ReachLevel::delivered), Outcome::ok);
  EXPECT_EQ(wait(link, third, ReachLevel::delivered), Outcome::evicted);
}

TEST(Reached, OfAGroupThatAllHaveLeft) {
  LocalLink link(stream());
  ReaderPtr a = link.attach(worker());
  const Reference m = publish(link, 1);
  link.publisher().detach(link.last_reader_id());
  EXPECT_EQ(link.publisher().reached(m), (Reach{1, 0, 0, false}));
  EXPECT_EQ(wait(link, m, ReachLevel::handled), Outcome::evicted);
  const ReaderPtr b = link.attach(worker());
  EXPECT_EQ(drain(*b), std::vector<std::uint64_t>{1});
  EXPECT_EQ(wait(link, m, ReachLevel::handled), Outcome::ok) << "it came in time";
}

TEST(Reached, WhatAGroupGaveUpIsNotHandled) {
  StreamOptions options = stream(4);
  options.on_full = OnFull::drop;
  LocalLink link(options);
  const ReaderPtr other = link.attach({.mode = DeliveryMode::next});  // keeps entries in the ring
  const ReaderPtr a = link.attach(worker("workers", 1));
  const Reference first = publish(link, 1);
  const Reference second = publish(link, 2);
  const Reference third = publish(link, 3);
  EXPECT_EQ(wait(link, second, ReachLevel::handled), Outcome::evicted) << "only the newest waits";
  EXPECT_EQ(wait(link, third, ReachLevel::handled), Outcome::timeout);
  a->acknowledge(a->take());
  EXPECT_EQ(wait(link, first, ReachLevel::handled), Outcome::ok);
  EXPECT_NE(link.publisher().handled_by(second, "workers"), Outcome::ok);
}

TEST(Reached, WhatWasRejectedIsDeliveredAndNotHandled) {
  LocalLink link(stream());
  const ReaderPtr a = link.attach(worker());
  const Reference m = publish(link, 1);
  a->reject(a->take());
  EXPECT_EQ(link.publisher().reached(m), (Reach{1, 1, 0, false}));
  a->acknowledge(a->take());
  EXPECT_EQ(link.publisher().reached(m), (Reach{1, 1, 1, false}));
}

TEST(Reached, ForgedPagesHarmNobodyElse) {
  LocalLink link(stream());
  ForgedReader forged(link.publisher(), kReliable);
  const ReaderPtr honest = link.attach(kReliable);
  for (Word64& word : forged.page().progress.taken) ForgedReader::put(word, ~std::uint64_t{0});
  const Reference m = publish(link, 1);
  EXPECT_EQ(link.publisher().reached(m), (Reach{2, 1, 0, false}));
  ForgedReader::put(forged.page().cursor[0], 77);
  EXPECT_EQ(link.publisher().reached(m), (Reach{2, 1, 0, false})) << "evicted for it";
  EXPECT_EQ(forged.cause(), EvictionCause::invalid);
  drain(*honest);
  EXPECT_EQ(link.publisher().reached(m), (Reach{2, 2, 1, false}));
}

// Sleeps until the last of them has acknowledged, in whatever order they do it.
TEST(WaitReached, SleepsUntilAllHaveHandledIt) {
  LocalLink link(stream());
  const ReaderPtr reliable = link.attach(kReliable);
  const ReaderPtr member = link.attach(worker());
  const ReaderPtr other = link.attach(worker("others"));
  const Reference m = publish(link, 1);
  std::thread readers([&] {
    for (Reader* reader : {reliable.get(), member.get(), other.get()}) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
      drain(*reader);
    }
  });
  EXPECT_EQ(wait(link, m, ReachLevel::handled, 10'000'000'000), Outcome::ok);
  readers.join();
  EXPECT_EQ(link.publisher().reached(m), (Reach{3, 3, 3, false}));
}

TEST(WaitReached, SeesWhatIsTaken) {
  LocalLink link(stream());
  const ReaderPtr a = link.attach(kReliable);
  const ReaderPtr b = link.attach(worker());
  const Reference m = publish(link, 1);
  std::vector<Sample> held(2);
  std::thread readers([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    held[0] = a->take();
    held[1] = b->take();
  });
  EXPECT_EQ(wait(link, m, ReachLevel::delivered, 10'000'000'000), Outcome::ok);
  readers.join();
  EXPECT_EQ(link.publisher().reached(m), (Reach{2, 2, 0, false}));
}

TEST(WaitReached, EndsWhenOneLeavesWithout) {
  LocalLink link(stream());
  ReaderPtr a = link.attach(kReliable);
  const Reference m = publish(link, 1);
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    a.reset();
  });
  EXPECT_EQ(wait(link, m, ReachLevel::handled, 10'000'000'000), Outcome::evicted);
  reader.join();
}

TEST(WaitReached, FollowsAMessageThatIsRejected) {
  LocalLink link(stream());
  const ReaderPtr a = link.attach(worker("workers", 1));
  const ReaderPtr b = link.attach(worker("workers", 1));
  const Reference m = publish(link, 1);
  std::atomic<bool> stop{false};
  unsigned deliveries = 0;
  std::thread readers([&] {
    while (!stop) {
      for (Reader* reader : {a.get(), b.get()}) {
        Sample sample = reader->take();
        if (!sample) continue;
        deliveries = sample.info().deliveries_before + 1u;
        if (deliveries < 10) {
          reader->reject(std::move(sample));
        } else {
          reader->acknowledge(std::move(sample));
        }
      }
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(wait(link, m, ReachLevel::handled, 10'000'000'000), Outcome::ok);
  stop = true;
  readers.join();
  EXPECT_EQ(deliveries, 10u);
}

TEST(PublishersBacklog, IsTheLargestOfThoseWhoAcknowledge) {
  StreamOptions options = stream();
  options.lanes = {{8, 0}, {4, 0}};
  LocalLink link(options);
  EXPECT_EQ(link.publisher().backlog(Priority::critical), 0u);
  const ReaderPtr next = link.attach({.mode = DeliveryMode::next});
  const ReaderPtr a = link.attach(kReliable);
  const ReaderPtr b = link.attach(worker());
  for (std::uint64_t n = 1; n <= 5; ++n) publish(link, n);
  EXPECT_EQ(link.publisher().backlog(Priority::critical), 5u);
  EXPECT_EQ(link.publisher().backlog(Priority::low), 0u);
  drain(*b);
  EXPECT_EQ(link.publisher().backlog(Priority::critical), 5u);
  a->acknowledge(a->take());
  EXPECT_EQ(link.publisher().backlog(Priority::critical), 4u);
  drain(*a);
  EXPECT_EQ(link.publisher().backlog(Priority::critical), 0u);
}

TEST(Amend, ChangesAWordThatAReaderSeesInPlace) {
  LocalLink link(stream());
  const ReaderPtr a = link.attach(worker());
  const Reference m = publish(link, 1);
  const Sample sample = a->take();
  ASSERT_TRUE(sample);
  std::byte* const data = link.publisher().amend(m);
  ASSERT_NE(data, nullptr);
  data[40] = std::byte{0x5a};
  EXPECT_EQ(sample.data()[40], std::byte{0x5a});
  Reference other = m;
  other.slot = (m.slot + 1) % link.publisher().geometry().slots;
  EXPECT_EQ(link.publisher().amend(other), nullptr);
}

TEST(Amend, FindsNothingOnceTheSlotIsFree) {
  LocalLink link(stream());
  const ReaderPtr a = link.attach(kReliable);
  const Reference m = publish(link, 1);
  Sample sample = a->take();
  a->acknowledge(sample);
  link.publisher().collect();
  EXPECT_NE(link.publisher().amend(m), nullptr) << "retired, and still held";
  sample.release();
  link.publisher().collect();
  EXPECT_EQ(link.publisher().amend(m), nullptr);
}

}  // namespace
}  // namespace shm
}  // namespace sluice
