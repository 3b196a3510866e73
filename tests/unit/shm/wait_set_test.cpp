// WaitSet: many readers, one thread; both ways of sleeping.
#include "shm/wait_set.hpp"

#include "tests/support/local_link.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <poll.h>

#include <mutex>
#include <thread>

namespace sluice::shm {
namespace {

using namespace test;

// More readers than futex_waitv takes make the set sleep on its eventfd.
struct Crowd {
  Crowd(WaitSet& set, std::size_t count) {
    StreamOptions options = small_stream(1);
    options.max_readers = kMaxReaders;
    options.max_held = kMaxReaders;
    link = std::make_unique<LocalLink>(options);
    for (std::size_t i = 0; i < count; ++i) {
      readers.push_back(link->attach({.max_held = 1}, must(set.event())));
      set.add(*readers.back());
    }
  }
  std::unique_ptr<LocalLink> link;
  std::vector<ReaderPtr> readers;
};

class WaitSets : public testing::TestWithParam<std::size_t> {
 protected:
  WaitSets() : set_(must(WaitSet::create())), crowd_(set_, GetParam()), one_(small_stream()) {
    reader_ = one_.attach({}, must(set_.event()));
    set_.add(*reader_);
  }
  WaitSet set_;
  Crowd crowd_;
  LocalLink one_;
  ReaderPtr reader_;
};

TEST_P(WaitSets, ReturnAtOnceWhenOneIsReady) {
  publish_number(one_.publisher(), 1);
  EXPECT_EQ(set_.wait(0), Outcome::ok);
}

TEST_P(WaitSets, EndAtTheDeadline) {
  const std::uint64_t deadline = deadline_in(3'000'000);
  EXPECT_EQ(set_.wait(deadline), Outcome::timeout);
  EXPECT_GE(now_ns(), deadline);
  EXPECT_EQ(set_.wait(0), Outcome::timeout);
}

TEST_P(WaitSets, EndWithAMessageToTheLastOfThem) {
  for (std::uint64_t i = 1; i <= 5; ++i) {
    std::jthread writer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      publish_number(one_.publisher(), i);
    });
    EXPECT_EQ(set_.wait(soon()), Outcome::ok);
    writer.join();
    EXPECT_EQ(drain(*reader_), std::vector<std::uint64_t>{i});
  }
}

TEST_P(WaitSets, EndWithAStream) {
  std::jthread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    one_.publisher().end();
  });
  EXPECT_EQ(set_.wait(soon()), Outcome::ok);
  writer.join();
  EXPECT_EQ(reader_->over(), Outcome::ended);
}

TEST_P(WaitSets, ForgetWhoIsRemoved) {
  set_.remove(*reader_);
  publish_number(one_.publisher(), 1);
  EXPECT_EQ(set_.wait(0), Outcome::timeout);
  EXPECT_EQ(set_.readers().size(), GetParam());
}

TEST_P(WaitSets, AreQuietWhenNobodySleeps) {
  publish_number(one_.publisher(), 1);
  EXPECT_EQ(set_.wait(soon()), Outcome::ok);
  publish_number(one_.publisher(), 2);
  EXPECT_EQ(value(one_.publisher().counters().wakes), 0u);
}

TEST_P(WaitSets, ServeForeignEventLoops) {
  const auto readable = [&](int patience_ms) {
    pollfd p{set_.fd(), POLLIN, 0};
    return ::poll(&p, 1, patience_ms) == 1;
  };
  ASSERT_TRUE(set_.arm());
  EXPECT_FALSE(readable(0));
  publish_number(one_.publisher(), 1);
  EXPECT_TRUE(readable(10'000));
  set_.disarm();
  EXPECT_FALSE(readable(0));
  EXPECT_FALSE(set_.arm()) << "there is something already";
  set_.disarm();
  drain(*reader_);
  ASSERT_TRUE(set_.arm());
  one_.publisher().end();
  EXPECT_TRUE(readable(10'000));
  set_.disarm();
}

TEST_P(WaitSets, EndWhenAnotherThreadInterrupts) {
  for (int i = 0; i < 5; ++i) {
    std::jthread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
      set_.interrupt();
    });
    EXPECT_EQ(set_.wait(soon()), Outcome::interrupted);
  }
  EXPECT_EQ(set_.wait(0), Outcome::timeout) << "each interruption ends one wait";
}

TEST_P(WaitSets, EndAtOnceWhenTheyWereInterruptedBefore) {
  publish_number(one_.publisher(), 1);
  set_.interrupt();
  set_.interrupt();
  EXPECT_EQ(set_.wait(soon()), Outcome::interrupted) << "also when there is a message";
  EXPECT_EQ(set_.wait(soon()), Outcome::ok);
}

TEST_P(WaitSets, TellForeignEventLoopsOfAnInterruption) {
  const auto readable = [&](int patience_ms) {
    pollfd p{set_.fd(), POLLIN, 0};
    return ::poll(&p, 1, patience_ms) == 1;
  };
  ASSERT_TRUE(set_.arm());
  EXPECT_FALSE(readable(0));
  std::jthread{[&] { set_.interrupt(); }}.join();
  EXPECT_TRUE(readable(0));
  set_.disarm();
  EXPECT_FALSE(set_.arm()) << "there was something";
  set_.disarm();
  EXPECT_TRUE(set_.arm()) << "but only once";
  set_.disarm();
}

// What the transport does with a reader that its own thread has attached.
TEST_P(WaitSets, TakeInReadersThatAnotherThreadBrings) {
  LocalLink two{small_stream()};
  std::mutex mutex;
  ReaderPtr inbox;
  std::jthread other([&] {
    ReaderPtr brought = two.attach({}, must(set_.event()));
    {
      const std::lock_guard lock{mutex};
      inbox = std::move(brought);
    }
    set_.interrupt();
  });
  ASSERT_EQ(set_.wait(soon()), Outcome::interrupted);
  ReaderPtr second;
  {
    const std::lock_guard lock{mutex};
    second = std::move(inbox);
  }
  ASSERT_TRUE(second);
  set_.add(*second);
  std::jthread writer([&] { publish_number(two.publisher(), 7); });
  EXPECT_EQ(set_.wait(soon()), Outcome::ok);
  writer.join();
  EXPECT_EQ(drain(*second), std::vector<std::uint64_t>{7});
  set_.remove(*second);
}

INSTANTIATE_TEST_SUITE_P(Sizes, WaitSets, testing::Values(0, 10, 126, 127, 300),
                         testing::PrintToStringParamName());

TEST(WaitSet, OfNobodyJustWaits) {
  WaitSet set = must(WaitSet::create());
  const std::uint64_t deadline = deadline_in(2'000'000);
  EXPECT_EQ(set.wait(deadline), Outcome::timeout);
  EXPECT_GE(now_ns(), deadline);
}

}  // namespace
}  // namespace sluice::shm
