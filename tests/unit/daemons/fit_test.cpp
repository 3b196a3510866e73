#include "daemons/sluiced/fit.hpp"

#include <gtest/gtest.h>

namespace sluice::broker {
namespace {

using protocol::Mode;
using protocol::OfferT;
using protocol::WantT;

WantT want(Mode mode, std::uint64_t type = 0) {
  WantT want;
  want.mode = mode;
  want.type_hash = type;
  want.type_name = "Wanted";
  return want;
}

TEST(Fit, EveryModeIsOfferedByDefault) {
  for (const Mode mode : {Mode::latest, Mode::next, Mode::reliable, Mode::group}) {
    EXPECT_EQ(misfit(OfferT{}, want(mode)), std::nullopt);
  }
}

TEST(Fit, AModeThatIsNotOfferedIsNamedWithThoseThatAre) {
  OfferT offer;
  offer.group = false;
  EXPECT_EQ(misfit(offer, want(Mode::group)).value(),
            "the subscription wants mode group, the publisher offers: latest, next, reliable");
  offer.latest = offer.next = offer.reliable = false;
  EXPECT_NE(misfit(offer, want(Mode::next))->find("none"), std::string::npos);
}

TEST(Fit, AnUntypedSubscriptionTakesEveryTypeButNotTheOtherWayRound) {
  OfferT typed;
  typed.type_hash = 5;
  typed.type_name = "Box";
  EXPECT_EQ(misfit(typed, want(Mode::next)), std::nullopt);
  EXPECT_EQ(misfit(typed, want(Mode::next, 5)), std::nullopt);
  EXPECT_EQ(misfit(typed, want(Mode::next, 6)).value(),
            "the subscription wants type 'Wanted' (6), the publisher has type 'Box' (5)");
  EXPECT_NE(misfit(OfferT{}, want(Mode::next, 6))->find("no type"), std::string::npos);
}

TEST(Fit, NumbersThatAreNoModeAreRefused) {
  EXPECT_TRUE(check_want(want(Mode::latest)));
  EXPECT_FALSE(check_want(want(Mode::none)));
  EXPECT_FALSE(check_want(want(static_cast<Mode>(9))));
  EXPECT_TRUE(misfit(OfferT{}, want(static_cast<Mode>(9))).has_value());
}

TEST(Fit, ASubscriptionHas1To64ValidFiltersWithinTheirBytes) {
  EXPECT_TRUE(check_filters({"a/+", "b/#"}));
  EXPECT_FALSE(check_filters({}));
  EXPECT_FALSE(check_filters({"a", "b/#/c"}));
  EXPECT_TRUE(check_filters(std::vector<std::string>(64, "a")));
  EXPECT_FALSE(check_filters(std::vector<std::string>(65, "a")));
  EXPECT_TRUE(check_filters({std::string(32'767, 'a'), std::string(32'768, 'a')}));
  EXPECT_FALSE(check_filters({std::string(32'768, 'a'), std::string(32'768, 'a')}));
}

TEST(Fit, OnlyAGroupIsDurable) {
  WantT durable = want(Mode::reliable);
  durable.durable = true;
  EXPECT_FALSE(check_want(durable));
  durable.mode = Mode::group;
  durable.group = "one";
  EXPECT_TRUE(check_want(durable));
}

TEST(Fit, AnInboxMeetsOnlyItsNode) {
  EXPECT_TRUE(may_meet("inbox/bell", "bell"));
  EXPECT_FALSE(may_meet("inbox/bell", "bel"));
  EXPECT_FALSE(may_meet("inbox/bell/x", "bell"));
  EXPECT_FALSE(may_meet("inbox/", "bell"));
  EXPECT_TRUE(may_meet("inboxes/bell", "door"));
  EXPECT_TRUE(may_meet("a/inbox/bell", "door"));
}

TEST(Fit, AGroupNeedsAName) {
  WantT member = want(Mode::group);
  EXPECT_FALSE(check_want(member));
  member.group = "workers";
  EXPECT_TRUE(check_want(member));
  member.group = std::string(256, 'x');
  EXPECT_FALSE(check_want(member));
}

}  // namespace
}  // namespace sluice::broker
