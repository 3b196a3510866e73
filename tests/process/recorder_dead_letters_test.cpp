// Dead letters with a recorder and without one: looked at, sent again, purged.
#include "sluice/correlation.hpp"
#include "sluice/dead_letter.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/process/recorder_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {
namespace {

class DeadLetterTest : public RecorderTest {
 protected:
  // One dead letter on "order/x", from a process that goes on living.
  void give_up(Node& node, MessagePublisher& orders, const std::string& text) {
    auto subscriber = MessageSubscriber::create(node, "order/#");
    ASSERT_TRUE(subscriber);
    const std::size_t before = orders.stream().subscriber_count();
    ASSERT_TRUE(eventually(
        [&] {
          return orders.stream().subscriber_count() > before ||
                 subscriber->stream().stream_count() != 0;
        },
        kPatience));
    ASSERT_EQ(orders.publish(text), Outcome::ok);
    const Message message = subscriber->receive(in(kPatience));
    ASSERT_TRUE(message);
    DeadLetterRecord why;
    why.reason = DeadLetterReason::max_attempts;
    why.attempts = 3;
    why.first_ns = why.last_ns = 1'700'000'000'000'000'000;
    const std::string error = "the printer is on fire";
    std::copy(error.begin(), error.end(), why.error.begin());
    if (!letters_) letters_.emplace(node);
    const auto put = letters_->put(message, why);
    ASSERT_TRUE(put) << put.error().message;
    ids_.push_back(to_string(message.envelope().id));
  }
  std::optional<DeadLetters> letters_;
  std::vector<std::string> ids_;
};

TEST_F(DeadLetterTest, AreListedShownSentAgainAndPurged) {
  start_recorder();
  Node me = node("worker");
  auto made = MessagePublisher::create(me, "order/x");
  ASSERT_TRUE(made);
  for (const char* text : {"one", "two", "three"}) give_up(me, *made, text);
  std::vector<nlohmann::json> found;
  ASSERT_TRUE(eventually(
      [&] {
        found = lines(tool({"dlq", "ls", "--json"}).second);
        return found.size() == 3;
      },
      kPatience))
      << last_error_;
  EXPECT_EQ(last_error_.find("no recorder"), std::string::npos);
  EXPECT_EQ(found[0]["dead_letter"]["reason"], "max_attempts");
  EXPECT_EQ(found[0]["dead_letter"]["topic"], "order/x");
  EXPECT_EQ(found[0]["dead_letter"]["error"], "the printer is on fire");
  const auto [shown, text] = tool({"dlq", "show", ids_[0]});
  EXPECT_EQ(shown, 0);
  EXPECT_NE(text.find("the printer is on fire"), std::string::npos) << text;
  EXPECT_NE(text.find("one"), std::string::npos) << text;

  // Nobody there: it stays.
  EXPECT_EQ(tool({"dlq", "retry", ids_[0], "--timeout", "0.3"}).first, 1);
  EXPECT_NE(last_error_.find("nobody subscribes"), std::string::npos) << last_error_;
  // Somebody there: it comes as it was, and is gone from the recorder.
  Node worker = node("other-worker");
  MessageSubscriptionOptions reliable;
  reliable.subscription.mode = DeliveryMode::reliable;
  auto orders = MessageSubscriber::create(worker, "order/#", reliable);
  ASSERT_TRUE(orders);
  std::pair<int, std::string> sent;
  std::thread retry{[&] { sent = tool({"dlq", "retry", ids_[0], "--timeout", "20"}); }};
  Message again = orders->receive(in(kPatience));
  EXPECT_TRUE(again);
  if (again) {
    EXPECT_EQ(again.text(), "one");
    EXPECT_EQ(to_string(again.envelope().id), ids_[0]);
    EXPECT_NE(again.envelope().flags & kFlagRedelivered, 0);
    orders->acknowledge(std::move(again));
  }
  retry.join();
  EXPECT_EQ(sent.first, 0) << last_error_;
  EXPECT_EQ(lines(tool({"dlq", "ls", "--json"}).second).size(), 2u);

  const auto [exported, all] = tool({"dlq", "export", "order/#"});
  EXPECT_EQ(exported, 0);
  EXPECT_EQ(lines(all).size(), 2u);
  EXPECT_EQ(tool({"dlq", "purge", ids_[1]}).second, "1 purged\n") << last_error_;
  EXPECT_EQ(lines(tool({"dlq", "ls", "--json"}).second).size(), 1u);
  EXPECT_EQ(tool({"dlq", "purge"}).first, 2);
  EXPECT_EQ(tool({"dlq", "purge", "--all"}).second, "1 purged\n") << last_error_;
  // The process that gave them up still has them in its history; they do not come back.
  end_recorder();
  start_recorder();
  std::this_thread::sleep_for(300ms);
  EXPECT_TRUE(lines(tool({"dlq", "ls", "--json"}).second).empty());
}

TEST_F(DeadLetterTest, ThatFailAgainStayWhereTheyAre) {
  start_recorder();
  Node me = node("worker");
  auto made = MessagePublisher::create(me, "order/x");
  ASSERT_TRUE(made);
  give_up(me, *made, "one");
  ASSERT_TRUE(eventually(
      [&] {
        return lines(tool({"dlq", "ls", "--json"}).second).size() == 1;
      },
      kPatience));
  MessageSubscriptionOptions reliable;
  reliable.subscription.mode = DeliveryMode::reliable;
  reliable.subscription.max_held = 8;
  auto orders = MessageSubscriber::create(me, "order/#", reliable);
  ASSERT_TRUE(orders);
  std::pair<int, std::string> sent;
  std::thread retry{[&] { sent = tool({"dlq", "retry", ids_[0], "--timeout", "20"}); }};
  Message again = orders->receive(in(kPatience));
  EXPECT_TRUE(again);
  if (again) {
    DeadLetterRecord why;
    why.reason = DeadLetterReason::rejected;
    EXPECT_TRUE(letters_->put(again, why));
    // The recorder has it before the one who sent it hears that it is done with.
    EXPECT_TRUE(eventually(
        [&] {
          return lines(tool({"dlq", "ls", "--json"}).second).size() == 2;
        },
        kPatience));
    orders->give_up(std::move(again));
  }
  retry.join();
  EXPECT_EQ(sent.first, 0) << last_error_;
  const auto left = lines(tool({"dlq", "ls", "--json"}).second);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0]["dead_letter"]["times"], 2);
  EXPECT_EQ(left[0]["dead_letter"]["reason"], "rejected");
}

TEST_F(DeadLetterTest, AreSeenWithoutARecorder) {
  Node me = node("worker");
  auto made = MessagePublisher::create(me, "order/x");
  ASSERT_TRUE(made);
  give_up(me, *made, "one");
  const auto [code, text] = tool({"dlq", "ls", "--json"});
  EXPECT_EQ(code, 0);
  ASSERT_EQ(lines(text).size(), 1u) << last_error_;
  EXPECT_NE(last_error_.find("no recorder runs"), std::string::npos);
  EXPECT_EQ(lines(text)[0]["id"], ids_[0]);
  EXPECT_EQ(tool({"dlq", "purge", "--all"}).first, 1);
  EXPECT_EQ(tool({"audit"}).first, 1);
  EXPECT_NE(last_error_.find("start sluice-recorder"), std::string::npos) << last_error_;
}

}  // namespace
}  // namespace sluice
