// What honest clients get.
#include "daemons/sluiced/broker.hpp"

#include "tests/unit/daemons/broker_fixture.hpp"

#include <sys/eventfd.h>

#include <filesystem>
#include <optional>

namespace sluice::broker {
namespace {

using test::FakeArena;
using test::FakeStream;

std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++n;
  }
  return n;
}

// Publisher node 1, subscriber node 2 with subscription 20, which has found the stream.
class BrokerTest : public BrokerFixture {
 protected:
  void introduce() {
    publisher_.emplace(node(1));
    subscriber_.emplace(node(2));
    ASSERT_TRUE(publisher_->advertise(stream_, "camera/front")) << publisher_->failure.message;
    ASSERT_TRUE(subscriber_->subscribe(20, "camera/+")) << subscriber_->failure.message;
    ASSERT_TRUE(subscriber_->next<protocol::FoundT>());
  }
  void attach() {
    introduce();
    subscriber_->ask(20, stream_.id, arena_);
    ASSERT_TRUE(publisher_->admit(wake_));
    ASSERT_TRUE(subscriber_->next<protocol::AdmittedT>());
  }
  void detach() {
    protocol::DetachT detach;
    detach.subscription_id = 20;
    detach.stream_id = stream_.id;
    subscriber_->send(std::move(detach), {}, false);
  }
  // The next Failed that answers a request.
  std::string failure() {
    const auto failed = subscriber_->next<protocol::FailedT>();
    return failed ? failed->message.body.AsFailed()->message : "nothing failed";
  }

  FakeStream stream_;
  FakeArena arena_, wake_;
  std::optional<BrokerClient> publisher_, subscriber_;
};

TEST_F(BrokerTest, WelcomesWithItsIdAndTheHeartbeat) {
  BrokerClient client = node(1);
  EXPECT_EQ(client.welcome.protocol, transport::kProtocolVersion);
  EXPECT_NE(client.welcome.broker_id, 0u);
  EXPECT_EQ(client.welcome.heartbeat_ms, 2500u);
}

TEST_F(BrokerTest, TellsASubscriberAllThatItNeedsToAttach) {
  publisher_.emplace(node(1));
  subscriber_.emplace(node(2));
  ASSERT_TRUE(subscriber_->subscribe(20, "camera/+"));
  ASSERT_TRUE(publisher_->advertise(stream_, "camera/front"));
  const auto message = subscriber_->next<protocol::FoundT>();
  ASSERT_TRUE(message);
  const protocol::FoundT& found = *message->message.body.AsFound();
  EXPECT_EQ(found.subscription_id, 20u);
  EXPECT_EQ(found.stream_id, stream_.id);
  EXPECT_EQ(found.topic, "camera/front");
  EXPECT_EQ(found.node_id, 1u);
  EXPECT_EQ(found.node, "node1");
  EXPECT_EQ(found.uid, ::geteuid());
  EXPECT_EQ(message->descriptors.size(), 2u);
}

TEST_F(BrokerTest, APublisherIsToldHowManySubscriptionsMatch) {
  subscriber_.emplace(node(2));
  ASSERT_TRUE(subscriber_->subscribe(20, "camera/+"));
  publisher_.emplace(node(1));
  ASSERT_TRUE(publisher_->advertise(stream_, "camera/front"));
  EXPECT_EQ(publisher_->advertised.matching, 1u) << "at once";
  EXPECT_FALSE(publisher_->has<protocol::MatchingT>()) << "nothing new";
  const auto told = [&] {
    const auto message = publisher_->next<protocol::MatchingT>();
    if (!message) return -1;
    EXPECT_EQ(message->message.body.AsMatching()->stream_id, stream_.id);
    return static_cast<int>(message->message.body.AsMatching()->count);
  };
  ASSERT_TRUE(subscriber_->subscribe(21, "#"));
  EXPECT_EQ(told(), 2);
  protocol::UnsubscribeT unsubscribe;
  unsubscribe.subscription_id = 20;
  ASSERT_TRUE(subscriber_->done(unsubscribe));
  EXPECT_EQ(told(), 1);
  subscriber_.reset();
  EXPECT_EQ(told(), 0);
}

TEST_F(BrokerTest, ASubscriberThatCannotAttachIsNotCountedAnyMore) {
  introduce();
  EXPECT_EQ(broker_->registry().stream(stream_.id)->matching, 1u);
  detach();
  turn();
  EXPECT_EQ(broker_->registry().stream(stream_.id)->matching, 0u);
}

