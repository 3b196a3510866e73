#include "daemons/sluiced/registry.hpp"

#include "tests/support/must.hpp"
#include "tests/unit/daemons/recording_audience.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace sluice::broker {
namespace {

using protocol::Cause;
using protocol::Mode;
using Lines = std::vector<std::string>;

// Nodes 1 (publishes), 2 and 3 (subscribe), 4 (watches). Streams from 10, subscriptions from 20.
class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const Id id : {1, 2, 3, 4}) {
      Node node;
      node.id = id;
      node.name = "node" + std::to_string(id);
      test::must(registry_.add_node(std::move(node)));
    }
  }
  void advertise(Id id, const std::string& topic, const protocol::OfferT& offer = {}, Id node = 1) {
    Stream stream;
    stream.id = id;
    stream.node = node;
    stream.topic = topic;
    stream.offer = offer;
    stream.descriptors.resize(2);
    test::must(registry_.add(std::move(stream)));
    registry_.announce_stream(id);
  }
  void subscribe(Id id, const std::string& filter, Id node = 2, const std::vector<Id>& held = {},
                 Mode mode = Mode::next) {
    Subscription subscription;
    subscription.id = id;
    subscription.node = node;
    subscription.filters = {filter};
    subscription.want.mode = mode;
    for (const Id stream : held) subscription.held[stream] = Page{64, 4096, nullptr};
    test::must(registry_.add(std::move(subscription)));
    registry_.announce_subscription(id);
  }
  void watch(Id id, const std::string& filter) {
    Watch watch;
    watch.id = id;
    watch.node = 4;
    watch.filter = filter;
    test::must(registry_.add(std::move(watch)));
    registry_.announce_watch(id);
  }
  void attach(Id subscription, Id stream) {
    test::must(registry_.ask(stream, subscription, Page{0, 4096, nullptr}));
    EXPECT_TRUE(registry_.admit(stream, subscription));
  }

  RecordingAudience audience_;
  Registry registry_{audience_};
};

TEST_F(RegistryTest, AStreamIsFoundByASubscriptionThatWasThereBefore) {
  subscribe(20, "camera/+");
  EXPECT_EQ(audience_.take(), Lines{});
  advertise(10, "camera/front");
  EXPECT_EQ(audience_.take(), Lines{"found 20 10"});
}

TEST_F(RegistryTest, AStreamIsFoundByASubscriptionThatComesLater) {
  advertise(10, "camera/front");
  subscribe(20, "camera/+");
  EXPECT_EQ(audience_.take(), Lines{"found 20 10"});
}

TEST_F(RegistryTest, OtherTopicsAreNotFound) {
  advertise(10, "camera/front/frames");
  advertise(11, "$sys/camera");
  subscribe(20, "camera/+");
  subscribe(21, "#");
  EXPECT_EQ(audience_.take(), Lines{"found 21 10"});
}

TEST_F(RegistryTest, ATopicHasManyPublishersAndManySubscribers) {
  advertise(10, "t");
  advertise(11, "t", {}, 3);
  subscribe(20, "t");
  subscribe(21, "#", 3);
  EXPECT_EQ(audience_.take(), (Lines{"found 20 10", "found 20 11", "found 21 10", "found 21 11"}));
}

TEST_F(RegistryTest, AStreamThatSeveralFiltersOfASubscriptionMatchIsFoundOnce) {
  Subscription subscription;
  subscription.id = 20;
  subscription.node = 2;
  subscription.filters = {"camera/+", "camera/front", "light/#"};
  subscription.want.mode = Mode::next;
  test::must(registry_.add(std::move(subscription)));
  registry_.announce_subscription(20);
  advertise(10, "camera/front");
  advertise(11, "light/hall/left");
  advertise(12, "door");
  EXPECT_EQ(audience_.take(), (Lines{"found 20 10", "found 20 11"}));
  EXPECT_EQ(audience_.last_matching, (std::map<Id, std::uint32_t>{{10, 1}, {11, 1}}));
}

