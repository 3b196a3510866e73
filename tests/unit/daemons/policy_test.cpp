#include "daemons/sluiced/policy.hpp"

#include "sluice/topic.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace sluice::broker {
namespace {

constexpr uid_t kBroker = 500;

Identity camera(std::string node = "front") {
  return {1000, 1000, {44}, 1, "camera", std::move(node)};
}

Rule rule_for_all(std::vector<std::string> filters, std::uint32_t line = 1) {
  Rule rule;
  rule.line = line;
  rule.filters = std::move(filters);
  return rule;
}

Policy policy_of(std::vector<Rule> allow, std::vector<Rule> deny = {}) {
  return {{"test.toml", std::move(allow), std::move(deny)}, kBroker, kBroker};
}

// The reason of a refusal.
std::string why_not(const Verdict& verdict) {
  EXPECT_EQ(verdict.allowed, verdict.reason.empty());
  return verdict.reason;
}

bool publishes(const Policy& policy, const Identity& who, std::string_view topic) {
  return policy.may(who, Action::publish, topic).allowed;
}

TEST(Policy, LendingIsGivenByNameOnly) {
  const auto lends = [](const Policy& policy) {
    return policy.may(camera(), Action::lend, "a/b").allowed;
  };
  EXPECT_FALSE(lends(policy_of({rule_for_all({})}))) << "every action, every topic";
  Rule named = rule_for_all({"a/#"});
  named.actions = {Action::publish, Action::lend};
  EXPECT_TRUE(lends(policy_of({named})));
  EXPECT_FALSE(lends(policy_of({named}, {rule_for_all({"a/b"})}))) << "a deny is about it anyway";
}

TEST(Policy, WithoutRulesLetsInTheBrokersUserAndGroupOnly) {
  const Policy policy({}, kBroker, 501);
  Identity own{kBroker, 9, {}, 1, "sluice", "x"};
  Identity primary{9, 501, {}, 1, "a", "x"};
  Identity supplementary{9, 9, {8, 501}, 1, "a", "x"};
  for (const Identity& who : {own, primary, supplementary}) {
    EXPECT_TRUE(policy.may_connect(who));
    for (const NamedAction& named : kActions) {
      EXPECT_TRUE(policy.may(who, named.action, "a/b"));
      EXPECT_TRUE(policy.may(who, named.action, "$sys/x"));
    }
  }
  const Identity nobody{65534, 65534, {}, 1, "nobody", "x"};
  EXPECT_FALSE(policy.may(nobody, Action::monitor, "a"));
  EXPECT_EQ(
      why_not(policy.may_connect(nobody)),
      "user 'nobody' (uid 65534) as node 'x' may not connect: there is no [[allow]] rule, so only "
      "the broker's user (uid 500) and the members of its group (gid 501) may; an [[allow]] with "
      "user = 'nobody' in the configuration would allow it");
  // Not even root, unless it is the broker's.
  EXPECT_FALSE(policy.may_connect({0, 0, {}, 1, "root", "x"}));
}

TEST(Policy, WithAnAllowNoLongerLetsInTheBrokersUser) {
  Rule rule = rule_for_all({});
  rule.users = {{"camera", 1000}};
  const Policy policy = policy_of({rule});
  EXPECT_TRUE(policy.may_connect(camera()));
  EXPECT_FALSE(policy.may_connect({kBroker, kBroker, {}, 1, "sluice", "x"}));
}

TEST(Policy, KeepsItsDefaultBesideADeny) {
  const Policy policy = policy_of({}, {rule_for_all({"secret/#"})});
  const Identity own{kBroker, 9, {}, 1, "sluice", "x"};
  EXPECT_TRUE(policy.may_connect(own));
  EXPECT_TRUE(publishes(policy, own, "open"));
  EXPECT_FALSE(publishes(policy, own, "secret/a"));
}

TEST(Policy, SelectsByUserGroupAndNodeTogether) {
  Rule rule = rule_for_all({"#"});
  rule.users = {{"camera", 1000}, {"viewer", 1001}};
  EXPECT_TRUE(publishes(policy_of({rule}), camera(), "a"));
  EXPECT_FALSE(publishes(policy_of({rule}), {1002, 44, {}, 1, "camera", "front"}, "a"));
  rule.groups = {{"video", 44}};
  EXPECT_TRUE(publishes(policy_of({rule}), camera(), "a"));
  EXPECT_TRUE(publishes(policy_of({rule}), {1001, 44, {}, 1, "viewer", "front"}, "a"));
  EXPECT_FALSE(publishes(policy_of({rule}), {1001, 45, {}, 1, "viewer", "front"}, "a"));
  rule.nodes = {"front", "cam-*"};
  EXPECT_TRUE(publishes(policy_of({rule}), camera("front"), "a"));
  EXPECT_TRUE(publishes(policy_of({rule}), camera("cam-"), "a"));
  EXPECT_TRUE(publishes(policy_of({rule}), camera("cam-7"), "a"));
  EXPECT_FALSE(publishes(policy_of({rule}), camera("front2"), "a"));
  EXPECT_FALSE(publishes(policy_of({rule}), camera("cam"), "a"));
  EXPECT_FALSE(publishes(policy_of({rule}), camera(""), "a"));
}

TEST(Policy, SelectsByAction) {
  Rule rule = rule_for_all({"#"});
  rule.actions = {Action::subscribe, Action::monitor};
  const Policy policy = policy_of({rule});
  EXPECT_FALSE(policy.may(camera(), Action::publish, "a"));
  EXPECT_TRUE(policy.may(camera(), Action::subscribe, "a"));
  EXPECT_TRUE(policy.may(camera(), Action::monitor, "a"));
}

TEST(Policy, AsksForInclusionAndNotForAMatch) {
  const Policy policy = policy_of({rule_for_all({"camera/+/frames", "a/#"}, 3)});
  const auto may = [&](std::string_view filter) {
    return policy.may(camera(), Action::subscribe, filter).allowed;
  };
  EXPECT_TRUE(may("camera/front/frames"));
  EXPECT_TRUE(may("camera/+/frames"));
  EXPECT_TRUE(may("a/b/#"));
  EXPECT_TRUE(may("a"));
  EXPECT_FALSE(may("camera/+/+"));
  EXPECT_FALSE(may("camera/#"));
  EXPECT_FALSE(may("#"));
  EXPECT_FALSE(may("+/#"));
  EXPECT_EQ(
      why_not(policy.may(camera(), Action::subscribe, "camera/#")),
      "user 'camera' (uid 1000) as node 'front' may not subscribe 'camera/#': the [[allow]] rule "
      "at test.toml:3 gives only 'camera/+/frames'; ask for no more than that, or widen the rule");
  EXPECT_EQ(
      why_not(policy.may(camera(), Action::subscribe, "b")),
      "user 'camera' (uid 1000) as node 'front' may not subscribe 'b': no [[allow]] rule gives "
      "it; an [[allow]] with user = 'camera', actions = [\"subscribe\"], filters = ['b'] in "
      "test.toml would allow it");
}

TEST(Policy, DoesNotAddUpTheFiltersOfSeveralRules) {
  // Together they include "a/#", but no one of them does.
  const Policy policy = policy_of({rule_for_all({"a"}), rule_for_all({"a/+/#"})});
  EXPECT_FALSE(policy.may(camera(), Action::subscribe, "a/#"));
}

TEST(Policy, GivesSystemTopicsOnlyByName) {
  EXPECT_FALSE(publishes(policy_of({rule_for_all({"#"})}), camera(), "$sys/a"));
  EXPECT_TRUE(publishes(policy_of({rule_for_all({"$sys/#"})}), camera(), "$sys/a"));
  EXPECT_TRUE(publishes(policy_of({rule_for_all({})}), camera(), "$sys/a"));
}

TEST(Policy, DenyWinsWhereverItTouches) {
  const Policy policy = policy_of({rule_for_all({})}, {rule_for_all({"other/#", "a/secret/#"}, 9)});
  const auto may = [&](std::string_view filter) {
    return policy.may(camera(), Action::subscribe, filter).allowed;
  };
  EXPECT_TRUE(may("a/open"));
  EXPECT_TRUE(may("b/#"));
  EXPECT_FALSE(may("a/secret"));
  EXPECT_FALSE(may("a/secret/x"));
  EXPECT_FALSE(may("a/+"));
  EXPECT_FALSE(may("#"));
  EXPECT_FALSE(may("+/secret/x"));
  EXPECT_EQ(
      why_not(policy.may(camera(), Action::subscribe, "a/+")),
      "user 'camera' (uid 1000) as node 'front' may not subscribe 'a/+': the [[deny]] rule at "
      "test.toml:9 refuses 'a/secret/#'; ask for less, or narrow or remove it");
}

TEST(Policy, ADenyOfEverythingEndsTheConnection) {
  Rule deny = rule_for_all({}, 4);
  deny.users = {{"camera", 1000}};
  const Policy policy = policy_of({rule_for_all({})}, {deny});
  EXPECT_EQ(
      why_not(policy.may_connect(camera())),
      "user 'camera' (uid 1000) as node 'front' may not connect: the [[deny]] rule at test.toml:4 "
      "refuses everything; narrow or remove it");
  EXPECT_FALSE(policy.may(camera(), Action::publish, "a"));
  EXPECT_FALSE(publishes(policy, camera(), "$sys/a"));
  EXPECT_TRUE(policy.may_connect({1001, 1, {}, 1, "viewer", "x"}));
  deny.actions = {Action::publish};
  const Policy partly = policy_of({rule_for_all({})}, {deny});
  EXPECT_TRUE(partly.may_connect(camera()));
  EXPECT_FALSE(partly.may(camera(), Action::publish, "a"));
  EXPECT_TRUE(partly.may(camera(), Action::subscribe, "a"));
}

TEST(Policy, PutsNamesIntoFilters) {
  const Policy policy = policy_of({rule_for_all({"home/%u/#", "inbox/%n", "100%%/%u-%n"})});
  EXPECT_TRUE(publishes(policy, camera(), "home/camera/a"));
  EXPECT_FALSE(publishes(policy, camera(), "home/viewer/a"));
  EXPECT_TRUE(publishes(policy, camera(), "inbox/front"));
  EXPECT_FALSE(publishes(policy, camera(), "inbox/back"));
  EXPECT_TRUE(publishes(policy, camera(), "100%/camera-front"));
  // What a name contains is not looked at again.
  EXPECT_TRUE(publishes(policy, camera("%u"), "inbox/%u"));
  EXPECT_FALSE(publishes(policy, camera("%u"), "inbox/camera"));
}

const std::vector<std::string> kHostileNames{"",
                                             "+",
                                             "#",
                                             "a/b",
                                             "/",
                                             "a/#",
                                             "a+",
                                             "#a",
                                             "$sys",
                                             "$",
                                             "a/../b",
                                             "\xff",
                                             std::string("a\0b", 3),
                                             std::string(70'000, 'a')};

TEST(Policy, AnAllowGivesNothingToANameThatIsNone) {
  const Policy policy = policy_of({rule_for_all({"%n/#", "inbox/%n", "inbox/%n/#", "x-%n"}),
                                   rule_for_all({"by-user/%u", "%u"})});
  for (const std::string& name : kHostileNames) {
    Identity who = camera(name);
    who.user_name = name;
    for (const char* topic :
         {"inbox", "inbox/", "inbox/a", "inbox/a/b", "inbox/+", "inbox/#", "#", "+", "+/#",
          "$sys/a", "$sys", "a", "/", "x-", "by-user/", "by-user/#", "by-user/a", "x-a"}) {
      EXPECT_FALSE(policy.may(who, Action::subscribe, topic)) << name << " and " << topic;
    }
    if (check_filter("inbox/" + name)) {
      EXPECT_FALSE(policy.may(who, Action::subscribe, "inbox/" + name)) << name;
    }
  }
}

TEST(Policy, AnAllowForNodesIsNotForANameThatIsNone) {
  Rule rule = rule_for_all({"#"});
  rule.nodes = {"*"};
  for (const std::string& name : kHostileNames) {
    EXPECT_FALSE(publishes(policy_of({rule}), camera(name), "a")) << name;
    EXPECT_FALSE(policy_of({rule}).may_connect(camera(name))) << name;
  }
  EXPECT_TRUE(publishes(policy_of({rule}), camera("x"), "a"));
}

TEST(Policy, ADenyTakesMoreFromANameThatIsNone) {
  const Policy policy = policy_of({rule_for_all({})}, {rule_for_all({"private/of-%n/x"})});
  EXPECT_FALSE(publishes(policy, camera("a"), "private/of-a/x"));
  EXPECT_TRUE(publishes(policy, camera("a"), "private/of-b/x"));
  const Policy at_front = policy_of({rule_for_all({})}, {rule_for_all({"%n/x"})});
  EXPECT_TRUE(publishes(at_front, camera("a"), "b"));
  for (const std::string& name : kHostileNames) {
    EXPECT_FALSE(publishes(policy, camera(name), "private/of-a/x")) << name;
    EXPECT_FALSE(publishes(policy, camera(name), "private/y")) << name;
    EXPECT_FALSE(publishes(policy, camera(name), "private")) << name;
    EXPECT_TRUE(publishes(policy, camera(name), "public")) << name;
    EXPECT_FALSE(publishes(at_front, camera(name), "b")) << name;
    EXPECT_FALSE(publishes(at_front, camera(name), "$sys/x")) << name;
  }
}

TEST(Policy, RefusesAnInvalidFilterAndShowsItsTextHarmless) {
  const Policy policy = policy_of({rule_for_all({})});
  EXPECT_EQ(
      why_not(policy.may(camera("x\n"), Action::subscribe, "a\n\x1b[2J/#/b")),
      "user 'camera' (uid 1000) as node 'x\\x0a' may not subscribe 'a\\x0a\\x1b[2J/#/b': filter "
      "'a\\x0a\\x1b[2J/#/b' has '#' in level 2 before others; '#' must be the last level, '+' "
      "stands for one");
  EXPECT_FALSE(policy.may(camera(), Action::subscribe, ""));
}

TEST(Policy, NamesAUserWithoutANameByItsNumber) {
  Rule rule = rule_for_all({});
  rule.users = {{"camera", 1000}};
  EXPECT_EQ(
      why_not(policy_of({rule}).may_connect({77, 77, {}, 1, "", ""})),
      "user (uid 77) may not connect: no [[allow]] rule is about it; an [[allow]] with user = "
      "'77' in test.toml would allow it");
}

}  // namespace
}  // namespace sluice::broker
