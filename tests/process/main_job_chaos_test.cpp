// A running pipeline, and kill -9: whichever of its processes dies, the others go on, it is started
// again, references lead to the right pictures all the while, and nothing is left over.
//
// How long, in seconds: SLUICE_PIPELINE_CHAOS_SECONDS; SLUICE_CHAOS_SEED repeats a run.
#include "sluice/frame.hpp"
#include "sluice/node.hpp"
#include "sluice/results.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/child.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kPhotograph =
    "/usr/share/visp-images-data/ViSP-images/Solvay/Solvay_conference_1927_Version2_2126x1463.jpg";

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::string words_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string all((std::istreambuf_iterator<char>(file)), {});
  std::replace(all.begin(), all.end(), '\0', ' ');
  return all;
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;
    std::istringstream rest(line.substr(line.rfind(')') + 1));
    char state = 0;
    pid_t ppid = 0;
    rest >> state >> ppid;
    if (ppid == parent && state != 'Z') found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

std::size_t descriptors_of(pid_t pid) {
  std::error_code error;
  std::size_t n = 0;
  for (std::filesystem::directory_iterator at("/proc/" + std::to_string(pid) + "/fd", error), end;
       at != end; at.increment(error)) {
    ++n;
  }
  return n;
}

std::size_t shared_mappings_of(pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::size_t n = 0;
  for (std::string line; std::getline(maps, line);)
    n += line.find("/memfd:sluice") != std::string::npos;
  return n;
}

class MainJobChaosTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::ifstream(kPhotograph)) FAIL() << "tools/setup.sh photos installs " << kPhotograph;
    char name[] = "/tmp/sluice-chaos-XXXXXX";
    folder_ = ::mkdtemp(name);
    std::ofstream(folder_ + "/pipeline.toml")
        << "[broker]\nsocket = \"" << socket() << "\"\n"
        << "[camera.hall]\nsource = \"images://" << kPhotograph
        << "?motion=pan&seconds=8\"\nwidth = 640\nheight = 360\nrate = 30\n"
        << "[camera.yard]\nsource = \"test://ball\"\nwidth = 320\nheight = 240\nrate = 30\n"
        << "[detector.hall]\nworkers = 2\nscale = 0.8\n"
        << "[detector.yard]\n"
        << "[recognizer.people]\ndetectors = [\"hall\", \"yard\"]\npeople = \"" << SLUICE_PEOPLE
        << "\"\n";
  }
  void TearDown() override {
    if (HasFailure()) {
      std::ifstream log(folder_ + "/log");
      std::string text((std::istreambuf_iterator<char>(log)), {});
      std::fprintf(stderr, "%s\n",
                   text.substr(text.size() > 6000 ? text.size() - 6000 : 0).c_str());
    }
    std::filesystem::remove_all(folder_);
  }
  [[nodiscard]] std::string socket() const { return folder_ + "/sluiced.sock"; }

  std::string folder_;
};

// Takes from one subscription and counts; of identities it resolves the frame that each is about.
struct Flow {
  std::string name;
  Subscriber subscriber;
  std::uint64_t count = 0;

  void take() {
    while (const Sample sample = subscriber.take()) ++count;
  }
};

