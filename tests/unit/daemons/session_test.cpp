// A session over a socket pair, by a clock that stands still until it is told.
#include "daemons/sluiced/session.hpp"

#include "tests/support/broker_client.hpp"
#include "tests/support/must.hpp"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>
#include <string>

namespace sluice::broker {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

std::uint64_t the_time_ns = 0;

/// Lets everybody in, and counts.
class Counting : public Service {
 public:
  Result<protocol::WelcomeT> welcome(Session&, const protocol::HelloT&) override {
    return protocol::WelcomeT{};
  }
  Result<void> handle(Session& session, transport::Received& received) override {
    ++handled;
    session.answer(received.message.request, protocol::DoneT{});
    return {};
  }
  Result<void> pace(Session&, std::uint64_t) override {
    if (!too_fast) return {};
    return Error{Errc::exhausted, 0, "slow down"};
  }
  void closed(Session& session) override { reasons.push_back(session.reason()); }

  int handled = 0;
  bool too_fast = false;
  std::vector<std::string> reasons;
};

class SessionTest : public testing::Test {
 protected:
  void SetUp() override { test::must(session_.start()); }

  void turn() {
    for (int i = 0; i < 3; ++i) test::must(loop_.run_once(0));
  }
  void pass(std::uint64_t ns) {
    the_time_ns += ns;
    turn();
  }
  static std::uint64_t from_the_beginning() noexcept { return the_time_ns; }
  static std::array<int, 2> socket_pair() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()),
              0);
    return ends;
  }

  Counting service_;
  EventLoop loop_ = test::must(EventLoop::create(from_the_beginning));
  const std::array<int, 2> ends_ = socket_pair();
  Session session_{1, transport::Connection{shm::UniqueFd{ends_[0]}}, Peer{}, loop_, service_};
  test::BrokerClient client_{shm::UniqueFd{ends_[1]}, [this] { turn(); }};
};

TEST_F(SessionTest, EndsWhenNoHelloComesWithinTwoSeconds) {
  pass(2'000 * kMs - 1);
  EXPECT_FALSE(session_.over());
  pass(1);
  ASSERT_TRUE(session_.over());
  EXPECT_EQ(service_.reasons, std::vector<std::string>{"no Hello came within 2 seconds"});
  const auto told = client_.next<protocol::FailedT>();
  ASSERT_TRUE(told);
  EXPECT_NE(told->message.body.AsFailed()->message.find("Hello"), std::string::npos);
}

TEST_F(SessionTest, ThatWasWelcomedMayBeSilent) {
  pass(1'999 * kMs);
  ASSERT_TRUE(client_.hello(7));
  pass(3'600'000 * kMs);
  EXPECT_FALSE(session_.over());
  EXPECT_EQ(session_.node(), 7u);
}

TEST_F(SessionTest, OnlyHelloMayComeFirst) {
  client_.send(protocol::PingT{});
  turn();
  EXPECT_EQ(service_.reasons, std::vector<std::string>{"the first message must be Hello"});
  EXPECT_EQ(service_.handled, 0);
}

TEST_F(SessionTest, ThatSendsTooFastIsReadLater) {
  ASSERT_TRUE(client_.hello(7));
  service_.too_fast = true;
  EXPECT_FALSE(client_.done(protocol::PingT{}));
  EXPECT_EQ(client_.failure.message, "slow down");
  service_.too_fast = false;
  client_.send(protocol::PingT{});
  pass(50 * kMs - 1);
  EXPECT_EQ(service_.handled, 0);
  pass(1);
  EXPECT_EQ(service_.handled, 1);
  EXPECT_FALSE(session_.over());
}

}  // namespace
}  // namespace sluice::broker