TEST_F(BrokerTest, AnIntroductionIsShownToWatchersAndMayNotBeTooLong) {
  BrokerClient watcher = node(7);
  ASSERT_TRUE(watcher.watch(70, "#"));
  BrokerClient client = connect();
  protocol::HelloT hello;
  hello.protocol = transport::kProtocolVersion;
  hello.layout = shm::kLayoutVersion;
  hello.node_id = 8;
  hello.node = "bell";
  hello.version = "1.2";
  hello.capabilities = {"ring", "see"};
  ASSERT_TRUE(client.call(protocol::HelloT{hello}));
  bool seen = false;
  while (const auto message = watcher.next<protocol::EventT>(100)) {
    const protocol::EventT& event = *message->message.body.AsEvent();
    if (event.node_id != 8) continue;
    seen = true;
    EXPECT_EQ(event.version, "1.2");
    EXPECT_EQ(event.capabilities, (std::vector<std::string>{"ring", "see"}));
  }
  EXPECT_TRUE(seen);
  hello.node_id = 9;
  hello.last_words = std::string(1'025, 'x');
  BrokerClient wordy = connect();
  const auto answer = wordy.next<protocol::FailedT>(10);
  EXPECT_FALSE(answer);
  wordy.send(std::move(hello));
  const auto refused = wordy.next<protocol::FailedT>();
  ASSERT_TRUE(refused);
  EXPECT_NE(refused->message.body.AsFailed()->message.find("1,024"), std::string::npos);
  EXPECT_TRUE(wordy.is_closed());
}

TEST_F(BrokerTest, APublisherIsToldWhatTheConfigurationSaysOfItsTopicAndUser) {
  LimitTable limits;
  limits.each_user.messages_per_second = 50;
  const std::vector<TopicRule> topics{{1, "door/#", {false, true}}, {2, "+/pin", {true, false}}};
  broker_->replace(everything(), limits, topics);
  BrokerClient client = node(1);
  const FakeStream door, pin, own, light;
  ASSERT_TRUE(client.advertise(door, "door/bell"));
  EXPECT_TRUE(client.advertised.durable);
  EXPECT_FALSE(client.advertised.sensitive);
  EXPECT_EQ(client.advertised.messages_per_second, 50u);
  ASSERT_TRUE(client.advertise(pin, "door/pin"));
  EXPECT_FALSE(client.advertised.durable) << "sensitive wins";
  EXPECT_TRUE(client.advertised.sensitive);
  protocol::OfferT offer;
  offer.sensitive = true;
  offer.durable = true;
  ASSERT_TRUE(client.advertise(own, "door/own", offer));
  EXPECT_FALSE(client.advertised.durable);
  EXPECT_TRUE(client.advertised.sensitive);
  broker_->replace(everything(), LimitTable{});
  offer.sensitive = false;
  ASSERT_TRUE(client.advertise(light, "door/light", offer));
  EXPECT_FALSE(client.advertised.durable) << "which is not the publisher's to say";
  EXPECT_EQ(client.advertised.messages_per_second, 0u);
  EXPECT_TRUE(broker_->registry().stream(door.id)->offer.durable) << "holds for new streams";
}

TEST_F(BrokerTest, AStreamWithTooLargeMessagesIsRefusedWithTheKey) {
  LimitTable limits;
  limits.each_user.message_bytes = 1'000;
  broker_->replace(everything(), limits);
  BrokerClient client = node(1);
  const FakeStream small{900}, large{2'000};
  EXPECT_TRUE(client.advertise(small, "a")) << client.failure.message;
  EXPECT_FALSE(client.advertise(large, "b"));
  EXPECT_NE(client.failure.message.find("message_bytes"), std::string::npos)
      << client.failure.message;
}

TEST_F(BrokerTest, GoodbyeEndsASession) {
  BrokerClient client = node(1);
  client.send(protocol::GoodbyeT{}, {}, false);
  EXPECT_TRUE(client.is_closed());
  EXPECT_EQ(broker_->registry().node(1), nullptr);
}

TEST_F(BrokerTest, PassesQuestionAndAnswerOn) {
  introduce();
  protocol::AttachT attach;
  attach.subscription_id = 20;
  attach.stream_id = stream_.id;
  attach.page_offset = 128;
  attach.arena_bytes = arena_.bytes();
  attach.has_event = true;
  const SharedFd event = transport::share(shm::UniqueFd{::eventfd(0, EFD_CLOEXEC)});
  const std::uint32_t asked = subscriber_->send(std::move(attach), {arena_.descriptor(), event});

  const auto question = publisher_->next<protocol::AdmitT>();
  ASSERT_TRUE(question);
  const protocol::AdmitT& admit = *question->message.body.AsAdmit();
  EXPECT_EQ(admit.subscription_id, 20u);
  EXPECT_EQ(admit.node, "node2");
  EXPECT_EQ(admit.page_offset, 128u);
  EXPECT_EQ(admit.want->mode, protocol::Mode::next);
  EXPECT_TRUE(admit.has_event);
  EXPECT_TRUE(admit.has_process);
  EXPECT_EQ(question->descriptors.size(), 3u);  // arena, eventfd, pidfd

  protocol::AdmittedT yes;
  yes.reader_id = 7;
  yes.wake_offset = 256;
  yes.arena_bytes = wake_.bytes();
  yes.has_room_event = true;
  publisher_->answer(question->message.request, std::move(yes), {wake_.descriptor(), event});
  const auto answer = subscriber_->next<protocol::AdmittedT>();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.request, asked);
  EXPECT_EQ(answer->message.body.AsAdmitted()->reader_id, 7u);
  EXPECT_EQ(answer->message.body.AsAdmitted()->wake_offset, 256u);
  EXPECT_TRUE(answer->message.body.AsAdmitted()->has_process);
  EXPECT_TRUE(answer->message.body.AsAdmitted()->has_room_event);
  EXPECT_EQ(answer->descriptors.size(), 3u);  // wake arena, eventfd, pidfd
}

TEST_F(BrokerTest, PassesAPublishersNoOn) {
  introduce();
  subscriber_->ask(20, stream_.id, arena_);
  const auto question = publisher_->next<protocol::AdmitT>();
  ASSERT_TRUE(question);
  publisher_->answer(question->message.request,
                     transport::to_failed({Errc::exhausted, 0, "no slots left"}));
  EXPECT_EQ(failure(), "no slots left");
  subscriber_->ask(20, stream_.id, arena_);
  EXPECT_TRUE(publisher_->admit(wake_)) << "it may be asked again";
}

TEST_F(BrokerTest, AnswersWhenThePublisherGoesBeforeItHasAnswered) {
  introduce();
  subscriber_->ask(20, stream_.id, arena_);
  ASSERT_TRUE(publisher_->next<protocol::AdmitT>());
  publisher_.reset();
  EXPECT_EQ(failure(), "the stream has gone");
  const auto gone = subscriber_->next<protocol::GoneT>();
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->message.body.AsGone()->cause, protocol::Cause::died);
}

