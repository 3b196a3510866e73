// Clients that do what they should not, beside an honest pair that must not notice.
#include "tests/support/broker_client.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/emulated.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <random>
#include <thread>

namespace sluice::test {
namespace {

// Subscribes, attaches and leaves again, over and over.
class HonestPair {
 public:
  explicit HonestPair(const std::string& path)
      : publisher_(connect_to(path)), subscriber_(connect_to(path)) {
    good_ = publisher_.hello(101, "honest-publisher") && subscriber_.hello(102, "honest-reader") &&
            publisher_.advertise(stream_, "honest");
    thread_ = std::thread([this] {
      while (good_ && !stop_) {
        if (round()) ++rounds_;
        std::this_thread::sleep_for(std::chrono::milliseconds{2});
      }
    });
  }
  ~HonestPair() {
    stop_ = true;
    thread_.join();
  }
  /// Whether it is still served, and how long that takes is not looked at.
  bool goes_on() {
    const int before = rounds_;
    return eventually([&] { return rounds_ > before + 5 || !good_; }) && good_;
  }

 private:
  bool round() {
    good_ = subscriber_.subscribe(1020, "honest") && subscriber_.next<protocol::FoundT>();
    if (!good_) return false;
    subscriber_.ask(1020, stream_.id, arena_);
    good_ = publisher_.admit(wake_) && subscriber_.next<protocol::AdmittedT>();
    if (!good_) return false;
    protocol::UnsubscribeT unsubscribe;
    unsubscribe.subscription_id = 1020;
    good_ = subscriber_.done(std::move(unsubscribe)) && publisher_.next<protocol::LeaveT>();
    return good_;
  }

  BrokerClient publisher_, subscriber_;
  FakeStream stream_;
  FakeArena arena_, wake_;
  std::atomic<bool> good_{true}, stop_{false};
  std::atomic<int> rounds_{0};
  std::thread thread_;
};

class BrokerHostileTest : public testing::Test {
 protected:
  void SetUp() override {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    idle_ = descriptors_when_idle();
    honest_.emplace(broker_.socket());
    ASSERT_TRUE(honest_->goes_on());
  }
  void TearDown() override {
    if (!honest_) return;
    EXPECT_TRUE(honest_->goes_on());
    honest_.reset();
    // All is as it was when nobody was connected.
    std::size_t now = 0;
    EXPECT_TRUE(eventually([&] { return (now = broker_.descriptors()) <= idle_; }))
        << now << " descriptors are left open";
    EXPECT_EQ(broker_.kill(SIGTERM), 0);
  }
  // The broker listens, and greets, before its own node has all that it needs: three topics.
  std::size_t descriptors_when_idle() {
    std::optional<BrokerClient> first;
    EXPECT_TRUE(eventually([&] {
      shm::UniqueFd socket = connect_to(broker_.socket());
      if (socket.valid()) first.emplace(std::move(socket));
      return first.has_value();
    }));
    EXPECT_TRUE(first->hello(100, "first") && first->subscribe(1000, "$sys/+"));
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(first->next<protocol::FoundT>());
    const std::size_t connected = broker_.descriptors();
    first.reset();
    EXPECT_TRUE(eventually([&] { return broker_.descriptors() < connected; }));
    std::this_thread::sleep_for(std::chrono::milliseconds{50});  // until it is forgotten whole
    return broker_.descriptors();
  }
  BrokerClient node(std::uint64_t id) {
    BrokerClient client{connect_to(broker_.socket())};
    EXPECT_TRUE(client.hello(id, "hostile")) << client.failure.message;
    return client;
  }
  static bool send_raw(int socket, const void* data, std::size_t bytes, int flags = 0) {
    return ::send(socket, data, bytes, flags | MSG_NOSIGNAL) == static_cast<ssize_t>(bytes);
  }

