// The keeper's half of the gateway, with a worker that is played here, and that may be mad:
// iceoryx's memory is written by many.
#include "daemons/iceoryx/streams.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/support/broker_process.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace sluice::iceoryx {
namespace {

using namespace std::chrono_literals;
using test::eventually;

constexpr std::uint64_t kBytes = 1 << 20;

class IceoryxStreams : public testing::Test {
 protected:
  IceoryxStreams() : broker_(SLUICE_SLUICED) {
    routes_.resize(3);
    routes_[1].envelope = true;
    NodeOptions options;
    options.name = "gateway";
    options.socket = broker_.socket();
    auto node = Node::create(options);
    EXPECT_TRUE(node) << node.error().message;
    node_ = std::move(*node);
    streams_.emplace(*node_, routes_);
    new_worker();
    memory_.reset(::memfd_create("segment", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(memory_.get(), kBytes), 0);
    void* at = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
    EXPECT_NE(at, MAP_FAILED);
    begin_ = static_cast<char*>(at);
  }
  ~IceoryxStreams() override { ::munmap(begin_, kBytes); }

  void new_worker() {
    auto ends = Link::pair();
    ASSERT_TRUE(ends);
    keeper_ = std::move(ends->first);
    worker_ = Link{std::move(ends->second)};
    streams_->begin(keeper_);
  }
  // What the worker says is heard, and what the keeper answers.
  std::vector<Received> say(const Packet& packet, std::string_view text = {}, int fd = -1) {
    EXPECT_TRUE(worker_.send(packet, text, fd));
    while (auto received = keeper_.receive()) streams_->handle(std::move(*received), keeper_);
    return heard();
  }
  std::vector<Received> heard() {
    std::vector<Received> answers;
    while (auto received = worker_.receive()) answers.push_back(std::move(*received));
    return answers;
  }
  std::uint64_t open(std::uint32_t channel, std::uint32_t route, const std::string& topic) {
    Packet packet;
    packet.say = Say::open;
    packet.channel = channel;
    packet.route = route;
    auto answers = say(packet, topic);
    EXPECT_EQ(answers.size(), 1u);
    if (answers.empty()) return 0;
    EXPECT_EQ(answers[0].packet.say, Say::opened);
    refusal_ = answers[0].text;
    return answers[0].packet.stream_id;
  }
  void give_segment() {
    Packet packet;
    packet.say = Say::segment;
    EXPECT_TRUE(say(packet, "segment", memory_.get()).empty());
  }
  static Packet sample(std::uint64_t offset, std::uint64_t size) {
    Packet packet;
    packet.say = Say::sample;
    packet.channel = 1;
    packet.token = 9;
    packet.offset = offset;
    packet.size = size;
    return packet;
  }
  // Copied or dropped, it is given back at once.
  void expect_released(const std::vector<Received>& answers) {
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].packet.say, Say::released);
    EXPECT_EQ(answers[0].packet.token, 9u);
  }

  test::BrokerProcess broker_;
  std::vector<Route> routes_;
  std::optional<Node> node_;
  std::optional<Streams> streams_;
  Link keeper_, worker_;
  shm::UniqueFd memory_;
  char* begin_ = nullptr;
  std::string refusal_;
};

TEST_F(IceoryxStreams, SamplesOfAnySizeArrive) {
  ASSERT_NE(open(1, 0, "a"), 0u) << refusal_;
  give_segment();
  auto reader = node_->subscribe("a");
  ASSERT_TRUE(reader) << reader.error().message;
  ASSERT_TRUE(eventually([&] { return reader->stream_count() == 1; }));
  for (const std::uint64_t size : {1u, 300u, 301u, 5'000u, 100'000u, 2u}) {
    std::memset(begin_ + 64, static_cast<int>(size % 251), size);
    expect_released(say(sample(64, size)));
    Sample taken;
    EXPECT_TRUE(eventually([&] {
      taken = reader->take();
      return static_cast<bool>(taken);
    })) << size;
    ASSERT_EQ(taken.size(), size);
    EXPECT_EQ(std::memcmp(taken.data(), begin_ + 64, size), 0);
  }
  EXPECT_EQ(streams_->published(), 6u);
  EXPECT_EQ(streams_->dropped(), 0u);
}

