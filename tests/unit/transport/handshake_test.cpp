// The hand-shake between the public Publisher and Subscriber, with good and with hostile peers.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "shm/clock.hpp"
#include "shm/layout.hpp"
#include "shm/memory.hpp"
#include "sluice/publisher.hpp"
#include "sluice/subscriber.hpp"
#include "tests/support/socket_link.hpp"
#include "transport/packet.hpp"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using test::connect_to;
using test::SocketEnds;

StreamOptions small_stream() {
  StreamOptions options;
  options.label = "camera/test/frames";
  options.pools = {{256}};
  options.max_held = 8;
  return options;
}

Publisher make_publisher(const StreamOptions& options = small_stream()) {
  auto publisher = Publisher::create(options);
  EXPECT_TRUE(publisher) << publisher.error().message;
  return std::move(*publisher);
}

void publish_number(Publisher& publisher, std::uint64_t number) {
  Loan loan = publisher.loan(sizeof number);
  ASSERT_TRUE(loan) << to_string(loan.outcome());
  std::memcpy(loan.data(), &number, sizeof number);
  ASSERT_EQ(publisher.publish(std::move(loan)), Outcome::ok);
}

std::uint64_t number_in(const Sample& sample) {
  std::uint64_t number = 0;
  if (sample.size() == sizeof number) std::memcpy(&number, sample.data(), sizeof number);
  return number;
}

TEST(Handshake, ASubscriberSeesWhatIsPublishedAfterItConnected) {
  Publisher publisher = make_publisher();
  auto [accepted, subscriber] = connect_to(publisher, {});
  ASSERT_TRUE(accepted) << accepted.error().message;
  ASSERT_TRUE(subscriber) << subscriber.error().message;
  EXPECT_EQ(subscriber->label(), "camera/test/frames");
  EXPECT_EQ(subscriber->stream_id(), publisher.stream_id());
  EXPECT_EQ(publisher.subscriber_count(), 1u);
  publish_number(publisher, 7);
  EXPECT_EQ(number_in(subscriber->take()), 7u);
  EXPECT_EQ(subscriber->take().outcome(), Outcome::empty);
}

TEST(Handshake, TheSocketIsNotNeededAfterwards) {
  // connect_to closes both ends before it returns.
  Publisher publisher = make_publisher();
  auto connected = connect_to(publisher, {.mode = DeliveryMode::reliable});
  ASSERT_TRUE(connected.subscriber);
  for (std::uint64_t i = 1; i <= 500; ++i) {
    publish_number(publisher, i);
    Sample sample = connected.subscriber->take();
    ASSERT_EQ(number_in(sample), i);
    connected.subscriber->acknowledge(sample);
  }
}

TEST(Handshake, ARefusalReachesBothEndsWithTheSameSentence) {
  Publisher publisher = make_publisher();
  auto connected = connect_to(publisher, {.max_held = 9});
  ASSERT_FALSE(connected.accepted);
  ASSERT_FALSE(connected.subscriber);
  EXPECT_EQ(connected.accepted.error().code, Errc::refused);
  EXPECT_EQ(connected.subscriber.error().code, Errc::refused);
  EXPECT_EQ(connected.accepted.error().message, connected.subscriber.error().message);
  EXPECT_NE(connected.subscriber.error().message.find("max_held"), std::string::npos);
  EXPECT_EQ(publisher.subscriber_count(), 0u);
}

TEST(Handshake, AnotherPayloadTypeIsRefused) {
  StreamOptions options = small_stream();
  options.type_hash = 1;
  Publisher publisher = make_publisher(options);
  SubscriptionOptions other;
  other.type_hash = 2;
  auto connected = connect_to(publisher, other);
  ASSERT_FALSE(connected.subscriber);
  EXPECT_EQ(connected.subscriber.error().code, Errc::refused);
  // The subscriber finds out first, and tells the publisher.
  ASSERT_FALSE(connected.accepted);
  EXPECT_EQ(connected.accepted.error().message, connected.subscriber.error().message);
}