  BrokerProcess broker_{SLUICE_SLUICED, {"--log-level", "error"}};
  std::optional<HonestPair> honest_;
  std::size_t idle_ = 0;  // descriptors of the broker when nobody is connected
};

TEST_F(BrokerHostileTest, Garbage) {
  std::mt19937 random{1};
  std::vector<std::uint8_t> bytes(4096);
  for (int i = 0; i < 500; ++i) {
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    BrokerClient client{connect_to(broker_.socket())};
    if (i % 2 == 0) client.hello(1, "hostile");
    ASSERT_TRUE(send_raw(client.connection().fd(), bytes.data(), random() % bytes.size() + 1));
    ASSERT_TRUE(client.is_closed());
  }
}

TEST_F(BrokerHostileTest, TruncatedAndChangedMessages) {
  std::mt19937 random{2};
  protocol::SubscribeT subscribe;
  subscribe.subscription_id = 20;
  subscribe.filters = {"some/filter"};
  subscribe.want = std::make_unique<protocol::WantT>();
  subscribe.want->mode = protocol::Mode::next;
  subscribe.attached.resize(3);
  const auto whole = transport::encode(transport::make_message(std::move(subscribe), 5));
  for (std::size_t length = 1; length < whole.size(); ++length) {
    BrokerClient client = node(1);
    ASSERT_TRUE(send_raw(client.connection().fd(), whole.data(), length));
    ASSERT_TRUE(client.is_closed()) << length;
  }
  for (int i = 0; i < 2000; ++i) {
    auto changed = whole;
    changed[random() % changed.size()] ^= static_cast<std::byte>(1 << random() % 8);
    BrokerClient client = node(1);
    ASSERT_TRUE(send_raw(client.connection().fd(), changed.data(), changed.size()));
  }
}

TEST_F(BrokerHostileTest, OversizedPackets) {
  const std::vector<char> bytes(150'000);
  for (int i = 0; i < 50; ++i) {
    BrokerClient client = node(1);
    ASSERT_TRUE(send_raw(client.connection().fd(), bytes.data(), bytes.size()));
    ASSERT_TRUE(client.is_closed());
  }
}

TEST_F(BrokerHostileTest, AFlood) {
  BrokerClient client = node(1);
  const auto ping = transport::encode(transport::make_message(protocol::PingT{}));
  const auto request = transport::encode(transport::make_message(protocol::UnsubscribeT{}, 9));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{2};
  while (std::chrono::steady_clock::now() < until) {
    (void)send_raw(client.connection().fd(), ping.data(), ping.size(), MSG_DONTWAIT);
    (void)send_raw(client.connection().fd(), request.data(), request.size(), MSG_DONTWAIT);
  }
  EXPECT_TRUE(honest_->goes_on());
}

TEST_F(BrokerHostileTest, ElevenHundredConnections) {
  std::vector<BrokerClient> clients;
  std::size_t refused = 0;
  for (std::uint64_t i = 0; i < 1'100; ++i) {
    clients.emplace_back(connect_to(broker_.socket()));
    if (!clients.back().hello(1'000 + i, "one-of-many")) {
      EXPECT_NE(clients.back().failure.message.find("connections"), std::string::npos);
      ++refused;
    }
  }
  std::printf("%zu of 1,100 refused\n", refused);
  EXPECT_GT(refused, 0u);
  EXPECT_TRUE(honest_->goes_on());
}

TEST_F(BrokerHostileTest, ConnectionsThatSayNothing) {
  std::vector<shm::UniqueFd> sockets;
  for (int i = 0; i < 200; ++i) sockets.push_back(connect_to(broker_.socket()));
  EXPECT_TRUE(honest_->goes_on());
  BrokerClient last{std::move(sockets.back())};
  EXPECT_TRUE(last.is_closed()) << "after two seconds";
}

TEST_F(BrokerHostileTest, DescriptorsThatAreNotWhatTheyShouldBe) {
  const FakeStream stream;
  const FakeArena small;
  const SharedFd null = transport::share(shm::UniqueFd{::open("/dev/null", O_RDWR | O_CLOEXEC)});
  const SharedFd open_memory =
      transport::share(shm::UniqueFd{::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING)});
  ASSERT_EQ(::ftruncate(open_memory->get(), 65536), 0);
  const auto good = stream.descriptors();
  const std::vector<std::vector<SharedFd>> sets{
      {},
      {null, null},
      {open_memory, open_memory},
      {good[0], open_memory},
      {good[0], small.descriptor()},
      {small.descriptor(), good[1]},
      {good[1], good[0]},
      std::vector<SharedFd>(16, good[0]),
  };
  for (int i = 0; i < 50; ++i) {
    for (const auto& set : sets) {
      BrokerClient client = node(1);
      protocol::AdvertiseT body;
      body.stream_id = stream.id;
      body.topic = "t";
      body.offer = std::make_unique<protocol::OfferT>();
      client.send(std::move(body), set);
      ASSERT_TRUE(client.is_closed());
    }
  }
}

TEST_F(BrokerHostileTest, DescriptorsWithEveryMessage) {
  if (emulated() && !closes_descriptors_without_room()) {
    GTEST_SKIP() << "this emulator keeps descriptors for which the receiver has no room";
  }
  // 253 is the most that the kernel takes in one packet.
  std::array<int, 253> fds;
  const shm::UniqueFd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  fds.fill(null.get());
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof fds)> control{};
  const auto ping = transport::encode(transport::make_message(protocol::PingT{}));
  iovec part{const_cast<std::byte*>(ping.data()), ping.size()};
  for (const std::size_t count : {std::size_t{1}, std::size_t{16}, std::size_t{17}, fds.size()}) {
    for (int i = 0; i < 20; ++i) {
      BrokerClient client = node(1);
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(count * sizeof(int));
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(count * sizeof(int));
      std::memcpy(CMSG_DATA(c), fds.data(), count * sizeof(int));
      for (int k = 0; k < 10; ++k) {
        if (::sendmsg(client.connection().fd(), &message, MSG_NOSIGNAL) < 0) break;
      }
      if (count > 16) {
        ASSERT_TRUE(client.is_closed());
      }
    }
  }
}

TEST_F(BrokerHostileTest, AClientThatNeverReads) {
  BrokerClient deaf = node(1);
  ASSERT_TRUE(deaf.watch(40, "#", true));
  BrokerClient busy = node(2);
  const std::string filter(60'000, 'x');
  bool closed = false;
  for (int i = 0; i < 400 && !closed; ++i) {
    ASSERT_TRUE(busy.subscribe(20, filter)) << busy.failure.message;
    protocol::UnsubscribeT unsubscribe;
    unsubscribe.subscription_id = 20;
    ASSERT_TRUE(busy.done(std::move(unsubscribe)));
    pollfd p{deaf.connection().fd(), 0, 0};
    closed = ::poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0;
  }
  EXPECT_TRUE(closed);
}

TEST_F(BrokerHostileTest, ConnectionsThatComeAndGo) {
  for (int i = 0; i < 3'000; ++i) {
    const shm::UniqueFd socket = connect_to(broker_.socket());
    ASSERT_TRUE(socket.valid());
  }
}

}  // namespace
}  // namespace sluice::test
