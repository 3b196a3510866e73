// sluice-recorder over a real broker: killed, restarted, damaged, without room.
#include "sluice/correlation.hpp"
#include "sluice/durable.hpp"
#include "sluice/message_publisher.hpp"
#include "sluice/message_subscriber.hpp"
#include "sluice/node.hpp"
#include "tests/process/recorder_fixture.hpp"

#include <gtest/gtest.h>

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace sluice {
namespace {

// "publisher number": unique in all.
std::string numbered(int publisher, std::uint64_t number) {
  return std::to_string(publisher) + " " + std::to_string(number);
}

// Publishes numbers until it is told to stop, and waits for each few of them to be on the disk.
struct Writer {
  std::uint64_t published = 0;
  std::atomic<std::uint64_t> recorded{0};  ///< All up to this one are, by the library's word.

  void run(Node& node, int id, const std::atomic<bool>& stop) {
    MessagePublisherOptions options;
    options.stream = message_stream(128, 1'024);
    options.stream.durable_keep_ns = 60'000'000'000;
    auto publisher = MessagePublisher::create(node, "job/" + std::to_string(id), options);
    ASSERT_TRUE(publisher) << publisher.error().message;
    ASSERT_TRUE(eventually([&] { return publisher->stream().subscriber_count() != 0; }, kPatience));
    std::mt19937_64 random{static_cast<std::uint64_t>(id)};
    for (bool last = false; !last;) {
      last = stop.load();
      Published message;
      for (std::uint64_t n = 1 + random() % 40; n != 0; --n) {
        ASSERT_EQ(publisher->publish(bytes(numbered(id, published + 1)), {}, message), Outcome::ok);
        ++published;
      }
      // A recorder that is dead has no member; its place is kept, and the next one goes on there.
      const Deadline patience = in(kPatience);
      Outcome outcome = Outcome::timeout;
      while (outcome != Outcome::ok && std::chrono::steady_clock::now() < patience) {
        outcome = publisher->wait_recorded(message, in(1s));
        if (outcome == Outcome::no_subscriber) std::this_thread::sleep_for(1ms);
      }
      ASSERT_EQ(outcome, Outcome::ok) << numbered(id, published) << ", after " << recorded << ", "
                                      << (last ? "with the last recorder" : "while recorders die")
                                      << "; attached " << publisher->stream().subscriber_count()
                                      << " of " << publisher->stream().matching_count();
      recorded = published;
    }
  }
  static std::span<const std::byte> bytes(const std::string& text) {
    kept() = text;
    return std::as_bytes(std::span{kept().data(), kept().size()});
  }
  static std::string& kept() {
    static thread_local std::string text;
    return text;
  }
};

TEST_F(RecorderTest, NothingThatWasRecordedIsLostWhenItIsKilled) {
  constexpr int kWriters = 2;
  const char* wanted = std::getenv("SLUICE_RECORDER_KILLS");
  const int kills = wanted == nullptr ? 6 : std::atoi(wanted);
  // Small files, so that many kills come to rotations as well.
  const std::vector<std::string> arguments{"--durable", "job/#",  "--rotate-bytes",
                                           "2M",        "--keep", "10000"};
  start_recorder(arguments);
  std::vector<Node> nodes;
  for (int i = 0; i < kWriters; ++i) nodes.push_back(node("writer-" + std::to_string(i)));
  std::vector<Writer> writers(kWriters);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&, i] {
      writers[static_cast<std::size_t>(i)].run(nodes[static_cast<std::size_t>(i)], i, stop);
    });
  }
  std::mt19937_64 random{4711};
  for (int kill = 0; kill < kills && !HasFatalFailure(); ++kill) {
    // Mostly at random; but on a slow machine nothing would be recorded for long.
    const std::uint64_t before = writers[0].recorded;
    std::this_thread::sleep_for(std::chrono::milliseconds{20 + random() % 200});
    if (kill % 4 == 3) {
      EXPECT_TRUE(eventually([&] { return writers[0].recorded > before; }, kPatience));
    }
    EXPECT_EQ(end_recorder(SIGKILL), -SIGKILL);
    start_recorder(arguments);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(end_recorder(), 0);

  for (int i = 0; i < kWriters; ++i) {
    const Writer& writer = writers[static_cast<std::size_t>(i)];
    EXPECT_GT(writer.recorded, 50u);
    const auto kept = records_of("job/" + std::to_string(i));
    // All of them, in order, once.
    ASSERT_EQ(kept.size(), writer.published);
    for (std::uint64_t n = 1; n <= kept.size(); ++n) {
      ASSERT_EQ(kept[n - 1].payload, numbered(i, n));
      ASSERT_TRUE(kept[n - 1].durable);
    }
  }
}

TEST_F(RecorderTest, KeepsWhatWasSaidAboutAMessageAndByWhom) {
  start_recorder({"--record", "event/#"});
  Node me = node("speaker");
  MessagePublisherOptions options;
  options.codec = Codec::json;
  auto events = publisher(me, "event/door", options);
  const Context context{new_correlation_id(), TraceContext{{1}, {2}, 1}, "", 0, 0, 0};
  const ScopedContext scope{context};
  ASSERT_EQ(events.publish(R"({"open":true})"), Outcome::ok);
  ASSERT_TRUE(eventually([&] { return !records_of("event/#").empty(); }, kPatience));
  const Record record = records_of("event/#").at(0);
  EXPECT_EQ(record.topic, "event/door");
  EXPECT_EQ(record.payload, R"({"open":true})");
  EXPECT_EQ(record.correlation.high, context.correlation.high);
  EXPECT_EQ(record.trace[0], 1);
  EXPECT_EQ(record.node, "speaker");
  EXPECT_EQ(record.pid, ::getpid());
  EXPECT_EQ(record.uid, static_cast<std::int64_t>(::getuid()));
  EXPECT_FALSE(record.durable);

  // The tool says the same, from the recorder and from the file.
  for (const bool from_file : {false, true}) {
    std::vector<std::string> words{"audit", "--topic", "event/#", "--since", "10m", "--json"};
    if (from_file) words.insert(words.end(), {"--file", file()});
    const auto [code, text] = tool(words);
    ASSERT_EQ(code, 0) << last_error_;
    const auto found = lines(text);
    ASSERT_EQ(found.size(), 1u) << text;
    EXPECT_EQ(found[0]["payload"]["open"], true);
    EXPECT_EQ(found[0]["node"], "speaker");
    EXPECT_EQ(found[0]["correlation"], to_string(context.correlation));
  }
}

TEST_F(RecorderTest, ReadsRangesAndTheNewest) {
  start_recorder({"--record", "event/#"});
  Node me = node("speaker");
  auto events = publisher(me, "event/n");
  for (int n = 1; n <= 700; ++n) {
    ASSERT_EQ(events.publish(std::to_string(n)), Outcome::ok);
    if (n % 50 == 0) {
      ASSERT_TRUE(eventually(
          [&] { return records_of("event/#").size() == static_cast<std::size_t>(n); }, kPatience));
    }
  }
  const auto all = records_of("event/#");
  auto [code, text] = tool({"audit", "--topic", "event/#", "--json"});
  EXPECT_EQ(code, 0) << last_error_;
  EXPECT_EQ(lines(text).size(), 700u) << "several pages";
  std::tie(code, text) = tool({"audit", "--topic", "event/#", "--json", "--limit", "3"});
  auto found = lines(text);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0]["row"], all[697].row);
  EXPECT_EQ(found[2]["row"], all[699].row);
  std::tie(code, text) =
      tool({"audit", "--topic", "event/#", "--json", "--since", recorder::rfc3339(all[100].time_ns),
            "--until", recorder::rfc3339(all[200].time_ns)});
  found = lines(text);
  ASSERT_FALSE(found.empty()) << last_error_;
  EXPECT_GE(found.front()["row"], all[99].row);
  EXPECT_LE(found.back()["row"], all[200].row);
  EXPECT_EQ(tool({"audit", "--since", "yesterday"}).first, 2);
  EXPECT_EQ(tool({"audit", "--topic", "a#"}).first, 2);
}

