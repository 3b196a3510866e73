#include "tools/sluice/message_format.hpp"

#include <gtest/gtest.h>

namespace sluice::tools {
namespace {

MessageFields example() {
  MessageFields message{"room/light", "on", {}, {}};
  message.envelope.id = {0x0193'a5d2'5c1e'7a3b, 0x9f10'2d4c'6e8a'0b1c};
  message.envelope.source = 0xabc;
  message.envelope.codec = Codec::text;
  message.envelope.trace_id.fill(0x11);
  message.envelope.span_id.fill(0x22);
  message.envelope.trace_flags = 1;
  message.info.correlation = {0x0193'a5d2'5c1e'7a3b, 0x9f10'2d4c'6e8a'0b1d};
  message.info.sequence = 42;
  message.info.priority = Priority::high;
  message.info.publish_ns = 1'000'000;
  return message;
}

std::string printed(std::string_view format, const MessageFields& message = example()) {
  std::string wrong;
  const auto parsed = MessageFormat::parse(format, wrong);
  EXPECT_TRUE(parsed) << format << ": " << wrong;
  return parsed ? parsed->print(message, 3'000'000) : std::string{};
}

TEST(MessageFormat, NamesEverythingThatAMessageHas) {
  EXPECT_EQ(printed("%t=%p"), "room/light=on\n");
  EXPECT_EQ(printed("%i %c"),
            "0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1c 0193a5d2-5c1e-7a3b-9f10-2d4c6e8a0b1d\n");
  EXPECT_EQ(printed("%T"), "00-11111111111111111111111111111111-2222222222222222-01\n");
  EXPECT_EQ(printed("%S %s %P %k %l %x %a"), "0000000000000abc 42 high text 2 6f6e 2.0ms\n");
}

TEST(MessageFormat, WithoutATraceThereIsNoTraceparent) {
  MessageFields message = example();
  message.envelope.span_id = {};
  EXPECT_EQ(printed("[%T]", message), "[]\n");
}

TEST(MessageFormat, EndsALineOnce) {
  EXPECT_EQ(printed("%p"), "on\n");
  EXPECT_EQ(printed("%p%n"), "on\n");
  EXPECT_EQ(printed("%p\\n"), "on\n");
  EXPECT_EQ(printed("%p%n%n"), "on\n\n");
}

TEST(MessageFormat, KeepsTextAndEscapes) {
  EXPECT_EQ(printed("100%% of\\t%p\\\\"), "100% of\ton\\\n");
  EXPECT_EQ(printed("a\\0b"), std::string("a\0b\n", 4));
}

TEST(MessageFormat, PrintsPayloadsWithAnythingInThem) {
  MessageFields message = example();
  message.payload = std::string_view("\0%t\xff", 4);
  EXPECT_EQ(printed("%p", message), std::string("\0%t\xff\n", 5));
  EXPECT_EQ(printed("%x", message), "002574ff\n");
  message.payload = {};
  EXPECT_EQ(printed("[%p%x]%l", message), "[]0\n");
}

TEST(MessageFormat, RefusesWhatItDoesNotKnow) {
  for (const char* format : {"%", "%z", "abc%", "\\", "\\q"}) {
    std::string wrong;
    EXPECT_FALSE(MessageFormat::parse(format, wrong)) << format;
    EXPECT_FALSE(wrong.empty());
  }
}

}  // namespace
}  // namespace sluice::tools
