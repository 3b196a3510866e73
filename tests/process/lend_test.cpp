// What lies in another system's memory, lent from process to process through a real broker.
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/early_child.hpp"
#include "tests/support/must.hpp"
#include "tests/support/traffic.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>

#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kBytes = 64 * 1024;
constexpr std::uint64_t kEach = 4 * 1024;

class LendTest : public testing::Test {
 protected:
  LendTest() : file_(::memfd_create("another-systems", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(file_.get(), kBytes), 0);
    memory_ = static_cast<std::byte*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0));
  }
  ~LendTest() override { ::munmap(memory_, kBytes); }

  static NodeOptions options(const std::string& name, const BrokerProcess& broker) {
    NodeOptions o;
    o.name = name;
    o.socket = broker.socket();
    return o;
  }
  static StreamOptions small() {
    StreamOptions o;
    o.lanes = {{4, 0}};
    o.pools = {{64, 0}};
    return o;
  }
  [[nodiscard]] shm::UniqueFd open(int flags = O_RDONLY) const {
    return shm::UniqueFd{::open(("/proc/self/fd/" + std::to_string(file_.get())).c_str(), flags)};
  }
  ForeignMemory memory(int fd) {
    return {fd, kBytes, [this](std::uint64_t token) { released_.push_back(token); }};
  }
  bool lend(Publisher& publisher, std::uint32_t pool, std::uint64_t number) {
    const std::uint64_t offset = number % (kBytes / kEach) * kEach;
    write_number(memory_ + offset, kEach, number);
    Loan loan = publisher.lend({pool, offset, kEach, number});
    return loan && publisher.publish(std::move(loan)) == Outcome::ok;
  }

  // Takes messages in order and ends with 0 when the last was `last`.
  static void watch(const NodeOptions& options, std::uint64_t last) {
    Node node = must(Node::create(options));
    SubscriptionOptions want;
    want.mode = DeliveryMode::reliable;
    Subscriber subscriber = must(node.subscribe("other/system", want));
    for (std::uint64_t expected = 1;;) {
      (void)subscriber.wait(std::chrono::steady_clock::now() + 30s);
      Sample sample = subscriber.take();
      if (sample.outcome() == Outcome::empty) continue;  // the memory is still on its way
      const std::uint64_t number = number_of(sample);
      if (number != expected) ::_exit(1);
      subscriber.acknowledge(std::move(sample));
      if (number == last) ::_exit(0);
      ++expected;
    }
  }

  shm::UniqueFd file_;
  std::byte* memory_ = nullptr;
  std::vector<std::uint64_t> released_;  // outlives the publishers
};

TEST_F(LendTest, AnotherProcessReadsItWhereItLies) {
  BrokerProcess broker{SLUICE_SLUICED};
  constexpr std::uint64_t kLast = 200;
  EarlyChild reader{[&] { watch(options("reader", broker), kLast); }};
  Node node = must(Node::create(options("lender", broker)));
  Publisher publisher = must(node.advertise("other/system", small()));
  reader.start();
  ASSERT_TRUE(eventually([&] { return publisher.subscriber_count() == 1; }));
  // It comes when the reader has the stream already.
  const shm::UniqueFd fd = open();
  const std::uint32_t pool = must(publisher.add_foreign_pool(memory(fd.get())));
  for (std::uint64_t i = 1; i <= kLast; ++i) {
    ASSERT_TRUE(eventually([&] { return lend(publisher, pool, i); })) << i;
  }
  EXPECT_EQ(reader.wait(), 0);
  EXPECT_TRUE(eventually([&] {
    publisher.collect();
    return released_.size() == kLast;
  }));
}

TEST_F(LendTest, ItOutlivesTheBroker) {
  BrokerProcess broker{SLUICE_SLUICED};
  EarlyChild late{[&] { watch(options("late", broker), 3); }};
  Node node = must(Node::create(options("lender", broker)));
  Publisher publisher = must(node.advertise("other/system", small()));
  const shm::UniqueFd fd = open();
  const std::uint32_t pool = must(publisher.add_foreign_pool(memory(fd.get())));
  broker.kill(SIGKILL);
  broker.start();
  late.start();  // the new broker has to know the pool
  ASSERT_TRUE(eventually([&] { return publisher.subscriber_count() == 1; }, 20s));
  for (std::uint64_t i = 1; i <= 3; ++i) EXPECT_TRUE(lend(publisher, pool, i));
  EXPECT_EQ(late.wait(), 0);
}

TEST_F(LendTest, ItMustBeAllowedByName) {
  const std::string file = "/tmp/sluice-lend-" + std::to_string(::getpid()) + ".toml";
  const auto configure = [&](const std::string& more) {
    std::ofstream(file) << "[[allow]]\neverybody = true\n" << more;
  };
  configure("");
  BrokerProcess broker{SLUICE_SLUICED, {"--config", file}};
  Node node = must(Node::create(options("lender", broker)));
  Publisher publisher = must(node.advertise("other/system", small()));
  const shm::UniqueFd fd = open();
  const auto refused = publisher.add_foreign_pool(memory(fd.get()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::refused);
  EXPECT_NE(refused.error().message.find("may not lend 'other/system'"), std::string::npos)
      << refused.error().message;

  configure("[[allow]]\neverybody = true\nactions = 'lend'\n");
  ASSERT_EQ(::kill(broker.pid(), SIGHUP), 0);
  std::uint32_t pool = 0;
  std::optional<Publisher> second;  // a new one each time: a pool that was refused is used up
  ASSERT_TRUE(eventually([&] {
    second.emplace(must(node.advertise("other/system", small())));
    const auto added = second->add_foreign_pool(memory(fd.get()));
    if (added) pool = *added;
    return added.has_value();
  }));
  EXPECT_TRUE(lend(*second, pool, 1));

  configure("");
  ASSERT_EQ(::kill(broker.pid(), SIGHUP), 0);
  EXPECT_TRUE(eventually([&] {
    return second->lend({pool, 0, 8, 2}).outcome() == Outcome::not_allowed;
  })) << "the right is taken back";
  std::remove(file.c_str());
}

TEST_F(LendTest, WhatIsLentIsChargedToNobody) {
  const std::string file = "/tmp/sluice-lend-" + std::to_string(::getpid()) + ".toml";
  std::ofstream(file) << "[limits.each_user]\nbytes = 50_000\n";
  BrokerProcess broker{SLUICE_SLUICED, {"--config", file}};
  Node node = must(Node::create(options("lender", broker)));
  Publisher publisher = must(node.advertise("other/system", small()));
  const shm::UniqueFd fd = open();
  EXPECT_TRUE(publisher.add_foreign_pool(memory(fd.get())));
  std::remove(file.c_str());
}

}  // namespace
}  // namespace sluice::test
