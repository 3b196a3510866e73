// A publisher that waits for a reliable reader in another process, and how its wait ends.
#include "tests/support/process_link.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <utility>

namespace sluice::test {
namespace {

StreamOptions options(std::uint32_t depth, const PoolOptions& pool) {
  StreamOptions o;
  o.lanes = {{depth, 0}};
  o.pools = {pool};
  o.on_full = OnFull::wait;
  o.full_timeout_ns = 10'000'000'000;
  return o;
}

constexpr std::uint64_t kSecond = 1'000'000'000;

// The reader takes two messages, waits for the word, acknowledges both and stays.
int take_two_and_acknowledge_late(int socket) {
  auto arena = must(shm::Arena::create("readers"));
  auto reader = must(attach_over(socket, {.mode = DeliveryMode::reliable, .max_held = 4}, arena));
  Sample first;
  Sample second;
  for (Sample* sample : {&first, &second}) {
    if (reader->wait(shm::deadline_in(10 * kSecond)) != Outcome::ok) return 2;
    *sample = reader->take();
  }
  must(send_value(socket, 1));
  (void)must(receive_value<int>(socket));
  ::usleep(50'000);                       // the publisher is most likely asleep now
  reader->acknowledge(std::move(first));  // released first: who waits for the slot finds it free
  reader->acknowledge(std::move(second));
  (void)must(receive_value<int>(socket));
  return 0;
}

TEST(Blocked, APublisherShortOfSlotsGoesOnWhenTheReaderAcknowledges) {
  for (const std::uint64_t slot_bytes : {std::uint64_t{64}, std::uint64_t{100'000}}) {
    Child reader = Child::run(take_two_and_acknowledge_late);
    auto wakes = must(shm::Arena::create("wakes"));
    // Places for eight, slots for two: room is there, slots are not.
    auto publisher = must(shm::Publisher::create(options(8, {slot_bytes, 2})));
    must(admit_over(reader.socket(), *publisher, wakes));
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(publisher->publish(publisher->loan(8)), Outcome::ok);
    }
    (void)must(receive_value<int>(reader.socket()));
    must(send_value(reader.socket(), 1));
    Loan loan = publisher->loan(8);
    EXPECT_TRUE(loan) << to_string(loan.outcome()) << ", slots of " << slot_bytes;
    EXPECT_EQ(publisher->counters().full_waits.load(), 1u);
    must(send_value(reader.socket(), 1));
    EXPECT_EQ(reader.join(), 0);
  }
}

TEST(Blocked, APublisherGoesOnWhenTheReaderDies) {
  Child reader = Child::run(take_two_and_acknowledge_late);
  auto wakes = must(shm::Arena::create("wakes"));
  auto publisher = must(shm::Publisher::create(options(2, {64, 0})));
  must(admit_over(reader.socket(), *publisher, wakes));
  for (int i = 0; i < 2; ++i) ASSERT_EQ(publisher->publish(publisher->loan(8)), Outcome::ok);
  (void)must(receive_value<int>(reader.socket()));
  reader.kill();
  Loan loan = publisher->loan(8);
  EXPECT_TRUE(loan) << to_string(loan.outcome());
  EXPECT_EQ(publisher->reader_count(), 0u);
}

}  // namespace
}  // namespace sluice::test
