#include "daemons/sluiced/broker.hpp"

#include "tests/support/broker_client.hpp"

#include <gtest/gtest.h>

#include <sys/eventfd.h>

#include <array>

namespace sluice::broker {
namespace {

using test::BrokerClient;
using test::FakeArena;
using test::FakeStream;
using test::must;

class BrokerTest : public testing::Test {
 protected:
  BrokerClient connect() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    broker_.adopt(shm::UniqueFd{ends[0]});
    return BrokerClient{shm::UniqueFd{ends[1]}, [this] { turn(); }};
  }
  void turn() {
    for (int i = 0; i < 3; ++i) must(loop_.run_once(0));
  }
  // A socketpair's two ends are one process, which may connect again: so each node needs an id.
  BrokerClient node(std::uint64_t id) {
    BrokerClient client = connect();
    EXPECT_TRUE(client.hello(id, "node" + std::to_string(id))) << client.failure.message;
    return client;
  }

  EventLoop loop_ = must(EventLoop::create());
  Broker broker_{loop_, Policy{{}, ::geteuid(), ::getegid()}, LimitTable{}};
};

TEST_F(BrokerTest, WelcomesAndAttaches) {
  BrokerClient publisher = node(1);
  BrokerClient subscriber = node(2);
  const FakeStream stream;
  const FakeArena arena, wake;
  ASSERT_TRUE(publisher.advertise(stream, "camera/front")) << publisher.failure.message;
  ASSERT_TRUE(subscriber.subscribe(20, "camera/+")) << subscriber.failure.message;

  auto found = subscriber.next<protocol::FoundT>();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->message.body.AsFound()->stream_id, stream.id);
  EXPECT_EQ(found->message.body.AsFound()->topic, "camera/front");
  EXPECT_EQ(found->message.body.AsFound()->node, "node1");
  EXPECT_EQ(found->descriptors.size(), 2u);

  const std::uint32_t asked = subscriber.ask(20, stream.id, arena);
  ASSERT_TRUE(publisher.admit(wake));
  auto admitted = subscriber.next<protocol::AdmittedT>();
  ASSERT_TRUE(admitted);
  EXPECT_EQ(admitted->message.request, asked);
  EXPECT_EQ(admitted->descriptors.size(), 2u);  // wake arena, pidfd
  EXPECT_TRUE(admitted->message.body.AsAdmitted()->has_process);
}

}  // namespace
}  // namespace sluice::broker
