// What others get: those who are not allowed, want too much, or send what they should not.
#include "tests/unit/daemons/broker_fixture.hpp"

#include <fcntl.h>
#include <sys/mman.h>

namespace sluice::broker {
namespace {

using test::FakeArena;
using test::FakeStream;

class BrokerRefusalsTest : public BrokerFixture {
 protected:
  static protocol::HelloT hello(Id id, const std::string& name) {
    protocol::HelloT hello;
    hello.protocol = transport::kProtocolVersion;
    hello.layout = shm::kLayoutVersion;
    hello.node_id = id;
    hello.node = name;
    return hello;
  }
  static protocol::AdvertiseT advertisement(Id stream) {
    protocol::AdvertiseT body;
    body.stream_id = stream;
    body.topic = "t";
    body.offer = std::make_unique<protocol::OfferT>();
    return body;
  }
  // Whether the broker answers with Failed and closes; and an honest client is still served.
  void expect_closed(BrokerClient& client, const std::string& word) {
    const auto failed = client.next<protocol::FailedT>();
    ASSERT_TRUE(failed);
    EXPECT_NE(failed->message.body.AsFailed()->message.find(word), std::string::npos)
        << failed->message.body.AsFailed()->message;
    EXPECT_TRUE(client.is_closed());
    BrokerClient honest = node(1000);
    EXPECT_TRUE(honest.subscribe(1001, "t"));
  }
  void expect_descriptors_refused(const std::vector<SharedFd>& fds, Id stream,
                                  const std::string& word) {
    BrokerClient client = node(1);
    client.send(advertisement(stream), fds);
    expect_closed(client, word);
    EXPECT_TRUE(broker_->registry().streams().empty());
  }
};

// --- the opening
// -------------------------------------------------------------------------------------

TEST_F(BrokerRefusalsTest, NothingGoesBeforeHello) {
  BrokerClient client = connect();
  client.send(protocol::PingT{});
  expect_closed(client, "Hello");
}

TEST_F(BrokerRefusalsTest, ASecondHelloEndsIt) {
  BrokerClient client = node(1);
  client.send(hello(1, "again"));
  expect_closed(client, "may not send");
}

TEST_F(BrokerRefusalsTest, OtherVersionsAreToldWhichOneThisIs) {
  BrokerClient client = connect();
  protocol::HelloT other = hello(1, "other");
  other.layout += 1;
  client.send(std::move(other));
  expect_closed(client, "layout " + std::to_string(shm::kLayoutVersion));
}

TEST_F(BrokerRefusalsTest, NamesThatCouldBeMistakenForTopicsOrLogLines) {
  for (const std::string name : {"", "a/b", "#", "+", "$sys", "a\nb", "\xff", "a\x7f"}) {
    BrokerClient client = connect();
    client.send(hello(1, name));
    expect_closed(client, "a node's name");
  }
  BrokerClient long_name = connect();
  EXPECT_FALSE(long_name.hello(1, std::string(256, 'x')));
  BrokerClient fine = connect();
  EXPECT_TRUE(fine.hello(1, "Käse 2.0 (front)")) << fine.failure.message;
}

TEST_F(BrokerRefusalsTest, WhoMayDoNothingMayNotConnect) {
  Rule rule;
  rule.users = {{"somebody", ::geteuid() + 1}};
  broker_->replace(Policy{Rules{"test.toml", {rule}, {}}, ::geteuid(), ::getegid()}, {});
  BrokerClient client = connect();
  client.send(hello(1, "x"));
  EXPECT_TRUE(client.next<protocol::FailedT>());
  EXPECT_TRUE(client.is_closed());
}

// --- messages
// ----------------------------------------------------------------------------------------

TEST_F(BrokerRefusalsTest, WhatIsNoMessageEndsIt) {
  for (const std::string& bytes :
       {std::string("x"), std::string(64, '\xff'), std::string(4096, '\0')}) {
    BrokerClient client = node(1);
    ASSERT_GT(::send(client.connection().fd(), bytes.data(), bytes.size(), 0), 0);
    expect_closed(client, "not a message");
  }
}

TEST_F(BrokerRefusalsTest, WhatOnlyTheBrokerSaysEndsIt) {
  BrokerClient client = node(1);
  client.send(protocol::GoneT{});
  expect_closed(client, "may not send");
}

TEST_F(BrokerRefusalsTest, AnswersToWhatWasNotAskedEndIt) {
  BrokerClient client = node(1);
  client.answer(77, protocol::AdmittedT{});
  expect_closed(client, "nothing was asked");
  BrokerClient other = node(1);
  other.answer(77, protocol::FailedT{});
  expect_closed(other, "nothing was asked");
}

TEST_F(BrokerRefusalsTest, WhatBelongsToOthersCannotBeTouched) {
  BrokerClient owner = node(1);
  const FakeStream stream;
  ASSERT_TRUE(owner.advertise(stream, "t"));
  ASSERT_TRUE(owner.subscribe(20, "t"));
  ASSERT_TRUE(owner.watch(40, "t"));
  BrokerClient other = node(2);
  protocol::WithdrawT withdraw;
  withdraw.stream_id = stream.id;
  EXPECT_FALSE(other.done(std::move(withdraw)));
  protocol::UnsubscribeT unsubscribe;
  unsubscribe.subscription_id = 20;
  EXPECT_FALSE(other.done(std::move(unsubscribe)));
  protocol::UnwatchT unwatch;
  unwatch.watch_id = 40;
  EXPECT_FALSE(other.done(std::move(unwatch)));
  EXPECT_FALSE(other.advertise(stream, "t")) << "the id is taken";
  other.ask(20, stream.id, FakeArena{});
  EXPECT_TRUE(other.next<protocol::FailedT>());
  EXPECT_TRUE(other.subscribe(21, "t")) << "and it is still connected";
}

TEST_F(BrokerRefusalsTest, TopicsAndFiltersAreChecked) {
  BrokerClient client = node(1);
  EXPECT_FALSE(client.advertise(FakeStream{}, "a/+"));
  EXPECT_FALSE(client.advertise(FakeStream{}, ""));
  EXPECT_FALSE(client.subscribe(20, "a/#/b"));
  EXPECT_FALSE(client.watch(40, ""));
  EXPECT_FALSE(client.subscribe(20, "a", {}, protocol::Mode::none));
  EXPECT_FALSE(client.subscribe(0, "a"));
  EXPECT_TRUE(client.subscribe(20, "a"));
}

// --- descriptors
// -------------------------------------------------------------------------------------

TEST_F(BrokerRefusalsTest, DescriptorsThatAreNoMemory) {
  const SharedFd null = transport::share(shm::UniqueFd{::open("/dev/null", O_RDWR | O_CLOEXEC)});
  expect_descriptors_refused({null, null}, 5, "not a memfd");
  expect_descriptors_refused({null}, 5, "a control segment and a pool");
  expect_descriptors_refused({}, 5, "a control segment and a pool");
}

TEST_F(BrokerRefusalsTest, MemoryThatIsNotSealed) {
  const FakeStream stream;
  const SharedFd open_memory =
      transport::share(shm::UniqueFd{::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING)});
  ASSERT_EQ(::ftruncate(open_memory->get(), 65536), 0);
  expect_descriptors_refused({open_memory, stream.descriptors()[1]}, stream.id, "not sealed");
  expect_descriptors_refused({stream.descriptors()[0], open_memory}, stream.id, "not sealed");
}

TEST_F(BrokerRefusalsTest, MemoryThatIsNotWhatItsHeaderSays) {
  const FakeStream stream;
  const FakeStream other{1 << 20};
  const FakeArena no_stream;
  expect_descriptors_refused(stream.descriptors(), stream.id + 1, "another id");
  expect_descriptors_refused({no_stream.descriptor(), stream.descriptors()[1]}, stream.id,
                             "SLUICE01");
  expect_descriptors_refused({stream.descriptors()[0], other.descriptors()[1]}, stream.id, "size");
  std::vector<SharedFd> many = stream.descriptors();
  many.resize(10, many[1]);
  expect_descriptors_refused(many, stream.id, "at most 8 pools");
}

TEST_F(BrokerRefusalsTest, ArenasThatAreNotWhatWasSaid) {
  BrokerClient publisher = node(1);
  const FakeStream stream;
  ASSERT_TRUE(publisher.advertise(stream, "t"));
  for (const bool wrong_size : {true, false}) {
    BrokerClient subscriber = node(2);
    ASSERT_TRUE(subscriber.subscribe(20, "t"));
    const FakeArena arena;
    protocol::AttachT attach;
    attach.subscription_id = 20;
    attach.stream_id = stream.id;
    attach.arena_bytes = arena.bytes() + (wrong_size ? 1 : 0);
    attach.has_event = !wrong_size;
    subscriber.send(std::move(attach), {arena.descriptor()});
    expect_closed(subscriber, "arena");
  }
}

TEST_F(BrokerRefusalsTest, APublisherWhoseAnswerIsNotValidIsEndedAndTheSubscriberTold) {
  BrokerClient publisher = node(1);
  const FakeStream stream;
  ASSERT_TRUE(publisher.advertise(stream, "t"));
  BrokerClient subscriber = node(2);
  ASSERT_TRUE(subscriber.subscribe(20, "t"));
  subscriber.ask(20, stream.id, FakeArena{});
  const auto question = publisher.next<protocol::AdmitT>();
  ASSERT_TRUE(question);
  publisher.answer(question->message.request, protocol::AdmittedT{});
  const auto failed = subscriber.next<protocol::FailedT>();
  ASSERT_TRUE(failed);
  EXPECT_NE(failed->message.body.AsFailed()->message.find("not valid"), std::string::npos);
  EXPECT_TRUE(publisher.is_closed());
  EXPECT_TRUE(subscriber.next<protocol::GoneT>());
}

// --- limits
// ------------------------------------------------------------------------------------------

TEST_F(BrokerRefusalsTest, LimitsAreNamedAndWhatIsGivenBackMayBeHadAgain) {
  LimitTable limits;
  limits.each_user.streams = 1;
  limits.each_user.subscriptions = 1;
  limits.each_user.bytes = 100 << 20;
  restart(limits);
  BrokerClient client = node(1);
  const FakeStream stream, more;
  protocol::OfferT large;
  large.planned_bytes = UINT64_MAX;
  EXPECT_FALSE(client.advertise(stream, "t", large));
  EXPECT_EQ(client.failure.code, static_cast<std::uint8_t>(Errc::exhausted));
  EXPECT_NE(client.failure.message.find("bytes"), std::string::npos) << client.failure.message;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.advertise(stream, "t")) << client.failure.message;
    EXPECT_FALSE(client.advertise(more, "t"));
    EXPECT_NE(client.failure.message.find("streams"), std::string::npos) << client.failure.message;
    protocol::WithdrawT withdraw;
    withdraw.stream_id = stream.id;
    ASSERT_TRUE(client.done(std::move(withdraw)));
  }
  ASSERT_TRUE(client.subscribe(20, "t"));
  EXPECT_FALSE(client.subscribe(21, "t"));
  EXPECT_NE(client.failure.message.find("subscriptions"), std::string::npos);
}

