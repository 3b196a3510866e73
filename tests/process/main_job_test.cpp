// The main job, on real photographs: capture, detection and recognition in processes of their own,
// and a witness that takes every frame, every detection and every identity, and keeps what it saw
// of them.
#include "sluice/correlation.hpp"
#include "sluice/frame.hpp"
#include "sluice/node.hpp"
#include "sluice/results.hpp"
#include "sluice/tracing.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/child.hpp"

#include <gtest/gtest.h>

#include <toml++/toml.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kPhotograph =
    "/usr/share/visp-images-data/ViSP-images/Solvay/Solvay_conference_1927_Version2_2126x1463.jpg";

std::set<std::string> enrolled_people() {
  std::set<std::string> names;
  const toml::table file = toml::parse_file(SLUICE_PEOPLE);
  for (const auto& person : *file["person"].as_array()) {
    names.insert(*person.at_path("name").value<std::string>());
  }
  return names;
}

// What the witness keeps of a frame.
struct Seen {
  std::uint64_t number = 0;
  Reference reference;
  std::uint32_t width = 0;
  std::vector<std::byte> luma;  // tightly packed
};

std::vector<std::byte> luma_of(const FrameView& view) {
  const PlaneLayout& plane = view.header.planes[0];
  std::vector<std::byte> luma;
  luma.reserve(std::size_t{view.header.width} * view.header.height);
  for (std::uint32_t y = 0; y < view.header.height; ++y) {
    const std::byte* row = view.plane(0) + std::size_t{y} * plane.stride;
    luma.insert(luma.end(), row, row + view.header.width);
  }
  return luma;
}

std::pair<std::uint64_t, std::uint64_t> key(const CorrelationId& id) { return {id.high, id.low}; }

class MainJobTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::ifstream(kPhotograph)) FAIL() << "tools/setup.sh photos installs " << kPhotograph;
    auto node = Node::create({.name = "witness", .socket = broker_.socket()});
    ASSERT_TRUE(node) << node.error().message;
    node_ = std::move(*node);
  }

  Child start(std::vector<std::string> command) {
    command.insert(command.end(), {"--socket", broker_.socket(), "--log-level", "warning"});
    return Child(std::move(command));
  }
  Child start_capture(const std::string& query = "?motion=pan&seconds=20") {
    return start({SLUICE_CAPTURE, "--name", "hall", "--source",
                  std::string("images://") + kPhotograph + query, "--width", "1280", "--height",
                  "720", "--rate", "30"});
  }
  Child start_detect(const std::string& node = "detect-hall", std::vector<std::string> more = {}) {
    std::vector<std::string> command{SLUICE_DETECT, "--name", "hall", "--camera",
                                     "hall",        "--node", node};
    command.insert(command.end(), more.begin(), more.end());
    return start(std::move(command));
  }
  Child start_recognize() {
    return start(
        {SLUICE_RECOGNIZE, "--name", "people", "--detector", "hall", "--people", SLUICE_PEOPLE});
  }
  Subscriber subscribe(const std::string& filter, const SubscriptionOptions& options = {}) {
    auto made = node_->subscribe(filter, options);
    if (!made) throw std::runtime_error(made.error().message);
    return std::move(*made);
  }
  Snapshot snapshot() {
    if (!monitor_) {
      auto made = node_->monitor();
      if (!made) throw std::runtime_error(made.error().message);
      monitor_ = std::move(*made);
    }
    return monitor_->snapshot();
  }
  static std::optional<Health> newest(Subscriber& health) {
    std::optional<Health> found;
    while (const Sample sample = health.take()) {
      if (sample.size() != sizeof(Health)) continue;
      std::memcpy(&found.emplace(), sample.data(), sizeof(Health));
    }
    return found;
  }

  BrokerProcess broker_{SLUICE_SLUICED};
  std::optional<Node> node_;
  std::optional<Monitor> monitor_;
};

