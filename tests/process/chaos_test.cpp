// Processes and the broker are killed at random and at named points, stopped and continued, and
// ended in order, while one publisher and one reliable subscriber go on: every message of theirs
// must arrive, none late, and in the end nothing may be left over: no descriptor, no memory, no
// attachment.
//
// SLUICE_CHAOS_CYCLES says how many things happen; a failure prints the seed (SLUICE_CHAOS_SEED).
#include "sluice/node.hpp"
#include "tests/process/kill_points.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/emulated.hpp"
#include "tests/support/sanitized.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/wait.h>

#include <cstring>
#include <fstream>
#include <map>
#include <random>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// VmSize, VmRSS, … in KiB.
std::uint64_t status(pid_t pid, const std::string& key) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1));
  }
  return 0;
}

std::size_t descriptors(pid_t pid) {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    ++n;
  }
  return n;
}

class Chaos : public testing::Test {
 protected:
  Chaos() : random_(number_from("SLUICE_CHAOS_SEED", std::random_device{}())) {}
  ~Chaos() override {
    for (const auto& [pid, stopped] : children_) ::kill(pid, SIGKILL);
    for (const auto& [pid, stopped] : children_) ::waitpid(pid, nullptr, 0);
  }

  std::uint64_t draw(std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>{0, below - 1}(random_);
  }

  void start_child() {
    static constexpr const char* kRoles[] = {"publish", "publish",  "latest",
                                             "next",    "reliable", "group"};
    const std::string role = kRoles[draw(std::size(kRoles))];
    const std::string topic = "churn/" + std::to_string(draw(4));
    const std::string socket = broker_.socket();
    std::string point;  // every other one dies by itself, at one of the points or never
    if (draw(2) == 0) {
      point = points_[draw(points_.size())] + ":" + std::to_string(1 + draw(draw(2) == 0 ? 2 : 50));
    }
    const pid_t pid = ::fork();
    if (pid == 0) {
      if (!point.empty()) ::setenv("SLUICE_KILL_AT", point.c_str(), 1);
      ::execl(SLUICE_CHURN, "churn", socket.c_str(), role.c_str(), topic.c_str(), nullptr);
      ::_exit(127);
    }
    children_[pid] = false;  // whether it takes part yet is left to chance
  }

  std::map<pid_t, bool>::iterator any_child() {
    auto at = children_.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(draw(children_.size())));
    return at;
  }

  void end_child(int signal) {
    const auto at = any_child();
    const pid_t child = at->first;
    if (at->second) ::kill(child, SIGCONT);
    children_.erase(at);
    int how = 0;
    if (::waitpid(child, &how, WNOHANG) == child) {
      died_at_a_point_ += WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL;
      return;
    }
    ::kill(child, signal);
    ::waitpid(child, nullptr, 0);
  }

  void toggle_child() {
    const auto at = any_child();
    at->second = !at->second;
    ::kill(at->first, at->second ? SIGSTOP : SIGCONT);
  }

  void restart_broker() {
    broker_.kill(draw(2) == 0 ? SIGKILL : SIGTERM);
    if (draw(2) == 0) std::this_thread::sleep_for(std::chrono::milliseconds{draw(50)});
    broker_.start();
  }

  void something_happens() {
    const std::uint64_t what = draw(20);
    if (what == 0) return restart_broker();
    if (children_.size() < 3 || (what < 8 && children_.size() < 10)) return start_child();
    if (what < 14) return end_child(SIGKILL);
    if (what < 16) return end_child(SIGTERM);
    toggle_child();
  }

  NodeOptions options() {
    NodeOptions o;
    o.name = "steady";
    o.socket = broker_.socket();
    return o;
  }

  static std::vector<std::string> all_points() {
    const std::set<std::string> points = kill_points();
    return {points.begin(), points.end()};
  }

  std::mt19937_64 random_;
  const std::vector<std::string> points_ = all_points();
  BrokerProcess broker_{SLUICE_SLUICED};
  std::map<pid_t, bool> children_;  // whether stopped
  int died_at_a_point_ = 0;
};