TEST_F(BrokerRefusalsTest, ConnectionsAreCountedBeforeHello) {
  LimitTable limits;
  limits.each_user.connections = 2;
  restart(limits);
  BrokerClient one = connect();
  {
    BrokerClient two = connect();
    BrokerClient three = connect();
    EXPECT_FALSE(three.hello(3));
    EXPECT_NE(three.failure.message.find("connections"), std::string::npos)
        << three.failure.message;
  }
  turn();
  BrokerClient again = connect();
  EXPECT_TRUE(again.hello(1)) << again.failure.message;
}

TEST_F(BrokerRefusalsTest, WhoSendsTooFastIsToldAndReadLater) {
  LimitTable limits;
  limits.each_user.requests_per_second = 40;
  restart(limits);
  BrokerClient client = node(1);
  for (int i = 0; i < 30; ++i) client.send(protocol::UnsubscribeT{});
  int refused_for_pace = 0;
  for (int i = 0; i < 30; ++i) {
    const auto failed = client.next<protocol::FailedT>();
    ASSERT_TRUE(failed);
    const std::string& sentence = failed->message.body.AsFailed()->message;
    if (sentence.find("requests_per_second") != std::string::npos) ++refused_for_pace;
  }
  EXPECT_GT(refused_for_pace, 0);
  EXPECT_FALSE(client.subscribe(20, "t") && client.subscribe(21, "t") &&
               client.subscribe(22, "t") && client.subscribe(23, "t") &&
               client.subscribe(24, "t") && client.subscribe(25, "t"))
      << "it does not have a burst at once again";
  EXPECT_EQ(broker_->session_count(), 1u);
}