TEST_F(MainJobChaosTest, WhicheverProcessIsKilledTheOthersGoOn) {
  const std::uint64_t seed = number_from("SLUICE_CHAOS_SEED", std::random_device{}());
  const auto seconds = std::chrono::seconds(number_from("SLUICE_PIPELINE_CHAOS_SECONDS", 15));
  std::mt19937_64 random(seed);
  SCOPED_TRACE("SLUICE_CHAOS_SEED=" + std::to_string(seed));

  Child run({SLUICE_TOOL, "run", folder_ + "/pipeline.toml"}, folder_ + "/log");
  auto node = Node::create({.name = "witness", .socket = socket(), .connect_timeout = 20s});
  ASSERT_TRUE(node) << node.error().message;
  std::vector<Flow> flows;
  for (const char* topic : {"camera/hall/frames", "camera/yard/frames", "detect/hall/objects",
                            "detect/yard/objects", "recognize/people/identities"}) {
    auto made = node->subscribe(topic, {.max_held = 4});
    ASSERT_TRUE(made) << made.error().message;
    flows.push_back({topic, std::move(*made)});
  }
  auto frames = node->subscribe("camera/+/frames", {.mode = DeliveryMode::latest});
  ASSERT_TRUE(frames) << frames.error().message;
  std::uint64_t resolved = 0;
  std::uint64_t wrong = 0;
  const auto take_all = [&] {
    for (std::size_t i = 0; i + 1 < flows.size(); ++i) flows[i].take();
    while (const Sample sample = flows.back().subscriber.take()) {
      ++flows.back().count;
      const auto decoded = decode_identities(sample.bytes());
      if (!decoded) {
        ++wrong;
        continue;
      }
      const Sample original = frames->resolve(decoded->frame.reference);
      if (!original) continue;  // its camera has just died, or is not attached yet
      const auto view = view_frame(original);
      if (view && view->header.number == decoded->frame.number &&
          original.info().correlation == decoded->frame.correlation) {
        ++resolved;
      } else {
        ++wrong;
      }
    }
  };
  // Whether all of them have brought something new.
  const auto all_flow = [&](std::chrono::seconds patience) {
    std::vector<std::uint64_t> before;
    for (const Flow& flow : flows) before.push_back(flow.count);
    return eventually(
        [&] {
          take_all();
          for (std::size_t i = 0; i < flows.size(); ++i) {
            if (flows[i].count < before[i] + 5) return false;
          }
          return true;
        },
        patience);
  };
  ASSERT_TRUE(all_flow(60s));

  const auto processes = [&] {
    std::map<std::string, pid_t> found;
    for (const pid_t pid : children_of(run.pid())) found[words_of(pid)] = pid;
    return found;
  };
  const std::map<std::string, pid_t> at_first = processes();
  ASSERT_EQ(at_first.size(), 7u) << "broker, 2 cameras, 3 detectors, 1 recognizer";
  std::map<std::string, std::pair<std::size_t, std::size_t>> sizes;
  for (const auto& [words, pid] : at_first)
    sizes[words] = {descriptors_of(pid), shared_mappings_of(pid)};

  unsigned kills = 0;
  for (const auto until = Clock::now() + seconds; Clock::now() < until; ++kills) {
    const std::map<std::string, pid_t> now = processes();
    ASSERT_FALSE(now.empty());
    auto victim = now.begin();
    std::advance(victim, static_cast<std::ptrdiff_t>(random() % now.size()));
    SCOPED_TRACE("killed: " + victim->first);
    // What does not come from the victim goes on at once: cameras need nobody.
    std::vector<std::pair<std::size_t, std::uint64_t>> others;
    take_all();
    for (std::size_t i = 0; i < 2; ++i) {
      if (victim->first.find(i == 0 ? "--name hall --source" : "--name yard --source") ==
          std::string::npos) {
        others.emplace_back(i, flows[i].count);
      }
    }
    ASSERT_EQ(::kill(victim->second, SIGKILL), 0);
    for (const auto& [i, count] : others) {
      ASSERT_TRUE(eventually(
          [&, &i = i, &count = count] {
            take_all();
            return flows[i].count >= count + 10;
          },
          5s))
          << flows[i].name << " has stopped";
    }
    ASSERT_TRUE(eventually(
        [&] {
          take_all();
          const auto again = processes();
          const auto at = again.find(victim->first);
          return at != again.end() && at->second != victim->second;
        },
        30s))
        << "was not started again";
    ASSERT_TRUE(all_flow(40s)) << "not everything flows again";
  }
  std::printf("  %u processes killed, %llu identities led to their frames\n", kills,
              static_cast<unsigned long long>(resolved));
  EXPECT_GT(kills, 0u);
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(resolved, 10u);

  // Who was not killed, or was and is back, has no more than at the beginning.
  EXPECT_TRUE(eventually(
      [&] {
        take_all();
        const auto now = processes();
        return now.size() == sizes.size() &&
               std::all_of(now.begin(), now.end(), [&](const auto& process) {
                 const auto at = sizes.find(process.first);
                 return at != sizes.end() &&
                        descriptors_of(process.second) <= at->second.first + 2 &&
                        shared_mappings_of(process.second) <= at->second.second + 2;
               });
      },
      30s))
      << "something is left over";
  if (HasFailure()) {
    for (const auto& [words, pid] : processes()) {
      std::fprintf(stderr, "%s: %zu descriptors (%zu), %zu mappings (%zu)\n", words.c_str(),
                   descriptors_of(pid), sizes[words].first, shared_mappings_of(pid),
                   sizes[words].second);
    }
  }
  EXPECT_EQ(run.end(SIGTERM), 0);
  for (const auto& [words, pid] : at_first) EXPECT_NE(::kill(pid, 0), 0) << words;
}

}  // namespace
}  // namespace sluice::test
