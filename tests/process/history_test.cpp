// What the bus promises, checked as Jepsen does it: processes that publish, work, ask and serve
// write down what they do; they and the broker are killed, stopped and started again at random and
// at named points; in the end the histories are laid side by side. Nothing that was acknowledged
// may be lost, nothing may be done twice where that is not allowed, and order is as promised.
//
// SLUICE_HISTORY_SECONDS says how long; a failure prints the seed (SLUICE_HISTORY_SEED).
#include "tests/process/kill_points.hpp"
#include "tests/support/broker_process.hpp"
#include "tests/support/child.hpp"
#include "tests/support/emulated.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace sluice::test {
namespace {

using namespace std::chrono_literals;

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct Line {
  char what = 0;
  std::string number;
  std::string more;
};

std::vector<Line> lines_of(const std::string& file) {
  std::vector<Line> lines;
  std::ifstream in{file};
  for (std::string text; std::getline(in, text);) {
    std::istringstream words{text};
    Line line;
    words >> line.what >> line.number >> line.more;
    lines.push_back(line);
  }
  return lines;
}

class History : public testing::Test {
 protected:
  struct Role {
    std::string role;
    std::string name;
    bool mortal = true;  // may be killed
    Child child;
  };

  History() : seed_(number_from("SLUICE_HISTORY_SEED", std::random_device{}())), random_(seed_) {
    const std::set<std::string> points = kill_points();
    points_.assign(points.begin(), points.end());
  }

  std::uint64_t draw(std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>{0, below - 1}(random_);
  }
  [[nodiscard]] std::string file(const std::string& name) const {
    return broker_.folder() + "/" + name + ".history";
  }

  Child begin(const std::string& role, const std::string& name, bool may_die_at_a_point) {
    std::string at;
    if (may_die_at_a_point && SLUICE_ACTOR_CAN_DIE && draw(3) == 0) {
      at = "SLUICE_KILL_AT=" + points_[draw(points_.size())] + ":" + std::to_string(1 + draw(40));
    }
    std::vector<std::string> command{"/usr/bin/env"};
    if (!at.empty()) command.push_back(at);
    if (emulated()) command.push_back(emulator());
    command.insert(command.end(), {SLUICE_ACTOR, broker_.socket(), role, name, file(name)});
    return Child{command};
  }
  void cast(const std::string& role, const std::string& name, bool mortal) {
    roles_.push_back({role, name, mortal, begin(role, name, mortal)});
  }

  void harm_for(std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds{20 + draw(120)});
      const std::uint64_t what = draw(10);
      if (what == 0) {
        broker_.kill(SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds{draw(100)});
        broker_.start();
        continue;
      }
      Role& victim = roles_[draw(roles_.size())];
      if (!victim.mortal) continue;
      if (what <= 2) {
        victim.child.send(SIGSTOP);
        std::this_thread::sleep_for(std::chrono::milliseconds{draw(60)});
        victim.child.send(SIGCONT);
        continue;
      }
      (void)victim.child.end(SIGKILL);
      ++killed_;
      victim.child = begin(victim.role, victim.name, true);
    }
  }

  // Who makes something ends first, who deals with it last.
  void end_all() {
    for (Role& role : roles_) {  // whoever has died at a point meanwhile
      if (role.child.wait(0ms) != Child::kNotYet) role.child = begin(role.role, role.name, false);
    }
    for (const char* kind : {"ask", "produce", "tell", "serve", "work", "listen"}) {
      for (Role& role : roles_) {
        if (role.role == kind) role.child.send(SIGTERM);
      }
      for (Role& role : roles_) {
        if (role.role != kind) continue;
        const int code = role.child.wait(60s);
        // Whoever was only just started did not listen yet.
        EXPECT_TRUE(code == 0 || (code == -SIGTERM && role.mortal)) << role.name << ": " << code;
      }
    }
  }

  // Every line of that kind, of all actors of the role.
  [[nodiscard]] std::map<std::string, std::uint64_t> count(const std::string& role,
                                                           char what) const {
    std::map<std::string, std::uint64_t> found;
    for (const Role& actor : roles_) {
      if (actor.role != role) continue;
      for (const Line& line : lines_of(file(actor.name))) {
        if (line.what == what) ++found[line.number];
      }
    }
    return found;
  }

  std::uint64_t seed_;
  std::mt19937_64 random_;
  BrokerProcess broker_{SLUICE_SLUICED};
  std::vector<Role> roles_;
  std::vector<std::string> points_;
  std::uint64_t killed_ = 0;
};

