#include "daemons/recorder/json.hpp"

#include "daemons/recorder/convert.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace sluice::recorder {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

Record full() {
  Record record;
  record.row = 12;
  record.time_ns = 1'700'000'000'123'456'789;
  record.topic = "a/b";
  record.node = "front \"camera\"";
  record.node_id = 0xfedc'ba98'7654'3210;
  record.pid = 77;
  record.uid = 1000;
  record.type_hash = 0x8000'0000'0000'0001;
  record.codec = 3;
  record.kind = 2;
  record.flags = 8;
  record.what = RecordClass::message;
  record.durable = true;
  record.copy = 0xffff'ffff'ffff'ffff;
  record.id = {1, 2};
  record.correlation = {3, 4};
  record.trace = {1, 2, 3};
  record.span = {4};
  record.trace_flags = 1;
  record.priority = 1;
  record.extensions = with_extension("", ExtensionId::tracestate, "a=b");
  record.payload = R"({"x":[1,2,{"y":"z"}]})";
  return record;
}

TEST(RecordJson, SaysAllAndReadsItBack) {
  const Record record = full();
  const auto back = record_from_json(json_line(record, 100'000));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->row, record.row);
  EXPECT_EQ(back->time_ns, record.time_ns);
  EXPECT_EQ(back->topic, record.topic);
  EXPECT_EQ(back->node, record.node);
  EXPECT_EQ(back->node_id, record.node_id);
  EXPECT_EQ(back->pid, record.pid);
  EXPECT_EQ(back->uid, record.uid);
  EXPECT_EQ(back->type_hash, record.type_hash);
  EXPECT_EQ(back->codec, record.codec);
  EXPECT_EQ(back->kind, record.kind);
  EXPECT_EQ(back->flags, record.flags);
  EXPECT_EQ(back->durable, record.durable);
  EXPECT_EQ(back->copy, record.copy);
  EXPECT_EQ(back->id, record.id);
  EXPECT_EQ(back->correlation, record.correlation);
  EXPECT_EQ(back->trace, record.trace);
  EXPECT_EQ(back->span, record.span);
  EXPECT_EQ(back->trace_flags, record.trace_flags);
  EXPECT_EQ(back->priority, record.priority);
  EXPECT_EQ(back->extensions, record.extensions);
  EXPECT_EQ(back->payload, record.payload);
}

TEST(RecordJson, CarriesAnyBytes) {
  for (std::uint8_t codec = 0; codec <= 4; ++codec) {
    for (const std::string& payload :
         {std::string{"\0\xff\xfe raw", 7}, std::string{"\xc3\x28"}, std::string{"text"},
          std::string{"{\"broken\":"}, std::string{"\"a string\""}, std::string{}}) {
      Record record = full();
      record.codec = codec;
      record.payload = payload;
      record.node = "\xff";  // from another process
      const auto back = record_from_json(json_line(record, 100'000));
      ASSERT_TRUE(back) << back.error().message;
      EXPECT_EQ(back->payload, payload) << "codec " << int{codec};
    }
  }
}

TEST(RecordJson, AnyLengthFits) {
  Record record = full();
  record.codec = 4;
  record.payload.assign(10'000, '\x01');  // six characters each
  const std::string line = json_line(record, 20'000);
  EXPECT_LE(line.size(), 20'000u);
  EXPECT_EQ(record_from_json(line)->payload, record.payload);
  EXPECT_EQ(json_line(record, 100, false).find("payload"), std::string::npos);
}

TEST(RecordJson, RefusesWhatIsNone) {
  for (const char* line :
       {"", "[]", "{}", R"({"topic":"a","row":-1})", R"({"topic":"a/#"})", R"({"topic":7})",
        R"({"topic":"a","id":"x"})", R"({"topic":"a","payload_base64":"a"})",
        R"({"topic":"a","codec":"tar"})", R"({"topic":"a","source":"xyz"})",
        R"({"topic":"a","traceparent":"00-1"})", R"({"topic":"a","copy":-1})",
        R"({"topic":"a","durable":1})", R"({"topic":"a","row":1e300})"}) {
    EXPECT_FALSE(record_from_json(line)) << line;
  }
}

// ---- queries

std::string nested(std::size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

TEST(RecordJson, WhatIsNestedTooDeepIsNotWrittenLevelByLevel) {
  Record record = full();
  for (const std::size_t levels : {64U, 65U, 500'000U}) {
    record.payload = nested(levels);
    const std::string line = json_line(record, 10'000'000);
    EXPECT_EQ(line.find("payload_base64") != std::string::npos, levels > 64) << levels;
    const auto back = record_from_json(line);
    ASSERT_TRUE(back) << levels << ": " << back.error().message;
    EXPECT_EQ(back->payload, record.payload) << levels;
  }
  for (const std::size_t levels : {65U, 500'000U}) {
    EXPECT_FALSE(record_from_json(R"({"topic":"a","payload":)" + nested(levels) + "}")) << levels;
  }
}

TEST(RecordJson, IsParsedToADepth) {
  EXPECT_FALSE(parse_json(nested(64)).is_discarded());
  EXPECT_TRUE(parse_json(nested(65)).is_discarded());
  EXPECT_TRUE(parse_json(std::string(1'000'000, '[')).is_discarded());
  EXPECT_TRUE(parse_json(R"({"a":[[1]]})", 2).is_discarded());
  EXPECT_EQ(parse_json(R"({"a":[[1]]})", 3).dump(), R"({"a":[[1]]})");
  EXPECT_EQ(parse_json("12"), 12);
  EXPECT_TRUE(parse_json("").is_discarded());
}

TEST(QueryJson, SaysAllAndReadsItBack) {
  Query query;
  query.since_ns = 5;
  query.until_ns = 9;
  query.filter = "a/+/#";
  query.correlation = RecordId{1, 2};
  query.id = RecordId{3, 4};
  query.what = RecordClass::dead_letter;
  query.durable = true;
  query.after_row = 7;
  query.before_row = 70;
  query.newest_first = true;
  query.limit = 11;
  const auto back = query_from_json(to_json(query));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->since_ns, 5);
  EXPECT_EQ(back->until_ns, 9);
  EXPECT_EQ(back->filter, query.filter);
  EXPECT_EQ(back->correlation, query.correlation);
  EXPECT_EQ(back->id, query.id);
  EXPECT_EQ(back->what, query.what);
  EXPECT_TRUE(back->durable);
  EXPECT_EQ(back->after_row, 7);
  EXPECT_EQ(back->before_row, 70);
  EXPECT_TRUE(back->newest_first);
  EXPECT_EQ(back->limit, 11u);
}

TEST(QueryJson, NamesTheKeyThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"sinse":"10m"})", "sinse"},   {R"({"since":"yesterday"})", "since"},
      {R"({"topic":"a#"})", "topic"},    {R"({"limit":0})", "limit"},
      {R"({"limit":"x"})", "limit"},     {R"({"limit":99999999999})", "limit"},
      {R"({"id":"x"})", "id"},           {R"({"class":"x"})", "class"},
      {R"({"newest":1})", "newest"},     {R"({"after_row":-1})", "after_row"},
      {R"({"correlation":5})", "corre"}, {R"({"after_row":18446744073709551615})", "after_row"}};
  for (const auto& [text, key] : cases) {
    const auto query = query_from_json(nlohmann::json::parse(text));
    ASSERT_FALSE(query) << text;
    EXPECT_NE(query.error().message.find(key), std::string::npos) << query.error().message;
  }
  EXPECT_FALSE(query_from_json(nlohmann::json::array()));
}

// ---- times

TEST(Times, AreRfc3339OrAgo) {
  constexpr std::int64_t kNow = 1'700'000'000 * kSecondNs;  // 2023-11-14T22:13:20Z
  EXPECT_EQ(rfc3339(kNow), "2023-11-14T22:13:20.000000Z");
  EXPECT_EQ(rfc3339(-1), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(parse_time("2023-11-14T22:13:20Z", 0), kNow);
  EXPECT_EQ(parse_time("2023-11-14t22:13:20.5z", 0), kNow + kSecondNs / 2);
  EXPECT_EQ(parse_time("2023-11-15 00:13:20+02:00", 0), kNow);
  EXPECT_EQ(parse_time("2023-11-14T16:43:20-05:30", 0), kNow);
  EXPECT_EQ(parse_time("1970-01-02", 0), 86'400 * kSecondNs);
  EXPECT_EQ(parse_time("2024-02-29", 0), 1'709'164'800 * kSecondNs);
  EXPECT_EQ(parse_time("10m", kNow), kNow - 600 * kSecondNs);
  EXPECT_EQ(parse_time("1.5h", kNow), kNow - 5'400 * kSecondNs);
  EXPECT_EQ(parse_time("2d", kNow), kNow - 172'800 * kSecondNs);
  for (const char* text : {"",
                           "now",
                           "10",
                           "m",
                           "10x",
                           "-5m",
                           "2023",
                           "2023-13-01",
                           "2023-02-29",
                           "2023-04-31",
                           "2023-11-14T",
                           "2023-11-14T22:13",
                           "2023-11-14T22:13:20",
                           "2023-11-14T24:00:00Z",
                           "2023-11-14T22:61:00Z",
                           "2023-11-14T22:13:20.Z",
                           "2023-11-14T22:13:20Zx",
                           "2023-11-14T22:13:20+2:00",
                           "2023-11-14T22:13:20+99:00",
                           "9999-01-01",
                           "1e300s",
                           "nanm",
                           "20x3-11-14",
                           "+023-11-14"}) {
    EXPECT_FALSE(parse_time(text, kNow)) << text;
  }
}

TEST(Base64, IsTheInverseOfItself) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  std::string all;
  for (int i = 0; i < 256; ++i) {
    all += static_cast<char>(i);
    EXPECT_EQ(from_base64(base64(all)), all);
  }
  for (const char* text : {"Z", "Zg=", "Zg", "Z===", "Zg==Zg==", "Z=g=", "Zm9*", "===="}) {
    EXPECT_FALSE(from_base64(text)) << text;
  }
}

// ---- envelopes

TEST(Convert, FindsAndReplacesExtensions) {
  std::string extensions = with_extension("", ExtensionId::tracestate, "abc");
  extensions = with_extension(extensions, ExtensionId::topic, "x/y");
  extensions.resize(extensions.size() + 20);  // padding
  EXPECT_EQ(extension_in(extensions, ExtensionId::tracestate), "abc");
  EXPECT_EQ(extension_in(extensions, ExtensionId::topic), "x/y");
  EXPECT_EQ(extension_in(extensions, ExtensionId::reason), "");
  const std::string changed = with_extension(extensions, ExtensionId::tracestate, "longer than");
  EXPECT_EQ(extension_in(changed, ExtensionId::tracestate), "longer than");
  EXPECT_EQ(extension_in(changed, ExtensionId::topic), "x/y");
  // Nothing of what is cut off, at any place.
  for (std::size_t n = 0; n < changed.size(); ++n) {
    (void)extension_in(std::string_view{changed}.substr(0, n), ExtensionId::topic);
  }
  EXPECT_EQ(extension_in(std::string_view{changed}.substr(0, 5), ExtensionId::topic), "");
}

TEST(Convert, MakesTheMessageThatItWas) {
  Record record = full();
  record.topic = "$dlq/a/b";
  record.extensions = with_extension(record.extensions, ExtensionId::topic, "a/b");
  const std::string header =
      header_of(record, record.extensions, MessageKind::event, kFlagRedelivered);
  EXPECT_EQ(header.size() % 32, 0u);
  const std::string slot = header + record.payload;
  const auto bytes = std::as_bytes(std::span{slot.data(), slot.size()});
  const auto envelope = read_envelope(bytes);
  ASSERT_TRUE(envelope);
  EXPECT_EQ(envelope->kind, MessageKind::event);
  EXPECT_EQ(envelope->id, to_id(record.id));
  EXPECT_EQ(envelope->flags, record.flags | kFlagRedelivered);
  MessageInfo info;
  info.correlation = to_id(record.correlation);
  info.publish_ns = 77;
  const Record back = record_of(bytes, *envelope, info, "a/b", 1'000);
  EXPECT_EQ(back.payload, record.payload);
  EXPECT_EQ(extension_in(back.extensions, ExtensionId::tracestate), "a=b");
  EXPECT_EQ(back.trace, record.trace);
  EXPECT_EQ(back.time_ns, 1'077);
  EXPECT_EQ(back.what, RecordClass::message);
  EXPECT_EQ(back.copy, 77u) << "sent again on purpose: no duplicate of the first one";
}

TEST(Convert, ReadsDeadLetters) {
  Record record = full();
  record.topic = "$dlq/a/b";
  record.kind = static_cast<std::uint8_t>(MessageKind::dead_letter);
  EXPECT_FALSE(dead_letter_of(record));
  EXPECT_EQ(original_topic(record), "a/b");
  DeadLetterRecord letter;
  letter.reason = DeadLetterReason::expired;
  letter.times = 2;
  letter.error.fill('x');  // no NUL at its end
  const auto put = [&] {
    record.extensions = with_extension("", ExtensionId::reason,
                                       {reinterpret_cast<const char*>(&letter), sizeof letter});
  };
  put();
  ASSERT_TRUE(dead_letter_of(record));
  EXPECT_EQ(dead_letter_of(record)->times, 2u);
  EXPECT_EQ(std::strlen(dead_letter_of(record)->error.data()), 127u);
  const auto json = to_json(record);
  EXPECT_EQ(json["dead_letter"]["reason"], "expired");
  EXPECT_EQ(json["dead_letter"]["topic"], "a/b");
  letter.reason = static_cast<DeadLetterReason>(99);
  put();
  EXPECT_FALSE(dead_letter_of(record));
}

}  // namespace
}  // namespace sluice::recorder
