#include "daemons/sluiced/config.hpp"

#include "tests/support/accounts.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace sluice::broker {
namespace {

using test::kFirstId;
using test::made_up_accounts;

Result<Config> parse(std::string_view text) {
  return parse_config(text, "x.toml", made_up_accounts());
}

Config good(std::string_view text) {
  auto config = parse(text);
  if (config) return std::move(*config);
  ADD_FAILURE() << config.error().message;
  return {};
}

std::string why_not(std::string_view text) {
  const auto config = parse(text);
  if (config) return "";
  EXPECT_EQ(config.error().code, Errc::invalid_argument);
  return config.error().message;
}

const std::string kExample = SLUICE_SOURCE_DIR "/packaging/sluiced.toml";

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void expect_equal(const Limits& a, const Limits& b) {
  for (const LimitField& field : kLimitFields)
    EXPECT_EQ(a.*field.value, b.*field.value) << field.name;
  for (const LimitField& field : kStreamLimitFields)
    EXPECT_EQ(a.*field.value, b.*field.value) << field.name;
}

TEST(Config, OfAnEmptyFileIsTheDefault) {
  const Config config = good("");
  EXPECT_EQ(config.socket, "");
  EXPECT_EQ(config.log.level, LogLevel::info);
  EXPECT_FALSE(config.log.json);
  expect_equal(config.limits.each_user, Limits{});
  expect_equal(config.limits.in_all, LimitTable{}.in_all);
  EXPECT_TRUE(config.limits.users.empty());
  EXPECT_TRUE(config.rules.allow.empty());
  EXPECT_TRUE(config.rules.deny.empty());
  EXPECT_EQ(config.rules.source, "x.toml");
}

TEST(Config, ReadsEveryKey) {
  const Config config = good(R"(
socket = "/run/x.sock"
[log]
level = "debug"
json = true
[limits.in_all]
connections = 50
[limits.user.viewer]
streams = 7
messages_per_second = 20
bytes = 1_000
[limits.each_user]
bytes = "512 MiB"
streams = 1
subscriptions = 0
connections = 3
requests_per_second = 1_000_000
message_bytes = "64 KiB"

[[allow]]
user = ["camera", "4711"]
group = "video"
node = ["front", "cam-*"]
actions = ["publish", "monitor"]
filters = ["camera/%n/#", "100%%"]
[[allow]]
everybody = true
actions = "subscribe"
filters = "a"
[[deny]]
node = "*"
[[topic]]
filter = "door/#"
durable = true
[[topic]]
filter = "+/pin"
sensitive = true
)");
  EXPECT_EQ(config.socket, "/run/x.sock");
  EXPECT_EQ(config.log.level, LogLevel::debug);
  EXPECT_TRUE(config.log.json);
  const Limits each_user{std::uint64_t{512} << 20, 1, 0, 3, 1'000'000, 65'536};
  expect_equal(config.limits.each_user, each_user);
  EXPECT_EQ(config.limits.in_all.connections, 50u);
  EXPECT_EQ(config.limits.in_all.streams, LimitTable{}.in_all.streams);
  ASSERT_EQ(config.limits.users.size(), 1u);
  const UserLimits& viewer = config.limits.users.at(kFirstId + 1);
  EXPECT_EQ(viewer.name, "viewer");
  // What an override leaves out is each_user's, although that stands below it.
  expect_equal(viewer.limits, {1'000, 7, 0, 3, 1'000'000, 65'536, 20});

  ASSERT_EQ(config.rules.allow.size(), 2u);
  const Rule& first = config.rules.allow[0];
  EXPECT_EQ(first.line, 20u);
  ASSERT_EQ(first.users.size(), 2u);
  EXPECT_EQ(first.users[0].id, kFirstId);
  EXPECT_EQ(first.users[1].id, 4711u);
  ASSERT_EQ(first.groups.size(), 1u);
  EXPECT_EQ(first.groups[0].id, kFirstId + 2);
  EXPECT_EQ(first.nodes, (std::vector<std::string>{"front", "cam-*"}));
  EXPECT_EQ(first.actions, (std::vector<Action>{Action::publish, Action::monitor}));
  EXPECT_EQ(first.filters, (std::vector<std::string>{"camera/%n/#", "100%%"}));
  EXPECT_EQ(config.rules.allow[1].filters, (std::vector<std::string>{"a"}));
  EXPECT_TRUE(config.rules.allow[1].users.empty());
  ASSERT_EQ(config.rules.deny.size(), 1u);
  EXPECT_EQ(config.rules.deny[0].nodes, (std::vector<std::string>{"*"}));
  EXPECT_TRUE(config.rules.deny[0].actions.empty());
  EXPECT_TRUE(config.rules.deny[0].filters.empty());
  ASSERT_EQ(config.topics.size(), 2u);
  EXPECT_EQ(config.topics[0].filter, "door/#");
  EXPECT_TRUE(config.topics[0].traits.durable);
  EXPECT_FALSE(config.topics[0].traits.sensitive);
  EXPECT_TRUE(config.topics[1].traits.sensitive);
}

TEST(Config, WhatIsSensitiveIsNotDurableWhereFiltersOverlap) {
  const Config config = good(
      "[[topic]]\nfilter = 'door/#'\ndurable = true\n"
      "[[topic]]\nfilter = '+/pin'\nsensitive = true\n");
  EXPECT_TRUE(traits_of(config.topics, "door/bell").durable);
  EXPECT_FALSE(traits_of(config.topics, "door/bell").sensitive);
  EXPECT_FALSE(traits_of(config.topics, "door/pin").durable);
  EXPECT_TRUE(traits_of(config.topics, "door/pin").sensitive);
  EXPECT_FALSE(traits_of(config.topics, "light").durable);
  EXPECT_FALSE(traits_of(config.topics, "light").sensitive);
}

TEST(Config, ReadsBytesWithTheirUnit) {
  const auto bytes = [](const std::string& value) {
    return good("[limits.in_all]\nbytes = " + value).limits.in_all.bytes;
  };
  EXPECT_EQ(bytes("0"), 0u);
  EXPECT_EQ(bytes("'1KiB'"), 1024u);
  EXPECT_EQ(bytes("'3 GiB'"), std::uint64_t{3} << 30);
  EXPECT_EQ(bytes("'2 TiB'"), std::uint64_t{2} << 40);
  for (const char* wrong : {"-1", "1.5", "''", "'MiB'", "'1'", "'1 MB'", "'1  MiB'", "' 1 MiB'",
                            "'-1 MiB'", "'99999999999999999999 MiB'", "'9999999 TiB'", "true",
                            "'1 MiB '", "[1]", "9223372036854775807"}) {
    EXPECT_NE(why_not(std::string("[limits.in_all]\nbytes = ") + wrong).find("512 MiB"),
              std::string::npos)
        << wrong;
  }
}

struct Wrong {
  const char* text;
  const char* message;
};

TEST(Config, SaysWhereAndWhatIsWrongAndWhatToDo) {
  for (
      const auto& [text, message] : {
          Wrong{
              "sockets = '/x'",
              "x.toml:1:1: there is no key 'sockets' in the file; it may have socket, log, limits, "
              "allow, deny and topic"},
          Wrong{"\n socket = 5", "x.toml:2:11: socket is a string; put it between quotation marks"},
          Wrong{"socket = 'run/x'", "x.toml:1:10: socket is 'run/x'; write an absolute path"},
          Wrong{"[log]\nlevel = 'loud'",
                "x.toml:2:9: there is no log level 'loud'; choose among debug, info, warning and "
                "error"},
          Wrong{
              "[log]\njson = 'yes'",
              "x.toml:2:8: log.json is true or false; write one of them, without quotation marks"},
          Wrong{"log = 'info'",
                "x.toml:1:7: [log] is a table; write [log] and its keys on lines of their own"},
          Wrong{"[limits.each_user]\nfiles = 1",
                "x.toml:2:1: there is no key 'files' in [limits.each_user]; it may have bytes, "
                "streams, subscriptions, connections, requests_per_second, message_bytes and "
                "messages_per_second"},
          Wrong{"[limits.each_user]\nstreams = '5 MiB'",
                "x.toml:2:11: limits.each_user.streams is no number from 0 to 4611686018427387904; "
                "write one such as 1_000"},
          Wrong{"[limits.in_all]\nrequests_per_second = 1_000_001",
                "x.toml:2:23: limits.in_all.requests_per_second is no number from 0 to 1000000; "
                "write "
                "one such as 1_000"},
          Wrong{
              "[limits.user.eve]\nstreams = 5",
              "x.toml:1:14: there is no user 'eve' on this system; correct the name, or write the "
              "uid"},
          Wrong{"[limits.user.1000]\n[limits.user.camera]",
                "x.toml:2:14: 'camera' and '1000' are the same user; keep one of the tables"},
          Wrong{"[limits]\nuser = 5",
                "x.toml:2:8: limits.user is a table of users; write [limits.user.NAME]"},
          Wrong{"[limits.in_all]\nmessage_bytes = 5",
                "x.toml:2:1: there is no key 'message_bytes' in [limits.in_all]; it may have "
                "bytes, streams, subscriptions, connections and requests_per_second"},
          Wrong{"[topic]\nfilter = 'a'",
                "x.toml:1:1: topics are a list; write [[topic]] with two brackets before each of "
                "them"},
          Wrong{"topic = ['a']",
                "x.toml:1:10: a topic is a table; write [[topic]] and its keys on lines of their "
                "own"},
          Wrong{"[[topic]]\nsensitive = true",
                "x.toml:1:1: the [[topic]] does not say which; add filter"},
          Wrong{"[[topic]]\nfilter = 'a'\nsensitive = false",
                "x.toml:1:1: the [[topic]] says nothing; add sensitive = true or durable = true"},
          Wrong{"[[topic]]\nfilter = 'a/#/b'\ndurable = true",
                "x.toml:2:10: filter 'a/#/b' has '#' in level 2 before others; '#' must be the "
                "last level, '+' stands for one"},
          Wrong{"[[topic]]\nfilter = 'a'\nsensitive = true\ndurable = true",
                "x.toml:1:1: 'a' is sensitive, hence never recorded, and durable, hence always; "
                "decide for one of them"},
          Wrong{"[[topic]]\nfilter = 'a'\nsensitive = true\n[[topic]]\nfilter = 'a'\n"
                "durable = true",
                "x.toml:4:1: 'a' is sensitive, hence never recorded, and durable, hence always; "
                "decide for one of them"},
          Wrong{"[allow]\nuser = 'camera'",
                "x.toml:1:1: rules are a list; write [[allow]] with two brackets before each of "
                "them"},
          Wrong{"deny = ['a']",
                "x.toml:1:9: a rule is a table; write [[deny]] and its keys on lines of their own"},
          Wrong{"[[allow]]\nuser = 'eve'",
                "x.toml:2:8: there is no user 'eve' on this system; correct the name, or write the "
                "number as a string"},
          Wrong{"[[allow]]\ngroup = ['video', 'evil']",
                "x.toml:2:19: there is no group 'evil' on this system; correct the name, or write "
                "the "
                "number as a string"},
          Wrong{"[[allow]]\nusers = 'camera'",
                "x.toml:2:1: there is no key 'users' in [[allow]]; it may have everybody, user, "
                "group, "
                "node, actions and filters"},
          Wrong{"[[allow]]\nuser = 'camera'\nactions = ['read']",
                "x.toml:3:12: there is no action 'read'; choose among publish, subscribe, "
                "monitor, request, serve, record and lend"},
          Wrong{"[[allow]]\nuser = 'camera'\nactions = []",
                "x.toml:3:11: actions is empty; name at least one, or leave the key out"},
          Wrong{"[[allow]]\nuser = 'camera'\nfilters = ['a', 5]",
                "x.toml:3:17: filters has an element that is no string; put it between quotation "
                "marks"},
          Wrong{
              "[[allow]]\nuser = 'camera'\nfilters = ['a', 'b/#/c']",
              "x.toml:3:17: filter 'b/#/c' has '#' in level 2 before others; '#' must be the last "
              "level, '+' stands for one"},
          Wrong{"[[allow]]\nuser = 'camera'\nfilters = ['50%']",
                "x.toml:3:12: filter '50%' has a '%' that stands for nothing; write %u, %n, or %% "
                "for "
                "a percent sign"},
          Wrong{"[[allow]]\nuser = 'camera'\nnode = 'a*b'",
                "x.toml:3:8: node 'a*b' names none; write a name without '/', '+' and '#', or its "
                "beginning and '*'"},
          Wrong{"[[allow]]\nactions = 'publish'",
                "x.toml:1:1: the rule does not say whom it is about; add user, group, node or "
                "everybody = true"},
          Wrong{"[[deny]]\neverybody = false",
                "x.toml:1:1: the rule does not say whom it is about; add user, group, node or "
                "everybody = true"},
          Wrong{
              "[[allow]]\nnode = 'front'",
              "x.toml:1:1: the rule lets in whoever calls its node so, for any process chooses its "
              "node's name; add user or group, or everybody = true when that is meant"},
          Wrong{"[[allow]]\neverybody = true\ngroup = 'video'",
                "x.toml:1:1: the rule is about everybody and about some; remove everybody, or user "
                "and group"},
      }) {
    EXPECT_EQ(why_not(text), message) << text;
  }
}

TEST(Config, SaysWhereTheTomlIsWrong) {
  for (const char* text : {"\na = ", "\n[log", "\nlog = {", "\na = 1\na = 2", "\n\xff", "\n= 1"}) {
    const std::string message = why_not(text);
    EXPECT_EQ(message.rfind("x.toml:", 0), 0u) << message;
    EXPECT_NE(message.find("correct the TOML"), std::string::npos) << message;
  }
}

TEST(Config, NamesTheFirstOfSeveralErrors) {
  EXPECT_EQ(why_not("[log]\nlevel = 5\n[limits]\nx = 1\n[[allow]]\ny = 1").rfind("x.toml:2:9:", 0),
            0u);
  EXPECT_EQ(why_not("[[deny]]\ny = 1\n[log]\nlevel = 5").rfind("x.toml:2:1:", 0), 0u);
}

TEST(Config, TakesNoFilterThatANulWouldCutShort) {
  EXPECT_NE(why_not("[[allow]]\nuser = 'camera'\nfilters = [\"a/%\\u0000\"]"), "");
  EXPECT_NE(why_not("[[allow]]\nuser = \"camera\\u0000\"\nfilters = ['a']"), "");
}

TEST(Config, TakesNoSocketPathThatIsTooLong) {
  EXPECT_EQ(why_not("socket = '/" + std::string(106, 'a') + "'"), "");
  EXPECT_NE(why_not("socket = '/" + std::string(107, 'a') + "'"), "");
}

TEST(Config, OfDeepNestingIsRefusedAndDoesNoHarm) {
  std::string deep = "a";
  for (int i = 0; i < 5'000; ++i) deep += ".a";
  EXPECT_NE(why_not(deep + " = 1"), "");
  EXPECT_NE(why_not("[" + deep + "]"), "");
  EXPECT_NE(why_not("a = " + std::string(5'000, '[')), "");
  for (int i = 0; i < 250'000; ++i) deep += ".a";
  EXPECT_EQ(why_not(deep + " = 1"), "x.toml has more than 8000 dots; shorten it");
}

TEST(Config, IsRefusedWhenItIsTooLarge) {
  const std::string largest = "#" + std::string(kMaxConfigBytes - 1, 'x');
  EXPECT_EQ(why_not(largest), "");
  EXPECT_NE(why_not(largest + "x"), "");
}

TEST(Config, TakesNumbersForUsersThatHaveNoName) {
  const auto user = [](const std::string& name) {
    return why_not("[[allow]]\nuser = '" + name + "'") == "";
  };
  EXPECT_TRUE(user("0"));
  EXPECT_TRUE(user("4294967294"));
  for (const char* wrong : {"4294967295", "4294967296", "-1", " 1", "1x", "1.5", ""}) {
    EXPECT_FALSE(user(wrong)) << wrong;
  }
}

TEST(Accounts, OfTheSystemKnowRoot) {
  const Accounts accounts = system_accounts();
  EXPECT_EQ(accounts.user("root"), 0u);
  EXPECT_EQ(accounts.group("root"), 0u);
  for (const std::string name : {"", "-1", "no-such-user-here"}) {
    EXPECT_EQ(accounts.user(name), std::nullopt) << name;
    EXPECT_EQ(accounts.group(name), std::nullopt) << name;
  }
  EXPECT_EQ(accounts.user(std::string("root\0x", 6)), std::nullopt);
}

TEST(ConfigFile, ThatComesWithSluiceIsTheDefaultAsItStands) {
  const auto config = load_config(kExample);
  ASSERT_TRUE(config) << config.error().message;
  expect_equal(config->limits.each_user, Limits{});
  expect_equal(config->limits.in_all, LimitTable{}.in_all);
  EXPECT_TRUE(config->rules.allow.empty());
  EXPECT_EQ(config->rules.source, kExample);
}

TEST(ConfigFile, ThatComesWithSluiceShowsTheDefaultsAndValidRules) {
  // Its settings without the '#' before them.
  std::string text = "\n";
  text += contents(kExample);
  for (std::size_t at = text.find("\n#"); at != std::string::npos; at = text.find("\n#", at + 1)) {
    if (at + 2 < text.size() && text[at + 2] != ' ' && text[at + 2] != '\n') text.erase(at + 1, 1);
  }
  const auto config = parse_config(text, "example", made_up_accounts());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->socket, "/run/sluice/sluiced.sock");
  EXPECT_EQ(config->log.level, LogOptions{}.level);
  EXPECT_EQ(config->log.json, LogOptions{}.json);
  expect_equal(config->limits.each_user, Limits{});
  expect_equal(config->limits.in_all, LimitTable{}.in_all);
  EXPECT_EQ(config->limits.users.size(), 1u);
  EXPECT_EQ(config->rules.allow.size(), 3u);
  EXPECT_EQ(config->rules.deny.size(), 1u);
}

TEST(ConfigFile, ThatCannotBeReadIsASystemError) {
  const auto missing = load_config("/no/such/file.toml");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Errc::system);
  EXPECT_EQ(missing.error().sys_errno, ENOENT);
  EXPECT_EQ(
      missing.error().message,
      "cannot read the configuration /no/such/file.toml: No such file or directory; correct the "
      "path or the file's rights");
  const auto folder = load_config("/");
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().sys_errno, EISDIR);
  EXPECT_FALSE(load_config("/dev/zero"));
}

}  // namespace
}  // namespace sluice::broker
