// sluice-iceoryx between sluiced and a stock RouDi, with iceoryx's own examples at the other end:
// nobody here wrote them, and they do not know that Sluice exists. Here: what routes carry.
#include "sluice/context.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/process/iceoryx_fixture.hpp"
#include "tests/support/private_folders.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <set>

namespace sluice::test {
namespace {

using IceoryxRoutes = Iceoryx;

TEST_F(IceoryxRoutes, WhatAnIcedeliveryPublisherSendsArrivesInSluice) {
  start_roudi();
  const auto gateway = start_gateway(kInward);
  Node me = node("reader");
  Subscriber radar_objects = subscriber(me, "radar/+/+");
  const auto sender = start({example("iox-cpp-publisher")});
  // It sends five objects a second: ct + 89, ct + 144, ct + 233, ct, ct + 377.
  std::set<double> offsets;
  double ct = 0;
  for (int i = 0; i < 8; ++i) {
    const Sample sample = take(radar_objects);
    ASSERT_TRUE(sample) << gateway->err() << sender->out();
    EXPECT_EQ(radar_objects.topic(sample), "radar/FrontLeft/Object");
    const RadarObject object = radar(sample);
    EXPECT_EQ(object.x, object.y);
    EXPECT_EQ(object.x, object.z);
    if (object.x < 89) ct = object.x;
    offsets.insert(object.x < 89 ? 0 : object.x - ct);
  }
  EXPECT_TRUE(offsets.contains(377)) << gateway->err();
  EXPECT_EQ(gateway->end(), 0);
}

TEST_F(IceoryxRoutes, ASubscriberOfATypeTakesWhatTheRouteSaysIsOfIt) {
  start_roudi();
  const auto gateway =
      start_gateway(std::string(kInward) + "type = \"RadarObject\"\ntype_bytes = 24\n");
  Node me = node("reader");
  auto objects = SubscriberOf<RadarObject>::create(me, "radar/+/+");
  ASSERT_TRUE(objects);
  const auto sender = start({example("iox-cpp-publisher")});
  // It may come before the memory that it lies in.
  ASSERT_TRUE(eventually(
      [&] {
        const auto sample = objects->take();
        return sample && sample->x != 0 && sample->x == sample->z;
      },
      kPatience))
      << gateway->err();
}

TEST_F(IceoryxRoutes, WhatSluicePublishesArrivesAtAnIcedeliverySubscriber) {
  start_roudi();
  const auto gateway = start_gateway(kOutward);
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  Node me = node("writer");
  Publisher out = publisher(me, "objects/FrontLeft");
  EXPECT_TRUE(
      publish_until(out, [&] { return numbers(receiver->out(), "got value: ").size() >= 5; }))
      << gateway->err() << receiver->out();
  const auto got = numbers(receiver->out(), "got value: ");
  EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
  EXPECT_GT(got.front(), 1'000);
}

TEST_F(IceoryxRoutes, MessagesOfTheBusArriveWithoutTheirEnvelopeAndWithOneOnTheWayBack) {
  start_roudi();
  const auto gateway = start_gateway(R"(
[[route]]
from = "iceoryx"
service = "Radar"
topic = "radar/{instance}/{event}"
envelope = true
)");
  Node me = node("reader");
  auto messages = MessageSubscriber::create(me, "radar/#");
  ASSERT_TRUE(messages) << messages.error().message;
  const auto sender = start({example("iox-cpp-publisher-helloworld")});
  const Message message = messages->receive(in(kPatience));
  ASSERT_TRUE(message) << gateway->err();
  EXPECT_EQ(message.payload().size(), sizeof(RadarObject));
  EXPECT_EQ(message.envelope().hops, 1);
  EXPECT_EQ(gateway->end(), 0);

  const auto back = start_gateway(kOutward);
  const auto receiver = start({example("iox-cpp-subscriber-helloworld")});
  auto out = MessagePublisher::create(me, "objects/FrontLeft");
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_TRUE(eventually(
      [&] {
        const RadarObject object{4'711, 1, 1};
        (void)out->publish(std::as_bytes(std::span{&object, 1}));
        std::this_thread::sleep_for(20ms);
        return receiver->out().find("4711") != std::string::npos;
      },
      kPatience))
      << back->err() << receiver->out();
}

TEST_F(IceoryxRoutes, WhatTheGatewayItselfPublishesIsNotCarriedBack) {
  start_roudi();
  const auto gateway = start_gateway(std::string(kOutward) + R"(
[[route]]
from = "iceoryx"
service = "*"
topic = "iox/{service}/{instance}/{event}"
)");
  Node me = node("both");
  Subscriber back = subscriber(me, "iox/#");
  const auto receiver = start({example("iox-cpp-subscriber-untyped")});
  Publisher out = publisher(me, "objects/FrontLeft");
  EXPECT_TRUE(publish_until(out, [&] {
    return numbers(receiver->out(), "got value: ").size() >= 5;
  })) << gateway->err();
  // Another publisher of the same service is carried, and only that.
  const auto sender = start({example("iox-cpp-publisher-untyped")});
  double last = 0;
  for (int i = 0; i < 2; ++i) {
    (void)publish(out, {5'000, 0, 0});
    const Sample sample = take(back);
    ASSERT_TRUE(sample) << gateway->err();
    EXPECT_EQ(back.topic(sample), "iox/Radar/FrontLeft/Object");
    EXPECT_LT(radar(sample).x, 1'000);
    EXPECT_GT(radar(sample).x, last);
    last = radar(sample).x;
  }
}

TEST_F(IceoryxRoutes, AUserHeaderBringsOriginAndCorrelationThroughIceoryx) {
  start_roudi();
  const auto outward = start_gateway(std::string(kOutward) + "user_header = true\n");
  const auto inward =
      start_gateway(std::string("node = \"second\"\nruntime = \"second\"\n") + kInward);
  Node me = node("both");
  Publisher out = publisher(me, "objects/Rear");
  Subscriber back = subscriber(me, "radar/#");
  Headers headers;
  headers.correlation = {47, 11};
  headers.origin_ns = 123'456'789;
  Sample sample;
  ASSERT_TRUE(eventually(
      [&] {
        EXPECT_EQ(publish(out, {1, 2, 3}, headers), Outcome::ok);
        (void)back.wait_for(20ms);
        sample = back.take();
        return static_cast<bool>(sample);
      },
      kPatience))
      << outward->err() << inward->err();
  EXPECT_EQ(back.topic(sample), "radar/Rear/Object");
  EXPECT_EQ(sample.info().correlation, headers.correlation);
  EXPECT_EQ(sample.info().origin_ns, headers.origin_ns);
  EXPECT_EQ(radar(sample).z, 3);
}

TEST_F(IceoryxRoutes, LossesAreCountedWhereAMonitorSeesThem) {
  start_roudi();
  // Two samples may be held, and one may wait: iceoryx's queue drops what comes on top of that.
  const auto gateway = start_gateway(R"(
[[route]]
from = "iceoryx"
service = "Radar"
topic = "radar"
depth = 1
max_held = 1
)");
  Node me = node("reader");
  auto monitor = me.monitor("radar");
  ASSERT_TRUE(monitor) << monitor.error().message;
  const auto sender = start({example("iox-cpp-publisher")});
  ASSERT_TRUE(eventually(
      [&] {
        const Snapshot seen = monitor->snapshot();
        return !seen.streams.empty() && seen.streams[0].stats.published > 0;
      },
      kPatience))
      << gateway->err();
  // The keeper releases nothing. (The worker must not be stopped: RouDi would take it for dead.)
  gateway->freeze();
  const auto sent = numbers(sender->out(), "sent values: ").size();
  EXPECT_TRUE(eventually([&] { return numbers(sender->out(), "sent values: ").size() >= sent + 2; },
                         kPatience));
  gateway->thaw();
  EXPECT_TRUE(
      eventually([&] { return monitor->snapshot().streams.at(0).source.gaps >= 3; }, kPatience));
}

}  // namespace
}  // namespace sluice::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string problem = sluice::test::enter_private_folders(SLUICE_BINARY_DIR);
  if (!problem.empty()) {
    std::printf("skipped: iceoryx's names are the machine's, and %s\n", problem.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
