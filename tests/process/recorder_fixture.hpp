// sluice-recorder and the tool at a broker of the test's own.
#pragma once

#include "daemons/recorder/archive.hpp"
#include "daemons/recorder/json.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/node.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/talking_program.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace sluice {

using namespace std::chrono_literals;
using recorder::Archive;
using recorder::Query;
using recorder::Record;
using test::eventually;
using test::TalkingProgram;

inline constexpr auto kPatience = 30s;

inline Deadline in(std::chrono::nanoseconds time) {
  return std::chrono::steady_clock::now() + time;
}

class RecorderTest : public testing::Test {
 protected:
  explicit RecorderTest(std::vector<std::string> of_broker = {})
      : broker_(SLUICE_SLUICED, std::move(of_broker)) {}

  [[nodiscard]] std::string file() const { return broker_.folder() + "/records.db"; }
  void start_recorder(std::vector<std::string> arguments = {}) {
    std::vector<std::string> command{
        SLUICE_RECORDER, "--socket", broker_.socket(), "--file", file(), "--log-level", "info"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    recorder_.reset();
    recorder_.emplace(command, broker_.folder() + "/recorder" + std::to_string(++starts_));
    EXPECT_TRUE(eventually(
        [&] { return recorder_->err().find("recording into") != std::string::npos; }, kPatience))
        << recorder_->err();
  }
  int end_recorder(int signal = SIGTERM) { return recorder_->end(signal); }

  Node node(const std::string& name) {
    NodeOptions options;
    options.name = name;
    options.socket = broker_.socket();
    auto made = Node::create(options);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(made).value();
  }
  // With the recorder attached.
  static MessagePublisher publisher(Node& node, const std::string& topic,
                                    MessagePublisherOptions options = {}) {
    auto made = MessagePublisher::create(node, topic, options);
    EXPECT_TRUE(made) << made.error().message;
    MessagePublisher out = std::move(made).value();
    EXPECT_TRUE(eventually([&] { return out.stream().subscriber_count() != 0; }, kPatience));
    return out;
  }
  [[nodiscard]] std::vector<Record> records(Query query = {}) const {
    std::vector<Record> all;
    const Archive archive{file()};
    for (bool more = true; more;) {
      auto page = archive.read(query);
      EXPECT_TRUE(page) << page.error().message;
      if (!page) return all;
      more = page->more;
      for (Record& record : page->records) all.push_back(std::move(record));
      if (!all.empty()) query.after_row = all.back().row;
    }
    return all;
  }
  [[nodiscard]] std::vector<Record> records_of(const std::string& filter) const {
    Query query;
    query.filter = filter;
    return records(query);
  }
  // What the tool prints, and its exit code.
  std::pair<int, std::string> tool(std::vector<std::string> words) {
    words.insert(words.begin(), SLUICE_TOOL);
    words.insert(words.end(), {"--socket", broker_.socket()});
    TalkingProgram program{words, broker_.folder() + "/tool" + std::to_string(++starts_)};
    const int code = program.wait(60s);
    last_error_ = program.err();
    return {code, program.out()};
  }
  static std::vector<nlohmann::json> lines(const std::string& text) {
    std::vector<nlohmann::json> all;
    std::size_t at = 0;
    while (at < text.size()) {
      const auto end = text.find('\n', at);
      all.push_back(nlohmann::json::parse(text.substr(at, end - at), nullptr, false));
      EXPECT_TRUE(all.back().is_object()) << text;
      if (end == std::string::npos) break;
      at = end + 1;
    }
    return all;
  }
  // Whether these bytes stand anywhere in what the recorder wrote.
  bool is_written(const std::string& marker) {
    for (const auto& entry : std::filesystem::directory_iterator(broker_.folder())) {
      const std::string path = entry.path();
      if (!path.starts_with(file())) continue;
      std::ifstream in{path, std::ios::binary};
      const std::string bytes{std::istreambuf_iterator<char>{in}, {}};
      if (bytes.find(marker) != std::string::npos) return true;
    }
    return false;
  }

  test::BrokerProcess broker_;
  std::optional<TalkingProgram> recorder_;
  std::string last_error_;
  int starts_ = 0;
};

}  // namespace sluice
