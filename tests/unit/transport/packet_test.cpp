#include "transport/packet.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "shm/clock.hpp"
#include "tests/support/socket_link.hpp"

namespace sluice::transport {
namespace {

using test::SocketEnds;

std::uint64_t soon() { return shm::deadline_in(2'000'000'000); }
std::uint64_t at_once() { return shm::deadline_in(20'000'000); }

std::span<const std::byte> bytes_of(const char* text, std::size_t n) {
  return {reinterpret_cast<const std::byte*>(text), n};
}

TEST(Packet, CarriesBytesDescriptorsAndTheSendersIdentity) {
  const SocketEnds ends;
  ASSERT_TRUE(want_credentials(ends.subscriber.get()));
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  const shm::UniqueFd read_end{pipe[0]};
  const shm::UniqueFd write_end{pipe[1]};
  ASSERT_TRUE(send_packet(ends.publisher.get(), bytes_of("hello", 5), pipe, soon()));

  auto packet = receive_packet(ends.subscriber.get(), soon());
  ASSERT_TRUE(packet) << packet.error().message;
  EXPECT_EQ(packet->bytes.size(), 5u);
  EXPECT_EQ(packet->pid, ::getpid());
  EXPECT_EQ(packet->uid, ::getuid());
  ASSERT_EQ(packet->descriptors.size(), 2u);
  // The received ones are the same pipe.
  ASSERT_EQ(::write(packet->descriptors[1].get(), "x", 1), 1);
  char got = 0;
  EXPECT_EQ(::read(read_end.get(), &got, 1), 1);
  EXPECT_EQ(got, 'x');
  EXPECT_TRUE(process_of(*packet).valid());
}

TEST(Packet, NothingInTimeIsASystemErrorThatSaysTimedOut) {
  const SocketEnds ends;
  auto packet = receive_packet(ends.subscriber.get(), at_once());
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, Errc::system);
  EXPECT_EQ(packet.error().sys_errno, ETIMEDOUT);
}

TEST(Packet, AClosedPeerIsARefusal) {
  SocketEnds ends;
  ends.publisher.reset();
  auto packet = receive_packet(ends.subscriber.get(), soon());
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, Errc::refused);
}

TEST(Packet, AnOversizedPacketIsDroppedAndNotTruncated) {
  const SocketEnds ends;
  const std::array<std::byte, kMaxPacketBytes + 1> large{};
  ASSERT_TRUE(send_packet(ends.publisher.get(), large, {}, soon()));
  auto packet = receive_packet(ends.subscriber.get(), soon());
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, Errc::untrusted);
}

TEST(Packet, TooManyDescriptorsAreRefusedAndNoneIsLeaked) {
  const SocketEnds ends;
  // Sent by hand: send_packet would not.
  std::array<int, kMaxPacketDescriptors + 8> many{};
  many.fill(ends.publisher.get());
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof many)> control{};
  char byte = 'x';
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof many);
  std::memcpy(CMSG_DATA(c), many.data(), sizeof many);
  const int lowest_before = ::dup(0);
  ::close(lowest_before);
  ASSERT_EQ(::sendmsg(ends.publisher.get(), &message, 0), 1);

  auto packet = receive_packet(ends.subscriber.get(), soon());
  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, Errc::untrusted);
  const int lowest_after = ::dup(0);
  ::close(lowest_after);
  EXPECT_EQ(lowest_after, lowest_before) << "a received descriptor stayed open";
}

}  // namespace
}  // namespace sluice::transport