TEST_F(MainJobTest, RecognizesEverybodyAndEachIdentityLeadsToItsFrame) {
  constexpr std::size_t kFramesKept = 90;
  Subscriber frames = subscribe("camera/hall/frames", {.max_held = 8});
  Subscriber identities = subscribe("recognize/people/identities", {.max_held = 4});
  const Child recognize = start_recognize();
  const Child detect = start_detect();
  const Child capture = start_capture();

  std::set<std::string> missing = enrolled_people();
  ASSERT_GE(missing.size(), 10u);
  std::map<std::pair<std::uint64_t, std::uint64_t>, Seen> seen;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> order;
  std::size_t led_back = 0;
  std::size_t resolved = 0;
  const auto until = std::chrono::steady_clock::now() + 90s;
  const auto done = [&] { return missing.empty() && led_back >= 10 && resolved >= 30; };
  while (!done() && std::chrono::steady_clock::now() < until) {
    frames.wait_for(20ms);
    while (const Sample frame = frames.take()) {
      const auto view = view_frame(frame);
      ASSERT_TRUE(view) << view.error().message;
      ASSERT_NE(frame.info().correlation, CorrelationId{});
      const auto id = key(frame.info().correlation);
      ASSERT_EQ(seen.count(id), 0u) << "two frames with one correlation id";
      seen[id] = {view->header.number, frame.reference(), view->header.width, luma_of(*view)};
      order.push_back(id);
      if (order.size() > kFramesKept) {
        seen.erase(order.front());
        order.erase(order.begin());
      }
    }
    while (const Sample sample = identities.take()) {
      const auto decoded = decode_identities(sample.bytes());
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_EQ(decoded->frame.correlation, sample.info().correlation);
      for (const Identity& identity : decoded->identities) missing.erase(identity.name);
      const auto at = seen.find(key(sample.info().correlation));
      if (at == seen.end()) continue;  // older than what is kept
      EXPECT_EQ(decoded->frame.reference, at->second.reference);
      EXPECT_EQ(decoded->frame.number, at->second.number);
      ++led_back;
      // The original pixels, through two processes.
      const Sample original = frames.resolve(decoded->frame.reference);
      ASSERT_TRUE(original) << to_string(original.outcome()) << ": the identity holds its frame";
      const auto view = view_frame(original);
      ASSERT_TRUE(view) << view.error().message;
      for (const Identity& identity : decoded->identities) {
        const auto x = static_cast<std::size_t>(std::max(0.0f, identity.box.x));
        const auto y = static_cast<std::size_t>(std::max(0.0f, identity.box.y));
        const auto width =
            std::min(static_cast<std::size_t>(identity.box.width), view->header.width - x);
        const auto height =
            std::min(static_cast<std::size_t>(identity.box.height), view->header.height - y);
        for (std::size_t row = y; row < y + height; ++row) {
          ASSERT_EQ(std::memcmp(view->plane(0) + row * view->header.planes[0].stride + x,
                                at->second.luma.data() + row * at->second.width + x, width),
                    0)
              << identity.name << ", row " << row;
        }
        ++resolved;
      }
    }
  }
  std::string names;
  for (const std::string& name : missing) names += name + " ";
  EXPECT_TRUE(missing.empty()) << "not recognized: " << names;
  EXPECT_GE(led_back, 10u);
  EXPECT_GE(resolved, 30u);
}

// Of one process: where it has mapped the memory with this inode, and how.
std::vector<std::string> mappings_of(pid_t pid, ino_t inode) {
  std::vector<std::string> found;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights, offset, device;
    ino_t number = 0;
    words >> range >> rights >> offset >> device >> number;
    if (number == inode) found.push_back(range + " " + rights);
  }
  return found;
}

// The shared writable memory of the process that is as large as a pool of frames: its inodes.
std::set<ino_t> written_pools(pid_t pid) {
  std::set<ino_t> found;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, rights, offset, device;
    ino_t number = 0;
    words >> range >> rights >> offset >> device >> number;
    const auto dash = range.find('-');
    const std::uint64_t bytes = std::stoull(range.substr(dash + 1), nullptr, 16) -
                                std::stoull(range.substr(0, dash), nullptr, 16);
    const bool pool = line.find("/memfd:sluice-pool") != std::string::npos;
    if (pool && rights == "rw-s" && bytes > 4 * 1280 * 720) found.insert(number);
  }
  return found;
}

