// Topics with a meaning: each line of docs/configuration.md that says who may what there.
#include "daemons/sluiced/policy.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice::broker {
namespace {

constexpr uid_t kBroker = 500;
constexpr std::uint64_t kFrontId = 0xab;

Identity camera(std::string node = "front") {
  return {1000, 1000, {}, 1, "camera", std::move(node), kFrontId};
}

Rule rule(std::vector<Action> actions, std::vector<std::string> filters) {
  Rule rule;
  rule.actions = std::move(actions);
  rule.filters = std::move(filters);
  return rule;
}

Policy policy_of(std::vector<Rule> allow, std::vector<Rule> deny = {}) {
  return {{"test.toml", std::move(allow), std::move(deny)}, kBroker, kBroker};
}

// May connect, and has a right to nothing.
const Rule kHarmless = rule({Action::monitor}, {"nothing"});
const Policy kNothing = policy_of({kHarmless});
const Policy kDefault{{}, kBroker, kBroker};
const Identity kOwn{kBroker, 1, {}, 1, "sluice", "front", kFrontId};
const Identity kMember{1001, kBroker, {}, 1, "member", "front", kFrontId};
const Identity kRoot{0, 0, {}, 1, "root", "front", kFrontId};

bool publishes(const Policy& policy, const std::string& topic, const Identity& who = camera()) {
  const Verdict verdict = policy.may_publish(who, topic);
  EXPECT_EQ(verdict.allowed, verdict.reason.empty()) << topic;
  return verdict.allowed;
}
bool subscribes(const Policy& policy, const std::string& filter, const Identity& who = camera()) {
  const Verdict verdict = policy.may_subscribe(who, filter);
  EXPECT_EQ(verdict.allowed, verdict.reason.empty()) << filter;
  return verdict.allowed;
}

const std::string kReply = "$reply/door/open/00000000000000ab/7";
const std::string kOthersReply = "$reply/door/open/00000000000000ac/7";

TEST(TopicRules, OrdinaryTopicsGoByTheRules) {
  const Policy policy =
      policy_of({rule({Action::publish}, {"a/#"}), rule({Action::subscribe}, {"b/#", "$state/#"})});
  EXPECT_TRUE(publishes(policy, "a/x"));
  EXPECT_FALSE(publishes(policy, "b/x"));
  EXPECT_TRUE(subscribes(policy, "b/+"));
  EXPECT_FALSE(subscribes(policy, "#"));
  EXPECT_TRUE(subscribes(policy, "$state/lights"));
  EXPECT_FALSE(publishes(policy, "a/+")) << "a topic has no wildcards";
  EXPECT_FALSE(publishes(policy, ""));
  EXPECT_FALSE(subscribes(policy, ""));
}

TEST(TopicRules, RequestingTakesTheRightToRequest) {
  const Policy policy = policy_of({rule({Action::request}, {"door/#"})});
  EXPECT_TRUE(publishes(policy, "$request/door/open"));
  EXPECT_TRUE(publishes(policy, "$request/door")) << "which door/# includes";
  EXPECT_FALSE(publishes(policy, "$request/gate"));
  EXPECT_FALSE(subscribes(policy, "$request/door/open")) << "that would be to serve";
  EXPECT_TRUE(subscribes(policy, kReply));
  EXPECT_FALSE(publishes(policy, kReply));
  EXPECT_FALSE(publishes(policy, "door/open")) << "nor is it a right to the topic of that name";
}

TEST(TopicRules, ServingTakesTheRightToServe) {
  const Policy policy = policy_of({rule({Action::serve}, {"door/+"})});
  EXPECT_TRUE(subscribes(policy, "$request/door/open"));
  EXPECT_TRUE(subscribes(policy, "$request/door/+"));
  EXPECT_FALSE(subscribes(policy, "$request/door/#")) << "more than door/+ includes";
  EXPECT_FALSE(subscribes(policy, "$request/#"));
  EXPECT_FALSE(subscribes(policy, "$request/gate"));
  EXPECT_FALSE(publishes(policy, "$request/door/open"));
  EXPECT_TRUE(publishes(policy, kReply));
  EXPECT_TRUE(publishes(policy, kOthersReply)) << "it answers everybody";
  EXPECT_FALSE(publishes(policy, "$reply/gate/00000000000000ab/7"));
  EXPECT_FALSE(subscribes(policy, kReply));
}

TEST(TopicRules, TheRightToATopicIsNoneToAService) {
  const Policy policy =
      policy_of({rule({Action::publish, Action::subscribe}, {"$request/#", "$reply/#", "#"})});
  EXPECT_FALSE(publishes(policy, "$request/door/open"));
  EXPECT_FALSE(subscribes(policy, "$request/door/open"));
  EXPECT_FALSE(publishes(policy, kReply));
  EXPECT_FALSE(subscribes(policy, kReply));
}

TEST(TopicRules, ANodeReadsTheRepliesToItselfOnly) {
  for (const Policy& policy :
       {policy_of({rule({Action::request}, {"#"})}), policy_of({rule({}, {})})}) {
    EXPECT_TRUE(subscribes(policy, kReply));
    EXPECT_FALSE(subscribes(policy, kOthersReply));
    for (const char* filter :
         {"$reply/#", "$reply/door/open/#", "$reply/door/open/+/7",
          "$reply/+/open/00000000000000ab/7", "$reply/door/open/00000000000000ab/+",
          "$reply/door/open/00000000000000ab/#"}) {
      EXPECT_FALSE(subscribes(policy, filter)) << filter;
    }
  }
}

TEST(TopicRules, RepliesAndRequestsHaveOneForm) {
  const Policy all = policy_of({rule({}, {})});
  for (const char* topic :
       {"$reply", "$reply/", "$reply/door", "$reply/00000000000000ab/7",
        "$reply//00000000000000ab/7", "$reply/door/ab/7", "$reply/door/00000000000000AB/7",
        "$reply/door/00000000000000ag/7", "$reply/door/00000000000000ab/",
        "$reply/door/00000000000000ab/x", "$reply/door/00000000000000ab/-7",
        "$reply/$door/00000000000000ab/7", "$reply/door/00000000000000ab/111111111111111111111"}) {
    EXPECT_FALSE(publishes(all, topic)) << topic;
    EXPECT_FALSE(subscribes(all, topic)) << topic;
  }
  for (const char* topic : {"$request", "$request/", "$request/$sys", "$request/$x/y"}) {
    EXPECT_FALSE(publishes(all, topic)) << topic;
    EXPECT_FALSE(subscribes(all, topic)) << topic;
  }
  EXPECT_TRUE(publishes(all, "$requests/x")) << "which is another topic";
}

TEST(TopicRules, ADenyOfAServiceOrOfItsTopicWins) {
  const Rule all = rule({}, {});
  const Policy service = policy_of({all}, {rule({Action::request}, {"door/#"})});
  EXPECT_FALSE(publishes(service, "$request/door/open"));
  EXPECT_FALSE(subscribes(service, kReply));
  EXPECT_TRUE(subscribes(service, "$request/door/open"));
  const Policy topic = policy_of({all}, {rule({}, {"$request/door/#"})});
  EXPECT_FALSE(publishes(topic, "$request/door/open"));
  EXPECT_FALSE(subscribes(topic, "$request/#"));
  EXPECT_TRUE(publishes(topic, "$request/gate"));
  const Policy publishing = policy_of({all}, {rule({Action::publish}, {})});
  EXPECT_FALSE(publishes(publishing, "a"));
  EXPECT_TRUE(publishes(publishing, "$request/door")) << "to request is another action";
}

TEST(TopicRules, SystemTopicsAreTheBrokersToPublishAndEverybodysToRead) {
  const Policy named = policy_of({rule({Action::publish}, {"$sys/#"})});
  for (const char* topic : {"$sys", "$sys/", "$sys/nodes", "$sys/access", "$sys/errors",
                            "$sys/errors/back", "$sys/errors/front/x"}) {
    EXPECT_FALSE(publishes(named, topic)) << topic;
    EXPECT_FALSE(publishes(kDefault, topic, kOwn)) << topic;
    EXPECT_FALSE(publishes(kNothing, topic, kRoot)) << topic;
  }
  for (const char* filter : {"$sys/#", "$sys/nodes", "$sys/errors/+", "$sys"}) {
    EXPECT_TRUE(subscribes(kNothing, filter)) << filter;
  }
  EXPECT_FALSE(subscribes(kDefault, "$sys/#")) << "of who may not connect";
}

TEST(TopicRules, ANodeReportsItsErrorsItself) {
  EXPECT_TRUE(publishes(kNothing, "$sys/errors/front"));
  EXPECT_FALSE(publishes(kNothing, "$sys/errors/back"));
  EXPECT_FALSE(publishes(kNothing, "$sys/errors/"));
  EXPECT_FALSE(publishes(kDefault, "$sys/errors/front")) << "of who may not connect";
}

TEST(TopicRules, SystemMessagesAreForAdministrators) {
  const std::string topic = "$sys/control/all";
  EXPECT_TRUE(publishes(kDefault, topic, kOwn));
  EXPECT_FALSE(publishes(kDefault, topic, kMember)) << "the group has the default rule only";
  EXPECT_TRUE(publishes(kNothing, topic, kOwn));
  EXPECT_TRUE(publishes(kNothing, topic, kRoot));
  EXPECT_FALSE(publishes(kNothing, topic));
  EXPECT_FALSE(publishes(policy_of({rule({}, {})}), topic)) << "everything is not explicit";
  EXPECT_FALSE(publishes(policy_of({rule({}, {"#"})}), topic));
  EXPECT_FALSE(publishes(policy_of({rule({Action::subscribe}, {"$sys/control/#"})}), topic));
  EXPECT_TRUE(publishes(policy_of({rule({Action::publish}, {"$sys/control/#"})}), topic));
  const Policy one = policy_of({rule({}, {"$sys/control/front"})});
  EXPECT_TRUE(publishes(one, "$sys/control/front"));
  EXPECT_FALSE(publishes(one, topic));
}

TEST(TopicRules, DeadLettersArePublishedByWhoReadsTheTopic) {
  const Policy policy =
      policy_of({rule({Action::subscribe}, {"a/#"}), rule({Action::serve}, {"door"}),
                 rule({Action::publish}, {"b"})});
  EXPECT_TRUE(publishes(policy, "$dlq/a/x"));
  EXPECT_FALSE(publishes(policy, "$dlq/b"));
  EXPECT_TRUE(publishes(policy, "$dlq/$request/door"));
  EXPECT_FALSE(publishes(policy, "$dlq/$request/gate"));
  EXPECT_FALSE(publishes(policy, "$dlq"));
  EXPECT_FALSE(publishes(policy, "$dlq/"));
  EXPECT_FALSE(subscribes(policy, "$dlq/a/x")) << "which is a right of its own";
  EXPECT_TRUE(subscribes(policy_of({rule({Action::subscribe}, {"$dlq/a/#"})}), "$dlq/a/+"));
  EXPECT_TRUE(subscribes(kDefault, "$dlq/#", kOwn));
  EXPECT_FALSE(subscribes(policy_of({rule({}, {"#"})}), "$dlq/#"));
  EXPECT_TRUE(publishes(policy, "$dlq/$dlq/a/x") == subscribes(policy, "$dlq/a/x"));
}

TEST(TopicRules, ANodeShowsItsBreakersAndItsHealthItself) {
  EXPECT_TRUE(publishes(kNothing, "$breaker/door/front"));
  EXPECT_TRUE(publishes(kNothing, "$breaker/door/open/front"));
  EXPECT_FALSE(publishes(kNothing, "$breaker/door/back"));
  EXPECT_FALSE(publishes(kNothing, "$breaker/front"));
  EXPECT_FALSE(publishes(kNothing, "$breaker//front"));
  EXPECT_TRUE(publishes(kNothing, "health/front/bus"));
  EXPECT_FALSE(publishes(kNothing, "health/back/bus"));
  EXPECT_FALSE(publishes(kNothing, "health/front/other"));
  EXPECT_TRUE(publishes(policy_of({rule({Action::publish}, {"health/#", "$breaker/#"})}),
                        "health/back/bus"))
      << "by a rule";
  EXPECT_FALSE(publishes(kDefault, "health/front/bus")) << "of who may not connect";
}

TEST(TopicRules, ADenyWinsOverWhatANodeMayDoByItself) {
  const auto denying = [](const char* filter) {
    return policy_of({kHarmless}, {rule({}, {filter})});
  };
  EXPECT_FALSE(publishes(denying("health/#"), "health/front/bus"));
  EXPECT_FALSE(publishes(denying("$breaker/door/+"), "$breaker/door/front"));
  EXPECT_FALSE(publishes(denying("$sys/errors/+"), "$sys/errors/front"));
  EXPECT_FALSE(publishes(denying("$sys/#"), "$sys/control/all", kOwn));
  EXPECT_FALSE(subscribes(denying("$sys/access"), "$sys/#"));
  EXPECT_TRUE(subscribes(denying("$sys/access"), "$sys/nodes"));
  const Policy letters =
      policy_of({rule({Action::subscribe}, {"a/#"})}, {rule({Action::publish}, {"$dlq/#"})});
  EXPECT_FALSE(publishes(letters, "$dlq/a/x"));
}

}  // namespace
}  // namespace sluice::broker