TEST_F(BrokerTest, TellsThePublisherWhenTheSubscriberGoesBeforeItsAnswer) {
  introduce();
  subscriber_->ask(20, stream_.id, arena_);
  const auto question = publisher_->next<protocol::AdmitT>();
  ASSERT_TRUE(question);
  subscriber_.reset();
  ASSERT_TRUE(publisher_->next<protocol::LeaveT>());
  protocol::AdmittedT late;
  late.arena_bytes = wake_.bytes();
  publisher_->answer(question->message.request, std::move(late), {wake_.descriptor()});
  EXPECT_TRUE(publisher_->advertise(FakeStream{}, "still/welcome"));
}

TEST_F(BrokerTest, ADetachedQuestionIsAnsweredAndItsAnswerForgotten) {
  introduce();
  subscriber_->ask(20, stream_.id, arena_);
  const auto question = publisher_->next<protocol::AdmitT>();
  detach();
  EXPECT_EQ(failure(), "the subscription ended or was detached");
  ASSERT_TRUE(publisher_->next<protocol::LeaveT>());
  const std::uint32_t again = subscriber_->ask(20, stream_.id, arena_);
  protocol::AdmittedT late;
  late.arena_bytes = wake_.bytes();
  publisher_->answer(question->message.request, std::move(late), {wake_.descriptor()});
  EXPECT_FALSE(subscriber_->has<protocol::AdmittedT>()) << "that was the answer to the first one";
  ASSERT_TRUE(publisher_->admit(wake_));
  const auto answer = subscriber_->next<protocol::AdmittedT>();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.request, again);
}