TEST(Handshake, AGroupIsJoinedByItsName) {
  Publisher publisher = make_publisher();
  const SubscriptionOptions member{.mode = DeliveryMode::group, .group = "workers", .credits = 1};
  auto a = connect_to(publisher, member);
  auto b = connect_to(publisher, member);
  ASSERT_TRUE(a.subscriber && b.subscriber);
  for (std::uint64_t i = 1; i <= 3; ++i) publish_number(publisher, i);
  EXPECT_EQ(number_in(a.subscriber->take()), 1u);
  EXPECT_EQ(number_in(b.subscriber->take()), 2u);
  auto nameless = connect_to(publisher, {.mode = DeliveryMode::group});
  ASSERT_FALSE(nameless.subscriber);
  EXPECT_NE(nameless.subscriber.error().message.find("name of a group"), std::string::npos);
}

TEST(Handshake, WithoutAnAnswerBothSidesGiveUpInTime) {
  Publisher publisher = make_publisher();
  const SocketEnds ends;
  EXPECT_FALSE(publisher.accept(ends.publisher.get(), milliseconds{20}));
  const SocketEnds others;
  EXPECT_FALSE(Subscriber::connect(others.subscriber.get(), {}, milliseconds{20}));
}

TEST(Handshake, GarbageIsUntrustedAndHarmsNobody) {
  Publisher publisher = make_publisher();
  auto good = connect_to(publisher, {});
  ASSERT_TRUE(good.subscriber);
  for (std::size_t size : {1u, 7u, 8u, 40u, 512u, 1000u}) {
    const SocketEnds ends;
    std::vector<char> garbage(size, '\x5a');
    ASSERT_EQ(::send(ends.subscriber.get(), garbage.data(), size, 0),
              static_cast<ssize_t>(size));
    const auto accepted = publisher.accept(ends.publisher.get(), milliseconds{200});
    ASSERT_FALSE(accepted);
    EXPECT_EQ(accepted.error().code, Errc::untrusted) << accepted.error().message;
  }
  publish_number(publisher, 3);
  EXPECT_EQ(number_in(good.subscriber->take()), 3u);
}