TEST_F(MainJobTest, CopiesNothingBetweenCaptureAndRecognition) {
  Subscriber identities = subscribe("recognize/people/identities", {.mode = DeliveryMode::latest});
  std::map<std::string, Subscriber> health;
  for (const char* name : {"capture-hall", "detect-hall", "recognize-people"}) {
    health.emplace(name, subscribe(health_topic(name), {.history = 1}));
  }
  const Child recognize = start_recognize();
  const Child detect = start_detect();
  const Child capture = start_capture();
  std::size_t count = 0;
  ASSERT_TRUE(eventually(
      [&] {
        while (const Sample sample = identities.take()) ++count;
        return count >= 20;
      },
      60s));
  for (auto& [name, subscriber] : health) {
    std::optional<Health> last;
    ASSERT_TRUE(eventually([&, &s = subscriber] {
      if (auto now = newest(s)) last = now;
      return last && last->handled > 0;
    })) << name;
    EXPECT_EQ(last->copies, 0u) << name;
    EXPECT_EQ(last->failed, 0u) << name << ": " << text_of(last->last_error);
  }
  for (const StreamInfo& stream : snapshot().streams) {
    if (stream.topic == "camera/hall/frames") {
      EXPECT_EQ(stream.source.copies, 0u);
    }
  }
  // One memory, written by capture and only read by the others.
  const std::set<ino_t> pools = written_pools(capture.pid());
  ASSERT_EQ(pools.size(), 1u);
  for (const Child* reader : {&detect, &recognize}) {
    const std::vector<std::string> mapped = mappings_of(reader->pid(), *pools.begin());
    ASSERT_FALSE(mapped.empty()) << "does not see the frames where they were captured";
    for (const std::string& mapping : mapped) {
      EXPECT_EQ(mapping.substr(mapping.find(' ') + 1), "r--s");
      std::printf("  process %d reads them at %s\n", reader->pid(), mapping.c_str());
    }
  }
}

TEST_F(MainJobTest, LossesAddUp) {
  const Child recognize = start_recognize();
  const Child first = start_detect("detect-hall-1", {"--group", "workers"});
  const Child second = start_detect("detect-hall-2", {"--group", "workers"});
  const Child latest = start({SLUICE_DETECT, "--name", "other", "--camera", "hall"});
  const Child capture = start_capture();

  struct Sums {
    std::uint64_t published = 0, dropped = 0, given = 0, taken = 0;
    std::map<std::string, std::uint64_t> passed;  // by node: taken + lost + waiting
  };
  const auto sums = [&] {
    Sums s;
    const Snapshot shown = snapshot();
    std::map<std::uint64_t, std::string> names;
    for (const NodeInfo& node : shown.nodes) names[node.id] = node.name;
    std::uint64_t camera = 0;
    for (const StreamInfo& stream : shown.streams) {
      if (stream.topic != "camera/hall/frames") continue;
      camera = stream.id;
      s.published = stream.stats.published;
      s.dropped = stream.stats.dropped;
    }
    for (const SubscriptionInfo& subscription : shown.subscriptions) {
      for (const AttachmentInfo& attachment : subscription.attachments) {
        if (attachment.stream_id != camera) continue;
        const SubscriptionStats& stats = attachment.stats;
        if (subscription.mode == DeliveryMode::group) {
          s.given += stats.taken + stats.lost();
        } else if (stats.taken != 0) {  // not those that only resolve
          s.passed[names[subscription.node_id]] += stats.taken + stats.lost() + stats.waiting;
          s.taken += stats.taken;
        }
      }
    }
    return s;
  };
  // Nothing moves while the camera sleeps and its readers have caught up.
  const auto settled = [&] {
    capture.send(SIGSTOP);
    Sums last = sums();
    EXPECT_TRUE(eventually(
        [&] {
          std::this_thread::sleep_for(300ms);
          const Sums now = sums();
          const bool same = now.published == last.published && now.given == last.given &&
                            now.taken == last.taken && now.passed == last.passed;
          last = now;
          return same;
        },
        20s));
    return last;
  };
  ASSERT_TRUE(eventually(
      [&] {
        const Sums s = sums();
        return s.given > 20 && s.passed.size() == 1 && s.taken > 20;
      },
      60s));
  const Sums before = settled();
  capture.send(SIGCONT);
  EXPECT_TRUE(eventually([&] { return sums().published > before.published + 100; }, 20s));
  const Sums after = settled();
  capture.send(SIGCONT);
  const std::uint64_t published = after.published - before.published;
  ASSERT_EQ(after.passed.count("detect-other"), 1u);
  EXPECT_EQ(after.passed.at("detect-other") - before.passed.at("detect-other"), published);
  const std::uint64_t waiting_at_most = 2 * 4;  // the lane's depth, at both moments
  const std::uint64_t accounted = after.given - before.given + after.dropped - before.dropped;
  EXPECT_LE(accounted, published + waiting_at_most);
  EXPECT_GE(accounted + waiting_at_most, published);
}

}  // namespace
}  // namespace sluice::test