TEST_F(BrokerTest, LeavingIsToldToTheOtherSide) {
  attach();
  detach();
  const auto leave = publisher_->next<protocol::LeaveT>();
  ASSERT_TRUE(leave);
  EXPECT_EQ(leave->message.body.AsLeave()->subscription_id, 20u);
  subscriber_->ask(20, stream_.id, arena_);
  ASSERT_TRUE(publisher_->admit(wake_));

  protocol::UnsubscribeT unsubscribe;
  unsubscribe.subscription_id = 20;
  EXPECT_TRUE(subscriber_->done(std::move(unsubscribe)));
  EXPECT_TRUE(publisher_->next<protocol::LeaveT>());
}

TEST_F(BrokerTest, AWithdrawnStreamIsGoneInOrder) {
  attach();
  protocol::WithdrawT withdraw;
  withdraw.stream_id = stream_.id;
  EXPECT_TRUE(publisher_->done(std::move(withdraw)));
  const auto gone = subscriber_->next<protocol::GoneT>();
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->message.body.AsGone()->cause, protocol::Cause::withdrawn);
  EXPECT_TRUE(publisher_->advertise(stream_, "camera/front")) << publisher_->failure.message;
}

TEST_F(BrokerTest, WhatDoesNotFitIsToldToBothEnds) {
  publisher_.emplace(node(1));
  subscriber_.emplace(node(2));
  protocol::OfferT offer;
  offer.reliable = false;
  ASSERT_TRUE(publisher_->advertise(stream_, "t", offer));
  ASSERT_TRUE(subscriber_->subscribe(20, "t", {}, protocol::Mode::reliable));
  const auto one = subscriber_->next<protocol::UnfitT>();
  const auto other = publisher_->next<protocol::UnfitT>();
  ASSERT_TRUE(one && other);
  EXPECT_EQ(one->message.body.AsUnfit()->node, "node1");
  EXPECT_EQ(other->message.body.AsUnfit()->node, "node2");
  EXPECT_NE(one->message.body.AsUnfit()->sentence.find("reliable"), std::string::npos);
  EXPECT_EQ(one->message.body.AsUnfit()->sentence, other->message.body.AsUnfit()->sentence);
}

TEST_F(BrokerTest, ANewPoolIsPassedOn) {
  attach();
  const FakeArena pool;
  protocol::AddPoolT add;
  add.stream_id = stream_.id;
  add.pool = 1;
  ASSERT_TRUE(publisher_->done(std::move(add), {pool.descriptor()})) << publisher_->failure.message;
  const auto added = subscriber_->next<protocol::PoolAddedT>();
  ASSERT_TRUE(added);
  EXPECT_EQ(added->message.body.AsPoolAdded()->pool, 1u);
  EXPECT_EQ(added->descriptors.size(), 1u);
}

TEST_F(BrokerTest, ANodeThatConnectsAgainTakesThePlaceOfItsOldConnection) {
  introduce();
  BrokerClient again = node(1);
  EXPECT_TRUE(publisher_->is_closed());
  EXPECT_TRUE(subscriber_->next<protocol::GoneT>());
  ASSERT_TRUE(again.advertise(stream_, "camera/front")) << again.failure.message;
  EXPECT_TRUE(subscriber_->next<protocol::FoundT>());
}

// --- after a restart
// ---------------------------------------------------------------------------------

TEST_F(BrokerTest, AfterARestartWhatIsAttachedStaysSo) {
  for (const bool publisher_first : {true, false}) {
    attach();
    restart();
    publisher_.emplace(node(1));
    subscriber_.emplace(node(2));
    const auto publish = [&] { ASSERT_TRUE(publisher_->advertise(stream_, "camera/front")); };
    if (publisher_first) publish();
    ASSERT_TRUE(subscriber_->subscribe(20, "camera/+", {{stream_.id, 128, arena_.bytes()}}));
    protocol::HeldArenaT held;
    held.subscription_id = 20;
    held.stream_id = stream_.id;
    subscriber_->send(std::move(held), {arena_.descriptor()}, false);
    if (!publisher_first) publish();
    EXPECT_FALSE(subscriber_->has<protocol::FoundT>());
    EXPECT_FALSE(publisher_->has<protocol::AdmitT>());
    const Attachment* attachment = broker_->registry().attachment(stream_.id, 20);
    ASSERT_NE(attachment, nullptr);
    EXPECT_EQ(attachment->page.offset, 128u);
    EXPECT_NE(attachment->page.arena, nullptr);
    detach();
    EXPECT_TRUE(publisher_->next<protocol::LeaveT>());
    restart();
  }
}

