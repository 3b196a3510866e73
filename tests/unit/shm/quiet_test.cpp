// The frame path makes no system call when nobody sleeps. A child process that would be killed by
// any does the work.
#include "tests/support/quiet.hpp"

#include "shm/memory.hpp"

#include "tests/support/local_link.hpp"
#include "tests/support/process_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

namespace sluice::shm {
namespace {

using namespace test;

constexpr int kNoSeccomp = 77;
constexpr int kKilled = 128 + SIGSYS;

struct Case {
  const char* name;
  std::uint64_t bytes;
  DeliveryMode mode;
};

class Quiet : public testing::TestWithParam<Case> {};

StreamOptions options_of(const Case& c) {
  StreamOptions options = small_stream(8);
  options.pools = {{c.bytes, 0}};
  options.max_loans = 4;
  options.commit_at_creation = true;
  // Stamps read the clock, which is a system call on machines without a clock in user space.
  options.stamp_publish_time = false;
  return options;
}

int work(const Case& c) {
  LocalLink link(options_of(c));
  std::array<ReaderPtr, 2> readers{link.attach({.mode = c.mode, .group = "one"}),
                                   link.attach({.mode = c.mode, .group = "two"})};
  std::array<Loan, 3> loans;
  // Everything is touched once before: a first touch may fault, which is no system call, but also
  // warms whatever the C library sets up lazily.
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t i = 0; i < 1000; ++i) {
      if (publish_number(link.publisher(), i, 64) != Outcome::ok) return 2;
      for (std::uint64_t k = 0; k < loans.size(); ++k) {
        loans[k] = link.publisher().loan(64);
        if (!loans[k]) return 3;
        write_number(loans[k].data(), 64, i);
      }
      if (link.publisher().publish(loans) != Outcome::ok) return 4;
      for (const ReaderPtr& reader : readers) {
        unsigned got = 0;
        while (Sample sample = reader->take()) {
          if (number_of(sample) != i) return 5;
          const Sample again = reader->resolve(sample.reference());
          if (number_of(again) != i) return 6;
          reader->acknowledge(sample);
          ++got;
        }
        if (got != (c.mode == DeliveryMode::latest ? 1u : 4u)) return 7;
        if (reader->ready()) return 8;
      }
      link.publisher().collect();
    }
    if (round == 0 && !forbid_system_calls()) return kNoSeccomp;
  }
  // Ends here: unmapping would be a system call too.
  ::syscall(SYS_exit_group, value(link.publisher().counters().wakes) == 0 ? 0 : 9);
  return 10;
}

TEST_P(Quiet, TheFramePathMakesNoSystemCall) {
  Child child = Child::run([&](int) {
    const int code = work(GetParam());
    std::fprintf(stderr, "step %d went wrong\n", code);
    return code;
  });
  const int code = child.join();
  if (code == kNoSeccomp) GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_NE(code, kKilled) << "a system call was made";
  EXPECT_EQ(code, 0);
}

INSTANTIATE_TEST_SUITE_P(Streams, Quiet,
                         testing::Values(Case{"SmallNext", 64, DeliveryMode::next},
                                         Case{"SmallLatest", 64, DeliveryMode::latest},
                                         Case{"SmallReliable", 64, DeliveryMode::reliable},
                                         Case{"SmallGroup", 64, DeliveryMode::group},
                                         Case{"LargeNext", kLargeSlotBytes, DeliveryMode::next},
                                         Case{"LargeReliable", kLargeSlotBytes,
                                              DeliveryMode::reliable}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(QuietChild, IsKilledByASystemCall) {
  Child child = Child::run([](int) {
    if (!forbid_system_calls()) ::_exit(kNoSeccomp);
    (void)::syscall(SYS_getppid);
    ::_exit(0);
    return 0;
  });
  const int code = child.join();
  if (code == kNoSeccomp) GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_EQ(code, kKilled);
}

TEST(QuietChild, IsKilledByTheWakeUpOfASleeper) {
  Child child = Child::run([](int) {
    LocalLink link(small_stream());
    const ReaderPtr reader = link.attach({});
    publish_number(link.publisher(), 1);
    (void)reader->prepare_sleep(false);
    if (!forbid_system_calls()) ::_exit(kNoSeccomp);
    publish_number(link.publisher(), 2);
    ::_exit(0);
    return 0;
  });
  const int code = child.join();
  if (code == kNoSeccomp) GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_EQ(code, kKilled);
}

// The kernel refuses to commit a slot: an outcome, and what was committed before goes on working.
TEST(Shortage, OfMemoryIsAnOutcome) {
  Child child = Child::run([](int) {
    const auto many = static_cast<std::uint32_t>(page_bytes() / 16);  // slots, over several pages
    StreamOptions options = small_stream(many);
    options.max_loans = many;
    LocalLink small(options);
    options.pools = {{kLargeSlotBytes, 0}, {2 * kLargeSlotBytes, 0}};
    LocalLink large(options);
    for (std::uint64_t i = 0; i < 4; ++i) {
      if (publish_number(small.publisher(), i) != Outcome::ok) return 1;
      if (publish_number(large.publisher(), i, kLargeSlotBytes) != Outcome::ok) return 2;
    }
    if (!exhaust_memory()) return kNoSeccomp;
    for (LocalLink* link : {&small, &large}) {
      const std::uint64_t bytes = link == &small ? 64 : kLargeSlotBytes;
      const std::uint64_t failures = value(link->publisher().counters().no_slot);
      std::vector<Loan> loans;
      Loan loan = link->publisher().loan(bytes);
      for (; loan; loan = link->publisher().loan(bytes)) {
        write_number(loan.data(), bytes, 7);
        loans.push_back(std::move(loan));
      }
      if (loans.empty()) return 3;
      if (loan.outcome() != Outcome::no_memory) return 4;
      if (value(link->publisher().counters().no_slot) != failures + 1) return 5;
      loans.clear();
      if (publish_number(link->publisher(), 9, bytes) != Outcome::ok) return 6;
    }
    return 0;
  });
  const int code = child.join();
  if (code == kNoSeccomp) GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_EQ(code, 0);
}

TEST(Shortage, OfMemoryWhenAStreamIsMadeIsAnError) {
  Child child = Child::run([](int) {
    if (!exhaust_memory()) return kNoSeccomp;
    const auto publisher = Publisher::create(small_stream());
    if (publisher) return 1;
    if (publisher.error().code != Errc::system || publisher.error().sys_errno != ENOMEM) return 2;
    const auto arena = must(Arena::create("arena"));
    const auto cell = arena->allocate(64);
    return !cell && cell.error().sys_errno == ENOMEM && arena->used() == 0 ? 0 : 3;
  });
  const int code = child.join();
  if (code == kNoSeccomp) GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_EQ(code, 0);
}

}  // namespace
}  // namespace sluice::shm
