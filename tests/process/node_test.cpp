// Nodes and a real broker: processes find each other, and survive each other. How they survive the
// broker is in node_broker_test.cpp.
#include "sluice/typed.hpp"
#include "tests/process/node_fixture.hpp"
#include "tests/support/early_child.hpp"

#include <poll.h>

#include <optional>
#include <thread>
#include <vector>

namespace sluice::test {
namespace {

TEST_F(NodeTest, OneSubscriptionWithSeveralFiltersTakesEachMessageOnce) {
  Node a = node("a");
  Node b = node("b");
  Publisher front = advertise(a, "camera/front");
  Publisher light = advertise(a, "light/hall");
  Publisher door = advertise(a, "door");
  auto subscriber = b.subscribe(std::vector<std::string>{"camera/+", "+/front", "light/#"});
  ASSERT_TRUE(subscriber) << subscriber.error().message;
  ASSERT_TRUE(attached(front));
  ASSERT_TRUE(attached(light));
  ASSERT_TRUE(publish(front, 1));
  ASSERT_TRUE(publish(light, 2));
  EXPECT_EQ(take(*subscriber) + take(*subscriber), 3u);
  EXPECT_EQ(take(*subscriber, 20ms), 0u);
  EXPECT_EQ(subscriber->stream_count(), 2u);
  EXPECT_EQ(door.subscriber_count(), 0u);
  EXPECT_FALSE(b.subscribe(std::vector<std::string>{}));
  EXPECT_FALSE(b.subscribe(std::vector<std::string>{"a", "b/#/c"}));
  EXPECT_FALSE(b.subscribe(std::vector<std::string>(65, "a")));
}

TEST_F(NodeTest, AnInboxIsReadByTheNodeOfItsNameAlone) {
  Node sender = node("sender");
  Node bell = node("bell");
  Node nosy = node("nosy");
  Subscriber all = subscribe(nosy, "#");
  Subscriber inboxes = subscribe(nosy, "inbox/+");
  Subscriber own = subscribe(bell, "inbox/bell");
  Publisher inbox = advertise(sender, "inbox/bell");
  Publisher other = advertise(sender, "t");
  ASSERT_TRUE(attached(inbox));
  ASSERT_TRUE(attached(other));
  EXPECT_EQ(inbox.matching_count(), 1u);
  ASSERT_TRUE(publish(inbox, 7));
  ASSERT_TRUE(publish(other, 8));
  EXPECT_EQ(take(own), 7u);
  EXPECT_EQ(take(all), 8u) << "and not what is in the inbox";
  EXPECT_EQ(inboxes.stream_count(), 0u);
}

TEST_F(NodeTest, ARecorderIsNotGivenWhatIsSensitive) {
  Node a = node("a");
  Node b = node("b");
  SubscriptionOptions recording;
  recording.recorder = true;
  Subscriber recorder = subscribe(b, "#", recording);
  Subscriber subscriber = subscribe(b, "#");
  StreamOptions secret = numbers();
  secret.sensitive = true;
  Publisher password = advertise(a, "password", secret);
  Publisher open = advertise(a, "open");
  EXPECT_TRUE(password.sensitive());
  EXPECT_FALSE(open.sensitive());
  ASSERT_TRUE(attached(password));
  ASSERT_TRUE(attached(open, 2));
  ASSERT_TRUE(publish(password, 1));
  ASSERT_TRUE(publish(open, 2));
  EXPECT_EQ(take(subscriber) + take(subscriber), 3u);
  EXPECT_EQ(take(recorder), 2u);
  EXPECT_EQ(password.matching_count(), 1u);
}

TEST_F(NodeTest, ANodesIntroductionIsSeenByMonitors) {
  NodeOptions bell = options("bell");
  bell.version = "2.1";
  bell.capabilities = {"ring", "see"};
  auto made = Node::create(bell);
  ASSERT_TRUE(made) << made.error().message;
  Node looker = node("looker");
  auto monitor = looker.monitor("#");
  ASSERT_TRUE(monitor);
  bool seen = false;
  for (const NodeInfo& info : monitor->snapshot().nodes) {
    if (info.name != "bell") continue;
    seen = true;
    EXPECT_EQ(info.version, "2.1");
    EXPECT_EQ(info.capabilities, (std::vector<std::string>{"ring", "see"}));
  }
  EXPECT_TRUE(seen);
  bell.last_words = std::string(1'025, 'x');
  auto refused = Node::create(bell);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

TEST_F(NodeTest, PublisherAndSubscriberFindEachOther) {
  Node a = node("a");
  Node b = node("b");
  Publisher publisher = advertise(a, "camera/front/frames");
  Subscriber subscriber = subscribe(b, "camera/+/frames");
  ASSERT_TRUE(attached(publisher));
  for (std::uint64_t i = 1; i <= 100; ++i) {
    ASSERT_TRUE(publish(publisher, i));
    ASSERT_EQ(take(subscriber), i);
  }
  EXPECT_EQ(subscriber.stream_count(), 1u);
  publish(publisher, 7);
  const Sample sample = next(subscriber);
  EXPECT_EQ(subscriber.topic(sample), "camera/front/frames");
}

TEST_F(NodeTest, ASubscriberThatCameFirstIsAttachedLater) {
  Node a = node("a");
  Subscriber subscriber = subscribe(a, "#");
  Node b = node("b");
  Publisher one = advertise(b, "one");
  Publisher two = advertise(b, "two/three");
  ASSERT_TRUE(attached(one));
  ASSERT_TRUE(attached(two));
  ASSERT_TRUE(publish(one, 1));
  EXPECT_EQ(take(subscriber), 1u);
  ASSERT_TRUE(publish(two, 2));
  EXPECT_EQ(take(subscriber), 2u);
}

TEST_F(NodeTest, AWaitThatBeganBeforeTheStreamSeesItsFirstMessage) {
  Node a = node("a");
  Subscriber subscriber = subscribe(a, "late");
  std::thread later{[&] {
    std::this_thread::sleep_for(50ms);
    Node b = node("b");
    Publisher publisher = advertise(b, "late");
    ASSERT_TRUE(attached(publisher));
    ASSERT_TRUE(publish(publisher, 42));
    std::this_thread::sleep_for(50ms);
  }};
  EXPECT_EQ(take(subscriber), 42u);
  later.join();
}

TEST_F(NodeTest, RetainedValuesReachLateJoiners) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.lanes = {{.depth = 8, .history = 1}};
  Publisher publisher = advertise(a, "state", o);
  for (std::uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE(publish(publisher, i));
  Node b = node("b");
  Subscriber subscriber = subscribe(b, "state", {.history = 1});
  EXPECT_EQ(take(subscriber), 5u);
}

TEST_F(NodeTest, PublishersThatEndAreDrainedAndForgotten) {
  Node a = node("a");
  Subscriber subscriber = subscribe(a, "x");
  for (std::uint64_t round = 1; round <= 3; ++round) {
    Node b = node("b");
    {
      Publisher publisher = advertise(b, "x");
      ASSERT_TRUE(attached(publisher));
      for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(publish(publisher, round * 10 + i));
    }
    for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(take(subscriber), round * 10 + i);
    EXPECT_EQ(take(subscriber, 20ms), 0u);
    EXPECT_TRUE(eventually([&] {
      (void)subscriber.take();
      return subscriber.stream_count() == 0;
    }));
  }
  EXPECT_EQ(subscriber.stats().taken, 9u);
}

TEST_F(NodeTest, ModesThatAreNotOfferedAreRefusedAtBothEnds) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.offered.reliable = false;
  Publisher publisher = advertise(a, "x", o);
  Node b = node("b");
  auto monitor = b.monitor();
  ASSERT_TRUE(monitor) << monitor.error().message;
  Subscriber subscriber = subscribe(b, "x", {.mode = DeliveryMode::reliable});
  ASSERT_TRUE(eventually([&] { return !monitor->snapshot().unfit.empty(); }));
  EXPECT_NE(monitor->snapshot().unfit[0].sentence.find("reliable"), std::string::npos)
      << monitor->snapshot().unfit[0].sentence;
  EXPECT_EQ(publisher.subscriber_count(), 0u);
}

TEST_F(NodeTest, TypesAreCheckedWhenAttaching) {
  struct Motion {
    float x, y;
  };
  struct Other {
    std::uint64_t z;
  };
  Node a = node("a");
  auto publisher = PublisherOf<Motion>::create(a, "motion");
  ASSERT_TRUE(publisher) << publisher.error().message;
  auto same = SubscriberOf<Motion>::create(a, "motion");
  ASSERT_TRUE(same);
  auto other = SubscriberOf<Other>::create(a, "motion");
  ASSERT_TRUE(other);
  ASSERT_TRUE(attached(publisher->untyped()));
  ASSERT_EQ(publisher->publish({1.5f, 2.5f}), Outcome::ok);
  ASSERT_EQ(same->wait_for(5s), Outcome::ok);
  const auto sample = same->take();
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->y, 2.5f);
  EXPECT_EQ(other->wait_for(50ms), Outcome::timeout);
}

TEST_F(NodeTest, AKilledPublisherIsNoticedAndReplaced) {
  std::vector<EarlyChild> children;
  for (std::uint64_t round = 1; round <= 3; ++round) {
    children.emplace_back([&, round] {
      Node b = node("b");
      Publisher publisher = advertise(b, "x");
      if (!attached(publisher)) ::_exit(1);
      publish(publisher, round);
      ::pause();
    });
  }
  Node a = node("a");
  Subscriber subscriber = subscribe(a, "x");
  for (std::uint64_t round = 1; round <= 3; ++round) {
    EarlyChild& child = children[round - 1];
    child.start();
    EXPECT_EQ(take(subscriber), round);
    child.end(SIGKILL);
    EXPECT_TRUE(eventually(
        [&] {
          (void)subscriber.take();
          return subscriber.stream_count() == 0;
        },
        2s));
  }
}

TEST_F(NodeTest, AKilledSubscriberHoldsNothingBack) {
  EarlyChild child{[&] {
    Node b = node("b");
    Subscriber subscriber = subscribe(b, "x", {.mode = DeliveryMode::reliable});
    take(subscriber);
    ::pause();
  }};
  Node a = node("a");
  StreamOptions o = numbers();
  o.lanes = {{.depth = 4}};
  o.full_timeout_ns = 20'000'000'000;
  Publisher publisher = advertise(a, "x", o);
  child.start();
  ASSERT_TRUE(attached(publisher));
  std::thread killer{[&] {
    std::this_thread::sleep_for(100ms);
    child.end(SIGKILL);
  }};
  for (std::uint64_t i = 1; i <= 100; ++i) EXPECT_TRUE(publish(publisher, i)) << i;
  killer.join();
  EXPECT_TRUE(attached(publisher, 0));
}

TEST_F(NodeTest, WorksWithoutAThreadOfItsOwn) {
  NodeOptions o = options("own loop");
  o.background_thread = false;
  auto made = Node::create(std::move(o));
  ASSERT_TRUE(made) << made.error().message;
  Node loop = std::move(*made);
  Subscriber subscriber = subscribe(loop, "x");
  Node b = node("b");
  Publisher publisher = advertise(b, "x");
  EXPECT_EQ(publisher.subscriber_count(), 0u) << "nothing happens but in dispatch()";
  const auto until = std::chrono::steady_clock::now() + 5s;
  while (publisher.subscriber_count() == 0 && std::chrono::steady_clock::now() < until) {
    pollfd p{loop.fd(), POLLIN, 0};
    ::poll(&p, 1, 100);
    loop.dispatch();
  }
  for (int i = 0; i < 100 && subscriber.stream_count() == 0; ++i) {
    std::this_thread::sleep_for(1ms);
    loop.dispatch();
  }
  ASSERT_TRUE(publish(publisher, 9));
  EXPECT_EQ(take(subscriber), 9u);
}

// camera -> detector -> here: what the detector attached is seen in place two processes further.
TEST_F(NodeTest, ReferencesResolveInAThirdProcess) {
  constexpr std::uint64_t kFrameBytes = 100'000;
  EarlyChild camera{[&] {
    Node a = node("camera");
    StreamOptions o;
    o.pools = {{kFrameBytes}};
    Publisher publisher = advertise(a, "frames", o);
    if (!attached(publisher, 2)) ::_exit(1);  // the detector, and who resolves
    for (std::uint64_t i = 1; i <= 20; ++i) {
      Loan loan = publisher.loan(kFrameBytes);
      if (!loan) ::_exit(2);
      std::memset(loan.data(), static_cast<int>(i), kFrameBytes);
      publisher.publish(std::move(loan));
      std::this_thread::sleep_for(2ms);
    }
    ::pause();
  }};
  EarlyChild detector{[&] {
    Node b = node("detector");
    StreamOptions o = numbers();
    o.max_references = 1;
    Publisher results = advertise(b, "objects", o);
    if (!attached(results)) ::_exit(1);
    Subscriber frames = subscribe(b, "frames");
    for (;;) {
      if (frames.wait_for(patient(10s)) != Outcome::ok) ::_exit(3);
      Sample frame = frames.take();
      if (!frame) {
        // As many are held as may be, by results that may have been passed meanwhile.
        results.collect();
        std::this_thread::sleep_for(1ms);
        continue;
      }
      Loan loan = results.loan(8);
      if (!loan) ::_exit(4);
      loan.headers.correlation = {7, frame.info().sequence};
      std::memcpy(loan.data(), frame.data(), 8);
      loan.attach(std::move(frame));
      results.publish(std::move(loan));
    }
  }};
  camera.start();
  detector.start();
  Node c = node("recognizer");
  Subscriber frames = subscribe(c, "frames", {.mode = DeliveryMode::latest});  // only to resolve
  Subscriber objects = subscribe(c, "objects");
  ASSERT_TRUE(eventually([&] { return frames.stream_count() == 1; }));
  for (std::uint64_t i = 1; i <= 20; ++i) {
    const Sample result = next(objects, 20s);
    ASSERT_TRUE(result);
    EXPECT_EQ(result.info().correlation.low, i);
    ASSERT_EQ(result.reference_count(), 1u);
    const Sample frame = frames.resolve(result.reference_at(0));
    ASSERT_TRUE(frame) << to_string(frame.outcome());
    EXPECT_EQ(frame.size(), kFrameBytes);
    EXPECT_EQ(frame.data()[kFrameBytes - 1], static_cast<std::byte>(i));
  }
}

TEST_F(NodeTest, StreamsGrowWhileTheyAreRead) {
  Node a = node("a");
  Node b = node("b");
  StreamOptions o = numbers();
  o.max_slots = 1'000;
  Publisher publisher = advertise(a, "x", o);
  Subscriber subscriber = subscribe(b, "x");
  ASSERT_TRUE(attached(publisher));
  ASSERT_TRUE(publish(publisher, 1));
  EXPECT_EQ(take(subscriber), 1u);
  EXPECT_EQ(publisher.loan(10'000).outcome(), Outcome::too_large);
  for (const std::uint64_t bytes : {10'000u, 1'000'000u}) {
    auto grown = publisher.add_pool({.slot_bytes = bytes, .slot_count = 8});
    ASSERT_TRUE(grown) << grown.error().message;
    for (std::uint64_t i = 2; i <= 20; ++i) {
      Loan loan = publisher.loan(bytes);
      ASSERT_TRUE(loan) << to_string(loan.outcome());
      std::memcpy(loan.data(), &i, sizeof i);
      ASSERT_EQ(publisher.publish(std::move(loan)), Outcome::ok);
      ASSERT_EQ(take(subscriber), i);
    }
  }
  // Without a broker the readers learn of it from the next one.
  broker_.kill(SIGKILL);
  ASSERT_TRUE(eventually([&] { return !a.connected() && !b.connected(); }));
  ASSERT_TRUE(publisher.add_pool({.slot_bytes = 2'000'000, .slot_count = 8}));
  ASSERT_EQ(publisher.publish(publisher.loan(2'000'000)), Outcome::ok);
  EXPECT_FALSE(subscriber.take());
  EXPECT_EQ(subscriber.wait_for(20ms), Outcome::timeout);
  broker_.start();
  const Deadline until = std::chrono::steady_clock::now() + 5s;
  Sample sample;
  while (!sample && subscriber.wait(until) == Outcome::ok) sample = subscriber.take();
  EXPECT_EQ(sample.size(), 2'000'000u);
  sample.release();
  // Who comes later gets all pools at once.
  Subscriber late = subscribe(b, "x");
  ASSERT_TRUE(attached(publisher, 2));
  ASSERT_EQ(publisher.publish(publisher.loan(900'000)), Outcome::ok);
  EXPECT_EQ(next(late).size(), 900'000u);
}

TEST_F(NodeTest, AMonitorShowsWhereFramesComeFromAndWhoHoldsThem) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.pools = {{64, 10}};
  o.lanes = {{4}};
  Publisher publisher = advertise(a, "camera/front/frames", o);
  Node b = node("b");
  Subscriber subscriber = subscribe(b, "camera/#", {.max_held = 3});
  ASSERT_TRUE(attached(publisher));
  Node c = node("c");
  auto monitor = c.monitor();
  ASSERT_TRUE(monitor) << monitor.error().message;
  SourceInfo source;
  source.expected_interval_ns = 33'333'333;
  source.gaps = 2;
  source.reconnects = 1;
  source.copies = 3;
  source.dropped = 4;
  source.fourcc = 0x3231'564e;
  source.width = 1280;
  source.height = 720;
  publisher.describe(source);

  const auto now = [] {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  };
  const std::uint64_t captured = now() - 5'000'000;
  std::vector<Sample> held;
  for (int i = 0; i < 3; ++i) {
    Loan loan = publisher.loan(64);
    ASSERT_TRUE(loan);
    loan.headers.origin_ns = captured;
    ASSERT_EQ(publisher.publish(std::move(loan)), Outcome::ok);
    held.push_back(next(subscriber));
    ASSERT_TRUE(held.back());
    std::this_thread::sleep_for(2ms);  // one in a millisecond is measured
  }
  const std::uint64_t second = held[1].info().publish_ns;
  held.erase(held.begin());
  ASSERT_TRUE(eventually([&] { return monitor->snapshot().subscriptions.size() == 1; }));
  const Snapshot shown = monitor->snapshot();
  ASSERT_EQ(shown.streams.size(), 1u);
  EXPECT_EQ(shown.streams[0].source, source);
  EXPECT_EQ(shown.streams[0].stats.slots, 10u);
  EXPECT_EQ(shown.streams[0].depth, 4u);
  EXPECT_EQ(shown.streams[0].stats.last_publish_ns, held[1].info().publish_ns);
  EXPECT_EQ(shown.streams[0].publish_age.total(), 3u);
  EXPECT_GE(shown.streams[0].publish_age.quantile_ns(0), 4'000'000u);
  EXPECT_EQ(shown.streams[0].intervals.total(), 2u);
  EXPECT_FALSE(shown.streams[0].ended);
  const AttachmentInfo& attachment = shown.subscriptions[0].attachments.at(0);
  EXPECT_EQ(attachment.stats.held, 2u);
  EXPECT_EQ(attachment.max_held, 3u);
  EXPECT_EQ(attachment.oldest_held_ns, second);
  EXPECT_EQ(attachment.age.total(), 3u);
  EXPECT_EQ(attachment.end_to_end.total(), 1u) << "of what was released";
  EXPECT_GE(attachment.end_to_end.quantile_ns(0), 4'000'000u);
  EXPECT_EQ(attachment.stats.taken, 3u);
  EXPECT_EQ(attachment.stats.waiting, 0u);
  publisher.end();
  EXPECT_TRUE(monitor->snapshot().streams.at(0).ended);
}

TEST_F(NodeTest, AStreamThatWaitsForNobodyRefusesReliableSubscriptions) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.on_full = OnFull::drop;
  Publisher publisher = advertise(a, "camera", o);
  Subscriber reliable = subscribe(a, "camera", {.mode = DeliveryMode::reliable});
  auto monitor = a.monitor();
  ASSERT_TRUE(monitor) << monitor.error().message;
  ASSERT_TRUE(eventually([&] { return !monitor->snapshot().unfit.empty(); }));
  EXPECT_NE(monitor->snapshot().unfit[0].sentence.find("latest, next, group"), std::string::npos)
      << monitor->snapshot().unfit[0].sentence;
}

TEST_F(NodeTest, AWaitSetIsInterruptedFromAnyThreadAndOnce) {
  Node a = node("a");
  auto set = WaitSet::create();
  ASSERT_TRUE(set);
  auto alone = a.subscribe("x", {}, *set);
  ASSERT_TRUE(alone);
  Publisher publisher = advertise(a, "x");
  ASSERT_TRUE(attached(publisher));
  // Before the wait, and with one stream, whose own sleep would be cheaper.
  set->interrupt();
  EXPECT_EQ(set->wait(std::chrono::steady_clock::now() + 60s), Outcome::interrupted);
  EXPECT_EQ(set->wait(std::chrono::steady_clock::now() + 1ms), Outcome::timeout);
  std::thread other{[&] {
    std::this_thread::sleep_for(20ms);
    set->interrupt();
  }};
  EXPECT_EQ(set->wait(std::chrono::steady_clock::now() + 60s), Outcome::interrupted);
  other.join();
  ASSERT_TRUE(publish(publisher, 5));
  EXPECT_EQ(set->wait(std::chrono::steady_clock::now() + 60s), Outcome::ok);
  EXPECT_TRUE(alone->take());
}

TEST_F(NodeTest, APausedSubscriberEndsNoWait) {
  Node a = node("a");
  auto set = WaitSet::create();
  ASSERT_TRUE(set);
  auto one = a.subscribe("one", {}, *set);
  auto two = a.subscribe("two", {}, *set);
  ASSERT_TRUE(one && two);
  Publisher first = advertise(a, "one");
  Publisher second = advertise(a, "two");
  ASSERT_TRUE(attached(first) && attached(second));
  const auto soon = [] { return std::chrono::steady_clock::now() + 20ms; };
  ASSERT_TRUE(publish(first, 1));
  EXPECT_EQ(set->wait(soon() + 60s), Outcome::ok);
  one->pause(true);
  one->pause(true);
  EXPECT_EQ(set->wait(soon()), Outcome::timeout);
  // A stream that comes in meanwhile is paused too.
  Publisher third = advertise(a, "one");
  ASSERT_TRUE(attached(third));
  ASSERT_TRUE(publish(third, 3));
  EXPECT_EQ(set->wait(soon()), Outcome::timeout);
  ASSERT_TRUE(publish(second, 2));
  EXPECT_EQ(set->wait(soon() + 60s), Outcome::ok);
  EXPECT_EQ(take(*two), 2u);
  EXPECT_EQ(set->wait(soon()), Outcome::timeout);
  EXPECT_TRUE(one->take());  // it can be taken from all the same
  one->pause(false);
  EXPECT_EQ(set->wait(soon() + 60s), Outcome::ok);
  EXPECT_TRUE(one->take());
  EXPECT_EQ(set->wait(soon()), Outcome::timeout);
}

TEST_F(NodeTest, AReceiptAcknowledgesWhatWasGivenAway) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.lanes = {{.depth = 2}};
  o.on_full = OnFull::fail;
  Publisher publisher = advertise(a, "x", o);
  Subscriber subscriber = subscribe(a, "x", {.mode = DeliveryMode::reliable});
  ASSERT_TRUE(attached(publisher));
  ASSERT_TRUE(publish(publisher, 1));
  ASSERT_TRUE(publish(publisher, 2));
  Sample first = next(subscriber);
  Sample second = next(subscriber);
  ASSERT_TRUE(first && second);
  const Receipt one = subscriber.receipt(first);
  const Receipt two = subscriber.receipt(second);
  first.release();
  second.release();
  EXPECT_FALSE(subscriber.receipt(first)) << "of an empty sample";
  EXPECT_FALSE(publish(publisher, 3)) << "released is not acknowledged";
  subscriber.acknowledge(two);
  EXPECT_FALSE(publish(publisher, 3)) << "the oldest is not";
  subscriber.acknowledge(one);
  subscriber.acknowledge(one);
  subscriber.acknowledge(Receipt{});
  EXPECT_TRUE(publish(publisher, 3));
  EXPECT_EQ(subscriber.stats().acknowledged, 2u);
}

TEST_F(NodeTest, WhatIsPublishedHasANameThatResolves) {
  Node a = node("a");
  StreamOptions o = numbers();
  o.lanes = {{.depth = 4}, {.depth = 4}};
  Publisher publisher = advertise(a, "x", o);
  Subscriber subscriber = subscribe(a, "x");
  ASSERT_TRUE(attached(publisher));
  for (const Priority lane : {Priority::high, Priority::critical, Priority::high}) {
    Loan loan = publisher.loan(8, lane);
    ASSERT_TRUE(loan);
    Reference name;
    ASSERT_EQ(publisher.publish(std::move(loan), name), Outcome::ok);
    const Sample sample = next(subscriber);
    ASSERT_TRUE(sample);
    EXPECT_EQ(sample.reference(), name);
    Reference none{1, 2, 3, 4};
    EXPECT_EQ(publisher.publish(Loan{}, none), Outcome::empty);
    EXPECT_EQ(none, (Reference{1, 2, 3, 4}));
  }
}

TEST_F(NodeTest, WhoOnlyResolvesForgetsWhatHasEndedWhenItIsOfNoUse) {
  Node a = node("a");
  Subscriber pixels = subscribe(a, "x", {.mode = DeliveryMode::latest});
  Subscriber results = subscribe(a, "x");
  {
    Node b = node("b");
    Publisher publisher = advertise(b, "x");
    ASSERT_TRUE(attached(publisher, 2));
    ASSERT_TRUE(publish(publisher, 7));
    ASSERT_TRUE(eventually([&] { return static_cast<bool>(pixels.stream_count()); }));
    pixels.forget_ended();
    pixels.forget_ended();
    EXPECT_EQ(pixels.stream_count(), 1u) << "it lives";
  }
  const Sample held = next(results);
  ASSERT_TRUE(held);
  // Used between two calls it stays, however often.
  const auto until = std::chrono::steady_clock::now() + 300ms;
  while (std::chrono::steady_clock::now() < until) {
    const Sample original = pixels.resolve(held.reference());
    ASSERT_TRUE(original) << to_string(original.outcome());
    pixels.forget_ended();
  }
  EXPECT_TRUE(eventually([&] {
    pixels.forget_ended();
    return pixels.stream_count() == 0;
  }));
  EXPECT_EQ(pixels.resolve(held.reference()).outcome(), Outcome::mismatch);
}

TEST_F(NodeTest, RefusesInvalidNames) {
  Node a = node("a");
  auto wild = a.advertise("camera/+/frames", numbers());
  ASSERT_FALSE(wild);
  EXPECT_EQ(wild.error().code, Errc::invalid_argument);
  auto filter = a.subscribe("camera/#/frames");
  ASSERT_FALSE(filter);
  EXPECT_EQ(filter.error().code, Errc::invalid_argument);
}

TEST_F(NodeTest, PublishersAndSubscribersOutliveTheirNode) {
  std::optional<Publisher> publisher;
  std::optional<Subscriber> subscriber;
  {
    Node a = node("a");
    publisher = advertise(a, "x");
    subscriber = subscribe(a, "x");
  }
  ASSERT_TRUE(attached(*publisher));
  ASSERT_TRUE(publish(*publisher, 3));
  EXPECT_EQ(take(*subscriber), 3u);
}

}  // namespace
}  // namespace sluice::test