TEST_F(Chaos, LeavesNothingBehindAndHarmsNobody) {
  const std::uint64_t cycles = number_from("SLUICE_CHAOS_CYCLES", 150);
  auto node = Node::create(options());
  ASSERT_TRUE(node) << node.error().message;
  StreamOptions stream;
  stream.pools = {{64}};
  stream.lanes = {{.depth = 64}};
  stream.max_held = 64;
  stream.offered.reliable = true;
  stream.on_full = OnFull::evict;  // who is stopped for long loses its place, and nobody waits
  auto publisher = node->advertise("steady", stream);
  ASSERT_TRUE(publisher) << publisher.error().message;
  auto subscriber = node->subscribe("steady", {.mode = DeliveryMode::reliable});
  ASSERT_TRUE(subscriber) << subscriber.error().message;
  ASSERT_TRUE(eventually([&] { return publisher->subscriber_count() == 1; }));
  // A broker that dies between the two would make it come again, from then on.
  ASSERT_TRUE(eventually([&] { return subscriber->stream_count() == 1; }));

  std::uint64_t number = 0;
  const auto exchange = [&] {
    ++number;
    Loan loan = publisher->loan(sizeof number);
    ASSERT_TRUE(loan) << to_string(loan.outcome());
    std::memcpy(loan.data(), &number, sizeof number);
    ASSERT_EQ(publisher->publish(std::move(loan)), Outcome::ok);
    ASSERT_EQ(subscriber->wait_for(10s), Outcome::ok);
    Sample sample = subscriber->take();
    ASSERT_TRUE(sample) << to_string(sample.outcome());
    std::uint64_t got = 0;
    std::memcpy(&got, sample.data(), sizeof got);
    ASSERT_EQ(got, number);
    subscriber->acknowledge(std::move(sample));
  };
  const auto settle = [&] {
    while (!children_.empty()) end_child(SIGKILL);
    ASSERT_TRUE(eventually([&] { return node->connected(); }));
    EXPECT_TRUE(eventually([&] {
      publisher->collect();
      return publisher->subscriber_count() == 1;
    })) << publisher->subscriber_count();
  };

  // The broker answers in order: when this is answered, it knows all that the node has told it.
  const auto registered = [&] {
    ASSERT_TRUE(eventually([&] { return node->connected(); }));
    ASSERT_TRUE(node->subscribe("probe"));
    // Its own node comes a moment after it, with three streams.
    auto system = node->subscribe("$sys/#");
    ASSERT_TRUE(system);
    ASSERT_TRUE(eventually([&] { return system->stream_count() == 3; }));
  };

  struct Footprint {
    std::size_t own, brokers;
    std::uint64_t mapped, resident;
  };
  const auto footprint = [&] {
    return Footprint{descriptors(::getpid()), broker_.descriptors(), status(::getpid(), "VmSize"),
                     status(::getpid(), "VmRSS")};
  };

  // Once, so that what is made at first use is there.
  for (int i = 0; i < 20; ++i) {
    something_happens();
    exchange();
    std::this_thread::sleep_for(10ms);
    if (HasFatalFailure()) return;
  }
  settle();
  restart_broker();
  registered();
  exchange();
  const Footprint before = footprint();

  for (std::uint64_t cycle = 0; cycle < cycles; ++cycle) {
    something_happens();
    for (std::uint64_t n = draw(20); n != 0; --n) exchange();
    std::this_thread::sleep_for(patient(std::chrono::milliseconds{draw(40)}));
    if (HasFatalFailure()) return;
  }
  settle();
  registered();
  exchange();
  EXPECT_TRUE(eventually([&] { return descriptors(::getpid()) <= before.own; }))
      << before.own << " descriptors before, " << descriptors(::getpid()) << " after";
  EXPECT_TRUE(eventually([&] { return broker_.descriptors() <= before.brokers; }))
      << "broker: " << before.brokers << " descriptors before, " << broker_.descriptors()
      << " after";
  EXPECT_TRUE(eventually([&] { return status(::getpid(), "VmSize") <= before.mapped + 20'000; }))
      << before.mapped << " KiB mapped before, " << status(::getpid(), "VmSize") << " after";
  // A sanitizer keeps what was freed for a while, and an emulator is larger than what it runs.
  if (!kSanitized && !emulated()) {
    EXPECT_LE(status(::getpid(), "VmRSS"), before.resident + 8'000);
    EXPECT_LE(status(broker_.pid(), "VmRSS"), 16'000u);
  }
  constexpr bool kHasPoints = SLUICE_CHURN_CAN_DIE != 0;
  EXPECT_EQ(died_at_a_point_ != 0, kHasPoints) << "kill points that nobody dies at show nothing";
  const SubscriptionStats stats = subscriber->stats();
  EXPECT_EQ(stats.taken, number);
  EXPECT_EQ(stats.lost(), 0u);
  EXPECT_EQ(publisher->stats().published, number);
}

}  // namespace
}  // namespace sluice::test
