// What messages carry on of a trace: W3C Trace Context, Level 1, Recommendation of 23 November
// 2021, over a real broker.
#include "sluice/codec.hpp"
#include "sluice/correlation.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "tests/support/bus_fixture.hpp"
#include "transport/bus/envelope_writer.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {
namespace {

class MessageTraceTest : public BusTest {
 protected:
  static Context traced(std::string tracestate) {
    Context context;
    context.correlation = new_correlation_id();
    context.trace = new_trace(context.correlation);
    context.tracestate = std::move(tracestate);
    return context;
  }
  // As it stands in the slot, not as the context has it.
  static std::string tracestate_in(const Message& message) {
    return std::string{bus::text_of_bytes(message.extension(ExtensionId::tracestate))};
  }
};

TEST_F(MessageTraceTest, OnlyARightTracestateOfAValidTraceIsPassedOn) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  const std::string a200 = "a=" + std::string(198, '1');
  const std::string b200 = "b=" + std::string(198, '2');
  const std::string c200 = "c=" + std::string(198, '3');
  const std::string of_512 = a200 + "," + b200 + ",c=" + std::string(108, '3');
  ASSERT_EQ(of_512.size(), 512u);
  struct Case {
    std::string given;
    std::string passed_on;
  };
  const std::vector<Case> cases{
      {"vendor=1,other=2", "vendor=1,other=2"},
      {" vendor=1 ,\t,other=2", "vendor=1,other=2"},
      {of_512, of_512},
      {a200 + "," + b200 + "," + c200, a200 + "," + b200},  // 602 bytes: whole members
      {"vendor=1,vendor=2", ""},
      {"no member", ""},
      {"A=1", ""},
      {std::string(1'500, 'x'), ""},
      {",", ""},
  };
  for (const Case& c : cases) {
    const Context context = traced(c.given);
    const ScopedContext scope{context};
    ASSERT_EQ(out.publish("x"), Outcome::ok);
    const Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(tracestate_in(message), c.passed_on) << c.given;
    EXPECT_EQ(message.context().trace.trace_id, context.trace.trace_id);
  }
  // What cannot be understood of the trace makes its state worthless.
  for (const bool only_trace : {false, true}) {
    Context context = traced("vendor=1");
    context.trace.span_id = {};
    if (!only_trace) context.trace.trace_id = {};
    const ScopedContext scope{context};
    ASSERT_EQ(out.publish("x"), Outcome::ok);
    const Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(tracestate_in(message), "");
    EXPECT_TRUE(message.context().trace.valid());
    EXPECT_EQ(message.context().trace.trace_id, new_trace(context.correlation).trace_id);
  }
}

TEST_F(MessageTraceTest, AMessageBelongsToTheContextInWhichItIsPublished) {
  Node a = node("a");
  MessagePublisher out = publisher(a, "t");
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(attached(out));
  const Context first = traced("vendor=1");
  const Context second = traced("vendor=2");
  const Context twin = traced("vendor=1");
  const auto loaned_in = [&](const Context& context) {
    const ScopedContext scope{context};
    MessageLoan loan = out.loan(1);
    EXPECT_TRUE(loan);
    return loan;
  };
  struct Case {
    const Context& loaned;
    const Context& published;
    std::string tracestate;
  };
  const Context none;
  for (const Case& c : std::vector<Case>{{first, first, "vendor=1"},
                                         {first, twin, "vendor=1"},
                                         {first, second, ""},
                                         {first, none, ""},
                                         {none, second, ""}}) {
    MessageLoan loan = loaned_in(c.loaned);
    loan.bytes()[0] = std::byte{'x'};
    {
      const ScopedContext scope{c.published};
      ASSERT_EQ(out.publish(std::move(loan)), Outcome::ok);
    }
    const Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(message.text(), "x");
    EXPECT_EQ(tracestate_in(message), c.tracestate);
    EXPECT_EQ(message.context().trace.trace_id == c.published.trace.trace_id,
              &c.published != &none);
    EXPECT_NE(message.context().trace.span_id, c.published.trace.span_id);
    EXPECT_EQ(message.info().correlation == c.published.correlation, &c.published != &none);
  }
}

// Envelopes that another program wrote.
TEST_F(MessageTraceTest, WhatOthersWroteIsReadByTheSameRules) {
  Node a = node("a");
  StreamOptions raw;
  raw.pools = {{4'096}};
  Publisher out = value(a.advertise("t", raw));
  MessageSubscriber in = subscriber(a, "t");
  ASSERT_TRUE(eventually([&] { return out.subscriber_count() == 1; }));
  const auto write = [&](bool valid, std::string_view tracestate) {
    bus::Extensions extensions;
    extensions.add(ExtensionId::tracestate, tracestate);
    Envelope envelope;
    envelope.id = new_correlation_id();
    envelope.codec = Codec::text;
    if (valid) envelope.trace_id.fill(1);
    envelope.span_id.fill(2);
    envelope.header_bytes = static_cast<std::uint16_t>(extensions.header_bytes());
    Loan loan = out.loan(extensions.header_bytes());
    std::memcpy(loan.data(), &envelope, sizeof envelope);
    extensions.write(loan.bytes());
    ASSERT_EQ(out.publish(std::move(loan)), Outcome::ok);
  };
  const std::string parent = "00-01010101010101010101010101010101-0202020202020202-00";
  struct Case {
    bool valid = false;
    std::string given;
    std::string read;
  };
  for (const Case& c : std::vector<Case>{{true, "vendor=1", "vendor=1"},
                                         {true, "vendor=1,vendor=1", ""},
                                         {true, std::string(600, 'x'), ""},
                                         {true, std::string("v=1\0\n", 5), ""},
                                         {false, "vendor=1", ""}}) {
    write(c.valid, c.given);
    const Message message = in.receive(soon());
    ASSERT_TRUE(message);
    EXPECT_EQ(tracestate_in(message), c.given);
    EXPECT_EQ(message.context().tracestate, c.read);
    const std::string text = to_json(message);
    EXPECT_EQ(text.find(R"("traceparent":")" + parent + '"') != std::string::npos, c.valid) << text;
    EXPECT_EQ(text.find("traceparent") != std::string::npos, c.valid) << text;
    EXPECT_EQ(text.find("tracestate") != std::string::npos, !c.read.empty()) << text;
  }
}

}  // namespace
}  // namespace sluice::test
