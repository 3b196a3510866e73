// What the tool says of trace contexts. The rules themselves are tested with the parser.
#include "tools/sluice/trace_line.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace sluice::tools {
namespace {

using nlohmann::json;

constexpr const char* kGood = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

json read(const std::string& line, bool valid) {
  const TraceLine answer = read_trace_line(line);
  EXPECT_EQ(answer.valid, valid) << line;
  EXPECT_EQ(answer.json.find('\n'), std::string::npos);
  return json::parse(answer.json);
}

TEST(TraceLine, ShowsTheFields) {
  const json out = read(kGood, true);
  EXPECT_EQ(out["valid"], true);
  EXPECT_EQ(out["version"], "00");
  EXPECT_EQ(out["trace_id"], "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(out["span_id"], "b7ad6b7169203331");
  EXPECT_EQ(out["sampled"], true);
  EXPECT_EQ(out["canonical"], kGood);
  EXPECT_FALSE(out.contains("tracestate"));
}

TEST(TraceLine, ReadsAHigherVersionAsThisOne) {
  const json out = read("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-09-more", true);
  EXPECT_EQ(out["version"], "cc");
  EXPECT_EQ(out["canonical"], kGood);
}

TEST(TraceLine, SaysWhatIsInvalid) {
  for (const std::string line : {"", "x", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                 "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                 "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                 "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                 "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
                                 " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) {
    EXPECT_EQ(read(line, false), json({{"valid", false}})) << line;
  }
}

TEST(TraceLine, ReadsATracestateBehindATab) {
  const json out = read(std::string{kGood} + "\trojo=1,congo=2", true);
  EXPECT_EQ(out["tracestate"], "rojo=1,congo=2");
  EXPECT_EQ(out["members"], json::parse(R"([["rojo","1"],["congo","2"]])"));
}

TEST(TraceLine, SaysWhatOfATracestateIsPassedOn) {
  const std::string a = "a=" + std::string(254, '1');
  const std::string b = "b=" + std::string(253, '2');
  const json whole = read(std::string{kGood} + '\t' + a + ',' + b, true);  // 512 bytes
  EXPECT_EQ(whole["tracestate"], a + ',' + b);
  EXPECT_FALSE(whole.contains("cut"));
  const json cut = read(std::string{kGood} + '\t' + a + ',' + b + '2', true);
  EXPECT_EQ(cut["tracestate"], a);
  EXPECT_EQ(cut["cut"], true);
  EXPECT_EQ(cut["members"].size(), 2u);
}

TEST(TraceLine, OwnsNoWhiteSpace) {
  for (const std::string& line : {std::string{kGood} + '\r', std::string{kGood} + ' ',
                                  std::string{'\t'} + kGood, std::string{kGood} + " \ta=1"}) {
    EXPECT_EQ(read(line, false), json({{"valid", false}})) << line;
  }
  EXPECT_EQ(read(std::string{kGood} + "\t a=1 ,\tb=2 ", true)["tracestate"], "a=1,b=2");
  EXPECT_TRUE(read(std::string{kGood} + "\ta=1\r", false)["tracestate"].is_null());
}

TEST(TraceLine, DropsAWrongTracestateAndKeepsTheTrace) {
  const json out = read(std::string{kGood} + "\trojo=1,rojo=2", false);
  EXPECT_EQ(out["valid"], true);
  EXPECT_TRUE(out["tracestate"].is_null());
  EXPECT_TRUE(out.contains("tracestate_error"));
  // Without a trace its state says nothing.
  EXPECT_EQ(read("x\trojo=1", false), json({{"valid", false}}));
}

}  // namespace
}  // namespace sluice::tools