TEST_F(RegistryTest, AWatcherSeesASubscriptionWhenAnyOfItsFiltersConcernsIt) {
  Subscription subscription;
  subscription.id = 20;
  subscription.node = 2;
  subscription.filters = {"camera/+", "light/#"};
  test::must(registry_.add(std::move(subscription)));
  watch(40, "light/hall");
  watch(41, "door");
  const Lines lines = audience_.take();
  EXPECT_NE(std::find(lines.begin(), lines.end(), "event 40 +subscription 20"), lines.end());
  EXPECT_EQ(std::find(lines.begin(), lines.end(), "event 41 +subscription 20"), lines.end());
}

TEST_F(RegistryTest, AStreamsSubscriptionsAreCountedFromFoundToDetached) {
  advertise(10, "t");
  EXPECT_EQ(registry_.stream(10)->matching, 0u);
  subscribe(20, "t");
  subscribe(21, "+", 3);
  subscribe(22, "other");
  EXPECT_EQ(registry_.stream(10)->matching, 2u);
  attach(20, 10);
  EXPECT_EQ(registry_.stream(10)->matching, 2u) << "found or attached is the same";
  registry_.detach(10, 20, true);
  EXPECT_EQ(audience_.last_matching[10], 1u);
  registry_.detach(10, 20, true);
  EXPECT_EQ(registry_.stream(10)->matching, 1u) << "once only";
  attach(20, 10);
  EXPECT_EQ(registry_.stream(10)->matching, 2u) << "it may attach again";
  registry_.detach(10, 21, true);
  EXPECT_EQ(registry_.stream(10)->matching, 1u) << "it could not be attached";
  registry_.remove_node(2, Cause::died);
  EXPECT_EQ(registry_.stream(10)->matching, 0u);
  EXPECT_EQ(audience_.last_matching[10], 0u);
}

TEST_F(RegistryTest, WhatWasHeldThroughARestartCountsAsMatching) {
  subscribe(20, "t", 2, {10});
  advertise(10, "t");
  EXPECT_EQ(registry_.stream(10)->matching, 1u);
}

TEST_F(RegistryTest, CountsBeforeAStreamIsAnnouncedWhoWillMeetIt) {
  subscribe(20, "t");
  subscribe(21, "t", 3, {}, Mode::group);
  Stream stream;
  stream.topic = "t";
  EXPECT_EQ(registry_.count_fitting(stream), 2u);
  stream.offer.group = false;
  EXPECT_EQ(registry_.count_fitting(stream), 1u);
  stream.topic = "other";
  EXPECT_EQ(registry_.count_fitting(stream), 0u);
}

TEST_F(RegistryTest, AnInboxIsOnlyForTheNodeOfItsName) {
  subscribe(20, "inbox/node2");
  subscribe(21, "#", 3);
  subscribe(22, "inbox/+", 2);
  subscribe(23, "inbox/node2", 3);
  advertise(10, "inbox/node2");
  EXPECT_EQ(audience_.take(), (Lines{"found 20 10", "found 22 10"}));
  EXPECT_EQ(registry_.stream(10)->matching, 2u);
  EXPECT_FALSE(registry_.ask(10, 21, {})) << "nor by asking without having been told";
  EXPECT_FALSE(registry_.ask(10, 23, {}));
  advertise(11, "inbox/node2/more");
  EXPECT_EQ(audience_.take(), Lines{});
  advertise(12, "inbox");
  EXPECT_EQ(audience_.take(), Lines{"found 21 12"}) << "which is a topic like others";
}

TEST_F(RegistryTest, ARecorderGetsNothingThatIsSensitiveAndNobodyIsToldSo) {
  protocol::OfferT offer;
  offer.sensitive = true;
  watch(40, "#");
  Subscription recorder;
  recorder.id = 20;
  recorder.node = 2;
  recorder.filters = {"#"};
  recorder.want.mode = Mode::next;
  recorder.want.recorder = true;
  test::must(registry_.add(std::move(recorder)));
  registry_.announce_subscription(20);
  subscribe(21, "#", 3);
  audience_.take();
  advertise(10, "t", offer);
  EXPECT_EQ(audience_.take(), (Lines{"event 40 +stream 10", "found 21 10"}));
  EXPECT_EQ(registry_.stream(10)->matching, 1u);
  EXPECT_FALSE(registry_.ask(10, 20, {}));
  advertise(11, "t");
  EXPECT_EQ(audience_.take("found"), (Lines{"found 20 11", "found 21 11"}));
}