TEST_F(RecorderTest, WhatIsSensitiveIsNeverWritten) {
  const std::string marker = "SENSITIVE-MARKER-7f3a";
  start_recorder({"--record", "#", "--durable", "job/#"});
  Node me = node("speaker");
  MessagePublisherOptions secret;
  secret.stream.sensitive = true;
  auto made = MessagePublisher::create(me, "job/secret", secret);
  ASSERT_TRUE(made) << made.error().message;
  auto open = publisher(me, "job/open");
  // Of the recorder's two subscriptions the one that acknowledges may be the later.
  ASSERT_TRUE(eventually([&] { return open.stream().acknowledging_count() != 0; }, kPatience));
  for (int n = 0; n < 50; ++n) {
    ASSERT_EQ(made->publish(marker + std::to_string(n)), Outcome::ok);
    Published published;
    const std::string text = "open";
    ASSERT_EQ(open.publish(std::as_bytes(std::span{text}), {}, published), Outcome::ok);
    ASSERT_EQ(open.wait_recorded(published, in(kPatience)), Outcome::ok);
  }
  EXPECT_FALSE(is_written(marker));
  EXPECT_EQ(end_recorder(), 0);
  EXPECT_FALSE(is_written(marker));
  EXPECT_TRUE(is_written("open"));
}