TEST_F(IceoryxStreams, AnEnvelopeIsPutAround) {
  ASSERT_NE(open(1, 1, "a"), 0u) << refusal_;
  give_segment();
  auto reader = MessageSubscriber::create(*node_, "a");
  ASSERT_TRUE(reader) << reader.error().message;
  ASSERT_TRUE(eventually([&] { return reader->stream().stream_count() == 1; }));
  Packet packet = sample(0, 70'000);
  packet.correlation = {7, 8};
  packet.hops = 3;
  expect_released(say(packet));
  const Message message = reader->receive(std::chrono::steady_clock::now() + 10s);
  ASSERT_TRUE(message);
  EXPECT_EQ(message.payload().size(), 70'000u);
  EXPECT_EQ(message.envelope().hops, 4);
  EXPECT_EQ(message.info().correlation, packet.correlation);
}

TEST_F(IceoryxStreams, WhatLiesOutsideIsDroppedAndGivenBack) {
  ASSERT_NE(open(1, 0, "a"), 0u) << refusal_;
  expect_released(say(sample(0, 8)));  // no segment yet
  give_segment();
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  for (const auto& [offset, size] : {std::pair{kBytes, std::uint64_t{1}},
                                     {std::uint64_t{0}, kBytes + 1},
                                     {kMost, kMost},
                                     {std::uint64_t{8}, kMost - 4},
                                     {kBytes - 8, std::uint64_t{9}}}) {
    expect_released(say(sample(offset, size)));
  }
  Packet packet = sample(0, 8);
  packet.header_offset = kBytes - 1;
  packet.header_size = 2;
  expect_released(say(packet));
  packet = sample(0, 8);
  packet.segment = 5;
  expect_released(say(packet));
  packet = sample(0, 8);
  packet.channel = 77;
  expect_released(say(packet));
  EXPECT_EQ(streams_->published(), 0u);
  EXPECT_EQ(streams_->dropped(), 9u);
  // The next good one goes through.
  expect_released(say(sample(kBytes - 8, 8)));
  EXPECT_EQ(streams_->published(), 1u);
}

TEST_F(IceoryxStreams, NoSegmentNoChannelNoRouteDoesNoHarm) {
  Packet packet;
  packet.say = Say::segment;
  EXPECT_TRUE(say(packet, "without a descriptor").empty());
  packet.say = Say::close;
  packet.channel = 4;
  EXPECT_TRUE(say(packet).empty());
  packet.say = Say::open;
  packet.route = 99;
  EXPECT_TRUE(say(packet, "a").empty());
  EXPECT_EQ(open(1, 0, "not/a/#/topic"), 0u);
  EXPECT_NE(refusal_, "");
  EXPECT_EQ(streams_->size(), 0u);
}

TEST_F(IceoryxStreams, ATopicBelongsToOneRoute) {
  const auto first = open(1, 0, "a");
  EXPECT_NE(first, 0u);
  EXPECT_EQ(open(2, 0, "a"), first) << "two services may share a stream of theirs";
  EXPECT_EQ(open(3, 2, "a"), 0u);
  EXPECT_NE(refusal_.find("another route"), std::string::npos) << refusal_;
}

TEST_F(IceoryxStreams, TheyWaitForTheNextWorkerAndTellItWhichTheyAre) {
  const auto id = open(1, 0, "a");
  give_segment();
  streams_->pause(true);
  streams_->tend();
  EXPECT_EQ(streams_->size(), 1u);
  new_worker();
  const auto told = heard();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].packet.say, Say::stream);
  EXPECT_EQ(told[0].packet.stream_id, id);
  // Nothing of the first one's is known any more.
  expect_released(say(sample(0, 8)));
  EXPECT_EQ(streams_->published(), 0u);
  EXPECT_EQ(open(1, 0, "a"), id);
  give_segment();
  expect_released(say(sample(0, 8)));
  EXPECT_EQ(streams_->published(), 1u);
}

TEST_F(IceoryxStreams, OneThatNobodyFillsEnds) {
  ASSERT_NE(open(1, 0, "a"), 0u);
  Packet packet;
  packet.say = Say::close;
  packet.channel = 1;
  EXPECT_TRUE(say(packet).empty());
  EXPECT_EQ(streams_->size(), 1u);
  EXPECT_TRUE(eventually([&] {
    streams_->tend();
    return streams_->size() == 0;
  }));
}

}  // namespace
}  // namespace sluice::iceoryx
