// The limits that the design promises: readers, depth, slot sizes.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

namespace sluice::test {
namespace {

TEST(Limits, AStreamHas1024Readers) {
  StreamOptions options = small_stream(4);
  options.max_readers = kMaxReaders;
  options.max_held = kMaxReaders + 4;
  LocalLink link(options);
  std::vector<shm::ReaderPtr> readers;
  for (std::uint32_t i = 0; i < kMaxReaders; ++i) {
    readers.push_back(link.attach(
        {.mode = i % 2 == 0 ? DeliveryMode::next : DeliveryMode::reliable, .max_held = 1}));
  }
  EXPECT_EQ(link.try_attach({.max_held = 1}).error().code, Errc::refused);
  for (std::uint64_t i = 0; i < 40; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    for (const shm::ReaderPtr& reader : readers) {
      ASSERT_EQ(drain(*reader), std::vector<std::uint64_t>{i});
    }
  }
  // Each holds another message, until all are held; the others' losses are their own.
  for (std::uint32_t i = 1; i < kMaxReaders; i += 2) readers[i].reset();
  std::vector<Sample> held;
  for (std::uint64_t i = 0; i < kMaxReaders; i += 2) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok) << i;
    do {
      held.resize(i / 2);
      held.push_back(readers[i]->take());
      ASSERT_TRUE(held.back());
    } while (number_of(held.back()) != i);
  }
  for (std::uint64_t i = 0; i < kMaxReaders; i += 2) EXPECT_EQ(number_of(held[i / 2]), i);
  EXPECT_EQ(link.publisher().reader_count(), kMaxReaders / 2);
}

TEST(Limits, ARingIs65536EntriesDeep) {
  for (const std::uint32_t depth : {10'000u, kMaxDepth}) {
    StreamOptions options = small_stream(depth);
    options.on_full = OnFull::fail;
    LocalLink link(options);
    const shm::ReaderPtr reader = link.attach({.mode = DeliveryMode::reliable});
    for (int round = 0; round < 2; ++round) {
      for (std::uint64_t i = 0; i < depth; ++i) {
        ASSERT_EQ(publish_number(link.publisher(), i, 16), Outcome::ok) << i;
      }
      EXPECT_EQ(publish_number(link.publisher(), 0, 16), Outcome::full);
      EXPECT_EQ(reader->waiting(), depth);
      for (std::uint64_t i = 0; i < depth; ++i) {
        const Sample sample = reader->take();
        ASSERT_EQ(number_of(sample), i);
        reader->acknowledge(sample);
      }
      EXPECT_EQ(reader->take().outcome(), Outcome::empty);
    }
  }
}

TEST(Limits, ADeepRingOverwritesItsOldest) {
  LocalLink link(small_stream(kMaxDepth));
  const shm::ReaderPtr reader = link.attach({});
  const std::uint64_t count = 2 * std::uint64_t{kMaxDepth} + 77;
  for (std::uint64_t i = 1; i <= count; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i, 16), Outcome::ok);
  }
  std::uint64_t expected = count - kMaxDepth + 1;
  while (const Sample sample = reader->take()) ASSERT_EQ(number_of(sample), expected++);
  EXPECT_EQ(expected, count + 1);
  EXPECT_EQ(lost(*reader, shm::LossCause::full), count - kMaxDepth);
}

TEST(Limits, AllHistoryOfADeepRingIsKept) {
  StreamOptions options = small_stream();
  options.lanes = {{kMaxDepth, kMaxDepth}};
  LocalLink link(options);
  for (std::uint64_t i = 1; i <= kMaxDepth; ++i) publish_number(link.publisher(), i, 16);
  const shm::ReaderPtr late = link.attach({.history = kMaxDepth});
  EXPECT_EQ(late->waiting(), kMaxDepth);
  EXPECT_EQ(number_of(late->take()), 1u);
}

TEST(Limits, ASlotHas256MiB) {
  StreamOptions options = small_stream(2);
  options.pools = {{kMaxSlotBytes, 4}};
  auto publisher = shm::Publisher::create(options);
  if (!publisher) GTEST_SKIP() << "no address space: " << publisher.error().message;
  publisher->reset();
  LocalLink link(options);
  const shm::ReaderPtr reader = link.attach({.max_held = 1});
  // Committing one takes memory, but only its two ends are touched here.
  Loan loan = link.publisher().loan(kMaxSlotBytes);
  if (!loan) GTEST_SKIP() << "too little memory: " << to_string(loan.outcome());
  std::byte* const data = loan.data();
  write_number(data, 4096, 1);
  write_number(data + kMaxSlotBytes - 4096, 4096, 2);
  ASSERT_EQ(link.publisher().publish(std::move(loan)), Outcome::ok);
  const Sample sample = reader->take();
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample.size(), kMaxSlotBytes);
  std::uint64_t number = 0;
  EXPECT_TRUE(read_number(sample.data(), 4096, number));
  EXPECT_EQ(number, 1u);
  EXPECT_TRUE(read_number(sample.data() + kMaxSlotBytes - 4096, 4096, number));
  EXPECT_EQ(number, 2u);
}

TEST(Limits, AStreamHasAMillionSlots) {
  StreamOptions options = small_stream(4);
  options.pools = {{64, kMaxSlots}};
  LocalLink link(options);
  const shm::ReaderPtr reader = link.attach({});
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_EQ(publish_number(link.publisher(), i), Outcome::ok);
    ASSERT_EQ(drain(*reader), std::vector<std::uint64_t>{i});
  }
}

}  // namespace
}  // namespace sluice::test
