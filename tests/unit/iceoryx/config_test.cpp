#include "daemons/iceoryx/config.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace sluice::iceoryx {
namespace {

Config good(std::string_view text) {
  auto config = parse_config(text, "x.toml");
  if (config) return std::move(*config);
  ADD_FAILURE() << config.error().message;
  return {};
}

// The place and a part of the sentence.
void expect_wrong(std::string_view text, const std::string& place, const std::string& part) {
  const auto config = parse_config(text, "x.toml");
  ASSERT_FALSE(config) << text;
  EXPECT_EQ(config.error().code, Errc::invalid_argument);
  const std::string& message = config.error().message;
  EXPECT_EQ(message.rfind("x.toml:" + place + ": ", 0), 0u) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(IceoryxConfig, AnEmptyFileCarriesNothing) {
  const Config config = good("");
  EXPECT_TRUE(config.routes.empty());
  EXPECT_TRUE(config.services.empty());
  EXPECT_EQ(config.node, "iceoryx");
  EXPECT_EQ(config.runtime, "sluice-iceoryx");
}

TEST(IceoryxConfig, ARouteFromIceoryxTakesAllThatIsNotNarrowed) {
  const Config config = good("[[route]]\nfrom = \"iceoryx\"\nservice = \"Radar\"\n");
  ASSERT_EQ(config.routes.size(), 1u);
  const Route& route = config.routes[0];
  EXPECT_EQ(route.from, Side::iceoryx);
  EXPECT_EQ(route.ids, (ServiceIds{"Radar", "*", "*"}));
  EXPECT_EQ(route.topic, "iceoryx/{service}/{instance}/{event}");
  EXPECT_EQ(route.depth, 16u);
  EXPECT_EQ(route.max_held, 32u);
}

TEST(IceoryxConfig, ARouteFromIceoryxMaySayTheType) {
  const Config config = good(
      "[[route]]\nfrom = \"iceoryx\"\ntype = \"demo::Object\"\ntype_bytes = 24\n"
      "type_alignment = 4\n");
  ASSERT_EQ(config.routes.size(), 1u);
  EXPECT_EQ(config.routes[0].type, "demo::Object");
  EXPECT_EQ(config.routes[0].type_bytes, 24u);
  EXPECT_EQ(config.routes[0].type_alignment, 4u);
  const std::string route = "[[route]]\nfrom = \"iceoryx\"\n";
  expect_wrong(route + "type = \"a\"\n", "1:1", "type_bytes = 24");
  expect_wrong(route + "type_bytes = 8\n", "1:1", "type_bytes = 24");
  expect_wrong(route + "type = \"a\"\ntype_bytes = 24\ntype_alignment = 3\n", "1:1", "alignof");
  expect_wrong(route + "type = \"a\"\ntype_bytes = 12\n", "1:1", "alignof");
  expect_wrong(route + "type = \"a\"\ntype_bytes = 8\nenvelope = true\n", "1:1", "leave out");
  expect_wrong(
      "[[route]]\nfrom = \"sluice\"\nfilter = \"a\"\ntype = \"a\"\nservice = \"\"\ninstance = "
      "\"\"\nevent = \"\"\n",
      "4:8", "iceoryx");
}

TEST(IceoryxConfig, ARouteFromSluiceNamesEverything) {
  const Config config = good(R"(
[[route]]
from = "sluice"
filter = "camera/+/#"
service = "Camera"
instance = "{1}"
event = "{2} of {topic}"
history = 4
user_header = true
)");
  ASSERT_EQ(config.routes.size(), 1u);
  EXPECT_EQ(config.routes[0].topic, "camera/+/#");
  EXPECT_EQ(config.routes[0].history, 4u);
  EXPECT_TRUE(config.routes[0].user_header);
}

TEST(IceoryxConfig, ServicesGoBothWays) {
  const Config config = good(R"(
[[service]]
from = "iceoryx"
service = "Example"
instance = "Request-Response"
event = "Add"
name = "math/add"
timeout_ms = 250
[[service]]
from = "sluice"
service = "Other"
name = "iceoryx/{service}/{event}"
max_pending = 4
)");
  ASSERT_EQ(config.services.size(), 2u);
  EXPECT_EQ(config.services[0].timeout, std::chrono::milliseconds{250});
  EXPECT_EQ(config.services[1].ids, (ServiceIds{"Other", "*", "*"}));
  EXPECT_EQ(config.services[1].max_pending, 4u);
}

TEST(IceoryxConfig, WhatIsWrongIsNamedWithItsPlaceAndWhatToDo) {
  expect_wrong("[[route]]\nfrom = \"dds\"\n", "2:8", "choose among iceoryx and sluice");
  expect_wrong("[[route]]\nservice = \"a\"\n", "1:1", "has no from");
  expect_wrong("[route]\nfrom = \"iceoryx\"\n", "1:1", "write [[route]] above each");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\ntopic = \"a/{event\"\n", "3:9", "no partner");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\ntopic = \"a/{1}\"\n", "3:9", "{service}");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\ntopic = \"a/+\"\n", "3:9", "");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\nfilter = \"a\"\n", "3:10", "here it is topic");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\nuser_header = true\n", "3:15", "recognised anyway");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\nhistory = 17\n", "3:11", "from 0 to 16");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\ndepth = 200\nmax_held = 100\n", "1:1", "300");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\ndepth = 2\nhistory = 3\n", "1:1", "at least 3");
  expect_wrong("[[route]]\nfrom = \"sluice\"\n", "1:1", "has no filter");
  expect_wrong("[[route]]\nfrom = \"sluice\"\nfilter = \"a/#/b\"\n", "3:10", "#");
  expect_wrong("[[route]]\nfrom = \"sluice\"\nfilter = \"a\"\nservice = \"x\"\n", "1:1",
               "there is no instance");
  expect_wrong(
      "[[route]]\nfrom = \"sluice\"\nfilter = \"a/+\"\nservice = \"{2}\"\ninstance = \"\"\nevent = "
      "\"\"\n",
      "4:11", "{1}");
  expect_wrong("[[route]]\nfrom = \"sluice\"\nenvelope = true\n", "1:1", "has no filter");
  expect_wrong(
      "[[route]]\nfrom = \"sluice\"\nenvelope = true\nfilter = \"a\"\nservice = \"\"\ninstance = "
      "\"\"\nevent = \"\"\n",
      "3:12", "from = \"iceoryx\"");
  expect_wrong("[[service]]\nfrom = \"iceoryx\"\nname = \"a\"\n", "1:1", "there is no service");
  expect_wrong("[[service]]\nfrom = \"sluice\"\n", "1:1", "has no name");
  expect_wrong("[[service]]\nfrom = \"sluice\"\nname = \"a/{1}\"\n", "3:8", "{event}");
  expect_wrong("runtime = \"a/b\"\n", "1:11", "without /");
  expect_wrong("rout = 1\n", "1:1", "there is no key 'rout'");
  expect_wrong("[[route]]\nfrom = \"iceoryx\"\nservice = \"" + std::string(101, 'x') + "\"\n",
               "3:11", "100 bytes");
}

TEST(IceoryxConfig, RoutesThatWouldFeedEachOtherAreRefused) {
  expect_wrong(R"([[route]]
from = "iceoryx"
[[route]]
from = "sluice"
filter = "iceoryx/#"
service = "Back"
instance = "{1}"
event = "x"
)",
               "3:1", "two routes would feed each other: from iceoryx '*/*/*'");
  // Names that the other does not take, on either side.
  (void)good(R"([[route]]
from = "iceoryx"
service = "Radar"
[[route]]
from = "sluice"
filter = "iceoryx/#"
service = "Back"
instance = "{1}"
event = "x"
)");
  (void)good(R"([[route]]
from = "iceoryx"
[[route]]
from = "sluice"
filter = "camera/+/frames"
service = "Camera"
instance = "{1}"
event = "Frames"
)");
}

TEST(IceoryxConfig, ServicesThatWouldFeedEachOtherAreRefused) {
  expect_wrong(R"([[service]]
from = "iceoryx"
service = "A"
instance = "B"
event = "C"
name = "iceoryx/A"
[[service]]
from = "sluice"
name = "iceoryx/{service}"
)",
               "7:1", "two services would feed each other");
}

}  // namespace
}  // namespace sluice::iceoryx