// --- rights
// ------------------------------------------------------------------------------------------

TEST_F(BrokerRefusalsTest, ThePolicySaysWhoMayDoWhat) {
  broker_->replace(only({Action::publish}, {"mine/#"}), {});
  BrokerClient client = node(1);
  EXPECT_TRUE(client.advertise(FakeStream{}, "mine/x")) << client.failure.message;
  EXPECT_FALSE(client.advertise(FakeStream{}, "yours/x"));
  EXPECT_EQ(client.failure.code, static_cast<std::uint8_t>(Errc::refused));
  EXPECT_FALSE(client.subscribe(20, "mine/x"));
  EXPECT_FALSE(client.watch(40, "mine/#"));
}

TEST_F(BrokerRefusalsTest, CountersAreARightOfTheirOwn) {
  broker_->replace(only({Action::subscribe}, {"#"}), {});
  BrokerClient reader = node(1);
  EXPECT_TRUE(reader.watch(40, "#"));
  EXPECT_FALSE(reader.watch(41, "#", true));
  broker_->replace(only({Action::monitor}, {"#"}), {});
  EXPECT_TRUE(reader.watch(42, "#", true));
  EXPECT_FALSE(reader.subscribe(20, "a"));
}

TEST_F(BrokerRefusalsTest, ANewPolicyTakesAwayWhatItNoLongerAllows) {
  BrokerClient publisher = node(1);
  BrokerClient subscriber = node(2);
  const FakeStream kept, denied;
  const FakeArena arena, wake;
  ASSERT_TRUE(publisher.advertise(kept, "kept"));
  ASSERT_TRUE(publisher.advertise(denied, "denied"));
  ASSERT_TRUE(subscriber.subscribe(20, "kept"));
  ASSERT_TRUE(subscriber.subscribe(21, "+"));
  subscriber.ask(21, kept.id, arena);
  ASSERT_TRUE(publisher.admit(wake));
  ASSERT_TRUE(subscriber.next<protocol::AdmittedT>());

  broker_->replace(only({Action::publish, Action::subscribe}, {"kept"}), {});
  const auto lost = subscriber.next<protocol::RevokedT>();
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->message.body.AsRevoked()->subscription_id, 21u);
  const auto leave = publisher.next<protocol::LeaveT>();
  ASSERT_TRUE(leave);
  EXPECT_EQ(leave->message.body.AsLeave()->subscription_id, 21u);
  const auto ended = publisher.next<protocol::RevokedT>();
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->message.body.AsRevoked()->stream_id, denied.id);
  EXPECT_NE(broker_->registry().stream(kept.id), nullptr);
  EXPECT_EQ(broker_->registry().stream(denied.id), nullptr);
  EXPECT_NE(broker_->registry().subscription(20), nullptr);

  Rule nobody;
  nobody.users = {{"somebody", ::geteuid() + 1}};
  broker_->replace(Policy{Rules{"test.toml", {nobody}, {}}, ::geteuid(), ::getegid()}, {});
  EXPECT_TRUE(publisher.is_closed());
  EXPECT_TRUE(subscriber.is_closed());
}