// --- watching
// ----------------------------------------------------------------------------------------

TEST_F(BrokerTest, AMonitorGetsTheDescriptorsOfCounters) {
  attach();
  BrokerClient monitor = node(3);
  ASSERT_TRUE(monitor.watch(40, "#", true));
  std::size_t streams = 0, attachments = 0;
  for (;;) {
    const auto message = monitor.next<protocol::EventT>();
    ASSERT_TRUE(message);
    const protocol::EventT& event = *message->message.body.AsEvent();
    EXPECT_EQ(event.watch_id, 40u);
    if (event.kind == protocol::Kind::end_of_snapshot) break;
    if (event.kind == protocol::Kind::stream) streams += message->descriptors.size();
    if (event.kind == protocol::Kind::attachment) attachments += message->descriptors.size();
  }
  EXPECT_EQ(streams, 1u) << "the control segment, no pool";
  EXPECT_EQ(attachments, 1u);

  subscriber_.reset();
  const auto gone = monitor.next<protocol::EventT>();
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->message.body.AsEvent()->kind, protocol::Kind::attachment);
  EXPECT_EQ(gone->message.body.AsEvent()->change, protocol::Change::gone);
}

TEST_F(BrokerTest, AWatchWithoutCountersGetsNoDescriptors) {
  attach();
  BrokerClient watcher = node(3);
  ASSERT_TRUE(watcher.watch(40, "#"));
  for (;;) {
    const auto message = watcher.next<protocol::EventT>();
    ASSERT_TRUE(message);
    EXPECT_TRUE(message->descriptors.empty());
    if (message->message.body.AsEvent()->kind == protocol::Kind::end_of_snapshot) break;
  }
  protocol::UnwatchT unwatch;
  unwatch.watch_id = 40;
  EXPECT_TRUE(watcher.done(std::move(unwatch)));
  publisher_.reset();
  EXPECT_FALSE(watcher.has<protocol::EventT>());
}

TEST_F(BrokerTest, AnEvictionIsShownToWatchers) {
  attach();
  BrokerClient watcher = node(3);
  ASSERT_TRUE(watcher.watch(40, "#"));
  while (watcher.next<protocol::EventT>()->message.body.AsEvent()->kind !=
         protocol::Kind::end_of_snapshot) {
  }
  protocol::EvictedT evicted;
  evicted.stream_id = stream_.id;
  evicted.subscription_id = 20;
  evicted.cause = "too slow";
  publisher_->send(std::move(evicted), {}, false);
  const auto event = watcher.next<protocol::EventT>();
  ASSERT_TRUE(event);
  EXPECT_EQ(event->message.body.AsEvent()->sentence, "evicted: too slow");
}

// --- what is left
// ------------------------------------------------------------------------------------

TEST_F(BrokerTest, KeepsNoDescriptorOfWhatHasGone) {
  attach();
  publisher_.reset();
  subscriber_.reset();
  turn();
  const std::size_t before = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    attach();
    if (i % 2 == 0) detach();
    if (i % 3 == 0) publisher_.reset();
    subscriber_.reset();
    publisher_.reset();
    turn();
  }
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_EQ(broker_->session_count(), 0u);
  EXPECT_TRUE(broker_->registry().nodes().empty());
}

TEST_F(BrokerTest, PagesOfOneArenaShareADescriptor) {
  introduce();
  ASSERT_TRUE(subscriber_->subscribe(21, "camera/+"));
  for (const Id subscription : {20, 21}) {
    subscriber_->ask(subscription, stream_.id, arena_);
    ASSERT_TRUE(publisher_->admit(wake_));
    ASSERT_TRUE(subscriber_->next<protocol::AdmittedT>());
  }
  EXPECT_EQ(broker_->registry().attachment(stream_.id, 20)->page.arena,
            broker_->registry().attachment(stream_.id, 21)->page.arena);
}

}  // namespace
}  // namespace sluice::broker
