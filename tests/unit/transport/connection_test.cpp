#include "transport/connection.hpp"

#include "transport/introduction.hpp"
#include "transport/packet.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <string>

namespace sluice::transport {
namespace {

class ConnectionTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    near_ = Connection{shm::UniqueFd{ends[0]}};
    far_ = Connection{shm::UniqueFd{ends[1]}};
  }
  static Message hello(std::string name) {
    protocol::HelloT hello;
    hello.protocol = kProtocolVersion;
    hello.node_id = 0xffff'0000'1234'5678;
    hello.node = std::move(name);
    return make_message(std::move(hello), 7);
  }

  Connection near_;
  Connection far_;
};

TEST_F(ConnectionTest, CarriesMessagesInOrder) {
  ASSERT_TRUE(near_.send(hello("first")));
  ASSERT_TRUE(near_.send(hello("second")));
  for (const char* name : {"first", "second"}) {
    auto received = far_.receive();
    ASSERT_TRUE(received) << received.error().message;
    ASSERT_TRUE(received->has_value());
    EXPECT_EQ((*received)->message.request, 7u);
    const protocol::HelloT* got = (*received)->message.body.AsHello();
    ASSERT_NE(got, nullptr);
    EXPECT_EQ(got->node, name);
    EXPECT_EQ(got->node_id, 0xffff'0000'1234'5678u);
  }
  auto nothing = far_.receive();
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(nothing->has_value());
}

TEST_F(ConnectionTest, CarriesDescriptors) {
  const std::array fds{share(shm::UniqueFd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}),
                       share(shm::UniqueFd{::open("/dev/zero", O_RDONLY | O_CLOEXEC)})};
  ASSERT_TRUE(near_.send(hello("x"), fds));
  auto received = far_.receive();
  ASSERT_TRUE(received);
  ASSERT_TRUE(received->has_value());
  ASSERT_EQ((*received)->descriptors.size(), 2u);
  char byte = 'x';
  EXPECT_EQ(::read((*received)->descriptors[1].get(), &byte, 1), 1);
  EXPECT_EQ(byte, '\0');
  EXPECT_NE(::fcntl((*received)->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(ConnectionTest, QueuesWhatTheOtherSideHasNotRead) {
  const std::string name(30'000, 'n');
  const SharedFd fd = share(shm::UniqueFd{::open("/dev/null", O_RDONLY | O_CLOEXEC)});
  constexpr int kMessages = 100;
  for (int i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(near_.send(hello(name + std::to_string(i)), {&fd, 1}));
  }
  EXPECT_TRUE(near_.wants_to_write());
  for (int i = 0; i < kMessages; ++i) {
    auto received = far_.receive();
    ASSERT_TRUE(received) << received.error().message;
    ASSERT_TRUE(received->has_value()) << i;
    EXPECT_EQ((*received)->message.body.AsHello()->node, name + std::to_string(i));
    EXPECT_EQ((*received)->descriptors.size(), 1u);
    ASSERT_TRUE(near_.flush());
  }
  EXPECT_FALSE(near_.wants_to_write());
}

TEST_F(ConnectionTest, GivesUpOnWhoNeverReads) {
  const std::string name(60'000, 'n');
  Result<void> sent;
  std::size_t count = 0;
  while (sent && count < 10'000) {
    sent = near_.send(hello(name));
    ++count;
  }
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::exhausted);
  EXPECT_LT(count * name.size(), 2 * Connection::kMaxQueuedBytes);
}

TEST_F(ConnectionTest, SaysWhenTheOtherSideHasClosed) {
  far_ = Connection{};
  auto received = near_.receive();
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::refused);
  EXPECT_FALSE(near_.send(hello("x")));
}

TEST_F(ConnectionTest, RefusesWhatIsNoMessage) {
  const std::array<std::byte, 40> garbage{std::byte{1}, std::byte{2}};
  ASSERT_TRUE(send_packet(near_.fd(), garbage, {}, 0));
  auto received = far_.receive();
  ASSERT_FALSE(received);
  EXPECT_EQ(received.error().code, Errc::untrusted);
}

TEST_F(ConnectionTest, RefusesMessagesThatAreTooLong) {
  auto sent = near_.send(hello(std::string(kMaxMessageBytes, 'n')));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::invalid_argument);
}

TEST(Wire, RefusesEveryTruncation) {
  protocol::SubscribeT subscribe;
  subscribe.filters = {"camera/+/frames"};
  subscribe.want = std::make_unique<protocol::WantT>();
  subscribe.attached.emplace_back(1, 2, 3);
  const std::vector<std::byte> whole = encode(make_message(std::move(subscribe), 3));
  ASSERT_TRUE(decode(whole));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(decode({whole.data(), n})) << n;
  }
}

TEST(Wire, RefusesAMessageThatLacksWhatIsRequired) {
  // A Subscribe without filter cannot be made with the generated structures; take its words away.
  flatbuffers::FlatBufferBuilder builder;
  protocol::SubscribeBuilder subscribe{builder};
  subscribe.add_subscription_id(4);
  const auto end = builder.EndTable(subscribe.start_);
  protocol::MessageBuilder message{builder};
  message.add_body_type(protocol::Body::Subscribe);
  message.add_body(flatbuffers::Offset<void>(end));
  const auto root = builder.EndTable(message.start_);
  protocol::FinishMessageBuffer(builder, flatbuffers::Offset<protocol::Message>(root));
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  EXPECT_FALSE(decode({begin, builder.GetSize()}));
}

// A list whose entries are all the same text.
std::vector<std::byte> repeated(std::size_t count, std::size_t text_bytes) {
  flatbuffers::FlatBufferBuilder builder;
  const auto text = builder.CreateString(std::string(text_bytes, 'a'));
  const auto filters =
      builder.CreateVector(std::vector<flatbuffers::Offset<flatbuffers::String>>(count, text));
  const auto want = protocol::CreateWant(builder);
  const auto subscribe = protocol::CreateSubscribe(builder, 1, filters, want);
  protocol::FinishMessageBuffer(
      builder, protocol::CreateMessage(builder, 1, protocol::Body::Subscribe, subscribe.Union()));
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

TEST(Wire, RefusesListsThatWouldGrowWhenTheyAreRead) {
  EXPECT_TRUE(decode(repeated(64, 100)));
  EXPECT_FALSE(decode(repeated(65, 100))) << "too many";
  EXPECT_FALSE(decode(repeated(10'000, 30'000))) << "300 MB out of 70 KB";
  EXPECT_FALSE(decode(repeated(64, 30'000))) << "2 MB out of 30 KB";
}

TEST(Introduction, KeepsItsLimits) {
  protocol::HelloT hello;
  EXPECT_TRUE(check_introduction(hello));
  hello.version = std::string(63, '1');
  hello.capabilities = std::vector<std::string>(32, std::string(63, 'c'));
  hello.last_words = std::string(1'024, 'w');
  EXPECT_TRUE(check_introduction(hello));
  const auto refused = [&](auto change) {
    protocol::HelloT changed = hello;
    change(changed);
    return !check_introduction(changed);
  };
  EXPECT_TRUE(refused([](auto& h) { h.version += '1'; }));
  EXPECT_TRUE(refused([](auto& h) { h.version = "\xff"; }));
  EXPECT_TRUE(refused([](auto& h) { h.capabilities.emplace_back("one"); }));
  EXPECT_TRUE(refused([](auto& h) { h.capabilities[3].clear(); }));
  EXPECT_TRUE(refused([](auto& h) { h.capabilities[3] += 'c'; }));
  EXPECT_TRUE(refused([](auto& h) { h.capabilities[3] = "\xc3"; }));
  EXPECT_TRUE(refused([](auto& h) { h.last_words += 'w'; }));
  EXPECT_TRUE(refused([](auto& h) { h.last_words = std::string("a\0b", 3); }));
}

TEST(Wire, KeepsErrors) {
  const Error error{Errc::exhausted, 0, "no more"};
  const Error back = to_error(to_failed(error));
  EXPECT_EQ(back.code, Errc::exhausted);
  EXPECT_EQ(back.message, "no more");
  protocol::FailedT strange;
  strange.code = 200;
  EXPECT_EQ(to_error(strange).code, Errc::refused);
}

}  // namespace
}  // namespace sluice::transport