TEST_F(History, KeepsWhatTheBusPromises) {
  SCOPED_TRACE("SLUICE_HISTORY_SEED=" + std::to_string(seed_));
  // Of each kind one that lives through all of it: its promises must all be kept.
  cast("listen", "listener", false);
  cast("produce", "steady", false);
  cast("produce", "mortal", true);
  cast("work", "w1", true);
  cast("work", "w2", true);
  cast("work", "w3", false);
  cast("tell", "t1", true);
  cast("tell", "t2", false);
  cast("ask", "a1", false);
  cast("ask", "a2", true);
  cast("serve", "s1", true);
  cast("serve", "s2", true);
  harm_for(std::chrono::seconds{number_from("SLUICE_HISTORY_SECONDS", 6)});
  end_all();

  const auto done = count("work", 'd');
  const auto begun = count("work", 's');
  std::uint64_t lost = 0;
  std::uint64_t queued = 0;
  std::uint64_t acknowledged = 0;
  for (const char* producer : {"steady", "mortal"}) {
    for (const Line& line : lines_of(file(producer))) {
      // Acknowledged: the producer was told so; or it lived on, so that its stream kept it.
      const bool owed = line.what == 'h' || (line.what == 'q' && std::string{producer} == "steady");
      queued += line.what == 'q' ? 1 : 0;
      acknowledged += line.what == 'h' ? 1 : 0;
      if (owed && !done.contains(line.number)) {
        ++lost;
        ADD_FAILURE() << line.number << " of " << producer << " was never done";
      }
      if (lost > 10) break;
    }
  }
  // Twice only where a worker died over it, or rejected it.
  const auto rejected = count("work", 'r');
  std::uint64_t twice = 0;
  for (const auto& [number, times] : done) twice += times - 1;
  EXPECT_LE(twice, (killed_ + 50) * 4 * 2) << "more than the credits of those who died";

  // News: in order, once, and nothing missing from the first that the listener got of an
  // incarnation up to the last that was published to it.
  std::map<std::string, std::uint64_t> last;
  for (const Line& line : lines_of(file("listener"))) {
    const std::size_t dot = line.number.rfind('.');
    const std::string who = line.number.substr(0, dot);
    const std::uint64_t number = std::stoull(line.number.substr(dot + 1));
    const auto [at, first] = last.emplace(who, number);
    if (first) continue;
    EXPECT_EQ(number, at->second + 1) << "after " << line.number;
    at->second = number;
  }
  for (const char* teller : {"t1", "t2"}) {
    for (const Line& line : lines_of(file(teller))) {
      if (line.what != 'q' || line.more != "1") continue;
      const std::size_t dot = line.number.rfind('.');
      const auto at = last.find(line.number.substr(0, dot));
      const std::uint64_t number = std::stoull(line.number.substr(dot + 1));
      if (at == last.end() || at->second < number) {
        ADD_FAILURE() << line.number << " was published to a listener who never got it";
        break;
      }
    }
  }

  // Requests: whatever was answered was handled; what may be handled once was handled once at most;
  // what nobody served was not handled.
  const auto handled = count("serve", 'x');
  std::uint64_t answered = 0;
  for (const char* asker : {"a1", "a2"}) {
    for (const Line& line : lines_of(file(asker))) {
      EXPECT_NE(line.what, '!') << line.number << " got another one's answer";
      if (line.what == 'o') {
        ++answered;
        EXPECT_TRUE(handled.contains(line.number)) << line.number << " was answered by nobody";
      }
      // One that may be handled twice may have been, before the attempt that found nobody.
      EXPECT_FALSE(line.what == 'n' && line.number.ends_with(".e") && handled.contains(line.number))
          << line.number;
    }
  }
  for (const auto& [number, times] : handled) {
    EXPECT_TRUE(times == 1 || number.ends_with(".i")) << number << ", " << times << " times";
  }
  std::printf(
      "%llu killed; tasks: %llu queued, %llu acknowledged, %zu done, %llu of them again, %zu "
      "rejected; news: %zu "
      "tellers; requests: %llu answered, %zu handled\n",
      static_cast<unsigned long long>(killed_), static_cast<unsigned long long>(queued),
      static_cast<unsigned long long>(acknowledged), done.size(),
      static_cast<unsigned long long>(twice), rejected.size(), last.size(),
      static_cast<unsigned long long>(answered), handled.size());
  EXPECT_GT(acknowledged, 0u);
  EXPECT_GT(answered, 0u);
  EXPECT_GE(begun.size(), done.size());
}

}  // namespace
}  // namespace sluice::test