TEST_F(RecorderTest, FramesAndLargeMessagesAreSkipped) {
  start_recorder({"--record", "#", "--max-message-bytes", "2000"});
  Node me = node("camera");
  StreamOptions raw;
  raw.pools = {{100'000}};
  auto frames = me.advertise("camera/frames", raw);
  ASSERT_TRUE(frames);
  ASSERT_TRUE(eventually([&] { return frames->subscriber_count() != 0; }, kPatience));
  MessagePublisherOptions options;
  options.stream = message_stream(10'000);
  auto events = publisher(me, "event/x", options);
  for (int n = 0; n < 20; ++n) {
    Loan loan = frames->loan(100'000);
    ASSERT_TRUE(loan);
    std::fill(loan.bytes().begin(), loan.bytes().end(), std::byte{0x41});
    ASSERT_EQ(frames->publish(std::move(loan)), Outcome::ok);
    ASSERT_EQ(events.publish(std::string(10'000, 'B')), Outcome::ok);
    ASSERT_EQ(events.publish(std::string_view{"small"}), Outcome::ok);
  }
  ASSERT_TRUE(eventually([&] { return records_of("event/#").size() == 20u; }, kPatience));
  EXPECT_EQ(end_recorder(), 0);
  EXPECT_TRUE(records_of("camera/#").empty());
  EXPECT_NE(recorder_->err().find("20 too large"), std::string::npos) << recorder_->err();
  EXPECT_NE(recorder_->err().find("20 without an envelope"), std::string::npos) << recorder_->err();
}

TEST_F(RecorderTest, DurableMessagesMayBeLarge) {
  start_recorder({"--durable", "event/#", "--max-message-bytes", "2000"});
  Node me = node("camera");
  MessagePublisherOptions options;
  options.stream = message_stream(17 << 20, 4);
  options.stream.pools.back().slot_count = 8;  // as many as there may be do not fit into 32 bits
  auto events = publisher(me, "event/x", options);
  const auto publish = [&](std::size_t size) {
    const std::string text(size, 'B');
    Published published;
    EXPECT_EQ(events.publish(std::as_bytes(std::span{text}), {}, published), Outcome::ok);
    return published;
  };
  for (const std::size_t size : {std::size_t{10'000}, std::size_t{kMaxRecordedBytes}}) {
    EXPECT_EQ(events.wait_recorded(publish(size), in(kPatience)), Outcome::ok);
    EXPECT_TRUE(is_written(std::string(2'500, 'B')));
  }
  const Published beyond = publish(kMaxRecordedBytes + 1);
  EXPECT_EQ(events.wait_recorded(beyond, in(kPatience)), Outcome::too_large);
  EXPECT_EQ(records_of("event/#").size(), 2u);
  Node reader = node("reader");
  DurableConsumerOptions from_start;
  from_start.from_start = true;
  auto consumer = DurableConsumer::create(reader, "billing", "event/#", from_start);
  ASSERT_TRUE(consumer) << consumer.error().message;
  for (const std::size_t size : {std::size_t{10'000}, std::size_t{kMaxRecordedBytes}}) {
    Message message = consumer->receive(in(kPatience));
    ASSERT_TRUE(message);
    EXPECT_EQ(message.payload().size(), size);
    consumer->acknowledge(std::move(message));
  }
}

TEST_F(RecorderTest, WithoutARecorderNothingIsOnTheDisk) {
  Node me = node("writer");
  auto made = MessagePublisher::create(me, "job/x");
  ASSERT_TRUE(made) << made.error().message;
  // Whoever else acknowledges it is none.
  MessageSubscriptionOptions reliable;
  reliable.subscription.mode = DeliveryMode::reliable;
  auto other = MessageSubscriber::create(me, "job/#", reliable);
  ASSERT_TRUE(other);
  ASSERT_TRUE(eventually([&] { return made->stream().acknowledging_count() == 1; }, kPatience));
  Published published;
  ASSERT_EQ(made->publish(std::as_bytes(std::span{"y"}), {}, published), Outcome::ok);
  EXPECT_EQ(made->wait_recorded(published, Deadline::max()), Outcome::no_subscriber);
}

TEST_F(RecorderTest, KeepsWhoWasLetInAndWhoDied) {
  start_recorder();
  {
    Node me = node("short-lived");
    auto made = MessagePublisher::create(me, "event/x");
    ASSERT_TRUE(made) << made.error().message;
  }
  const auto told = [&](recorder::RecordClass what, const std::string& text) {
    Query query;
    query.what = what;
    return eventually(
        [&] {
          const auto all = records(query);
          return std::any_of(all.begin(), all.end(), [&](const Record& record) {
            return record.payload.find(text) != std::string::npos;
          });
        },
        kPatience);
  };
  EXPECT_TRUE(told(recorder::RecordClass::access, "short-lived"));
  EXPECT_TRUE(told(recorder::RecordClass::life_cycle, "short-lived"));
  for (const char* what : {"access", "life_cycle"}) {
    const auto [code, text] = tool({"audit", "--class", what, "--json"});
    EXPECT_EQ(code, 0) << last_error_;
    EXPECT_NE(text.find("short-lived"), std::string::npos) << text;
  }
}

// With a broker that has been told which topics are durable.
class DurableTopicTest : public RecorderTest {
 protected:
  DurableTopicTest() : RecorderTest({"--config", configuration()}) {}
  ~DurableTopicTest() override { std::filesystem::remove(configuration()); }
  static std::string configuration() {
    static const std::string path = "/tmp/sluice-durable-" + std::to_string(::getpid()) + ".toml";
    std::ofstream{path} << "[[topic]]\nfilter = 'job/#'\ndurable = true\n";
    return path;
  }
};

TEST_F(DurableTopicTest, NothingIsLostBeforeTheRecorderComes) {
  Node me = node("writer");
  auto made = MessagePublisher::create(me, "job/x");
  ASSERT_TRUE(made) << made.error().message;
  Published first, last;
  for (int n = 1; n <= 20; ++n) {
    const std::string text = std::to_string(n);
    ASSERT_EQ(made->publish(std::as_bytes(std::span{text}), {}, n == 1 ? first : last),
              Outcome::ok);
  }
  EXPECT_EQ(made->wait_recorded(first, in(10ms)), Outcome::timeout) << "it is waited for";
  start_recorder({"--durable", "job/#"});
  EXPECT_EQ(made->wait_recorded(last, in(kPatience)), Outcome::ok);
  EXPECT_EQ(made->wait_recorded(first, in(kPatience)), Outcome::ok);
  const auto all = records_of("job/#");
  ASSERT_EQ(all.size(), 20u);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].payload, std::to_string(i + 1));
}

TEST_F(RecorderTest, ADamagedFileIsSetAsideAndReported) {
  std::ofstream{file(), std::ios::binary} << std::string(10'000, 'x');
  Node me = node("operator");
  MessageSubscriptionOptions with_history;
  with_history.subscription.history = 16;
  auto errors = MessageSubscriber::create(me, "$sys/errors/#", with_history);
  ASSERT_TRUE(errors) << errors.error().message;
  start_recorder({"--durable", "job/#"});
  auto jobs = publisher(me, "job/x");
  Published published;
  ASSERT_EQ(jobs.publish(std::as_bytes(std::span{"y"}), {}, published), Outcome::ok);
  EXPECT_EQ(jobs.wait_recorded(published, in(kPatience)), Outcome::ok);
  const Message error = errors->receive(in(kPatience));
  ASSERT_TRUE(error) << "nobody was told";
  EXPECT_NE(error.text().find("set aside"), std::string_view::npos) << error.text();
  bool aside = false;
  for (const auto& entry : std::filesystem::directory_iterator(broker_.folder())) {
    aside = aside || entry.path().string().starts_with(file() + ".corrupt-");
  }
  EXPECT_TRUE(aside);
}

// ---- durable consumers

TEST_F(RecorderTest, ADurableConsumerMissesNothingWhoeverDies) {
  constexpr std::uint64_t kMessages = 600;
  start_recorder({"--durable", "job/#"});
  Node me = node("writer");
  MessagePublisherOptions options;
  options.stream = message_stream(64, 1'024);
  auto jobs = publisher(me, "job/x", options);
  std::optional<Node> reader = node("reader");
  DurableConsumerOptions from_start;
  from_start.from_start = true;
  std::optional<DurableConsumer> consumer;
  const auto connect = [&] {
    consumer.reset();
    auto made = DurableConsumer::create(*reader, "billing", "job/#", from_start);
    ASSERT_TRUE(made) << made.error().message;
    consumer.emplace(std::move(made).value());
  };
  connect();
  std::mt19937_64 random{99};
  std::uint64_t published = 0, expected = 1, again = 0;
  const Deadline patience = in(120s);
  while (expected <= kMessages && std::chrono::steady_clock::now() < patience) {
    for (int n = 0; n < 10 && published < kMessages; ++n) {
      ASSERT_EQ(jobs.publish(std::to_string(++published)), Outcome::ok);
    }
    for (int n = 0; n < 12; ++n) {
      Message message = consumer->receive(in(20ms));
      if (!message) break;
      EXPECT_EQ(consumer->topic_of(message), "job/x");
      const std::uint64_t number = std::stoull(std::string{message.text()});
      // In order; what was taken and not acknowledged may come again.
      ASSERT_LE(number, expected);
      if (number < expected) ++again;
      if (random() % 40 == 0) {  // dies with it
        message = {};
        connect();
        break;
      }
      if (number == expected) ++expected;
      consumer->acknowledge(std::move(message));
    }
    switch (random() % 30) {
      case 0:
        end_recorder(SIGKILL);
        start_recorder({"--durable", "job/#"});
        break;
      case 1:
      case 2:
        connect();
        break;
      default:
        break;
    }
    if (published == kMessages && expected <= kMessages && random() % 5 == 0) connect();
  }
  EXPECT_EQ(expected, kMessages + 1);
  // Its place is known for good.
  consumer.reset();
  EXPECT_EQ(end_recorder(), 0);
  start_recorder({"--durable", "job/#"});
  ASSERT_EQ(jobs.publish(std::to_string(kMessages + 1)), Outcome::ok);
  connect();
  const Message last = consumer->receive(in(kPatience));
  ASSERT_TRUE(last);
  EXPECT_GE(std::stoull(std::string{last.text()}), kMessages - 64);
  auto forgotten = DurableConsumer::forget(*reader, "billing");
  ASSERT_TRUE(forgotten) << forgotten.error().message;
  EXPECT_TRUE(*forgotten);
}

TEST_F(RecorderTest, ADurableConsumerWithoutARecorderIsToldSo) {
  Node me = node("reader");
  DurableConsumerOptions quick;
  quick.timeout = 200ms;
  const auto made = DurableConsumer::create(me, "billing", "job/#", quick);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("sluice-recorder"), std::string::npos)
      << made.error().message;
}

// A measurement, not a test: --gtest_also_run_disabled_tests --gtest_filter=*PerSecond
TEST_F(RecorderTest, DISABLED_DurableMessagesPerSecond) {
  constexpr std::uint64_t kCount = 50'000;
  constexpr int kSingles = 200;
  start_recorder({"--durable", "job/#"});
  Node me = node("writer");
  MessagePublisherOptions options;
  options.stream = message_stream(64, 8'192);
  options.stream.full_timeout_ns = 60'000'000'000;
  auto jobs = publisher(me, "job/x", options);
  const std::string text(64, 'x');
  const auto bytes = std::as_bytes(std::span{text});
  Published last;
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t n = 0; n < kCount; ++n) {
    ASSERT_EQ(jobs.publish(bytes, {}, last), Outcome::ok);
  }
  ASSERT_EQ(jobs.wait_recorded(last, in(kPatience)), Outcome::ok);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::vector<double> singles;
  for (int n = 0; n < kSingles; ++n) {
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(jobs.publish(bytes, {}, last), Outcome::ok);
    ASSERT_EQ(jobs.wait_recorded(last, in(kPatience)), Outcome::ok);
    singles.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
            .count());
  }
  std::sort(singles.begin(), singles.end());
  std::printf(
      "%.0f durable messages of 64 B per second; one by one: %.2f ms (median), %.2f (p99)\n",
      static_cast<double>(kCount) / took.count(), singles[singles.size() / 2],
      singles[singles.size() * 99 / 100]);
  end_recorder();
  std::printf("%s", recorder_->err().c_str());
}

// ---- no room

TEST_F(RecorderTest, WithoutRoomDurableMessagesWaitUntilThereIs) {
  // The limit of the files is reached with messages that a consumer still waits for.
  start_recorder({"--durable", "job/#", "--max-bytes", "1MiB"});
  Node me = node("writer"), other = node("reader");
  MessagePublisherOptions options;
  options.stream = message_stream(20'000, 256);
  auto jobs = publisher(me, "job/x", options);
  DurableConsumerOptions from_start;
  from_start.from_start = true;
  auto consumer = DurableConsumer::create(other, "slow", "job/#", from_start);
  ASSERT_TRUE(consumer) << consumer.error().message;
  Published last;
  std::uint64_t published = 0;
  Outcome outcome = Outcome::ok;
  while (outcome == Outcome::ok && published < 100) {
    const std::string text(20'000, 'x');
    ASSERT_EQ(jobs.publish(std::as_bytes(std::span{text}), {}, last), Outcome::ok);
    ++published;
    outcome = jobs.wait_recorded(last, in(2s));
  }
  ASSERT_EQ(outcome, Outcome::timeout) << "the limit does not hold";
  EXPECT_GT(published, 20u);
  // Consuming makes room; nothing that was published is missing.
  std::uint64_t got = 0;
  while (got < published) {
    Message message = consumer->receive(in(kPatience));
    ASSERT_TRUE(message) << got << " of " << published;
    ++got;
    consumer->acknowledge(std::move(message));
  }
  EXPECT_EQ(jobs.wait_recorded(last, in(kPatience)), Outcome::ok);
}

TEST_F(RecorderTest, GoesOnAfterTheDiskWasFull) {
  // A file system of its own, 1 MiB: for root alone.
  const std::string disk = broker_.folder() + "/disk";
  ASSERT_TRUE(std::filesystem::create_directory(disk));
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "needs root";
  struct Unmount {
    const std::string& path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{disk};
  start_recorder({"--durable", "job/#", "--record", "event/#", "--file", disk + "/records.db"});
  Node me = node("writer");
  MessagePublisherOptions options;
  options.stream = message_stream(20'000, 256);
  auto jobs = publisher(me, "job/x", options);
  std::ofstream{disk + "/filler", std::ios::binary} << std::string(700'000, 'f');
  Published last;
  std::uint64_t published = 0;
  Outcome outcome = Outcome::ok;
  while (outcome == Outcome::ok && published < 100) {
    const std::string text(20'000, 'x');
    ASSERT_EQ(jobs.publish(std::as_bytes(std::span{text}), {}, last), Outcome::ok);
    ++published;
    outcome = jobs.wait_recorded(last, in(2s));
  }
  ASSERT_EQ(outcome, Outcome::timeout) << "the disk was not full";
  EXPECT_TRUE(std::filesystem::remove(disk + "/filler"));
  EXPECT_EQ(jobs.wait_recorded(last, in(kPatience)), Outcome::ok) << recorder_->err();
  EXPECT_EQ(end_recorder(), 0);
  Query query;
  query.filter = "job/#";
  query.limit = 1'000;
  query.max_bytes = 100'000'000;
  const auto page = Archive{disk + "/records.db"}.read(query);
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->records.size(), published);
  EXPECT_NE(recorder_->err().find("recording goes on"), std::string::npos) << recorder_->err();
}

}  // namespace
}  // namespace sluice
