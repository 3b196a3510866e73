#include "daemons/iceoryx/link.hpp"

#include "daemons/iceoryx/roudi.hpp"
#include "daemons/iceoryx/user_header.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <string>

namespace sluice::iceoryx {
namespace {

Packet numbered(std::uint32_t token) {
  Packet packet;
  packet.say = Say::released;
  packet.token = token;
  return packet;
}

TEST(IceoryxLink, PacketsArriveWithTheirTextAndDescriptor) {
  auto ends = Link::pair();
  ASSERT_TRUE(ends) << ends.error().message;
  Link& keeper = ends->first;
  Link worker{std::move(ends->second)};
  const shm::UniqueFd memory{::memfd_create("x", MFD_CLOEXEC)};
  ASSERT_EQ(::write(memory.get(), "abc", 3), 3);
  Packet packet = numbered(7);
  packet.correlation = {1, 2};
  EXPECT_TRUE(worker.send(packet, "a text", memory.get()));
  EXPECT_TRUE(worker.send(numbered(8)));
  const auto first = keeper.receive();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->packet.token, 7u);
  EXPECT_EQ(first->packet.correlation, (CorrelationId{1, 2}));
  EXPECT_EQ(first->text, "a text");
  std::array<char, 4> read{};
  EXPECT_EQ(::pread(first->fd.get(), read.data(), 3, 0), 3);
  EXPECT_STREQ(read.data(), "abc");
  const auto second = keeper.receive();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->packet.token, 8u);
  EXPECT_TRUE(second->text.empty());
  EXPECT_FALSE(second->fd.valid());
  EXPECT_FALSE(keeper.receive());
  EXPECT_TRUE(keeper.open());
}

TEST(IceoryxLink, TheKeeperNeverBlocksAndLosesNothing) {
  auto ends = Link::pair();
  ASSERT_TRUE(ends);
  Link& keeper = ends->first;
  Link worker{std::move(ends->second)};
  constexpr std::uint32_t kMany = 20'000;
  for (std::uint32_t i = 0; i < kMany; ++i) EXPECT_TRUE(keeper.send(numbered(i)));
  EXPECT_TRUE(keeper.has_waiting()) << "the socket took all: the test needs more";
  std::uint32_t next = 0;
  while (next < kMany) {
    while (const auto received = worker.receive()) EXPECT_EQ(received->packet.token, next++);
    EXPECT_TRUE(keeper.flush());
  }
  EXPECT_FALSE(keeper.has_waiting());
}

TEST(IceoryxLink, AnEndThatIsGoneIsNoticed) {
  auto ends = Link::pair();
  ASSERT_TRUE(ends);
  ends->second.reset();
  EXPECT_FALSE(ends->first.send(numbered(1)));
  EXPECT_FALSE(ends->first.receive());
  EXPECT_FALSE(ends->first.open());
}

TEST(IceoryxUserHeader, OnlyItsOwnIsRead) {
  UserHeader header;
  header.hops = 3;
  header.correlation = {4, 5};
  std::array<std::byte, sizeof header> bytes{};
  std::memcpy(bytes.data(), &header, sizeof header);
  const auto read = read_user_header(bytes);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->hops, 3);
  EXPECT_EQ(read->correlation, header.correlation);
  EXPECT_FALSE(read_user_header(std::span{bytes}.first(63)));
  bytes[4] = std::byte{2};  // another version
  EXPECT_FALSE(read_user_header(bytes));
  bytes[4] = std::byte{1};
  bytes[0] ^= std::byte{1};
  EXPECT_FALSE(read_user_header(bytes));
}

TEST(IceoryxRoudi, IsThereWhileSomebodyListens) {
  char folder[] = "/tmp/sluice-roudi-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string socket = std::string(folder) + "/roudi";
  const std::string memory = std::string(folder) + "/mgmt";
  EXPECT_FALSE(find_roudi(socket, memory));
  const auto listen = [&] {
    shm::UniqueFd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket.data(), socket.size());
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  };
  shm::UniqueFd roudi = listen();
  EXPECT_FALSE(find_roudi(socket, memory)) << "it has no memory yet";
  std::ofstream{memory} << "x";
  const auto found = find_roudi(socket, memory);
  ASSERT_TRUE(found);
  EXPECT_EQ(find_roudi(socket, memory), found);
  roudi.reset();
  EXPECT_FALSE(find_roudi(socket, memory)) << "killed: its files stay";
  // The next one is another one, also where the file system gives numbers again.
  ASSERT_EQ(::rename(memory.c_str(), (memory + ".old").c_str()), 0);
  ASSERT_EQ(::unlink(socket.c_str()), 0);
  std::ofstream{memory} << "x";
  roudi = listen();
  const auto next = find_roudi(socket, memory);
  ASSERT_TRUE(next);
  EXPECT_NE(next, found);
  for (const std::string& path : {socket, memory, memory + ".old"}) ::unlink(path.c_str());
  ::rmdir(folder);
}

}  // namespace
}  // namespace sluice::iceoryx