// Plays the subscriber by hand up to the Page, and hands over `fd` as its arena.
Result<void> offer_arena(Publisher& publisher, int fd, std::uint64_t bytes, std::uint64_t offset) {
  const SocketEnds ends;
  std::thread peer{[&] {
    const std::uint64_t deadline = shm::deadline_in(2'000'000'000);
    // Hello: magic, kind 1, layout version, mode next, max_held, history, type hash; no credits, no
    // group.
    const std::array<std::uint32_t, 18> hello{0x3155'4c53, 1, shm::kLayoutVersion, 2, 1};
    (void)transport::send_packet(ends.subscriber.get(), std::as_bytes(std::span{hello}), {},
                                 deadline);
    auto offer = transport::receive_packet(ends.subscriber.get(), deadline);
    // Page: magic, kind 3, arena bytes, offset.
    const std::array<std::uint64_t, 3> page{0x3155'4c53 | std::uint64_t{3} << 32, bytes, offset};
    const std::array<int, 1> descriptors{fd};
    (void)transport::send_packet(ends.subscriber.get(), std::as_bytes(std::span{page}),
                                 descriptors, deadline);
    (void)transport::receive_packet(ends.subscriber.get(), deadline);
  }};
  auto accepted = publisher.accept(ends.publisher.get(), milliseconds{2000});
  peer.join();
  return accepted;
}

TEST(Handshake, AnArenaThatIsNoSealedMemoryIsRefusedWithTheReason) {
  Publisher publisher = make_publisher();
  const shm::UniqueFd unsealed{::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  ASSERT_EQ(::ftruncate(unsealed.get(), 1 << 20), 0);
  const auto accepted = offer_arena(publisher, unsealed.get(), 1 << 20, 0);
  ASSERT_FALSE(accepted);
  EXPECT_EQ(accepted.error().code, Errc::untrusted);
  EXPECT_NE(accepted.error().message.find("sealed"), std::string::npos);

  const shm::UniqueFd no_memfd{::dup(0)};
  const auto other = offer_arena(publisher, no_memfd.get(), 1 << 20, 0);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, Errc::untrusted);
}

TEST(Handshake, AnArenaOfAnotherSizeOrAPageOutsideItIsRefused) {
  Publisher publisher = make_publisher();
  auto segment = shm::Segment::create("test", 1 << 16);
  ASSERT_TRUE(segment);
  auto fd = segment->share();
  ASSERT_TRUE(fd);
  EXPECT_FALSE(offer_arena(publisher, fd->get(), 1 << 20, 0));
  EXPECT_FALSE(offer_arena(publisher, fd->get(), segment->size(), segment->size() - 64));
  EXPECT_FALSE(offer_arena(publisher, fd->get(), segment->size(), ~std::uint64_t{63}));
  EXPECT_FALSE(offer_arena(publisher, fd->get(), segment->size(), 8));
  EXPECT_EQ(publisher.subscriber_count(), 0u);
  EXPECT_TRUE(offer_arena(publisher, fd->get(), segment->size(), 64));
}

TEST(WaitSet, WakesForWhicheverSubscriberHasSomething) {
  Publisher first = make_publisher();
  Publisher second = make_publisher();
  auto set = WaitSet::create();
  ASSERT_TRUE(set);
  auto a = connect_to(first, {}, &*set);
  auto b = connect_to(second, {}, &*set);
  ASSERT_TRUE(a.subscriber && b.subscriber);
  const auto now = std::chrono::steady_clock::now();
  EXPECT_EQ(set->wait(now + milliseconds{5}), Outcome::timeout);
  std::thread later{[&] {
    std::this_thread::sleep_for(milliseconds{30});
    publish_number(second, 5);
  }};
  EXPECT_EQ(set->wait(now + std::chrono::seconds{10}), Outcome::ok);
  later.join();
  EXPECT_FALSE(a.subscriber->take());
  EXPECT_EQ(number_in(b.subscriber->take()), 5u);
}

TEST(WaitSet, ForgetsASubscriberThatIsDestroyed) {
  Publisher publisher = make_publisher();
  auto set = WaitSet::create();
  ASSERT_TRUE(set);
  {
    auto gone = connect_to(publisher, {}, &*set);
    ASSERT_TRUE(gone.subscriber);
  }
  publish_number(publisher, 1);
  EXPECT_EQ(set->wait(std::chrono::steady_clock::now() + milliseconds{5}), Outcome::timeout);
}

TEST(Subscriber, StatsAddUp) {
  StreamOptions options = small_stream();
  options.lanes[0].depth = 4;
  Publisher publisher = make_publisher(options);
  auto connected = connect_to(publisher, {});
  ASSERT_TRUE(connected.subscriber);
  for (std::uint64_t i = 1; i <= 10; ++i) publish_number(publisher, i);
  ASSERT_TRUE(connected.subscriber->take());
  const SubscriptionStats s = connected.subscriber->stats();
  EXPECT_EQ(s.taken, 1u);
  EXPECT_EQ(s.lost_full, 6u);
  EXPECT_EQ(s.waiting, 3u);
  EXPECT_EQ(s.taken + s.lost() + s.waiting, publisher.stats().published);
}

TEST(Publisher, EndsItsStreamWhenItIsDestroyed) {
  std::optional<Publisher> publisher = make_publisher();
  auto connected = connect_to(*publisher, {});
  ASSERT_TRUE(connected.subscriber);
  publish_number(*publisher, 1);
  publisher.reset();
  EXPECT_EQ(number_in(connected.subscriber->take()), 1u);
  EXPECT_EQ(connected.subscriber->wait_for(std::chrono::seconds{5}), Outcome::ended);
  EXPECT_EQ(connected.subscriber->take().outcome(), Outcome::ended);
}

}  // namespace
}  // namespace sluice