TEST_F(RegistryTest, AModeThatIsNotOfferedIsUnfitInBothOrders) {
  protocol::OfferT offer;
  offer.reliable = false;
  offer.group = false;
  advertise(10, "t", offer);
  subscribe(20, "t", 2, {}, Mode::reliable);
  EXPECT_EQ(audience_.take(), Lines{"unfit 20 10"});
  EXPECT_EQ(audience_.last_sentence,
            "the subscription wants mode reliable, the publisher offers: latest, next");
  advertise(11, "t", offer);
  EXPECT_EQ(audience_.take(), Lines{"unfit 20 11"});
  EXPECT_FALSE(registry_.ask(10, 20, {}));
}

TEST_F(RegistryTest, WhatIsUnfitIsVisibleToWatchersNowAndLater) {
  watch(40, "#");
  audience_.take();
  protocol::OfferT offer;
  offer.next = false;
  advertise(10, "t", offer);
  subscribe(20, "t");
  EXPECT_EQ(audience_.take(), (Lines{"event 40 +stream 10", "event 40 +subscription 20",
                                     "unfit 20 10", "event 40 +unfit 20 10"}));
  watch(41, "t");
  const Lines snapshot = audience_.take();
  EXPECT_EQ(snapshot[snapshot.size() - 2], "event 41 +unfit 20 10");
}

TEST_F(RegistryTest, AttachingIsAskedAdmittedAndSeen) {
  watch(40, "t");
  advertise(10, "t");
  subscribe(20, "t");
  audience_.take();
  ASSERT_TRUE(registry_.ask(10, 20, Page{128, 4096, nullptr}));
  EXPECT_EQ(audience_.take(), Lines{});
  EXPECT_FALSE(registry_.ask(10, 20, {})) << "once only";
  EXPECT_TRUE(registry_.admit(10, 20));
  EXPECT_FALSE(registry_.admit(10, 20));
  EXPECT_EQ(audience_.take(), Lines{"event 40 +attachment 20 10"});
}

TEST_F(RegistryTest, OnlyPairsThatMatchMayAttach) {
  advertise(10, "t");
  subscribe(20, "other");
  EXPECT_FALSE(registry_.ask(10, 20, {}));
  EXPECT_FALSE(registry_.ask(10, 99, {}));
  EXPECT_FALSE(registry_.ask(99, 20, {}));
}

TEST_F(RegistryTest, DetachingTellsThePublisher) {
  advertise(10, "t");
  subscribe(20, "t");
  attach(20, 10);
  audience_.take();
  registry_.detach(10, 20, true);
  EXPECT_EQ(audience_.take(), Lines{"leave 10 20"});
  registry_.detach(10, 20, true);
  EXPECT_EQ(audience_.take(), Lines{}) << "nothing is left to detach";
  attach(20, 10);
}

TEST_F(RegistryTest, APublisherThatEvictedIsNotToldAgainButWatchersAre) {
  watch(40, "t");
  advertise(10, "t");
  subscribe(20, "t");
  attach(20, 10);
  audience_.take();
  registry_.detach(10, 20, false, "evicted: too slow");
  EXPECT_EQ(audience_.take(), Lines{"event 40 -attachment 20 10"});
  EXPECT_EQ(audience_.last_sentence, "evicted: too slow");
}

TEST_F(RegistryTest, AnEndedSubscriptionLeavesAllItsStreams) {
  advertise(10, "a");
  advertise(11, "b");
  subscribe(20, "+");
  attach(20, 10);
  ASSERT_TRUE(registry_.ask(11, 20, {})) << "asked, not admitted";
  audience_.take();
  registry_.end_subscription(20);
  EXPECT_EQ(audience_.take(), (Lines{"leave 10 20", "leave 11 20", "ended subscription 20"}));
}