TEST_F(BrokerRefusalsTest, ADeniedStreamIsGoneForThoseWhoReadIt) {
  BrokerClient publisher = node(1);
  BrokerClient subscriber = node(2);
  ASSERT_TRUE(publisher.advertise(FakeStream{}, "t"));
  ASSERT_TRUE(subscriber.subscribe(20, "t"));
  broker_->replace(only({Action::subscribe}, {"t"}), {});
  const auto gone = subscriber.next<protocol::GoneT>();
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->message.body.AsGone()->cause, protocol::Cause::denied);
}

TEST_F(BrokerRefusalsTest, WhoSaysThatMessagesAreOnTheDiskNeedsTheRightToRecord) {
  const auto join = [](BrokerClient& client, Id id) {
    auto body = BrokerClient::subscription(id, "job/#", protocol::Mode::group);
    body.want->group = kRecorderGroup.view();
    return client.done(std::move(body));
  };
  BrokerClient reader = node(1);
  broker_->replace(only({Action::subscribe}, {"job/#"}), {});
  EXPECT_TRUE(reader.subscribe(20, "job/#"));
  EXPECT_FALSE(join(reader, 21));
  EXPECT_NE(reader.failure.message.find("may not record 'job/#'"), std::string::npos)
      << reader.failure.message;
  broker_->replace(only({Action::subscribe, Action::record}, {"job/#"}), {});
  EXPECT_TRUE(join(reader, 22)) << reader.failure.message;
  broker_->replace(only({Action::subscribe}, {"job/#"}), {});
  const auto lost = reader.next<protocol::RevokedT>();
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->message.body.AsRevoked()->subscription_id, 22u);
  EXPECT_NE(broker_->registry().subscription(20), nullptr);
}

// --- silence
// -----------------------------------------------------------------------------------------

TEST_F(BrokerRefusalsTest, AClientThatNeverReadsLosesItsConnection) {
  BrokerClient deaf = node(1);
  ASSERT_TRUE(deaf.watch(40, "#"));
  BrokerClient busy = node(2);
  const std::string filter(60'000, 'x');
  for (int i = 0; i < 300; ++i) {  // each is an event of this length
    ASSERT_TRUE(busy.subscribe(20, filter));
    protocol::UnsubscribeT unsubscribe;
    unsubscribe.subscription_id = 20;
    ASSERT_TRUE(busy.done(std::move(unsubscribe)));
    if (broker_->session_count() == 1) break;
  }
  EXPECT_EQ(broker_->session_count(), 1u);
  EXPECT_TRUE(deaf.is_closed());
}

}  // namespace
}  // namespace sluice::broker
