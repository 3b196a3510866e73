#include "daemons/recorder/config.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sluice::recorder {
namespace {

std::string why_not(const std::string& text) {
  const auto config = parse_config(text, "r.toml");
  return config ? "" : config.error().message;
}

TEST(RecorderConfig, ReadsEveryKey) {
  const auto config = parse_config(R"(
socket = "/run/x.sock"
node = "keeper"
[log]
level = "debug"
json = true
[record]
topics = ["a/#", "b"]
durable = "job/+"
max_message_bytes = 4096
[store]
path = "/data/r.db"
max_mib = 100
max_days = 0.5
rotate_mib = 10
keep = 3
consumer_days = 7
batch = 10
batch_ms = 1.5
)",
                                   "r.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->socket, "/run/x.sock");
  EXPECT_EQ(config->node, "keeper");
  EXPECT_EQ(config->log.level, LogLevel::debug);
  EXPECT_TRUE(config->log.json);
  EXPECT_EQ(config->recording.filters, (std::vector<std::string>{"a/#", "b"}));
  EXPECT_EQ(config->recording.durable, (std::vector<std::string>{"job/+"}));
  EXPECT_EQ(config->recording.max_message_bytes, 4'096u);
  EXPECT_EQ(config->store.file.path, "/data/r.db");
  EXPECT_EQ(config->store.file.max_bytes, 100u << 20);
  EXPECT_EQ(config->store.file.max_age_ns, 43'200'000'000'000);
  EXPECT_EQ(config->store.file.rotate_bytes, 10u << 20);
  EXPECT_EQ(config->store.file.keep, 3u);
  EXPECT_EQ(config->store.file.consumer_keep_ns, 604'800'000'000'000);
  EXPECT_EQ(config->store.batch_count, 10u);
  EXPECT_EQ(config->store.batch_time.count(), 1'500'000);
  EXPECT_TRUE(parse_config("", "r.toml"));
}

TEST(RecorderConfig, NamesThePlaceOfAMistake) {
  EXPECT_EQ(why_not("[record]\ntopics = [\"a#\"]").rfind("r.toml:2:", 0), 0u)
      << why_not("[record]\ntopics = [\"a#\"]");
  for (const char* text :
       {"sockett = 1", "[store]\nmax_mib = 0", "[store]\nmax_days = -1", "[store]\nkeep = 0",
        "[store]\nbatch = 0", "[record]\nmax_message_bytes = 1", "[log]\nlevel = \"loud\"",
        "[store]\nmax_mib = 10\nrotate_mib = 9", "broken"}) {
    EXPECT_NE(why_not(text), "") << text;
  }
}

TEST(RecorderConfig, TheExampleIsRight) {
  const auto config = load_config(SLUICE_SOURCE_DIR "/packaging/sluice-recorder.toml");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->recording.durable.empty());
}

}  // namespace
}  // namespace sluice::recorder
