#include "daemons/sluiced/event_loop.hpp"

#include "shm/clock.hpp"
#include "tests/support/must.hpp"

#include <gtest/gtest.h>

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace sluice::broker {
namespace {

class EventLoopTest : public testing::Test {
 protected:
  static shm::UniqueFd ready() { return shm::UniqueFd{::eventfd(1, EFD_CLOEXEC)}; }
  void turn() { test::must(loop_.run_once(0)); }

  EventLoop loop_ = test::must(EventLoop::create());
};

TEST_F(EventLoopTest, CallsAsLongAsADescriptorIsReady) {
  const shm::UniqueFd fd = ready();
  int calls = 0;
  const auto token = test::must(loop_.watch(fd.get(), EPOLLIN, [&](auto) { ++calls; }));
  turn();
  turn();
  EXPECT_EQ(calls, 2);
  loop_.change(token, 0);
  turn();
  EXPECT_EQ(calls, 2);
}

TEST_F(EventLoopTest, AFunctionMayForgetItselfAndOthersOfItsBatch) {
  const shm::UniqueFd one = ready();
  const shm::UniqueFd other = ready();
  int calls = 0;
  EventLoop::Token first = 0, second = 0;
  const auto forget_both = [&](auto) {
    ++calls;
    loop_.forget(first);
    loop_.forget(second);
  };
  first = test::must(loop_.watch(one.get(), EPOLLIN, forget_both));
  second = test::must(loop_.watch(other.get(), EPOLLIN, forget_both));
  turn();
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTest, ADescriptorThatTakesTheNumberOfAnotherIsNotCalledForIt) {
  shm::UniqueFd one = ready();
  shm::UniqueFd other = ready();
  int newcomer_calls = 0;
  EventLoop::Token first = 0, second = 0;
  shm::UniqueFd newcomer;
  bool replaced = false;
  const auto replace_other = [&](EventLoop::Token& token, shm::UniqueFd& fd) {
    if (std::exchange(replaced, true)) return;
    loop_.forget(token);
    fd.reset();
    newcomer.reset(::eventfd(0, EFD_CLOEXEC));  // the same number, not ready
    test::must(loop_.watch(newcomer.get(), EPOLLIN, [&](auto) { ++newcomer_calls; }));
  };
  first = test::must(loop_.watch(one.get(), EPOLLIN, [&](auto) { replace_other(second, other); }));
  second = test::must(loop_.watch(other.get(), EPOLLIN, [&](auto) { replace_other(first, one); }));
  turn();
  EXPECT_TRUE(replaced);
  EXPECT_EQ(newcomer_calls, 0);
}

TEST_F(EventLoopTest, TimersComeInTheirOrderOnceAndCanBeCancelled) {
  std::string order;
  const std::uint64_t now = shm::now_ns();
  loop_.at(now + 2, [&] { order += 'b'; });
  loop_.at(now + 1, [&] { order += 'a'; });
  const auto cancelled = loop_.at(now, [&] { order += 'x'; });
  loop_.at(now + 60'000'000'000, [&] { order += 'y'; });
  loop_.cancel(cancelled);
  turn();
  turn();
  EXPECT_EQ(order, "ab");
}

TEST_F(EventLoopTest, WhatIsPostedComesAfterWhatRunsNow) {
  const shm::UniqueFd fd = ready();
  std::string order;
  test::must(loop_.watch(fd.get(), EPOLLIN, [&](auto) {
    loop_.post([&] { order += 'b'; });
    order += 'a';
  }));
  turn();
  EXPECT_EQ(order, "ab");
}

TEST_F(EventLoopTest, StopsFromWithin) {
  loop_.at(shm::now_ns(), [&] { loop_.stop(); });
  EXPECT_TRUE(loop_.run());
}

}  // namespace
}  // namespace sluice::broker
