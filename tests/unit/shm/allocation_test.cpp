// After set-up nothing on the frame path allocates. A program of its own, since it counts every
// allocation of the process.
#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::uint64_t> allocations{0};

void* counted(std::size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace sluice::shm {
namespace {

using namespace test;

struct Case {
  const char* name;
  std::uint64_t bytes;
  DeliveryMode mode;
};

class FramePath : public testing::TestWithParam<Case> {};

TEST_P(FramePath, AllocatesNothing) {
  const auto [name, bytes, mode] = GetParam();
  StreamOptions options = small_stream(4);
  options.pools = {{bytes, 0}};
  options.max_references = 2;
  options.on_full = OnFull::fail;
  LocalLink link(options);
  const ReaderPtr reader = link.attach({.mode = mode});
  const ReaderPtr slow = link.attach({.mode = DeliveryMode::next});
  std::array<Sample, 4> samples;
  std::array<Loan, 2> loans;
  const std::uint64_t before = allocations;
  for (std::uint64_t i = 0; i < 500; ++i) {
    for (Loan& loan : loans) {
      loan = link.publisher().loan(bytes);
      ASSERT_TRUE(loan);
      write_number(loan.data(), 64, i);
    }
    if (Sample held = slow->take()) loans[0].attach(std::move(held));
    ASSERT_EQ(link.publisher().publish(loans), Outcome::ok);
    if (i % 100 == 50) {
      for (int k = 0; k < 20; ++k) publish_number(link.publisher(), i, 64);
    }
    while (const std::size_t n = reader->take(samples)) {
      for (std::size_t k = n; k-- > 0;) {
        const Sample again = reader->resolve(samples[k].reference());
        reader->acknowledge(samples[k]);
        samples[k].release();
      }
    }
    (void)reader->wait(0);
    link.publisher().collect();
  }
  EXPECT_EQ(allocations - before, 0u);
}

INSTANTIATE_TEST_SUITE_P(Streams, FramePath,
                         testing::Values(Case{"SmallNext", 64, DeliveryMode::next},
                                         Case{"SmallLatest", 64, DeliveryMode::latest},
                                         Case{"SmallReliable", 64, DeliveryMode::reliable},
                                         Case{"LargeNext", kLargeSlotBytes, DeliveryMode::next},
                                         Case{"LargeReliable", kLargeSlotBytes,
                                              DeliveryMode::reliable}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Allocations, AreCounted) {
  const std::uint64_t before = allocations;
  delete new int{1};
  const std::vector<int> vector(3);
  EXPECT_GE(allocations - before, 1u);
}

}  // namespace
}  // namespace sluice::shm