// Whom the broker before this one attached, without living to tell: the publisher may know it.
TEST_F(RegistryTest, AnEndedSubscriptionLeavesWhatItNeverAskedForToo) {
  advertise(10, "a");
  subscribe(20, "+");
  audience_.take();
  registry_.end_subscription(20);
  EXPECT_EQ(audience_.take(), (Lines{"leave 10 20", "ended subscription 20"}));
}

TEST_F(RegistryTest, AnEndedStreamIsGoneForEachNodeOnce) {
  advertise(10, "t");
  subscribe(20, "t", 2);
  subscribe(21, "#", 2);
  subscribe(22, "t", 3);
  subscribe(23, "other", 4);
  attach(20, 10);
  audience_.take();
  registry_.end_stream(10, Cause::withdrawn);
  EXPECT_EQ(audience_.take(),
            (Lines{"gone withdrawn 2 10", "gone withdrawn 3 10", "ended stream 10"}));
  EXPECT_TRUE(registry_.subscription(20)->attached.empty());
}

TEST_F(RegistryTest, ANodeThatGoesTakesEverythingWithIt) {
  advertise(10, "t");
  subscribe(20, "t", 2);
  subscribe(21, "u", 1);
  attach(20, 10);
  audience_.take();
  registry_.remove_node(1, Cause::died);
  EXPECT_EQ(audience_.take(),
            (Lines{"ended subscription 21", "gone died 2 10", "ended stream 10"}));
  EXPECT_EQ(registry_.node(1), nullptr);
  EXPECT_TRUE(registry_.streams().empty());
  registry_.remove_node(2, Cause::died);
  EXPECT_TRUE(registry_.subscriptions().empty());
}

TEST_F(RegistryTest, AStuckNodeIsShownAndKept) {
  watch(40, "t");
  advertise(10, "t");
  audience_.take();
  registry_.set_stuck(1, true);
  registry_.set_stuck(1, true);
  EXPECT_EQ(audience_.take(), Lines{"event 40 ~node 1 stuck"});
  registry_.set_stuck(1, false);
  EXPECT_EQ(audience_.take(), Lines{"event 40 ~node 1"});
  EXPECT_NE(registry_.stream(10), nullptr);
}

TEST_F(RegistryTest, IdsBelongToOneThing) {
  advertise(10, "t");
  Stream stream;
  stream.id = 10;
  stream.node = 2;
  EXPECT_FALSE(registry_.add(std::move(stream)));
  Stream without_id;
  without_id.node = 2;
  EXPECT_FALSE(registry_.add(std::move(without_id)));
  registry_.end_stream(10, Cause::withdrawn);
  EXPECT_TRUE(registry_.node(1)->streams.empty());
  advertise(10, "t");
}

// --- after a restart of the broker
// -------------------------------------------------------------------

TEST_F(RegistryTest, AHeldAttachmentIsTakenUpWhenTheStreamCameFirst) {
  advertise(10, "t");
  subscribe(20, "t", 2, {10});
  EXPECT_EQ(audience_.take(), Lines{}) << "both have it already";
  ASSERT_NE(registry_.attachment(10, 20), nullptr);
  EXPECT_TRUE(registry_.attachment(10, 20)->admitted);
  EXPECT_EQ(registry_.attachment(10, 20)->page.offset, 64u);
}

TEST_F(RegistryTest, AHeldAttachmentIsTakenUpWhenTheSubscriptionCameFirst) {
  subscribe(20, "t", 2, {10});
  EXPECT_EQ(registry_.attachment(10, 20), nullptr);
  advertise(10, "t");
  EXPECT_EQ(audience_.take(), Lines{});
  EXPECT_NE(registry_.attachment(10, 20), nullptr);
}

TEST_F(RegistryTest, WhatAppearedMeanwhileIsFoundBesideWhatIsHeld) {
  advertise(11, "t");
  subscribe(20, "t", 2, {10});
  EXPECT_EQ(audience_.take(), Lines{"found 20 11"});
  advertise(10, "t");
  advertise(12, "t");
  EXPECT_EQ(audience_.take(), Lines{"found 20 12"});
}

TEST_F(RegistryTest, AHeldAttachmentIsDroppedOnce) {
  subscribe(20, "t", 2, {10});
  registry_.detach(10, 20, true);
  EXPECT_EQ(audience_.take(), Lines{}) << "no publisher to tell";
  advertise(10, "t");
  EXPECT_EQ(audience_.take(), Lines{"found 20 10"});
}

TEST_F(RegistryTest, AHeldAttachmentThatDoesNotMatchIsNotBelieved) {
  subscribe(20, "t", 2, {10});
  advertise(10, "secret");
  EXPECT_EQ(audience_.take(), Lines{});
  EXPECT_EQ(registry_.attachment(10, 20), nullptr);
}

TEST_F(RegistryTest, TheArenaOfAHeldAttachmentMayComeBeforeAndAfterTheStream) {
  const SharedFd arena = transport::share(shm::UniqueFd{});
  watch(40, "t");
  subscribe(20, "t", 2, {10, 11});
  EXPECT_TRUE(registry_.set_arena(10, 20, arena));
  advertise(10, "t");
  audience_.take("x");
  advertise(11, "t");
  EXPECT_TRUE(registry_.set_arena(11, 20, arena));
  EXPECT_EQ(audience_.take("event"), (Lines{"event 40 +stream 11", "event 40 +attachment 20 11",
                                            "event 40 ~attachment 20 11 fd"}));
  EXPECT_FALSE(registry_.set_arena(11, 20, arena)) << "there is one";
  EXPECT_FALSE(registry_.set_arena(12, 20, arena));
}

// --- pools
// --------------------------------------------------------------------------------------------

TEST_F(RegistryTest, ANewPoolIsPassedOnToThoseWhoKnowTheStream) {
  advertise(10, "t");
  subscribe(20, "t", 2);
  subscribe(21, "other", 3);
  audience_.take();
  EXPECT_FALSE(registry_.add_pool(10, 0, nullptr, false)) << "0 is there";
  EXPECT_FALSE(registry_.add_pool(10, 2, nullptr, false)) << "1 is next";
  EXPECT_TRUE(registry_.add_pool(10, 1, nullptr, false));
  EXPECT_EQ(audience_.take(), Lines{"pool 1 2 10"});
  EXPECT_EQ(registry_.stream(10)->descriptors.size(), 3u);
}

// --- watching
// -----------------------------------------------------------------------------------------

TEST_F(RegistryTest, AWatchBeginsWithASnapshotOfWhatItsFilterCovers) {
  advertise(10, "a");
  advertise(11, "b");
  subscribe(20, "a");
  subscribe(21, "#", 3);
  attach(20, 10);
  audience_.take();
  watch(40, "a");
  EXPECT_EQ(audience_.take(),
            (Lines{"event 40 +node 1", "event 40 +node 2", "event 40 +node 3", "event 40 +node 4",
                   "event 40 +stream 10", "event 40 +subscription 20", "event 40 +attachment 20 10",
                   "event 40 +subscription 21", "event 40 +end"}));
}

TEST_F(RegistryTest, AWatchSeesChangesUntilItEnds) {
  watch(40, "a");
  audience_.take();
  advertise(10, "a");
  advertise(11, "b");
  registry_.end_stream(10, Cause::withdrawn);
  EXPECT_EQ(audience_.take("event"), (Lines{"event 40 +stream 10", "event 40 -stream 10"}));
  registry_.end_watch(40);
  EXPECT_EQ(audience_.take(), Lines{"ended watch 40"});
  advertise(12, "a");
  EXPECT_EQ(audience_.take(), Lines{});
}

TEST_F(RegistryTest, AWatchEndsWithItsNode) {
  watch(40, "#");
  registry_.remove_node(4, Cause::died);
  EXPECT_TRUE(registry_.watches().empty());
}

}  // namespace
}  // namespace sluice::broker
